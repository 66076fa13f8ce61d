"""How much a tool may take: processes, output, memory, files, computing."""

import resource
import signal
import time
from pathlib import Path

import pytest

from kalguard import Protection
from tests.hardening.sandbox.tools import alive, box, marker, python

_MIB = 1024**2
FORK_BOMB = """
import os, sys
made = 0
while True:
    try:
        if os.fork() == 0:
            made = -10**9
        made += 1
    except OSError:
        if made >= 0:
            print(made, flush=True)
            made = -10**9
"""
FLOOD = """
import os, sys
block = b"x" * 1048576
left = 10 * 1024
while left:
    os.write(1 if sys.argv[1] != "2" else 2, block)
    os.write(2 if sys.argv[1] != "1" else 1, block)
    left -= 1
"""


def test_a_fork_bomb_stays_within_its_number_and_ends(tmp_path: Path) -> None:
    mark = marker()
    begun = time.monotonic()
    result = box(tmp_path, timeout_seconds=2, processes=20).run(python(FORK_BOMB, mark))
    assert result.timed_out
    assert 0 < int(result.stdout.split()[0]) <= 20
    assert Protection.PROCESS_LIMIT in result.protections
    assert time.monotonic() - begun < 60
    assert alive(mark) == []


@pytest.mark.parametrize("streams", ["1", "2", "both"])
def test_of_ten_gigabytes_of_output_no_more_is_kept_than_it_may_write(tmp_path: Path, streams: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = box(tmp_path, output_bytes=3 * _MIB, timeout_seconds=20).run(python(FLOOD, streams))
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert result.truncated and not result.timed_out and result.signal == signal.SIGKILL
    longest = max(result.stdout, result.stderr, key=len)
    assert longest == b"x" * (3 * _MIB)
    assert grown_kib < 32 * 1024
    assert result.duration_seconds < 5


def test_exactly_as_much_output_as_it_may_is_whole(tmp_path: Path) -> None:
    sandbox = box(tmp_path, output_bytes=100_000)
    whole = sandbox.run(python("import os; os.write(1, b'x' * 100_000)"))
    assert (whole.exit_code, whole.truncated, len(whole.stdout)) == (0, False, 100_000)
    beyond = sandbox.run(python("import os; os.write(1, b'x' * 100_001)"))
    assert (beyond.truncated, len(beyond.stdout)) == (True, 100_000)


def test_memory_beyond_the_limit_cannot_be_had(tmp_path: Path) -> None:
    sandbox = box(tmp_path, memory_bytes=128 * _MIB)
    taken = sandbox.run(python("try:\n    bytearray(256 * 2**20)\nexcept MemoryError:\n    print('none')"))
    assert (taken.exit_code, taken.stdout) == (0, b"none\n")
    shared = "import mmap\ntry:\n    mmap.mmap(-1, 256 * 2**20)\nexcept OSError:\n    print('none')"
    assert sandbox.run(python(shared)).stdout == b"none\n"


# Each takes less than its own limit. Says how many were killed.
MANY_TAKE_MEMORY = """
import os, signal, time
for _ in range(16):
    if os.fork() == 0:
        taken = bytearray(b"x") * (30 * 2**20)
        signal.pause()
killed, deadline = 0, time.monotonic() + 3
while killed < 12 and time.monotonic() < deadline:
    ended, status = os.waitpid(-1, os.WNOHANG)
    killed += ended > 0 and os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    time.sleep(0.01)
print(killed)
"""


def test_processes_together_are_held_to_the_memory_where_there_is_a_control_group(tmp_path: Path) -> None:
    result = box(tmp_path, memory_bytes=100 * _MIB).run(python(MANY_TAKE_MEMORY))
    if Protection.MEMORY_TOTAL not in result.protections:
        pytest.skip("no control group was delegated here")
    # With version 1 of groups processes are killed one by one, with version 2 all.
    assert result.signal == signal.SIGKILL or int(result.stdout) >= 12


def test_a_file_can_become_no_larger_than_it_may(tmp_path: Path) -> None:
    sandbox = box(tmp_path, file_size_bytes=_MIB, write=[tmp_path / "work"])
    result = sandbox.run(["dd", "if=/dev/zero", "of=large", "bs=65536"])
    assert result.signal == signal.SIGXFSZ
    assert (tmp_path / "work/large").stat().st_size == _MIB


@pytest.mark.parametrize("folder", ["/tmp", "/dev/shm"])
def test_many_files_in_memory_are_bounded_together(tmp_path: Path, folder: str) -> None:
    code = "import sys\nfor n in range(8):\n    open(f'{sys.argv[1]}/{n}', 'wb').write(b'x' * 500_000)"
    result = box(tmp_path, file_size_bytes=_MIB).run(python(code, folder))
    assert result.exit_code == 1
    assert b"No space left" in result.stderr


def test_a_tool_that_only_computes_is_ended_after_its_computing_time(tmp_path: Path) -> None:
    result = box(tmp_path, timeout_seconds=20, cpu_seconds=1).run(python("while True: pass"))
    assert result.signal in (signal.SIGKILL, signal.SIGXCPU)
    assert not result.timed_out
    assert result.duration_seconds < 10


def test_no_limit_can_be_raised_from_inside(tmp_path: Path) -> None:
    code = """
import resource
for name in ("CPU", "FSIZE", "NPROC", "AS", "NOFILE"):
    which = getattr(resource, f"RLIMIT_{name}")
    soft, hard = resource.getrlimit(which)
    try:
        resource.setrlimit(which, (hard + 1, hard + 1))
        print("raised", name)
    except (ValueError, OSError):
        pass
"""
    assert box(tmp_path).run(python(code)).stdout == b""
