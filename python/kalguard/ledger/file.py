"""The file that an instance keeps for its plan, shared by its worker processes and its main process.

A page for the entries, a table of the day's agents, and a ring of bytes for usage events. The entries lie there twice,
and a word says which are good: whoever changes them writes the others and then turns the word over, so that a process
killed anywhere leaves either what was before or what was to be. What an entry refers to is written before it.

In the folder for temporary files it lasts as long as the instance; in `KALGUARD_STATE_DIR` it lasts. The ring is read
and written as a file, not mapped, since what is mapped counts as memory of every process.
"""

import mmap
import os
import secrets
import struct
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from kalguard.mapped import MappedFile, make_file

AGENT_PLACES = 131_072
AGENT_BYTES = 16
BUFFER_BYTES = 4 * 1024 * 1024
SPOOL_BYTES = 64 * 1024 * 1024
_MAGIC = b"kalguard ledger 1\n".ljust(32, b"\0")
_INSTANCE = slice(32, 48)
_WHICH = 8  # the 64-bit word that says which of the two is good
_ENTRIES_AT = (512, 1024)
AGENTS_AT = mmap.PAGESIZE
RING_AT = AGENTS_AT + AGENT_PLACES * AGENT_BYTES
_T = TypeVar("_T")


class Entries(NamedTuple):
    """All that is counted.

    Of the day `day` (days since 1970) are `used`, checks counted; `leased`, what the store that
    replicas share has given, and `total`, what it had given to all when last heard; `ceiling`, 1 more than the checks
    that Cloud leaves to this instance, 0 if it said nothing; `agents`, how many were let in; `told` and `taken`, usage
    events of the day made and accepted.

    Of usage events altogether: those from `begin` to `end` in the ring wait, `waiting` of them; `made`, `accepted` and
    `dropped` were counted since the file was made.
    """

    day: int = 0
    used: int = 0
    leased: int = 0
    total: int = 0
    ceiling: int = 0
    agents: int = 0
    told: int = 0
    taken: int = 0
    begin: int = 0
    end: int = 0
    waiting: int = 0
    made: int = 0
    accepted: int = 0
    dropped: int = 0

    def on(self, day: int) -> "Entries":
        """As of a day. A clock set back by less than a day does not make the same day start anew."""
        if self.day - 1 <= day <= self.day:
            return self
        return Entries(
            day,
            begin=self.begin,
            end=self.end,
            waiting=self.waiting,
            made=self.made,
            accepted=self.accepted,
            dropped=self.dropped,
        )


_WORDS = struct.Struct(f"={len(Entries._fields)}Q")


class LedgerFile:
    """The file at `path`, as one process sees it."""

    def __init__(self, path: Path) -> None:
        """Raises `OSError`, and `ValueError` for a file that is no ledger."""
        self.file = MappedFile(path, begins_with=_MAGIC, purpose="plan cannot be accounted for", mapped=RING_AT)
        self.ring_bytes = self.file.size - RING_AT
        if self.ring_bytes <= 0:
            self.file.close()
            raise ValueError(f"`{path}` is of another size")
        self._which = memoryview(self.file.map)[: mmap.PAGESIZE].cast("Q")

    @property
    def instance(self) -> str:
        """The name of this instance among replicas, which stays as long as its accounts do."""
        return self.file.map[_INSTANCE].hex()

    def read(self) -> Entries:
        """What the entries are now, without the lock: as good as a moment ago."""
        return Entries._make(_WORDS.unpack_from(self.file.map, _ENTRIES_AT[self._which[_WHICH] & 1]))

    def write(self, entries: Entries) -> None:
        """Put others in their place, all at once. To be called with the lock."""
        other = 1 - (self._which[_WHICH] & 1)
        _WORDS.pack_into(self.file.map, _ENTRIES_AT[other], *entries)
        self._which[_WHICH] = other

    async def changed(self, change: Callable[[Entries], tuple[Entries, _T]]) -> _T:
        """Change the entries while nobody else does. Raises `Unavailable`."""
        return await self.file.locked(self._change, change)

    def changed_here(self, change: Callable[[Entries], tuple[Entries, _T]]) -> _T:
        """The same for a thread that may wait where it is. Raises `Unavailable`."""
        return self.file.locked_here(lambda: self._change(change))

    def _change(self, change: Callable[[Entries], tuple[Entries, _T]]) -> _T:
        before = self.read()
        after, answer = change(before)
        if after is not before:
            self.write(after)
        return answer


def make_ledger(path: Path, ring_bytes: int) -> None:
    """Make the file. Raises `OSError`."""
    try:
        make_file(path, RING_AT + ring_bytes, begins_with=_MAGIC + secrets.token_bytes(16))
    except FileExistsError:
        raise
    except OSError:
        with suppress(OSError):  # not half of one
            path.unlink()
        raise


def temporary_ledger() -> LedgerFile:
    """One that only this process knows, and that is gone with it. Raises `OSError`."""
    with tempfile.TemporaryDirectory(prefix="kalguard-") as folder:
        path = Path(folder, "ledger")
        make_ledger(path, BUFFER_BYTES)
        return LedgerFile(path)


def written(ledger: LedgerFile, position: int, data: bytes) -> None:
    """Put bytes into the ring, from a position that only grows. Raises `OSError`."""
    at = position % ledger.ring_bytes
    first = min(len(data), ledger.ring_bytes - at)
    for part, offset in ((data[:first], at), (data[first:], 0)):
        if part and os.pwrite(ledger.file.fd, part, RING_AT + offset) != len(part):
            raise OSError("written in part")


def ring_read(ledger: LedgerFile, begin: int, end: int) -> bytes:
    """What the ring holds between two positions. Raises `OSError`."""
    at = begin % ledger.ring_bytes
    first = min(end - begin, ledger.ring_bytes - at)
    return os.pread(ledger.file.fd, first, RING_AT + at) + os.pread(ledger.file.fd, end - begin - first, RING_AT)
