"""A start imports what the service uses, and not what libraries would use where they find it."""

import subprocess
import sys
from importlib import import_module

import pytest

from kalguard.sidecar.unwanted import without
from tests.support import environment

LOADED = "import sys; print(*{name.partition('.')[0] for name, module in sys.modules.items() if module})"
UNWANTED = {"attr", "attrs", "pydantic", "redis", "rich"}


@pytest.mark.parametrize(
    "steps",
    [
        "from kalguard.sidecar.worker import create; create()",
        "import kalguard.cli.sidecar, kalguard.sidecar.main, kalguard.sidecar.takeover, kalguard.sidecar.scrape",
    ],
    ids=["worker", "main"],
)
def test_what_is_not_used_is_not_imported(steps: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{steps}; {LOADED}"], env=environment(), capture_output=True, text=True, check=True
    )
    assert UNWANTED.isdisjoint(done.stdout.split())
    assert "kalguard" in done.stdout.split()


def test_a_worker_with_a_redis_imports_it() -> None:
    steps = "from kalguard.sidecar.worker import create; create()"
    variables = environment(redis_url="redis://127.0.0.1:1")
    done = subprocess.run(
        [sys.executable, "-c", f"{steps}; {LOADED}"], env=variables, capture_output=True, text=True, check=True
    )
    assert "redis" in done.stdout.split()


def test_what_was_kept_out_can_be_imported_afterwards_and_what_was_there_stays() -> None:
    there = import_module("json")
    with without("json", "wave"), pytest.raises(ImportError):
        import_module("json")
    assert import_module("json") is there
    assert "wave" not in sys.modules
