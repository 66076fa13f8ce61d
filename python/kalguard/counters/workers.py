"""Counts that all worker processes of one instance share: a table in a file that each of them maps.

A file, not a server: a call costs some microseconds, and what was counted outlives any worker. The table has a fixed
number of places. A key, hashed with a secret of this instance, may lie in one of two sets of eight, so that a full
table and a slow search are the same rare thing; a place in which nothing counts any more is taken over by whoever needs
one. With no place left a call is refused, not forgotten.

Whoever reads or writes holds the lock on the file (`mapped`); every step is ordered so that a death in the middle
leaves at most one call counted too many.

The clock counts from the start of the machine and is the same for all its processes; setting the time does not move it.

*Rejected*: a process that counts for the others (one more that can die, and a round trip); a database in a file
(a hundred times the cost); a lock in the shared memory (nobody gives it back for the dead).
"""

import hashlib
import mmap
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from kalguard.counters import ring
from kalguard.errors import Unavailable
from kalguard.mapped import MappedFile, make_file

SLOTS = 65_536
_WAYS = 8  # places of one set
_KEY_BYTES = 16
_SLOT_WORDS = 64
# The file: a page for magic and secret, then all keys, then all rings.
_MAGIC = b"kalguard counters 2\n"
_SECRET = slice(32, 64)
_KEYS_AT = mmap.PAGESIZE
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_T = TypeVar("_T")


def uptime() -> float:
    """Seconds since the machine started. The same for all its processes, and never set back."""
    return time.clock_gettime(_CLOCK)


def make_table(path: Path, slots: int = SLOTS) -> None:
    """Make the file. Raises `OSError`."""
    size = _KEYS_AT + slots * (_KEY_BYTES + 4 * _SLOT_WORDS)
    make_file(path, size, begins_with=_MAGIC.ljust(_SECRET.start, b"\0") + secrets.token_bytes(32))


class WorkerCounters(ring.RingCounters):
    """Counts in the table at `path`, which `make_table` made. `clock` is `uptime` but in tests.

    `on_error` is told of every call that could not be counted.
    """

    name = "workers"

    def __init__(
        self, path: Path, *, clock: Callable[[], float] = uptime, on_error: Callable[[], None] = lambda: None
    ) -> None:
        """Map the file. Raises `OSError`, and `ValueError` for a file that is no table."""
        super().__init__(clock)
        self._on_error = on_error
        self._file = MappedFile(path, begins_with=_MAGIC, purpose="limits cannot be counted")
        self._map = self._file.map
        self._secret = self._map[_SECRET]
        slots = (self._file.size - _KEYS_AT) // (_KEY_BYTES + 4 * _SLOT_WORDS)
        self._sets = slots // _WAYS
        self._words = memoryview(self._map)[_KEYS_AT + slots * _KEY_BYTES :].cast("I")

    async def locked(self, step: Callable[[], _T]) -> _T:
        """Do something with the counts while no other process does. Raises `Unavailable`."""
        try:
            return await self._file.locked(step)
        except Unavailable:
            self._on_error()
            raise

    def _ring(self, key: tuple[str, ...], now: float) -> memoryview:
        """The ring of a key, in the place that it has or in one that it is given.

        It is at this second, and so not idle: its place must not be given to the next key of the same call.
        """
        found = self._words_of(self._place_of(key, now))
        ring.advance(found, now)
        return found

    def _place_of(self, key: tuple[str, ...], now: float) -> int:
        digest = hash_of(key, self._secret)
        sets = [int.from_bytes(digest[at : at + 4]) % self._sets for at in (0, 4)]
        for number in sets:
            start = _KEYS_AT + number * _WAYS * _KEY_BYTES
            # A hit across two keys would take as much luck as a collision of hashes.
            found = self._map.find(digest, start, start + _WAYS * _KEY_BYTES)
            if found >= 0:
                return (found - _KEYS_AT) // _KEY_BYTES
        return self._settle(digest, sets, now)

    def _settle(self, digest: bytes, sets: Sequence[int], now: float) -> int:
        """Give a key an idle place, in the emptier of its sets."""
        idle = [[slot for slot in self._slots_of(number) if self._is_idle(slot, now)] for number in sets]
        free = max(idle, key=len)
        if not free:
            raise Unavailable("limits cannot be counted: too many agents at once")
        at = _KEYS_AT + free[0] * _KEY_BYTES  # nothing of its ring counts: whoever had the place loses nothing
        self._map[at : at + _KEY_BYTES] = digest
        return free[0]

    def _slots_of(self, number: int) -> range:
        return range(number * _WAYS, (number + 1) * _WAYS)

    def _is_idle(self, slot: int, now: float) -> bool:
        return ring.is_idle(self._words[slot * _SLOT_WORDS], now)

    def _words_of(self, slot: int) -> memoryview:
        return self._words[slot * _SLOT_WORDS : slot * _SLOT_WORDS + ring.RING_WORDS]


def hash_of(key: Sequence[str], secret: bytes = b"") -> bytes:
    """16 bytes that stand for a key. The parts are told apart by their lengths."""
    parts = [part.encode() for part in key]
    whole = b"".join(len(part).to_bytes(4) + part for part in parts)
    return hashlib.blake2b(whole, digest_size=_KEY_BYTES, key=secret).digest()
