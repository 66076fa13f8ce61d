"""Counts that all worker processes of one instance share: a table in a file that each of them maps.

A file, not a server: a call costs some microseconds, and what was counted outlives any worker. The table itself is the
core's (`rust/core/src/window`); here are the file and the lock on it (`mapped`), which whoever asks the table holds.
With no place left a call is refused, not forgotten. A worker that dies in the middle leaves at most one call counted
too many.

The clock counts from the start of the machine and is the same for all its processes; setting the time does not move it.

*Rejected*: a process that counts for the others (one more that can die, and a round trip); a database in a file
(a hundred times the cost); a lock in the shared memory (nobody gives it back for the dead).
"""

import mmap
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from kalguard._core import CounterTable
from kalguard.counters.answer import taken
from kalguard.decision.limits import Limit, Taken
from kalguard.errors import Unavailable
from kalguard.mapped import MappedFile, make_file

SLOTS = 262_144
# The file: a page for magic and secret, then the table.
_MAGIC = b"kalguard counters 3\n"
_SECRET = slice(32, 48)
_TABLE_AT = mmap.PAGESIZE
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def uptime() -> float:
    """Seconds since the machine started. The same for all its processes, and never set back."""
    return time.clock_gettime(_CLOCK)


def make_table(path: Path, slots: int = SLOTS) -> None:
    """Make the file. Raises `OSError`."""
    size = _TABLE_AT + slots * CounterTable.SLOT_BYTES
    secret = secrets.token_bytes(_SECRET.stop - _SECRET.start)
    make_file(path, size, begins_with=_MAGIC.ljust(_SECRET.start, b"\0") + secret)


class WorkerCounters:
    """Counts in the table at `path`, which `make_table` made. `clock` is `uptime` but in tests.

    `on_error` is told of every call that could not be counted.
    """

    name = "workers"

    def __init__(
        self, path: Path, *, clock: Callable[[], float] = uptime, on_error: Callable[[], None] = lambda: None
    ) -> None:
        """Map the file. Raises `OSError`, and `ValueError` for a file that is no table."""
        self._clock = clock
        self._on_error = on_error
        self._file = MappedFile(path, begins_with=_MAGIC, purpose="limits cannot be counted")
        self._table = CounterTable(memoryview(self._file.map)[_TABLE_AT:].cast("I"), self._file.map[_SECRET])

    async def take(self, limits: Sequence[Limit]) -> Taken:
        """See `decision.limits.Counters.take`."""
        try:
            return taken(await self._file.locked(self._take, limits))
        except Unavailable:
            self._on_error()
            raise

    async def count(self, limits: Sequence[Limit]) -> None:
        """Count a call that was allowed elsewhere. Raises `Unavailable`."""
        try:
            await self._file.locked(self._count, limits)
        except Unavailable:
            self._on_error()
            raise

    # The time is asked for with the lock in hand: whoever had to wait for it must not go back behind the others.

    def _take(self, limits: Sequence[Limit]) -> tuple[bool, list[tuple[int, float]]]:
        return self._table.take(limits, self._clock())

    def _count(self, limits: Sequence[Limit]) -> None:
        self._table.count(limits, self._clock())
