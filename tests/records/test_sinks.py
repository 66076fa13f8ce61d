"""Where audit records go, and what happens when they cannot."""

import asyncio
import fcntl
import json
import os
import resource
import stat
from pathlib import Path
from typing import Any

import pytest

from kalguard.errors import AuditUnavailable
from kalguard.records import sinks
from kalguard.records.audit import AuditLog
from kalguard.records.sinks import MEMORY_RECORDS, ChainOptions, MemorySink, WriterSink, file_sink
from tests.support import until, until_in_loop

RECORD = b'{"a":"b"}'


class Watcher:
    """Adds up what it is told."""

    def __init__(self) -> None:
        self.written = self.failed = self.queued = 0

    def audit_written(self, count: int, seconds: float) -> None:
        assert seconds >= 0
        self.written += count

    def audit_failed(self, count: int) -> None:
        self.failed += count

    def audit_queued(self, depth: int) -> None:
        self.queued = depth


def write(sink: WriterSink, *records: bytes, sign: bool = False) -> None:
    """Write records one after the other."""

    async def run() -> None:
        for record in records:
            await sink.write(record, sign=sign)

    asyncio.run(run())


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_full_disk_is_an_error_and_shows() -> None:
    watcher = Watcher()
    sink = file_sink("/dev/full", watcher=watcher)
    with pytest.raises(AuditUnavailable, match=r"No space left on device$"):
        write(sink, RECORD)
    assert not sink.is_working()
    assert (watcher.written, watcher.failed) == (0, 1)


@pytest.mark.parametrize("path", ["missing/audit.jsonl", "."])
def test_a_path_that_cannot_be_opened_is_an_error_and_shows(tmp_path: Path, path: str) -> None:
    sink = file_sink(str(tmp_path / path))
    until(lambda: not sink.is_working())
    with pytest.raises(AuditUnavailable):
        write(sink, RECORD)


def test_it_works_again_once_the_folder_is_there(tmp_path: Path) -> None:
    sink = file_sink(str(tmp_path / "late" / "audit.jsonl"))
    with pytest.raises(AuditUnavailable):
        write(sink, RECORD)
    (tmp_path / "late").mkdir()
    until(sink.is_working)
    write(sink, RECORD)
    (line,) = lines(tmp_path / "late" / "audit.jsonl")
    assert line["seq"] == 1


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        write(file_sink(str(tmp_path / "audit.jsonl")), RECORD)
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "audit.jsonl").stat().st_mode) == 0o600


def test_records_handed_over_together_are_written_in_their_order(tmp_path: Path) -> None:
    watcher = Watcher()
    sink = file_sink(str(tmp_path / "audit.jsonl"), fsync="always", watcher=watcher)

    async def run() -> None:
        await asyncio.gather(*(sink.write(b'{"n":%d}' % number) for number in range(300)))

    asyncio.run(run())
    written = lines(tmp_path / "audit.jsonl")
    assert [line["n"] for line in written] == list(range(300))
    assert [line["seq"] for line in written] == list(range(1, 301))
    assert watcher.written == 300


def test_a_file_renamed_away_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    sink = file_sink(str(path))
    write(sink, RECORD)
    path.rename(tmp_path / "audit.jsonl.1")
    write(sink, RECORD)
    assert ([line["seq"] for line in lines(tmp_path / "audit.jsonl.1")], lines(path)[0]["seq"]) == ([1], 2)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("record", [b'{"a":"\n"}', b'{"a":"\x1b[2J"}', '{"a":"\x9b"}'.encode(), b"[]", b""])
def test_what_would_be_more_than_a_line_is_refused(tmp_path: Path, record: bytes) -> None:
    with pytest.raises(AuditUnavailable, match="not a JSON object"):
        write(file_sink(str(tmp_path / "audit.jsonl")), record)
    with pytest.raises(AuditUnavailable, match="not a JSON object"):
        asyncio.run(MemorySink().write(record))


def test_a_disk_that_hangs_costs_two_seconds_and_then_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "audit.jsonl"
    watcher = Watcher()
    sink = file_sink(str(path), watcher=watcher)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        await sink.write(RECORD)
        with path.open() as held:
            fcntl.flock(held, fcntl.LOCK_EX)  # the writer waits for this as it would for a disk
            monkeypatch.setattr(sinks, "WAIT_SECONDS", 0.1)
            began = loop.time()
            answers = await asyncio.gather(*(sink.write(RECORD) for _ in range(50)), return_exceptions=True)
            assert {type(answer) for answer in answers} == {AuditUnavailable}
            assert 0.1 <= loop.time() - began < 50 * 0.1  # not one after the other
            assert not sink.is_working()
            began = loop.time()
            for _ in range(100):
                with pytest.raises(AuditUnavailable, match="does not get on"):
                    await sink.write(RECORD)
            assert loop.time() - began < 100 * 0.1 / 2
            monkeypatch.setattr(sinks, "WAIT_SECONDS", 60.0)
            fcntl.flock(held, fcntl.LOCK_UN)
        while not sink.is_working():
            await asyncio.sleep(0.01)
        await sink.write(b'{"after":1}')

    asyncio.run(run())
    assert [line.get("after") for line in lines(path)] == [None, 1]  # what was refused is not on record
    assert (watcher.written, watcher.failed) == (2, 150)


def test_a_process_that_was_frozen_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "WAIT_SECONDS", 0.0)  # all have waited too long as soon as they are looked at
    sink = file_sink(str(tmp_path / "audit.jsonl"))

    async def run() -> None:
        for _ in range(200):
            answers = await asyncio.gather(*(sink.write(RECORD) for _ in range(5)), return_exceptions=True)
            assert all(answer is None or isinstance(answer, AuditUnavailable) for answer in answers)
        await until_in_loop(sink.is_working)

    asyncio.run(run())
    monkeypatch.setattr(sinks, "WAIT_SECONDS", 60.0)
    write(sink, RECORD)


def test_no_record_comes_behind_the_last(tmp_path: Path) -> None:
    sink = file_sink(str(tmp_path / "audit.jsonl"))
    log = AuditLog(sink, clock=lambda: 0.0)

    async def run() -> None:
        await log.record_checkpoint()
        closing = asyncio.ensure_future(log.close())
        await asyncio.sleep(0)
        with pytest.raises(AuditUnavailable, match="closed"):
            await log.record_checkpoint()
        await closing

    asyncio.run(run())
    assert [line["type"] for line in lines(tmp_path / "audit.jsonl")] == ["audit_checkpoint", "audit_closed"]


def test_whoever_stops_waiting_disturbs_nobody(tmp_path: Path) -> None:
    sink = file_sink(str(tmp_path / "audit.jsonl"))

    async def run() -> None:
        first = asyncio.ensure_future(sink.write(RECORD))
        await asyncio.sleep(0)
        first.cancel()
        await sink.write(RECORD)

    asyncio.run(run())
    assert len(lines(tmp_path / "audit.jsonl")) == 2


def test_what_is_not_written_whole_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    sink = file_sink(str(path))
    write(sink, b'{"n":1}')
    size = path.stat().st_size
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)

    async def three_at_once() -> list[BaseException | None]:
        return await asyncio.gather(*(sink.write(b'{"n":%d}' % n) for n in (2, 3, 4)), return_exceptions=True)

    resource.setrlimit(resource.RLIMIT_FSIZE, (size * 5 // 2, limit[1]))  # room for one and a bit
    try:
        answers = asyncio.run(three_at_once())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert [type(answer) for answer in answers] == [type(None), AuditUnavailable, AuditUnavailable]
    write(sink, b'{"n":5}')
    assert [(line["n"], line["seq"]) for line in lines(path)] == [(1, 1), (2, 2), (5, 3)]


def test_what_waits_at_the_end_is_written(tmp_path: Path) -> None:
    sink = file_sink(str(tmp_path / "audit.jsonl"))

    async def run() -> None:
        waiting = [asyncio.ensure_future(sink.write(RECORD)) for _ in range(100)]
        await asyncio.sleep(0)
        await sink.close()
        await asyncio.gather(*waiting)
        with pytest.raises(AuditUnavailable, match="closed"):
            await sink.write(RECORD)

    asyncio.run(run())
    assert len(lines(tmp_path / "audit.jsonl")) == 100


def test_a_sink_that_hangs_does_not_hold_up_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "WAIT_SECONDS", 60.0)
    path = tmp_path / "audit.jsonl"
    sink = file_sink(str(path))
    write(sink, RECORD)

    async def run() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        waiting = asyncio.ensure_future(sink.write(RECORD))
        await asyncio.sleep(0)
        await sink.close()
        waiting.cancel()
        return loop.time() - began

    with path.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert asyncio.run(run()) < 20


def test_signed_lines_are_counted_from(tmp_path: Path) -> None:
    sink = file_sink(str(tmp_path / "audit.jsonl"), ChainOptions(key=b"k" * 32))
    write(sink, RECORD, RECORD)
    assert sink.unsigned == 2
    write(sink, RECORD, sign=True)
    assert sink.unsigned == 0
    assert ["signature" in line for line in lines(tmp_path / "audit.jsonl")] == [False, False, True]


def test_memory_keeps_the_last_records() -> None:
    sink = MemorySink()

    async def run() -> None:
        for number in range(MEMORY_RECORDS + 5):
            await sink.write(b'{"n":%d}' % number)

    asyncio.run(run())
    assert (len(sink.lines), json.loads(sink.lines[0])["n"]) == (MEMORY_RECORDS, 5)
