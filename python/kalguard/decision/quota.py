"""Within the plan: how many checks a day, over all agents.

A day is one of UTC. Every check of a known agent counts, however it ends; nothing is given back. One instance counts
exactly. Instances that share a store take the allowance from it in leases, so that most checks need no round trip:
together they never get more than the allowance, and what one of them has leased and not used is missing to the others
until it stops. While the store is lost an instance may use its share of the allowance (`Lease.share`) without a lease,
and what it uses is put on the store's account as soon as it is back.
"""

import asyncio
from collections.abc import Callable
from math import ceil
from typing import Protocol

import msgspec

from kalguard.decision.model import LimitName, LimitState

DAY_SECONDS = 86_400
LEASES_A_DAY = 2000
DRY_SECONDS = 1.0  # how long the store is not asked again when there was nothing left


class Spent(msgspec.Struct, frozen=True):
    """What an instance has used and leased of a day; `total` is what all of them had leased when it last heard."""

    allowed: bool
    used: int
    leased: int
    total: int


class Lease(msgspec.Struct, frozen=True):
    """What the store gave: so many checks, all instances then having leased `total`.

    `share` is there while the store is lost: what an instance may use of the day without it.
    """

    granted: int
    total: int
    share: int | None = None


class Tally(Protocol):
    """One instance's count of the day, the same for all its worker processes. Each method may raise `Unavailable`."""

    async def spend(self, day: int, share: int) -> Spent:
        """Count one check, if fewer than `share` or than are leased were counted. `day` is days since 1970."""

    async def extend(self, day: int, lease: Lease) -> None:
        """Add a lease."""

    async def surrender(self, day: int) -> int:
        """Give up what is leased and not used. Gives how much that is."""


class Leases(Protocol):
    """What instances share."""

    async def lease(self, day: int, *, held: int, wanted: int, allowance: int) -> Lease:
        """Ask for `wanted` more checks; `held` is what this instance leased or used so far. Raises `Unavailable`."""

    async def give_back(self, day: int, units: int) -> None:
        """Return what will not be used."""


class DailyQuota:
    """The plan's limit. `allowance` gives the checks a day that are in force, `None` for no limit.

    `leases` is `None` where there is but one instance. `clock` gives unix seconds.
    """

    def __init__(
        self,
        tally: Tally,
        *,
        allowance: Callable[[], int | None],
        leases: Leases | None,
        clock: Callable[[], float],
    ) -> None:
        self._tally = tally
        self._allowance = allowance
        self._leases = leases
        self._clock = clock
        self._asking = asyncio.Lock()
        self._dry_until = 0.0

    async def take(self) -> LimitState | None:
        """Count one check and say how the limit stands; the check is refused if it is exceeded.

        `None` where there is no limit. Raises `Unavailable` if it cannot be counted.
        """
        allowance = self._allowance()
        if allowance is None:
            return None
        now = self._clock()
        day = int(now // DAY_SECONDS)
        if self._leases is None:
            spent = await self._tally.spend(day, allowance)
            remaining = allowance - spent.used
        else:
            spent = await self._tally.spend(day, 0)
            if not spent.allowed:
                spent = await self._with_lease(self._leases, day, allowance, now)
            remaining = allowance - max(spent.total, spent.leased) + spent.leased - spent.used
        midnight = (day + 1) * DAY_SECONDS
        return LimitState(
            name=LimitName.DAILY,
            quota=allowance,
            window_seconds=DAY_SECONDS,
            remaining=max(0, remaining) if spent.allowed else 0,
            reset_seconds=ceil(midnight - now),
            reset_at=midnight,
            exceeded=not spent.allowed,
        )

    async def close(self) -> None:
        """At a clean stop: return what was leased and not used. Raises `Unavailable`."""
        if self._leases is None:
            return
        day = int(self._clock() // DAY_SECONDS)
        if units := await self._tally.surrender(day):
            await self._leases.give_back(day, units)

    async def _with_lease(self, leases: Leases, day: int, allowance: int, now: float) -> Spent:
        async with self._asking:
            spent = await self._tally.spend(day, 0)  # who held the lock may have brought a lease for us too
            if spent.allowed or now < self._dry_until < now + 2 * DRY_SECONDS:
                return spent
            lease = await leases.lease(
                day,
                held=max(spent.used, spent.leased),
                wanted=max(1, allowance // LEASES_A_DAY),
                allowance=allowance,
            )
            if lease.share is not None:
                return await self._tally.spend(day, lease.share)
            if lease.granted == 0:
                self._dry_until = now + DRY_SECONDS
            await self._tally.extend(day, lease)
            return await self._tally.spend(day, 0)
