"""The table that worker processes share: exact, and right after any of them dies or stops anywhere."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kalguard import mapped
from kalguard.counters.workers import SLOTS, WorkerCounters, make_table
from kalguard.decision.limits import Limit, Room, Taken
from kalguard.decision.model import LimitName
from kalguard.errors import Unavailable
from kalguard.mapped import LOCK_SECONDS
from tests.support import PATIENCE_SECONDS, ROOT

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
        process.communicate(timeout=PATIENCE_SECONDS)


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
from kalguard import mapped
mapped.LOCK_SECONDS = 60.0  # who has it may have to wait for his turn
async def run():
    taken = await asyncio.gather(*(counters.take(limits(100)) for _ in range(60)))
    print(sum(one.counted for one in taken))
asyncio.run(run())
"""
    workers = [
        subprocess.Popen([sys.executable, "-c", PREAMBLE + code, str(path)], stdout=subprocess.PIPE, cwd=ROOT)
        for _ in range(4)
    ]
    assert sum(int(process.communicate(timeout=PATIENCE_SECONDS)[0]) for process in workers) == 100
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


class Looks:
    """A clock on which a millisecond goes by with every look at it, however busy the machine is."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 0.001
        return self.now


def test_a_worker_that_stops_with_the_lock_holds_nobody_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Looks()
    monkeypatch.setattr(mapped, "time", clock)
    code = "asyncio.run(counters._file.locked(lambda: (os.write(1, b'.'), os.kill(os.getpid(), signal.SIGSTOP))))"
    errors: list[None] = []
    counters = WorkerCounters(path, on_error=lambda: errors.append(None))
    with worker(path, code) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"."
        with pytest.raises(Unavailable, match="the lock is held"):
            take(counters, limit("a"))
        assert clock.now >= LOCK_SECONDS
        for _ in range(50):
            started = clock.now
            with pytest.raises(Unavailable):
                take(counters, limit("a"))
            assert clock.now - started < LOCK_SECONDS / 2  # the wait is not paid again by each
        assert len(errors) == 51
        process.send_signal(signal.SIGCONT)
        process.wait(PATIENCE_SECONDS)
        assert take(counters, limit("a")).counted


def test_others_are_served_while_somebody_waits_for_the_lock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "time", Looks())
    code = "asyncio.run(counters._file.locked(lambda: (os.write(1, b'.'), os.kill(os.getpid(), signal.SIGSTOP))))"
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
    code = "asyncio.run(counters._file.locked(lambda: (os.write(1, b'.'), os.kill(os.getpid(), signal.SIGSTOP))))"
    counters = WorkerCounters(path)
    with worker(path, code) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"."
        with pytest.raises(Unavailable):
            take(counters, limit("a"))
        process.kill()
        process.wait(PATIENCE_SECONDS)
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


def test_a_second_counts_so_much_and_refuses_more_and_does_not_wrap_around(path: Path) -> None:
    now = [1000.25]
    counters = WorkerCounters(path, clock=lambda: now[0])

    async def rush() -> None:
        for _ in range(2**16 - 1):
            assert (await counters.take([limit("a")])).counted
        refused = await counters.take([limit("a")])
        assert not refused.counted
        assert refused.rooms == (Room(0, 0.75),)
        await counters.count([limit("a")])
        now[0] += 1
        assert (await counters.take([limit("a")])).rooms[0].remaining == MANY - 2**16

    asyncio.run(rush())


def test_just_after_the_start_of_the_machine_the_table_is_not_full(path: Path) -> None:
    assert take(WorkerCounters(path, clock=lambda: 0.5), limit("a")).counted


def test_the_room_for_a_table_is_taken_when_it_is_made(path: Path) -> None:
    made = path.stat()
    assert made.st_blocks * 512 >= made.st_size > SLOTS * 128


def test_a_hundred_thousand_agents_can_call_a_tool_each_in_one_minute(path: Path) -> None:
    counters = WorkerCounters(path, clock=lambda: 1000.0)

    async def call() -> None:
        for number in range(100_000):
            agent = f"agent-{number}"
            assert (await counters.take([limit(agent), limit(agent, "search")])).counted

    asyncio.run(call())


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(bytes(100_000))
    with pytest.raises(ValueError, match="of another kind"):
        WorkerCounters(tmp_path / "other")
