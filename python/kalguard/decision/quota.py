"""Within the plan: how many checks a day over all agents, and how many agents a day.

A day is one of UTC. Every check of a known agent counts, however it ends; nothing is given back. One instance counts
exactly. Instances that share a store take the allowance from it in leases, so that most checks need no round trip:
together they never get more than the allowance, and what one of them has leased and not used is missing to the others
until it stops. While the store is lost an instance may use its share of the allowance (`Lease.share`) without a lease,
and what it uses is put on the store's account as soon as it is back. Agents are counted when they are first seen on a
day, by the store if there is one; who was let in once stays in for the day.

Instances without a store learn of each other through Cloud, which says what is left (`Spent.ceiling`).
"""

import asyncio
from collections.abc import Callable
from math import ceil
from typing import Protocol

import msgspec

from kalguard.decision.model import LimitName, LimitState

DAY_SECONDS = 86_400
LEASES_A_DAY = 2000
UNLIMITED = 2**63
DRY_SECONDS = 1.0  # how long the store is not asked again when there was nothing left


class PlanLimits(msgspec.Struct, frozen=True):
    """What a plan allows on a day. `None`: as many as there are."""

    checks_per_day: int | None = None
    max_agents: int | None = None


class Spent(msgspec.Struct, frozen=True):
    """What an instance has used and leased of a day; `total` is what all of them had leased when it last heard.

    `ceiling` is what Cloud leaves this instance to use in all, where it has said so.
    """

    allowed: bool
    used: int
    leased: int
    total: int
    ceiling: int | None = None


class Lease(msgspec.Struct, frozen=True):
    """What the store gave: so many checks, all instances then having leased `total`.

    `share` is there while the store is lost: what an instance may use of the day without it.
    """

    granted: int
    total: int
    share: int | None = None


class Joined(msgspec.Struct, frozen=True):
    """Whether the store counts an agent among those of the day. `share` is as for a lease: of agents."""

    admitted: bool
    share: int | None = None


class Account(Protocol):
    """One instance's account of the day, the same for all its worker processes.

    `day` is days since 1970. Each method but `now` may raise `Unavailable`.
    """

    async def spend(self, day: int, share: int) -> Spent:
        """Count one check, if fewer than `share` or than are leased were counted.

        Where Cloud has left less than `share`, that counts, unless it is `UNLIMITED`.
        """

    async def extend(self, day: int, lease: Lease) -> None:
        """Add a lease."""

    async def surrender(self, day: int) -> int:
        """Give up what is leased and not used. Gives how much that is."""

    async def admit(self, day: int, agent_id: str, limit: int) -> bool:
        """Whether an agent is known today, or can be, there being fewer than `limit`: then it is from now on."""

    def now(self, day: int) -> Spent:
        """How it stands, without waiting for anybody."""


class Shared(Protocol):
    """What instances share. Each method may raise `Unavailable`."""

    async def lease(self, day: int, *, held: int, wanted: int, allowance: int) -> Lease:
        """Ask for `wanted` more checks; `held` is what this instance leased or used so far."""

    async def give_back(self, day: int, units: int) -> None:
        """Return what will not be used."""

    async def join(self, day: int, agent_id: str, *, limit: int) -> Joined:
        """Count an agent among those of the day, if it is or if there are fewer than `limit`."""


class Taken(msgspec.Struct, frozen=True):
    """How a check stands with the plan. `daily` is there where there is a limit; not `admitted`: one agent too many."""

    daily: LimitState | None = None
    admitted: bool = True


class Quota(Protocol):
    """Counts checks."""

    async def take(self, agent_id: str) -> Taken:
        """Count one check of an agent. Raises `Unavailable` if it cannot be counted."""


class PlanQuota:
    """What the plan allows. `limits` gives what is in force; `shared` is `None` where there is but one instance.

    `clock` gives unix seconds.
    """

    def __init__(
        self,
        account: Account,
        *,
        limits: Callable[[], PlanLimits],
        shared: Shared | None,
        clock: Callable[[], float],
    ) -> None:
        self._account = account
        self._limits = limits
        self._shared = shared
        self._clock = clock
        self._asking = asyncio.Lock()
        self._dry_until = 0.0
        self._leased_under: int | None = None  # the allowance of which leases were taken

    async def take(self, agent_id: str) -> Taken:
        """Count one check and say how the plan stands; the check is refused if a limit is exceeded.

        It counts without a limit too: there may be one later in the day. Raises `Unavailable` if it cannot be counted.
        """
        limits = self._limits()
        now = self._clock()
        day = int(now // DAY_SECONDS)
        admitted = limits.max_agents is None or await self._admits(agent_id, day, limits.max_agents)
        allowance = limits.checks_per_day
        if allowance is None:
            await self._account.spend(day, UNLIMITED)
            return Taken(None, admitted)
        if self._shared is None:
            spent = await self._account.spend(day, allowance)
        else:
            await self._fit(self._shared, day, allowance)
            spent = await self._account.spend(day, 0)
            if not spent.allowed:
                spent = await self._with_lease(self._shared, day, allowance, now)
        midnight = (day + 1) * DAY_SECONDS
        state = LimitState(
            name=LimitName.DAILY,
            quota=allowance,
            window_seconds=DAY_SECONDS,
            remaining=self._left(spent, allowance) if spent.allowed else 0,
            reset_seconds=ceil(midnight - now),
            reset_at=midnight,
            exceeded=not spent.allowed,
        )
        return Taken(state, admitted)

    def remaining(self) -> int | None:
        """How many checks are left today, as far as is known here; `None` where there is no limit."""
        allowance = self._limits().checks_per_day
        if allowance is None:
            return None
        return self._left(self._account.now(int(self._clock() // DAY_SECONDS)), allowance)

    def reset_at(self) -> int:
        """When the next day begins, in unix seconds."""
        return (int(self._clock() // DAY_SECONDS) + 1) * DAY_SECONDS

    async def close(self) -> None:
        """At a clean stop: return what was leased and not used. Raises `Unavailable`."""
        if self._shared is not None:
            await self._return_rest(self._shared, int(self._clock() // DAY_SECONDS))

    async def _fit(self, shared: Shared, day: int, allowance: int) -> None:
        """What was leased of a larger allowance may be more than there is now: ask anew, of this one."""
        if self._leased_under is not None and allowance < self._leased_under:
            await self._return_rest(shared, day)
        self._leased_under = allowance

    async def _return_rest(self, shared: Shared, day: int) -> None:
        if units := await self._account.surrender(day):
            await shared.give_back(day, units)

    def _left(self, spent: Spent, allowance: int) -> int:
        if self._shared is None:
            left = (allowance if spent.ceiling is None else min(allowance, spent.ceiling)) - spent.used
        else:
            left = allowance - max(spent.total, spent.leased) + spent.leased - spent.used
        return max(0, left)

    async def _admits(self, agent_id: str, day: int, limit: int) -> bool:
        if self._shared is None:
            return await self._account.admit(day, agent_id, limit)
        if await self._account.admit(day, agent_id, 0):
            return True
        joined = await self._shared.join(day, agent_id, limit=limit)
        if joined.share is not None:
            return await self._account.admit(day, agent_id, joined.share)
        return joined.admitted and await self._account.admit(day, agent_id, UNLIMITED)

    async def _with_lease(self, shared: Shared, day: int, allowance: int, now: float) -> Spent:
        async with self._asking:
            spent = await self._account.spend(day, 0)  # who held the lock may have brought a lease for us too
            if spent.allowed or now < self._dry_until < now + 2 * DRY_SECONDS:
                return spent
            lease = await shared.lease(
                day,
                held=max(spent.used, spent.leased),
                wanted=max(1, allowance // LEASES_A_DAY),
                allowance=allowance,
            )
            if lease.share is not None:
                return await self._account.spend(day, lease.share)
            if lease.granted == 0:
                self._dry_until = now + DRY_SECONDS
            await self._account.extend(day, lease)
            return await self._account.spend(day, 0)
