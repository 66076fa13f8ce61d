"""One instance's count of the day's checks, in the same memory as its windows.

Four unsigned 64-bit words: the day, checks used, checks leased, and what all instances have leased as last heard. A
process killed between two writes leaves at most one check counted too many, or a lease that nobody uses.
"""

from collections.abc import Callable
from typing import Any, Protocol

from kalguard.decision.quota import Lease, Spent

_DAY, _USED, _LEASED, _TOTAL = range(4)


class Store(Protocol):
    """Where the words lie, and the lock around them."""

    tally: memoryview

    async def locked(self, step: Callable[[], Any]) -> Any:
        """Do something while nobody else does."""


class InstanceTally:
    """See `decision.quota.Tally`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._words = store.tally

    async def spend(self, day: int, share: int) -> Spent:
        def step() -> Spent:
            words = self._turn_to(day)
            allowed = words[_USED] < max(share, words[_LEASED])
            if allowed:
                words[_USED] += 1
            return Spent(allowed, words[_USED], words[_LEASED], words[_TOTAL])

        spent: Spent = await self._store.locked(step)
        return spent

    async def extend(self, day: int, lease: Lease) -> None:
        def step() -> None:
            words = self._turn_to(day)
            words[_TOTAL] = lease.total
            # What was used without a lease is on the store's account by now, and no part of this one.
            words[_LEASED] = max(words[_LEASED], words[_USED]) + lease.granted

        await self._store.locked(step)

    async def surrender(self, day: int) -> int:
        def step() -> int:
            words = self._turn_to(day)
            rest: int = max(0, words[_LEASED] - words[_USED])
            words[_LEASED] -= rest
            return rest

        units: int = await self._store.locked(step)
        return units

    def _turn_to(self, day: int) -> memoryview:
        """The words of a day. A clock set back by less than a day does not make the same day start anew."""
        words = self._words
        if day > words[_DAY] or day < words[_DAY] - 1:
            words[_USED] = words[_LEASED] = words[_TOTAL] = 0
            words[_DAY] = day  # last: a process killed before it leaves it to the next to start the day
        return words
