"""Usage events that wait for Cloud: none is made up, none counted twice, and what is lost is counted."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kalguard import mapped
from kalguard.errors import Unavailable
from kalguard.ledger import usage
from kalguard.ledger.day import DayAccount
from kalguard.ledger.file import LedgerFile, make_ledger
from kalguard.ledger.usage import Batch
from tests.ledger.buffers import DAY, EVENT_BYTES, NOON, Buffer, buffer, event, lock_held, tomorrow
from tests.support import PATIENCE_SECONDS, ROOT

PREAMBLE = """
import asyncio, os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from kalguard.ledger.file import LedgerFile
from kalguard.ledger.usage import UsageBuffer
from kalguard.wire.cloud import UsageEvent
ledger = LedgerFile(Path(sys.argv[1]))
buffer = UsageBuffer(ledger)
"""
WRITER = """
async def run():
    number, now = 0, datetime.now(UTC)
    while True:
        event = UsageEvent("tool_check", sys.argv[2], "deny", now.isoformat(), str(number))
        await buffer.add(event, now.timestamp())
        if not buffer._pending:
            os.write(1, b".")
        number += 1
asyncio.run(run())
"""
STOPS_WITH_THE_LOCK = "ledger.changed_here(lambda _: (os.write(1, b'.'), os.kill(os.getpid(), signal.SIGSTOP)))"


@contextmanager
def process(code: str, path: Path, name: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """Another process with the same file, which has said that it is there."""
    found = subprocess.Popen([sys.executable, "-c", PREAMBLE + code, str(path), name], stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert found.stdout is not None
        assert found.stdout.read(1) == b"."
        yield found
    finally:
        found.kill()
        found.communicate(timeout=PATIENCE_SECONDS)


def names(first: int, end: int) -> list[str]:
    return [f"{number:03}" for number in range(first, end)]


def counted(held: Buffer) -> tuple[int, int, int, int]:
    entries = held.entries()
    return entries.made, entries.accepted, entries.waiting, entries.dropped


def test_events_come_out_in_the_order_in_which_they_were_added(tmp_path: Path) -> None:
    held = buffer(tmp_path)
    assert held.oldest(100) == Batch([], 0, 0)
    held.adds(*names(0, 250))
    assert held.oldest(2).events == [event("000"), event("001")]
    assert held.oldest(2).events == [event("000"), event("001")]  # until they are accepted
    assert [len(held.takes()) for _ in range(3)] == [100, 100, 50]
    assert held.takes() == []
    assert counted(held) == (250, 250, 0, 0)


def test_a_small_ring_is_gone_round_many_times(tmp_path: Path) -> None:
    held = buffer(tmp_path, ring_bytes=7 * EVENT_BYTES + EVENT_BYTES // 2)  # so that events lie across its end
    for first in range(0, 500, 5):
        held.adds(*names(first, first + 5))
        assert held.takes() == names(first, first + 5)
    assert counted(held) == (500, 500, 0, 0)


def test_a_full_ring_drops_the_newest_and_counts_them(tmp_path: Path) -> None:
    held = buffer(tmp_path, ring_bytes=3 * EVENT_BYTES)
    held.adds(*names(0, 5))
    assert counted(held) == (5, 0, 3, 2)
    assert held.takes(1) == ["000"]
    held.adds("005", "006")
    assert held.drained() == ["001", "002", "005"]
    assert counted(held) == (7, 4, 0, 3)


def test_an_event_that_is_larger_than_the_ring_is_dropped(tmp_path: Path) -> None:
    held = buffer(tmp_path, ring_bytes=EVENT_BYTES - 1)
    held.adds("000")
    assert counted(held) == (1, 0, 0, 1)


def test_what_is_added_while_a_batch_is_under_way_waits_for_the_next(tmp_path: Path) -> None:
    held = buffer(tmp_path)
    held.adds("000", "001")
    batch = held.oldest(100)
    held.adds("002")
    held.accept(batch, now=NOON, remaining=None)
    assert counted(held) == (3, 2, 1, 0)
    assert held.drained() == ["002"]


def test_a_batch_that_is_out_already_is_not_counted_again(tmp_path: Path) -> None:
    held = buffer(tmp_path)
    held.adds("000", "001")
    batch = held.oldest(100)
    held.accept(batch, now=NOON, remaining=None)
    held.accept(batch, now=NOON, remaining=None)
    assert counted(held) == (2, 2, 0, 0)
    held.adds("002", "003", "004")
    held.accept(batch, now=NOON, remaining=None)
    held.drop(batch)
    assert counted(held) == (5, 2, 3, 0)
    assert held.takes(1) == ["002"]
    held.accept(batch, now=NOON, remaining=None)  # which must not bring back what came after it
    assert held.drained() == ["003", "004"]
    assert counted(held) == (5, 5, 0, 0)


def test_a_batch_that_cloud_will_not_have_is_dropped_and_counted(tmp_path: Path) -> None:
    held = buffer(tmp_path)
    held.adds("000", "001")
    held.drop(held.oldest(1))
    assert counted(held) == (2, 0, 1, 1)
    assert held.drained() == ["001"]


def test_the_file_keeps_what_waits_for_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    make_ledger(path, 10_000)
    Buffer(path).adds("000", "001")
    assert Buffer(path).drained() == ["000", "001"]


@pytest.mark.parametrize(
    "ring_bytes", [pytest.param(64 * 1024 * 1024, id="with room"), pytest.param(20_000, id="which is often full")]
)
def test_writers_that_are_killed_anywhere_leave_nothing_that_was_not_added(
    tmp_path: Path, ring_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped, "LOCK_SECONDS", 60.0)  # a writer that has it may have to wait for its turn
    held = buffer(tmp_path, ring_bytes)
    path = Path(os.readlink(f"/proc/self/fd/{held.ledger.file.fd}"))
    moments = random.Random(ring_bytes)
    out: list[tuple[str, int]] = []
    written = 0

    def take() -> None:
        batch = held.oldest(100)
        assert batch.broken == 0
        out.extend((one.agent_id, int(one.request_id)) for one in batch.events)
        held.accept(batch, now=NOON, remaining=None)
        held.entries()

    for kill in range(4):
        with process(WRITER, path, f"{kill}a") as one, process(WRITER, path, f"{kill}b") as other:
            while ring_bytes < 1_000_000 and not held.entries().dropped:
                time.sleep(0.01)  # until it was full once, however slowly they write
            until = time.monotonic() + moments.uniform(0, 0.15)
            while time.monotonic() < until:
                take()
            for writer in (one, other):
                writer.send_signal(signal.SIGKILL)
                assert writer.stdout is not None
                written += 1 + len(writer.stdout.read())
    while held.entries().waiting:
        take()
    assert held.is_consistent()
    assert held.entries().accepted == len(out)
    assert written <= held.entries().made  # what was added was in the file
    for name in {agent for agent, _ in out}:
        numbers = [number for agent, number in out if agent == name]
        assert numbers == sorted(set(numbers))
        if ring_bytes > 1_000_000:
            assert numbers == list(range(len(numbers)))
    assert (held.entries().dropped > 0) is (ring_bytes < 1_000_000)


def test_events_wait_in_memory_while_a_stopped_process_holds_the_lock(tmp_path: Path) -> None:
    held = buffer(tmp_path)
    path = Path(os.readlink(f"/proc/self/fd/{held.ledger.file.fd}"))
    held.adds("000")
    with process(STOPS_WITH_THE_LOCK, path) as stopped:
        asyncio.run(held.add(event("001"), NOON.timestamp()))
        asyncio.run(held.add(event("002"), NOON.timestamp()))
        asyncio.run(held.flush())
        with pytest.raises(Unavailable, match="the lock is held"):
            held.entries()
        stopped.kill()
        stopped.wait(PATIENCE_SECONDS)
    assert counted(held) == (1, 0, 1, 0)  # what is in memory is not yet made
    asyncio.run(held.flush())
    assert held.drained() == ["000", "001", "002"]


def test_events_that_waited_in_memory_come_before_the_next_one(tmp_path: Path) -> None:
    held = buffer(tmp_path)
    with lock_held(held.ledger):
        asyncio.run(held.add(event("000"), NOON.timestamp()))
    held.adds("001")
    assert held.drained() == ["000", "001"]


def test_a_disk_that_takes_nothing_leaves_events_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = buffer(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(usage, "written", full)
        asyncio.run(held.add(event("000"), NOON.timestamp()))
        asyncio.run(held.flush())
        assert counted(held) == (0, 0, 0, 0)
    asyncio.run(held.flush())
    assert held.drained() == ["000"]


def test_in_memory_the_oldest_make_room_and_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "MAX_PENDING", 5)
    held = buffer(tmp_path)
    with lock_held(held.ledger):
        for name in names(0, 8):
            asyncio.run(held.add(event(name), NOON.timestamp()))
    asyncio.run(held.flush())
    assert counted(held) == (8, 0, 5, 3)
    assert held.drained() == names(3, 8)


def test_one_step_puts_no_more_than_so_many_events_into_the_ring(tmp_path: Path) -> None:
    held = buffer(tmp_path)
    with lock_held(held.ledger):
        for name in names(0, 3):
            asyncio.run(held.add(event(name), NOON.timestamp()))
        held._pending.extend(held._pending[0] for _ in range(usage.MAX_AT_ONCE))
    held.adds("last")
    assert held.entries().made == usage.MAX_AT_ONCE
    asyncio.run(held.flush())
    assert held.entries().made == usage.MAX_AT_ONCE + 4


def left(held: Buffer, day: int = DAY) -> int | None:
    """How many more checks Cloud leaves this instance; `None`: it has not said."""
    spent = DayAccount(held.ledger).now(day)
    return None if spent.ceiling is None else spent.ceiling - spent.used


def spend(held: Buffer, checks: int, day: int = DAY) -> None:
    for _ in range(checks):
        assert asyncio.run(DayAccount(held.ledger).spend(day, 10_000)).allowed


def test_what_cloud_leaves_is_a_ceiling_for_the_day(tmp_path: Path) -> None:
    held = buffer(tmp_path)
    spend(held, 3)
    held.adds(*names(0, 3))
    assert left(held) is None
    held.takes(remaining=5)
    assert left(held) == 5
    spend(held, 5)
    assert not asyncio.run(DayAccount(held.ledger).spend(DAY, 10_000)).allowed
    assert DayAccount(held.ledger).now(DAY + 1).ceiling is None


def test_checks_that_cloud_has_yet_to_hear_of_are_taken_off_what_it_leaves(tmp_path: Path) -> None:
    held = buffer(tmp_path)
    spend(held, 4)
    held.adds(*names(0, 4))
    held.takes(1, remaining=5)
    assert left(held) == 2
    held.takes(1, remaining=1)  # others were faster
    assert left(held) == 0
    held.takes(2, remaining=0)
    assert left(held) == 0


def test_events_of_the_day_before_take_nothing_off(tmp_path: Path) -> None:
    held = buffer(tmp_path)
    held.adds(*names(0, 4))
    spend(held, 1, DAY + 1)
    held.adds("004", at=tomorrow())
    held.takes(2, now=tomorrow(), remaining=10)
    assert left(held, DAY + 1) == 9  # one of today waits still
    held.takes(2, now=tomorrow(), remaining=10)
    assert left(held, DAY + 1) == 9
    held.takes(1, now=tomorrow(), remaining=9)
    assert left(held, DAY + 1) == 9


def test_dropped_events_stay_taken_off(tmp_path: Path) -> None:
    """Cloud never hears of them, and they were checks all the same."""
    held = buffer(tmp_path, ring_bytes=2 * EVENT_BYTES)
    spend(held, 3)
    held.adds(*names(0, 3))
    held.takes(2, remaining=10)
    assert left(held) == 9


def test_a_cloud_without_a_limit_has_no_say(tmp_path: Path) -> None:
    held = buffer(tmp_path)
    held.adds("000", "001")
    held.takes(1, remaining=0)
    assert left(held) == 0
    held.takes(1, remaining=None)
    assert left(held) is None


def test_what_was_said_of_another_plan_is_forgotten(tmp_path: Path) -> None:
    held = buffer(tmp_path)
    held.adds("000")
    held.takes(remaining=0)
    assert left(held) == 0
    held.forget_ceiling()
    assert left(held) is None
    assert LedgerFile(Path(f"/proc/self/fd/{held.ledger.file.fd}")).read().accepted == 1
