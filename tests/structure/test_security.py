"""What SECURITY.md claims is shown by tests that there are; what it points at is there."""

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

from tests.support import ROOT

SECURITY = (ROOT / "SECURITY.md").read_text()
_NAMED = re.compile(r"`([\w./-]+\.(?:py|rs))::(\w+)`")
_LINK = re.compile(r"\]\(((?!https?:)[^)#]*)(?:#([^)]*))?\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_RUST_TEST = re.compile(r"#\[test\]\s+(?:#\[[^\n]*\]\s+)*fn (\w+)\(")
_FIGURE = re.compile(r"\d+\.\d(?= %)")


@cache
def names_of_tests(path: str) -> frozenset[str]:
    """The names of the tests of a file; none where there is no such file."""
    file = ROOT / path
    if not file.is_file():
        return frozenset()
    source = file.read_text()
    if file.suffix == ".rs":
        return frozenset(_RUST_TEST.findall(source))
    is_collected = file.name.startswith("test_") and path.startswith("tests/")
    return frozenset(name for node in ast.parse(source).body for name in collected_of(node) if is_collected)


def collected_of(node: ast.stmt) -> list[str]:
    """What pytest takes for a test by its name: functions and classes, those of state machines included."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.name] if node.name.startswith("test_") else []
    if isinstance(node, ast.ClassDef):
        return [node.name] if node.name.startswith("Test") else []
    targets = node.targets if isinstance(node, ast.Assign) else []
    names = [target.id for target in targets if isinstance(target, ast.Name)]
    return [name for name in names if name.startswith("Test")]


def missing(document: str) -> list[str]:
    """The tests that a document names and that there are not."""
    return sorted({f"{path}::{name}" for path, name in _NAMED.findall(document) if name not in names_of_tests(path)})


def claims(document: str) -> list[tuple[str, str]]:
    """Each line of the tables that name tests: the threat, and the cell with the tests."""
    tables = re.findall(r"^\| Threat \|.*\n\|[-|]+\n((?:\|.*\n?)+)", document, re.MULTILINE)
    rows = [re.split(r"(?<!\\) \| ", line.strip("| ")) for table in tables for line in table.splitlines()]
    assert {len(row) for row in rows} <= {3}
    return [(row[0], row[2]) for row in rows]


def anchors(file: Path) -> set[str]:
    """What can stand behind `#` in a link to a document."""
    titles = (re.sub(r"[^\w\- ]", "", title.lower()) for title in _HEADING.findall(file.read_text()))
    return {title.replace(" ", "-") for title in titles}


def test_every_test_that_is_named_exists() -> None:
    assert len(_NAMED.findall(SECURITY)) > 100
    assert missing(SECURITY) == []


def test_every_defence_names_a_test() -> None:
    found = claims(SECURITY)
    assert len(found) == sum(line.startswith("|") and "::" in line for line in SECURITY.splitlines()) > 50
    assert [threat for threat, tests in found if not _NAMED.search(tests) or _NAMED.sub("", tests).strip(", ")] == []


def test_every_section_with_defences_says_what_is_not_defended() -> None:
    sections = re.split(r"^## ", SECURITY, flags=re.MULTILINE)
    assert [part.split("\n")[0] for part in sections if "| Threat |" in part and "\n**Not defended" not in part] == []


def test_every_link_leads_somewhere() -> None:
    links = _LINK.findall(SECURITY)
    assert links
    targets = [(ROOT / (path or "SECURITY.md"), anchor) for path, anchor in links]
    assert [str(file) for file, _ in targets if not file.is_file()] == []
    assert [anchor for file, anchor in targets if anchor and anchor not in anchors(file)] == []


def test_the_figures_are_those_of_the_model_card() -> None:
    figures = set(_FIGURE.findall(SECURITY))
    assert len(figures) == 4
    card = (ROOT / "docs/model-card.md").read_text()
    assert {figure for figure in figures if not re.search(rf"(?<![\d.]){re.escape(figure)}(?![\d.])", card)} == set()


def test_what_is_installed_is_named_by_its_hash() -> None:
    lock = (ROOT / "requirements.lock").read_text().replace("\\\n", "")
    packages = [line for line in lock.splitlines() if re.match(r"[\w.-]+==", line)]
    assert len(packages) > 20
    assert [line for line in packages if "--hash=sha256:" not in line] == []
    crates = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    assert [crate["name"] for crate in crates if "source" in crate and "checksum" not in crate] == []
    commands = (ROOT / "Makefile").read_text().replace("\\\n", "").splitlines()
    installs = [line for line in commands if re.search(r"pip install|requirement", line) and line.startswith("\t")]
    builds = [line for line in commands if re.search(r"maturin (develop|build)|cargo (clippy|test)", line)]
    assert installs and builds
    assert [line for line in installs if "pip install" in line and "--require-hashes" not in line] == []
    assert [line for line in builds if "--locked" not in line] == []


@pytest.mark.parametrize(
    "named",
    [
        "`tests/sidecar/test_none.py::test_x`",
        "`tests/structure/test_security.py::test_that_is_not_there`",
        "`tests/structure/test_security.py::missing`",
        "`rust/core/src/glob.rs::matches`",
    ],
)
def test_a_wrong_name_would_be_noticed(named: str) -> None:
    assert missing(named) == [named.strip("`")]


def test_a_defence_without_a_test_would_be_noticed() -> None:
    table = "| Threat | What is done | Tests |\n|---|---|---|\n| a | b | `tests/a.py::test_a` |\n| c | d | |\n"
    assert [threat for threat, tests in claims(table.replace("| |", "| none |")) if not _NAMED.search(tests)] == ["c"]
