"""Tools that misbehave, and what looks for them from outside. They are real programs, run by the real bubblewrap."""

import os
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from kalguard import Protection, Sandbox
from tests.support import PATIENCE_SECONDS, ROOT

BWRAP = ROOT / ".services" / "bwrap"
# The interpreter without the environment of the tests, and the folder that it has to be shown with.
PREFIX = os.path.realpath(sys.base_prefix)
PYTHON = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
IS_ROOT = os.geteuid() == 0


def box(folder: Path, **changes: Any) -> Sandbox:
    """A sandbox with the folder `work` in `folder`, in which there is an interpreter."""
    assert BWRAP.exists(), "there is no bubblewrap for the tests: run `make services`"
    (folder / "work").mkdir(exist_ok=True)
    rules = {"cwd": folder / "work", "read": [PREFIX], "bwrap": BWRAP, **changes}
    return Sandbox(**rules)


def python(code: str, *arguments: str) -> list[str]:
    """The command that runs this code."""
    return [PYTHON, "-I", "-S", "-c", code, *arguments]


def marker() -> str:
    """An argument that tells a tool's processes from all others."""
    return f"kalguard-test-{uuid.uuid4().hex}"


def alive(mark: str) -> list[int]:
    """The processes that have the marker among their arguments; those of zombies are gone."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and folder.name != str(os.getpid()):
            try:
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if mark.encode() in command:
                found.append(int(folder.name))
    return found


def wait_until_alive(mark: str, count: int = 1) -> None:
    """Wait for a tool to have started so many processes."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(alive(mark)) < count:
        assert time.monotonic() < deadline, "the tool did not start"
        time.sleep(0.01)


def wait_until_gone(mark: str) -> None:
    """Wait for the last of a tool's processes. Only for where nobody waits for them: a killed agent."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while left := alive(mark):
        assert time.monotonic() < deadline, f"still alive: {left}"
        time.sleep(0.01)


def everything_but(*names: str) -> frozenset[Protection]:
    """Protections to demand of a machine that lacks some."""
    return frozenset(Protection) - {Protection.MEMORY_TOTAL} - {Protection(name) for name in names}
