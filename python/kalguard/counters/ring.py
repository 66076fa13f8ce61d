"""The arithmetic of a window: 61 counts, one a second, in a ring. `memory` and `workers` keep many of them.

A ring is a view of `RING_WORDS` unsigned 32-bit words: the latest second that it knows, then the counts, that of
second `s` at place `s % BUCKETS`. Seconds are whole and never go back; they start at `BUCKETS` or later, so that a ring
of zeros is one in which nothing was counted. Memory is the same whatever the limit. Rings may lie in memory that
processes share: each step leaves one that is right, wherever a process is killed between two writes.
"""

from abc import ABC, abstractmethod
from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TypeVar

from kalguard.decision.limits import WINDOW_SECONDS, Limit, Room, Taken

BUCKETS = WINDOW_SECONDS + 1
RING_WORDS = 1 + BUCKETS
MAX_COUNT = 2**32 - 1  # a count stays there rather than wrap around
_T = TypeVar("_T")
_ZEROS = memoryview(array("I", [0] * BUCKETS))


class RingCounters(ABC):
    """What all that keep rings have in common. `clock` gives seconds that never jump back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    async def take(self, limits: Sequence[Limit]) -> Taken:
        """See `decision.limits.Counters.take`."""
        return await self.locked(lambda: self._take(limits))

    async def count(self, limits: Sequence[Limit]) -> None:
        """Count a call that was allowed elsewhere. Raises `Unavailable`."""
        await self.locked(lambda: add(self._rings_of(limits, self._now())))

    @abstractmethod
    async def locked(self, step: Callable[[], _T]) -> _T:
        """Do something with the counts while nobody else does. Raises `Unavailable`."""

    @abstractmethod
    def _ring(self, key: tuple[str, ...], now: float) -> memoryview:
        """The ring of a key, at the second of `now`. Raises `Unavailable`."""

    def _take(self, limits: Sequence[Limit]) -> Taken:
        now = self._now()
        return take(self._rings_of(limits, now), limits, now)

    def _rings_of(self, limits: Sequence[Limit], now: float) -> list[memoryview]:
        return [self._ring(limit.key, now) for limit in limits]

    def _now(self) -> float:
        return self._clock() + BUCKETS


def take(rings: Sequence[memoryview], limits: Sequence[Limit], now: float) -> Taken:
    """Count one call in every ring, if each has room under its limit. The rings are at the second of `now`."""
    sums = [_sums(ring) for ring in rings]
    counted = all(total[-1] < limit.allowed for total, limit in zip(sums, limits, strict=True))
    if counted:
        add(rings)
        for total in sums:
            total[-1] += 1
    return Taken(counted, tuple([_room(total, limit.allowed, now) for total, limit in zip(sums, limits, strict=True)]))


def advance(ring: memoryview, now: float) -> None:
    """Bring a ring to the second of `now`: what is older than a window is counted no more."""
    second, latest = int(now), ring[0]
    if second <= latest:
        return
    if second - latest >= BUCKETS:
        clear(ring)
    else:
        for passed in range(latest + 1, second + 1):
            ring[1 + passed % BUCKETS] = 0
    ring[0] = second  # last: a process killed before it leaves only zeros where zeros belong


def add(rings: Sequence[memoryview]) -> None:
    """Count one call in each ring, whether or not there is room."""
    for ring in rings:
        place = 1 + ring[0] % BUCKETS
        if ring[place] < MAX_COUNT:
            ring[place] += 1


def clear(ring: memoryview) -> None:
    """Forget every count, but not the second."""
    ring[1:] = _ZEROS


def is_idle(latest: int, now: float) -> bool:
    """Whether a ring whose latest second is this has nothing left that counts."""
    return latest <= int(now) - BUCKETS


def _sums(ring: memoryview) -> list[int]:
    """How many calls were counted up to each second of the window, the oldest first."""
    start = 1 + (ring[0] + 1) % BUCKETS
    return list(accumulate(ring[start:].tolist() + ring[1:start].tolist()))


def _room(sums: list[int], allowed: int, now: float) -> Room:
    used = sums[-1]
    leaving = max(1, used - allowed + 1)  # how many calls have to leave the window before there is more room
    age = bisect_left(sums, leaving)
    return Room(max(0, allowed - used), int(now) + 1 + age - now if age < BUCKETS else 0.0)
