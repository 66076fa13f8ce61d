"""Where audit lines go, and what happens when they cannot."""

import json
import os
import stat
from pathlib import Path

import pytest

from kalguard.errors import AuditUnavailable
from kalguard.records import sinks
from kalguard.records.sinks import MEMORY_RECORDS, FileSink, MemorySink, StdoutSink


def test_a_full_disk_is_an_error_and_shows() -> None:
    sink = FileSink("/dev/full")
    with pytest.raises(AuditUnavailable, match="No space left"):
        sink.write(b"x")
    assert not sink.is_working()


@pytest.mark.parametrize("path", ["missing/audit.jsonl", "."])
def test_a_path_that_cannot_be_opened_is_an_error_and_shows(tmp_path: Path, path: str) -> None:
    sink = FileSink(str(tmp_path / path))
    assert not sink.is_working()
    with pytest.raises(AuditUnavailable):
        sink.write(b"x")


def test_it_works_again_once_the_folder_is_there(tmp_path: Path) -> None:
    sink = FileSink(str(tmp_path / "late" / "audit.jsonl"))
    with pytest.raises(AuditUnavailable):
        sink.write(b"x")
    (tmp_path / "late").mkdir()
    assert sink.is_working()
    sink.write(b"y")
    assert (tmp_path / "late" / "audit.jsonl").read_bytes() == b"y\n"


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        FileSink(str(tmp_path / "audit.jsonl")).write(b"x")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "audit.jsonl").stat().st_mode) == 0o600


def test_lines_are_appended_to_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"before\n")
    FileSink(str(path)).write(b"after")
    assert path.read_bytes() == b"before\nafter\n"


def test_half_a_line_left_by_a_killed_process_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b'{"whole":1}\n{"hal')
    FileSink(str(path)).write(b'{"next":1}')
    assert path.read_bytes().splitlines() == [b'{"whole":1}', b'{"hal', b'{"next":1}']


def test_a_line_cut_short_is_an_error_and_spoils_no_other_whoever_writes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "audit.jsonl")
    one, other = FileSink(path), FileSink(path)
    other.write(b"first")
    real = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda fd, data: real(fd, data[:3]))
        with pytest.raises(AuditUnavailable):
            one.write(b"lost line")
    other.write(b"kept line")
    one.write(b"kept too")
    assert (tmp_path / "audit.jsonl").read_bytes() == b"first\nlos\nkept line\nkept too\n"


def test_a_file_renamed_away_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    sink = FileSink(str(path))
    sink.write(b"1")
    path.rename(tmp_path / "audit.jsonl.1")
    sink.write(b"2")
    assert ((tmp_path / "audit.jsonl.1").read_bytes(), path.read_bytes()) == (b"1\n", b"2\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_with_fsync_each_a_line_is_forced_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    FileSink(str(tmp_path / "a"), fsync="always").write(b"x")
    assert len(synced) == 1
    FileSink(str(tmp_path / "b")).write(b"x")
    assert len(synced) == 1


def test_standard_output_takes_whole_lines() -> None:
    reader, writer = os.pipe()
    sink = StdoutSink(writer)
    sink.write(json.dumps({"a": "b"}).encode())
    os.close(writer)
    assert os.read(reader, 100) == b'{"a": "b"}\n'
    with pytest.raises(AuditUnavailable):
        sink.write(b"x")
    assert not sink.is_working()
    os.close(reader)


def test_standard_output_that_nobody_reads_is_an_error_and_works_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "STDOUT_WAIT_SECONDS", 0.01)
    reader, writer = os.pipe()
    sink = StdoutSink(writer)
    written = 0

    def fill() -> None:
        nonlocal written
        while True:
            sink.write(b"x" * 6000)
            written += 1

    with pytest.raises(AuditUnavailable):
        fill()
    assert not sink.is_working()
    os.set_blocking(reader, False)
    read = b""
    while len(chunk := os.read(reader, 65536)) == 65536:
        read += chunk
    read += chunk
    sink.write(b"next")
    lines = (read + os.read(reader, 65536)).split(b"\n")
    assert lines[-2:] == [b"next", b""]
    assert lines[:written] == [b"x" * 6000] * written
    os.close(reader)
    os.close(writer)


def test_with_fsync_interval_what_is_left_is_forced_to_disk_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    sink = FileSink(str(tmp_path / "a"), fsync="interval")
    assert sink.descriptor() is None
    sink.write(b"x")
    descriptor = sink.descriptor()
    assert descriptor is not None
    os.close(descriptor)
    assert synced == []
    sink.close()
    assert len(synced) == 1


def test_memory_keeps_the_last_records() -> None:
    sink = MemorySink()
    for number in range(MEMORY_RECORDS + 5):
        sink.write(str(number).encode())
    assert (len(sink.lines), sink.lines[0]) == (MEMORY_RECORDS, b"5")
