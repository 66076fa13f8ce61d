"""It holds for whoever runs the agent. The other tests run as whoever runs them; this one, for root, as nobody."""

import os
import subprocess
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

import kalguard
from tests.hardening.sandbox.test_limits import FORK_BOMB
from tests.hardening.sandbox.test_tree import IGNORES_ALL
from tests.hardening.sandbox.test_view import TRIES
from tests.hardening.sandbox.tools import BWRAP, IS_ROOT, PYTHON, alive, marker

_NOBODY = 65534
AGENT = f"""
import os, sys
from kalguard import Sandbox
work, mark = sys.argv[1:]
python = os.path.realpath(sys.executable)
rules = dict(cwd=work, bwrap={str(BWRAP)!r}, read=[sys.base_prefix])
bomb = Sandbox(**rules, timeout_seconds=1, processes=20).run([python, "-I", "-S", "-c", {FORK_BOMB!r}, mark])
assert bomb.timed_out and 0 < int(bomb.stdout.split()[0]) <= 20, bomb
late = Sandbox(**rules, timeout_seconds=1).run([python, "-I", "-S", "-c", {IGNORES_ALL!r}, mark])
assert late.timed_out and late.stdout == b"started\\n", late
tries = ["open('/etc/passwd')", "open('new', 'w')", f"open('/proc/{{os.getpid()}}/environ')", "os.memfd_create('x')"]
tried = Sandbox(**rules).run([python, "-I", "-S", "-c", {TRIES!r}, *tries]).stdout.decode().split()
assert not set(tried) - {{"FileNotFoundError", "PermissionError", "OSError"}}, tried
"""


def interpreter() -> str | None:
    """One that nobody can start, and that our packages were built for."""
    code = "import anyio, msgspec, kalguard.errors"
    for candidate in (PYTHON, "/usr/bin/python3", "/usr/local/bin/python3"):
        try:
            subprocess.run([candidate, "-c", code], check=True, capture_output=True, env=environ(), **as_nobody())
        except (OSError, subprocess.SubprocessError):
            continue
        return candidate
    return None


def environ() -> dict[str, str]:
    packages = (Path(module.__file__ or "").parent.parent for module in (kalguard, anyio, msgspec))
    return {"PYTHONPATH": os.pathsep.join(map(str, packages)), "PYTHONDONTWRITEBYTECODE": "1"}


def as_nobody() -> dict[str, Any]:
    return {"user": _NOBODY, "group": _NOBODY, "extra_groups": [], "cwd": "/"}


@pytest.mark.skipif(not IS_ROOT, reason="only root can be somebody else")
def test_it_holds_for_nobody() -> None:
    python = interpreter()
    if python is None:
        pytest.skip("there is no interpreter that nobody can start")
    work = Path("/tmp") / marker()
    work.mkdir(0o755)
    try:
        mark = marker()
        ended = subprocess.run(
            [python, "-c", AGENT, str(work), mark],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=environ(),
            **as_nobody(),
        )
    finally:
        work.rmdir()
    assert ended.returncode == 0, ended.stderr
    assert alive(mark) == []
