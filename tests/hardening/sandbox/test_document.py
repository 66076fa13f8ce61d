"""What `docs/sandbox.md` shows is run, and its tables are compared with the code."""

import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from kalguard import FULL_PROTECTION, Protection, Sandbox
from tests.support import ROOT, Server, environment, token

DOCUMENT = (ROOT / "docs/sandbox.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
(COMMANDS,) = re.findall(r"```sh\n(.*?)```", DOCUMENT, re.DOTALL)
PATH = os.pathsep.join([str(ROOT / ".services"), os.path.dirname(sys.executable), os.environ["PATH"]])


def run(command: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env=environment(**variables) | {"PATH": PATH, "LANG": "C"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=folder,
    )


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_the_python(example_server: Server, tmp_path: Path, code: str) -> None:
    ended = run([sys.executable, "-c", code], tmp_path, sidecar_url=example_server.url, agent_token=token())
    assert ended.returncode == 0, ended.stderr


def test_the_commands(tmp_path: Path) -> None:
    ended = run(["sh", "-c", COMMANDS], tmp_path)
    assert ended.returncode == 2, ended.stderr  # that of the last command's ls
    assert ended.stdout.startswith("2 data.csv\n{")
    assert "cannot access '/home'" in ended.stdout


def test_the_tables_list_every_protection_and_every_rule() -> None:
    protections = re.findall(
        r"^\| (`[a-z-]+`(?:, `[a-z-]+`)*) \|", DOCUMENT.split("## What is in force")[1], re.MULTILINE
    )
    assert {name for cell in protections for name in re.findall(r"`(.*?)`", cell)} == set(Protection)
    assert frozenset(Protection) - FULL_PROTECTION == {Protection.MEMORY_TOTAL}
    rules = re.findall(r"^\| (`[a-z_]+`(?:, `[a-z_]+`)*) \|", DOCUMENT.split("## What is in force")[0], re.MULTILINE)
    assert {name for cell in rules for name in re.findall(r"`(.*?)`", cell)} == set(
        msgspec.structs.asdict(Sandbox(cwd="."))
    )


def test_there_is_something_to_run() -> None:
    assert len(PYTHON) == 3
