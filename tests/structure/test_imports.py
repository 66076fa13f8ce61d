"""Who may import whom, as a table that is compared with the source."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import kalguard

ROOT = Path(kalguard.__file__).parent
LEAVES = {"version", "randomness"}  # may be imported from anywhere
# package -> what of ours it may import, as prefixes; a package may always import itself
MAY_IMPORT = {
    "wire.codes": set(),
    "wire": {"wire", "errors"},
    "errors": {"wire.codes"},
    "version": set(),
    "randomness": set(),
    "config": {"errors"},
    "decision": {"wire.codes", "errors", "_core"},
    "mapped": {"errors"},
    "ledger": {"mapped", "decision.quota", "wire.cloud", "errors"},
    "connector": {"wire.cloud", "decision.identity", "decision.unforeseen", "ledger", "errors"},
    "counters": {"mapped", "decision.limits", "decision.quota", "errors", "_core"},
    "toolstore": {"decision.registration", "counters.batches", "counters.redis", "errors"},
    "records": {"wire.audit", "wire.cloud", "wire.codes", "decision.model", "errors", "_core"},
    "sidecar": {"wire", "errors", "config", "decision", "counters", "toolstore", "records", "ledger", "connector"},
    # Requests are answered alike whether processes are confined or not: one module, with which they start, knows of it.
    "sidecar.confinement": {"config", "errors", "hardening", "sidecar.traces"},
    "hardening": {"_core"},
    "hardening.sandbox": {"_core", "errors"},
    "sdk": {"wire", "errors"},
    "cli": {
        "wire",
        "errors",
        "config",
        "decision",
        "counters",
        "toolstore",
        "records",
        "sidecar",
        "hardening",
        "_core",
    },
}


def modules() -> list[str]:
    names = (path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for path in ROOT.rglob("*.py"))
    return sorted(name for name in names if name != "__init__")


def imports_of(module: str) -> Iterator[str]:
    path = ROOT / (module.replace(".", "/") + ".py")
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            base = node.module or ""
            names = [f"kalguard.{alias.name}" for alias in node.names] if base == "kalguard" else [base]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        yield from (name.removeprefix("kalguard.") for name in names if name.startswith("kalguard."))


def rule_for(module: str) -> str:
    fitting = [rule for rule in MAY_IMPORT if module == rule or module.startswith(f"{rule}.")]
    assert fitting, f"{module} has no rule"
    return max(fitting, key=len)


def trespasses(module: str, imports: Iterable[str]) -> list[str]:
    """Those of `imports` that `module` must not have."""
    rule = rule_for(module)
    allowed = {*MAY_IMPORT[rule], *LEAVES, rule}
    return [
        imported
        for imported in imports
        if not any(imported == name or imported.startswith(f"{name}.") for name in allowed)
    ]


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_only_what_its_package_may(module: str) -> None:
    assert trespasses(module, imports_of(module)) == []


def test_a_wrong_import_would_be_noticed() -> None:
    assert trespasses("config", ["decision.model"]) == ["decision.model"]
    assert trespasses("sidecar.main", ["_core"]) == ["_core"]
    assert trespasses("decision.model", ["wire.check", "wire.codes"]) == ["wire.check"]
    assert set(imports_of("sidecar.routes")) >= {"decision.pipeline", "records.audit"}


def test_only_the_app_builds_the_object_graph() -> None:
    builders = [module for module in modules() if "decision.pipeline" in set(imports_of(module))]
    assert sorted(builders) == ["sidecar.app", "sidecar.routes"]
