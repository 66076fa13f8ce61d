"""Where audit lines go, and what happens when they cannot."""

import json
import os
import stat
from pathlib import Path

import pytest

from kalguard.errors import AuditUnavailable
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


def test_a_line_cut_short_is_an_error_and_spoils_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = FileSink(str(tmp_path / "audit.jsonl"))
    real = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda fd, data: real(fd, data[:3]))
        with pytest.raises(AuditUnavailable):
            sink.write(b"lost line")
    sink.write(b"kept line")
    assert (tmp_path / "audit.jsonl").read_bytes() == b"los\nkept line\n"


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
    FileSink(str(tmp_path / "a"), fsync_each=True).write(b"x")
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


def test_memory_keeps_the_last_records() -> None:
    sink = MemorySink()
    for number in range(MEMORY_RECORDS + 5):
        sink.write(str(number).encode())
    assert (len(sink.lines), sink.lines[0]) == (MEMORY_RECORDS, b"5")
