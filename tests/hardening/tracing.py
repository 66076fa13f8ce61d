"""Which system calls the service makes, and who makes them: read from what strace writes.

`traced` gives a command that starts the service under strace, `seen` reads what was written. As a plugin of pytest
(`make trace-syscalls`) it traces all servers that the tests start, and prints what `syscalls.toml` does not have.
"""

import os
import platform
import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from kalguard.hardening.syscalls import Role, allowed, syscalls
from tests import support

STRACE = support.ROOT / ".services/strace"
_LINE = re.compile(r"^(\d+) +(?:(\w+)\(|<\.\.\. (\w+) resumed>)(.*)$")
_RESULT = re.compile(r" = (\d+)(?: |$)")
_CHILD_MAKERS = {"clone", "clone3", "fork", "vfork"}
# A worker is confined further just before it reserves room for its metrics, which is the first time that it does that.
_WORKER_BEGINS = "fallocate"


def traced(folder: Path) -> list[str]:
    """The service under strace, which writes into `folder`. The process that is started is the service itself."""
    assert STRACE.exists(), "there is no strace for the tests: run `make services`"
    return [
        str(STRACE),
        "-D",
        "-f",
        "-qq",
        "-s",
        "32",
        "-e",
        "signal=none",
        "-o",
        str(folder / "trace"),
        support.SIDECAR,
    ]


def seen(lines: Iterable[str]) -> dict[Role, set[str]]:
    """The calls that a trace has, by role. Threads count for their process."""
    process: dict[int, int] = {}  # thread -> process
    confined: set[int] = set()
    makes: dict[int, bool] = {}  # thread that is in the middle of making another -> whether it is a thread
    found: dict[Role, set[str]] = defaultdict(set)
    for thread, name, begins, rest in _parsed(lines):
        own = process.setdefault(thread, thread)
        if begins:
            found["worker" if own in confined else "main"].add(name)
        if name == _WORKER_BEGINS and len(process) > 1 and own != next(iter(process)):
            confined.add(own)
            found["worker"].add(name)
        if name in _CHILD_MAKERS:
            makes[thread] = "CLONE_THREAD" in rest if begins else makes.get(thread, False)
            if made := _RESULT.search(rest):
                child = int(made[1])
                process[child] = own if makes[thread] else child
    return found


def _parsed(lines: Iterable[str]) -> Iterator[tuple[int, str, bool, str]]:
    """Thread, call, whether it begins here, and the rest of the line."""
    for line in lines:
        if match := _LINE.match(line):
            yield int(match[1]), match[2] or match[3], match[2] is not None, match[4]


def unlisted(found: dict[Role, set[str]]) -> dict[Role, set[str]]:
    """What was called and is neither allowed to that role nor refused on purpose."""
    arch = platform.machine()
    return {role: names - set(allowed(role, arch)) - set(syscalls().refused) for role, names in found.items()}


def pytest_configure(config: pytest.Config) -> None:
    """Let every server be started under strace."""
    folder = Path(os.environ["TRACES"])
    folder.mkdir(parents=True, exist_ok=True)
    wrapper = folder / "kalguard-sidecar"
    command = shlex.join([*traced(folder)])
    wrapper.write_text(f'#!/bin/sh\nexec {command.replace("/trace ", "/$$.trace ")} "$@"\n')
    wrapper.chmod(0o755)
    support.SIDECAR = str(wrapper)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Say what was seen."""
    total: dict[Role, set[str]] = defaultdict(set)
    for trace in Path(os.environ["TRACES"]).glob("*.trace"):
        with trace.open(errors="replace") as lines:
            for role, names in seen(lines).items():
                total[role] |= names
    for role, names in total.items():
        print(f"\n{role}: {' '.join(sorted(names))}")
        print(f"{role}, not listed: {' '.join(sorted(unlisted(total)[role])) or 'none'}")
