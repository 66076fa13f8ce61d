"""The ledger's file: whole after a death anywhere, and taken for nothing that it is not."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from struct import Struct
from typing import Any

import pytest

from kalguard.errors import Unavailable
from kalguard.ledger import file
from kalguard.ledger.file import RING_AT, Entries, LedgerFile, make_ledger, ring_read, temporary_ledger, written
from tests.ledger.buffers import lock_held
from tests.support import PATIENCE_SECONDS, ROOT

OLD, NEW = (Entries._make([number] * len(Entries._fields)) for number in (7, 8))


class Killed(BaseException):
    """The process is no more."""


class Dies:
    """What is written at once, in place of it: so many bytes are, then the process dies."""

    def __init__(self, after: int) -> None:
        self._after = after

    def pack_into(self, memory: Any, at: int, *values: int) -> None:
        words = Struct(f"={len(values)}Q").pack(*values)
        memory[at : at + self._after] = words[: self._after]
        raise Killed

    def unpack_from(self, memory: Any, at: int) -> Any:
        return Struct(f"={len(Entries._fields)}Q").unpack_from(memory, at)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    make_ledger(tmp_path / "ledger", 1000)
    return tmp_path / "ledger"


@pytest.mark.parametrize("bytes_written", range(0, 8 * len(Entries._fields) + 1, 4))
def test_a_death_while_entries_are_written_leaves_the_old_ones(
    path: Path, monkeypatch: pytest.MonkeyPatch, bytes_written: int
) -> None:
    ledger = LedgerFile(path)
    ledger.write(OLD)
    monkeypatch.setattr(file, "_WORDS", Dies(bytes_written))
    with pytest.raises(Killed):
        asyncio.run(ledger.changed(lambda _: (NEW, None)))
    monkeypatch.undo()
    assert LedgerFile(path).read() == OLD
    LedgerFile(path).write(NEW)
    assert LedgerFile(path).read() == NEW


def test_a_death_before_the_step_has_ended_leaves_the_old_ones_and_gives_the_lock_back(path: Path) -> None:
    ledger = LedgerFile(path)
    ledger.write(OLD)

    def dies(_: Entries) -> tuple[Entries, None]:
        raise Killed

    with pytest.raises(Killed):
        ledger.changed_here(dies)
    assert LedgerFile(path).changed_here(lambda entries: (NEW, entries)) == OLD
    assert ledger.read() == NEW


def test_processes_that_are_killed_anywhere_leave_entries_of_one_step(path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from kalguard.ledger.file import LedgerFile
ledger = LedgerFile(Path(sys.argv[1]))
os.write(1, b".")
while True:
    ledger.changed_here(lambda entries: (entries._make([entries.made + 1] * len(entries)), None))
"""
    for kill in range(5):
        process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, cwd=ROOT)
        assert process.stdout is not None
        assert process.stdout.read(1) == b"."
        time.sleep(0.003 * kill)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=PATIENCE_SECONDS)
        found = LedgerFile(path).changed_here(lambda entries: (entries, entries))
        assert len(set(found)) == 1


def test_what_changes_nothing_writes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = LedgerFile(path)
    monkeypatch.setattr(ledger, "write", lambda _: pytest.fail("written"))
    assert ledger.changed_here(lambda entries: (entries, 5)) == 5


def test_a_lock_that_is_held_is_not_waited_for(path: Path) -> None:
    ledger = LedgerFile(path)
    with lock_held(ledger):
        with pytest.raises(Unavailable, match="plan cannot be accounted for: the lock is held"):
            asyncio.run(ledger.changed(lambda entries: (NEW, None)))
        with pytest.raises(Unavailable, match="the lock is held"):
            ledger.changed_here(lambda entries: (NEW, None))
    assert ledger.read() == Entries()


def test_a_file_of_another_kind_is_refused(tmp_path: Path, path: Path) -> None:
    for name, content in (
        ("nothing", b""),
        ("short", path.read_bytes()[:5000]),
        ("without a ring", path.read_bytes()[:RING_AT]),
        ("another kind", b"kalguard ledger 2\n" + path.read_bytes()[18:]),
        ("zeros", bytes(RING_AT + 1000)),
    ):
        other = tmp_path / name
        other.write_bytes(content)
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(ValueError, match=r"empty|size|length|kind"):
            LedgerFile(other)
        assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(FileNotFoundError):
        LedgerFile(tmp_path / "none")


def test_a_new_file_is_for_nobody_else_and_has_all_of_its_space(path: Path) -> None:
    found = path.stat()
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert found.st_size == RING_AT + 1000
    assert found.st_blocks * 512 >= found.st_size
    assert LedgerFile(path).read() == Entries()


def test_an_instance_keeps_its_name_with_the_file(tmp_path: Path, path: Path) -> None:
    make_ledger(tmp_path / "other", 1000)
    assert LedgerFile(path).instance == LedgerFile(path).instance
    assert LedgerFile(path).instance != LedgerFile(tmp_path / "other").instance
    assert len(LedgerFile(path).instance) == 32


def test_a_file_that_is_there_is_never_made_anew_or_taken_away(path: Path) -> None:
    LedgerFile(path).write(OLD)
    with pytest.raises(FileExistsError):
        make_ledger(path, 1000)
    assert LedgerFile(path).read() == OLD


def test_a_disk_without_room_is_left_without_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        make_ledger(tmp_path / "ledger", 1000)
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_one_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ledger = temporary_ledger()
    assert list(tmp_path.iterdir()) == []
    ledger.write(NEW)
    assert ledger.read() == NEW


def test_the_ring_is_read_as_it_was_written_also_across_its_end(path: Path) -> None:
    ledger = LedgerFile(path)
    for begin in (0, 999, 990, 2500, 10**15 + 995):
        data = os.urandom(1000)
        written(ledger, begin, data)
        assert ring_read(ledger, begin, begin + 1000) == data
        assert ring_read(ledger, begin + 3, begin + 8) == data[3:8]
        assert ring_read(ledger, begin, begin) == b""
    assert path.stat().st_size == RING_AT + 1000
    assert LedgerFile(path).read() == Entries()


@pytest.mark.parametrize(
    ("days_later", "is_kept"), [(0, True), (-1, True), (1, False), (2, False), (-2, False), (-30, False)]
)
def test_a_day_begins_with_nothing_counted_but_usage_events(days_later: int, is_kept: bool) -> None:
    before = Entries._make(range(1000, 1000 + len(Entries._fields)))
    found = before.on(1000 + days_later)
    assert (found is before) is is_kept
    if not is_kept:
        assert found[:8] == (1000 + days_later, 0, 0, 0, 0, 0, 0, 0)
        assert found[8:] == before[8:]
