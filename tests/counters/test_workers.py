"""The table that worker processes share: exact, and right after any of them dies or stops anywhere."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kalguard.counters import ring
from kalguard.counters.workers import WorkerCounters, make_table
from kalguard.decision.limits import Limit, Taken
from kalguard.decision.model import LimitName
from kalguard.errors import Unavailable
from kalguard.mapped import LOCK_SECONDS
from tests.counters.plain import PlainCounters
from tests.support import ROOT

PREAMBLE = """
import asyncio, os, signal, sys
from pathlib import Path
from kalguard.counters.workers import WorkerCounters
from kalguard.decision.limits import Limit
from kalguard.decision.model import LimitName
counters = WorkerCounters(Path(sys.argv[1]))
def limits(allowed):
    return [Limit(LimitName.AGENT, ("a",), allowed), Limit(LimitName.TOOL, ("a", "t"), allowed)]
"""
MANY = 10**6


@pytest.fixture
def path(tmp_path: Path) -> Path:
    make_table(tmp_path / "counters")
    return tmp_path / "counters"


@contextmanager
def worker(path: Path, code: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another process with the same table."""
    process = subprocess.Popen([sys.executable, "-c", PREAMBLE + code, str(path)], stdout=subprocess.PIPE, cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


def limit(*key: str, allowed: int = MANY) -> Limit:
    return Limit(LimitName.AGENT if len(key) == 1 else LimitName.TOOL, key, allowed)


def take(counters: WorkerCounters, *limits: Limit) -> Taken:
    return asyncio.run(counters.take(limits))


def used(counters: WorkerCounters, *key: str) -> int:
    """How many calls count now, without counting one more."""
    taken = take(counters, limit(*key), limit("another", allowed=0))
    return MANY - taken.rooms[0].remaining


def test_four_processes_allow_exactly_the_limit(path: Path) -> None:
    code = """
async def run():
    taken = await asyncio.gather(*(counters.take(limits(100)) for _ in range(60)))
    print(sum(one.counted for one in taken))
asyncio.run(run())
"""
    workers = [
        subprocess.Popen([sys.executable, "-c", PREAMBLE + code, str(path)], stdout=subprocess.PIPE, cwd=ROOT)
        for _ in range(4)
    ]
    assert sum(int(process.communicate(timeout=30)[0]) for process in workers) == 100
    assert used(WorkerCounters(path), "a") == 100


def test_a_worker_that_is_killed_anywhere_loses_nothing_and_adds_one_call_at_most(path: Path) -> None:
    code = """
async def run():
    while True:
        await counters.take(limits(10**6))
        os.write(1, b".")
asyncio.run(run())
"""
    answered, kills, counters = 0, 6, WorkerCounters(path)
    for number in range(kills):
        with worker(path, code) as process:
            assert process.stdout is not None
            assert process.stdout.read(1) == b"."
            time.sleep(0.003 * number)
            process.kill()
            answered += 1 + len(process.stdout.read())
    assert answered <= used(counters, "a") <= answered + kills
    assert answered <= used(counters, "a", "t") <= answered + kills


def test_a_worker_that_stops_with_the_lock_holds_nobody_up(path: Path) -> None:
    code = "asyncio.run(counters.locked(lambda: (os.write(1, b'.'), os.kill(os.getpid(), signal.SIGSTOP))))"
    errors: list[None] = []
    counters = WorkerCounters(path, on_error=lambda: errors.append(None))
    with worker(path, code) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"."
        started = time.monotonic()
        with pytest.raises(Unavailable, match="the lock is held"):
            take(counters, limit("a"))
        assert time.monotonic() - started >= LOCK_SECONDS
        started = time.monotonic()
        for _ in range(50):
            with pytest.raises(Unavailable):
                take(counters, limit("a"))
        assert time.monotonic() - started < 50 * LOCK_SECONDS / 2  # the wait is not paid again by each
        assert len(errors) == 51
        process.send_signal(signal.SIGCONT)
        process.wait(10)
        assert take(counters, limit("a")).counted


def test_others_are_served_while_somebody_waits_for_the_lock(path: Path) -> None:
    code = "asyncio.run(counters.locked(lambda: (os.write(1, b'.'), os.kill(os.getpid(), signal.SIGSTOP))))"
    counters = WorkerCounters(path)

    async def turns() -> int:
        waiting = asyncio.create_task(counters.take([limit("a")]))
        count = 0
        while not waiting.done():
            await asyncio.sleep(0)
            count += 1
        assert isinstance(waiting.exception(), Unavailable)
        return count

    with worker(path, code) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"."
        assert asyncio.run(turns()) > 20


def test_a_stopped_worker_that_is_killed_gives_the_lock_back(path: Path) -> None:
    code = "asyncio.run(counters.locked(lambda: (os.write(1, b'.'), os.kill(os.getpid(), signal.SIGSTOP))))"
    counters = WorkerCounters(path)
    with worker(path, code) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"."
        with pytest.raises(Unavailable):
            take(counters, limit("a"))
        process.kill()
        process.wait(10)
        assert take(counters, limit("a")).counted


def test_a_full_table_refuses_new_agents_and_goes_on_with_the_others_and_has_room_a_window_later(
    tmp_path: Path,
) -> None:
    make_table(tmp_path / "small", slots=16)
    now = [1000.0]
    errors: list[None] = []
    counters = WorkerCounters(tmp_path / "small", clock=lambda: now[0], on_error=lambda: errors.append(None))
    refused = 0
    for number in range(30):
        try:
            take(counters, limit(f"agent-{number}"))
        except Unavailable:
            refused += 1
    assert refused == 14
    assert len(errors) == 14
    assert MANY - take(counters, limit("agent-0")).rooms[0].remaining == 2
    now[0] += 61
    assert take(counters, limit("agent-29")).counted


def test_most_of_a_table_can_be_used(tmp_path: Path) -> None:
    make_table(tmp_path / "table", slots=4096)
    counters = WorkerCounters(tmp_path / "table", clock=lambda: 1000.0)

    async def fill() -> int:
        for number in range(4096):
            try:
                await counters.take([limit(f"agent-{number}")])
            except Unavailable:
                return number
        return 4096

    assert asyncio.run(fill()) > 0.7 * 4096


def test_a_count_stays_at_its_largest_and_does_not_wrap_around(path: Path) -> None:
    counters = WorkerCounters(path, clock=lambda: 1000.0)
    largest = limit("a", allowed=ring.MAX_COUNT)
    assert take(counters, largest).counted
    window = counters._ring(("a",), counters._now())
    window[1 + window[0] % ring.BUCKETS] = ring.MAX_COUNT
    assert not take(counters, largest).counted
    asyncio.run(counters.count([largest]))
    assert not take(counters, largest).counted


def test_just_after_the_start_of_the_machine_the_table_is_not_full(path: Path) -> None:
    assert take(WorkerCounters(path, clock=lambda: 0.5), limit("a")).counted


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(bytes(100_000))
    with pytest.raises(ValueError, match="of another kind"):
        WorkerCounters(tmp_path / "other")


class Killed(BaseException):
    """Stands for the end of the process, at the write that it is raised in."""


class Mortal:
    """Memory of a process that is killed before a certain write."""

    def __init__(self, memory: Any, writes: list[int]) -> None:
        self.memory = memory
        self.writes = writes

    def __getitem__(self, place: Any) -> Any:
        found = self.memory[place]
        return Mortal(found, self.writes) if isinstance(found, memoryview) else found

    def __setitem__(self, place: Any, value: Any) -> None:
        if self.writes[0] == 0:
            raise Killed
        self.writes[0] -= 1
        self.memory[place] = value

    def __getattr__(self, name: str) -> Any:
        return getattr(self.memory, name)


@pytest.mark.parametrize("pause", [0, 1, 30, 60, 61, 500])
def test_whatever_write_a_process_dies_before_the_counts_are_right_or_one_too_many(tmp_path: Path, pause: int) -> None:
    """The dying process takes over places of agents that are gone, for a key of which nothing is known yet."""
    known = [limit("a"), limit("a", "t"), limit("b")]
    limits = [*known, limit("new")]
    for writes in range(300):
        path = tmp_path / f"table-{writes}"
        make_table(path, slots=32)
        now = [1000.0]
        counters = WorkerCounters(path, clock=lambda now=now: now[0])  # type: ignore[misc]
        for number in range(8):
            take(counters, limit(f"old-{number}"))
        now[0] += 62
        plain = PlainCounters()
        for later in (0, 0, 0, 40):
            now[0] += later
            plain.now = now[0]
            for asked in (known, [limit("c")]):
                take(counters, *asked)
                plain.take(asked)
        plain.now = now[0] = now[0] + pause
        left = [writes]
        dying = WorkerCounters(path, clock=lambda now=now: now[0])  # type: ignore[misc]
        dying._words, dying._map = Mortal(dying._words, left), Mortal(dying._map, left)  # type: ignore[assignment]
        died = False
        try:
            take(dying, *limits)
        except Killed:
            died = True
        for one in limits:
            count = used(counters, *one.key)
            assert count - len(plain.recent(one)) in ((0, 1) if died else (1,))
        assert used(counters, "c") == len(plain.recent(limit("c")))
        if not died:
            break
    else:
        raise AssertionError("it never came to an end")
    assert writes > 3
