"""Counts in the store that replicas share, and what happens while it is lost.

The first call that gets no answer marks the store as lost; from then on none waits for it. In the background it is
asked again, soon at first and then less often, and when it answers it is in use again. While it is lost, either
nothing is allowed (`closed`), or this instance counts for itself and allows its share: each limit divided by the number
of instances that were there when it was last heard of, and at least one call. So that it knows its own calls at that
moment, it counts them for itself all the time.

Every instance says that it is there every `BEAT_SECONDS`; that is also how a lost store is noticed without a call.
"""

import asyncio
import logging
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from msgspec.structs import replace

from kalguard.counters.batches import StoreLost
from kalguard.counters.redis import RedisStore
from kalguard.decision.limits import Limit, Taken
from kalguard.decision.quota import Joined, Lease
from kalguard.errors import Unavailable

BEAT_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 4.0
_log = logging.getLogger(__name__)


class OwnCounters(Protocol):
    """What an instance counts with for itself."""

    async def take(self, limits: Sequence[Limit]) -> Taken:
        """See `decision.limits.Counters.take`."""

    async def count(self, limits: Sequence[Limit]) -> None:
        """Count a call that was allowed elsewhere. Raises `Unavailable`."""


class Watcher(Protocol):
    """Is told what goes wrong."""

    def store_failed(self, store: str) -> None:
        """One call of a store did not succeed."""

    def store_degraded(self, *, lost: bool) -> None:
        """The shared store is lost, or there again."""


class ReplicaCounters:
    """Counts in `store`, or, without it, in `own`; not at all then, if `closed`."""

    name = "redis"

    def __init__(self, store: RedisStore, own: OwnCounters, *, closed: bool, watcher: Watcher) -> None:
        self._store = store
        self._own = own
        self._closed = closed
        self._watcher = watcher
        self._lost = False
        self._trouble = asyncio.Event()
        self._replicas = 1
        watcher.store_degraded(lost=False)

    @property
    def is_lost(self) -> bool:
        """Whether the store is out of reach."""
        return self._lost

    def is_working(self) -> bool:
        """Whether calls can be counted at all."""
        return not (self._lost and self._closed)

    async def take(self, limits: Sequence[Limit]) -> Taken:
        """See `decision.limits.Counters.take`."""
        if not self._lost:
            try:
                taken = await self._store.take(limits)
            except StoreLost as error:
                self._lose(error)
            else:
                if taken.counted:
                    with suppress(Unavailable):  # it is counted where it matters
                        await self._own.count(limits)
                return taken
        self._insist()
        return await self._own.take([replace(limit, allowed=self._share_of(limit.allowed)) for limit in limits])

    async def lease(self, day: int, *, held: int, wanted: int, allowance: int) -> Lease:
        """See `decision.quota.Shared.lease`."""
        if not self._lost:
            try:
                return await self._store.lease(day, held=held, wanted=wanted, allowance=allowance)
            except StoreLost as error:
                self._lose(error)
        self._insist()
        return Lease(0, 0, share=self._share_of(allowance))

    async def give_back(self, day: int, units: int) -> None:
        """See `decision.quota.Shared.give_back`. Without the store it is lost until the day is over."""
        if not self._lost:
            with suppress(StoreLost):
                await self._store.give_back(day, units)

    async def join(self, day: int, agent_id: str, *, limit: int) -> Joined:
        """See `decision.quota.Shared.join`."""
        if not self._lost:
            try:
                return await self._store.join(day, agent_id, limit=limit)
            except StoreLost as error:
                self._lose(error)
        self._insist()
        return Joined(admitted=False, share=self._share_of(limit))

    async def run(self) -> None:
        """Say that this instance is there, and look for the store while it is lost, until cancelled."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                self._replicas = await self._store.beat()
                self._regain()
            except StoreLost as error:
                self._lose(error)
            if not self._lost and not await self._is_lost_within(BEAT_SECONDS):
                pause = FIRST_PAUSE_SECONDS  # only after it has held for a while: one that comes and goes is a lost one
            if self._lost:
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - so that not all ask at once
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._store.close()

    async def _is_lost_within(self, seconds: float) -> bool:
        self._trouble.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):  # not `wait_for`, which can miss that it is cancelled
                await self._trouble.wait()
        return self._lost

    def _share_of(self, allowed: int) -> int:
        return max(1, allowed // self._replicas) if allowed else 0

    def _insist(self) -> None:
        if self._closed:
            raise Unavailable("limits cannot be counted: the store that replicas share is lost")

    def _lose(self, error: StoreLost) -> None:
        self._watcher.store_failed(self.name)
        if self._lost:
            return
        self._lost = True
        self._trouble.set()
        self._watcher.store_degraded(lost=True)
        then = "what is under a limit is denied" if self._closed else f"counting alone, as one of {self._replicas}"
        _log.error("store of limits lost: %s; %s", error, then)

    def _regain(self) -> None:
        if not self._lost:
            return
        self._lost = False
        self._watcher.store_degraded(lost=False)
        _log.warning("store of limits is back, %d instances", self._replicas)
