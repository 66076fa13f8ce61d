"""Counts in the memory of one process: for an app that runs in a process of its own, without the real server.

Windows in which nothing was counted for a whole span are dropped, so that agents which come and go leave nothing
behind. More than `MAX_WINDOWS` at once are refused rather than forgotten.
"""

from array import array
from collections.abc import Callable
from threading import Lock
from typing import TypeVar

from kalguard.counters import ring
from kalguard.errors import Unavailable

MAX_WINDOWS = 65_536
_FIRST_SWEEP = 1024
_T = TypeVar("_T")


class MemoryCounters(ring.RingCounters):
    """Counts in a dictionary of rings. `clock` gives seconds that never jump back."""

    name = "memory"

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self._rings: dict[tuple[str, ...], memoryview] = {}
        self._sweep_at = _FIRST_SWEEP
        self._swept_at = 0.0
        self._lock = Lock()

    async def locked(self, step: Callable[[], _T]) -> _T:
        """Do something with the counts while nobody else does."""
        with self._lock:
            return step()

    def __len__(self) -> int:
        """How many windows are kept."""
        return len(self._rings)

    def _ring(self, key: tuple[str, ...], now: float) -> memoryview:
        """The ring of a key, at this second: not idle, so that none is dropped for the next one of the same call."""
        found = self._rings.get(key)
        if found is None:
            self._make_room(now)
            found = self._rings[key] = memoryview(array("I", [0] * ring.RING_WORDS))
        ring.advance(found, now)
        return found

    def _make_room(self, now: float) -> None:
        if len(self._rings) < self._sweep_at:
            return
        if now >= self._swept_at + 1:  # nothing is idle before another second has passed
            self._swept_at = now
            for key in [key for key, kept in self._rings.items() if ring.is_idle(kept[0], now)]:
                del self._rings[key]
        if len(self._rings) >= MAX_WINDOWS:
            raise Unavailable("limits cannot be counted: too many agents at once")
        self._sweep_at = min(MAX_WINDOWS, max(_FIRST_SWEEP, 2 * len(self._rings)))
