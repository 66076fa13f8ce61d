"""The plan's daily quota: exact for one instance, by leases for several, and what a lost store can cost."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kalguard.counters.memory import MemoryCounters
from kalguard.counters.redis import RedisStore
from kalguard.counters.replicas import ReplicaCounters
from kalguard.counters.workers import uptime
from kalguard.decision.model import LimitState
from kalguard.decision.quota import DAY_SECONDS, PlanLimits, PlanQuota
from kalguard.errors import Unavailable
from kalguard.ledger.day import DayAccount
from kalguard.ledger.file import BUFFER_BYTES, make_ledger, temporary_ledger
from tests.counters.test_replicas import Watcher, patiently
from tests.redis import RedisServer, redis_server
from tests.support import PATIENCE_SECONDS, ROOT

NOON = 20_000 * DAY_SECONDS + DAY_SECONDS // 2


class Clock:
    def __init__(self) -> None:
        self.now = float(NOON)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


class Instance:
    """One instance with a quota; `name` and Redis, or alone."""

    def __init__(
        self, allowance: int | None, redis: RedisServer | None = None, name: str = "one", *, closed: bool = False
    ) -> None:
        self.clock = Clock()
        self.allowance = allowance
        own = MemoryCounters(uptime)
        self.store = None if redis is None else RedisStore(redis.url, instance=name)
        self.shared = None
        if self.store is not None:
            self.shared = ReplicaCounters(self.store, own, closed=closed, watcher=Watcher())
        self.agents: int | None = None
        self.account = DayAccount(temporary_ledger())
        self.quota = PlanQuota(
            self.account,
            limits=lambda: PlanLimits(self.allowance, self.agents),
            shared=self.shared,
            clock=self.clock,
        )

    async def connect(self, replicas: int = 1) -> None:
        assert self.store is not None
        assert self.shared is not None
        await patiently(self.store)
        self.shared._replicas = replicas

    async def allowed(self, checks: int) -> int:
        """How many of so many checks at once are allowed."""
        taken = await asyncio.gather(*(self.quota.take("agent-1") for _ in range(checks)))
        return sum(one.daily is not None and not one.daily.exceeded for one in taken)

    async def stop(self) -> None:
        await self.quota.close()
        assert self.shared is not None
        await self.shared.close()


def take(instance: Instance) -> LimitState | None:
    return asyncio.run(instance.quota.take("agent-1")).daily


def leased(redis: RedisServer) -> int:
    """What all instances together have leased."""
    found = redis.client.hvals(f"kalguard:quota:{20_000}")
    return sum(int(units) for units in found)


def test_one_instance_allows_exactly_the_allowance_and_starts_anew_at_midnight() -> None:
    one = Instance(50)
    assert asyncio.run(one.allowed(80)) == 50
    state = take(one)
    assert state is not None
    assert (state.name, state.quota, state.remaining, state.exceeded) == ("daily", 50, 0, True)
    assert (state.reset_seconds, state.reset_at) == (DAY_SECONDS // 2, 20_001 * DAY_SECONDS)
    one.clock.now = 20_001 * DAY_SECONDS - 0.5
    assert asyncio.run(one.allowed(1)) == 0
    one.clock.now += 0.5
    assert asyncio.run(one.allowed(80)) == 50


def test_what_remains_is_told() -> None:
    one = Instance(3)
    told = [take(one) for _ in range(4)]
    assert [state.remaining for state in told if state is not None] == [2, 1, 0, 0]


def test_without_an_allowance_there_is_no_limit_but_a_count_and_none_is_none() -> None:
    one = Instance(None)
    assert take(one) is None
    one.allowance = 1  # which may come later in the day
    assert asyncio.run(one.allowed(1)) == 0
    assert asyncio.run(Instance(0).allowed(3)) == 0


def test_an_allowance_that_changes_holds_at_once() -> None:
    one = Instance(10)
    assert asyncio.run(one.allowed(8)) == 8
    one.allowance = 5
    assert asyncio.run(one.allowed(3)) == 0
    one.allowance = 12
    assert asyncio.run(one.allowed(9)) == 4
    one.allowance = None
    assert take(one) is None


def test_a_clock_set_back_over_midnight_does_not_give_the_day_again() -> None:
    one = Instance(10)
    one.clock.now = 20_001 * DAY_SECONDS + 1
    assert asyncio.run(one.allowed(10)) == 10
    one.clock.now -= 60
    assert asyncio.run(one.allowed(10)) == 0
    one.clock.now += 30 * DAY_SECONDS  # and one that was wrong by a month is believed again when it is right
    assert asyncio.run(one.allowed(1)) == 1
    one.clock.now -= 30 * DAY_SECONDS
    assert asyncio.run(one.allowed(1)) == 1


def test_worker_processes_share_the_count(tmp_path: Path) -> None:
    make_ledger(tmp_path / "ledger", BUFFER_BYTES)
    code = """
import asyncio, sys
from pathlib import Path
from kalguard import mapped
from kalguard.ledger.day import DayAccount
from kalguard.ledger.file import LedgerFile
from kalguard.decision.quota import PlanLimits, PlanQuota
account = DayAccount(LedgerFile(Path(sys.argv[1])))
mapped.LOCK_SECONDS = 60.0
quota = PlanQuota(account, limits=lambda: PlanLimits(100), shared=None, clock=lambda: 1.7e9)
async def run():
    taken = await asyncio.gather(*(quota.take("agent-1") for _ in range(60)))
    print(sum(not one.daily.exceeded for one in taken))
asyncio.run(run())
"""
    workers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "ledger")], stdout=subprocess.PIPE, cwd=ROOT)
        for _ in range(3)
    ]
    assert sum(int(process.communicate(timeout=PATIENCE_SECONDS)[0]) for process in workers) == 100


def test_several_instances_never_get_more_than_the_allowance_together_and_all_of_it_in_the_end(
    redis: RedisServer,
) -> None:
    async def run() -> None:
        instances = [Instance(100, redis, name) for name in ("one", "two", "three")]
        for one in instances:
            await one.connect()
        counts = await asyncio.gather(*(one.allowed(60) for one in instances))
        assert sum(counts) == 100
        for one in instances:
            await one.stop()

    asyncio.run(run())
    assert leased(redis) == 100


def test_most_checks_need_no_round_trip_and_a_clean_stop_returns_the_rest(redis: RedisServer) -> None:
    async def run() -> None:
        one, other = Instance(20_000, redis, "one"), Instance(20_000, redis, "other")
        for instance in (one, other):
            await instance.connect()
        before = redis.client.info("commandstats").get("cmdstat_hvals", {"calls": 0})["calls"]
        assert await one.allowed(95) == 95
        asked = redis.client.info("commandstats")["cmdstat_hvals"]["calls"] - before
        assert asked == 10  # leases of 10
        assert leased(redis) == 100
        state = (await other.quota.take("agent-1")).daily
        assert state is not None
        assert state.remaining == 20_000 - 110 + 9
        await one.stop()
        assert leased(redis) == 95 + 10
        await other.stop()
        assert leased(redis) == 96

    asyncio.run(run())


def test_what_another_instance_holds_is_missing_until_it_stops(redis: RedisServer) -> None:
    async def run() -> None:
        one, other = Instance(4000, redis, "one"), Instance(4000, redis, "other")
        for instance in (one, other):
            await instance.connect()
        assert await other.allowed(1) == 1
        assert await one.allowed(4010) == 3998  # two of a lease of two are the other's
        await other.stop()
        assert await one.allowed(5) == 0  # the store is not asked for each of them
        one.clock.now += 2
        assert await one.allowed(5) == 1
        await one.stop()
        assert leased(redis) == 4000

    asyncio.run(run())


def test_while_the_store_is_lost_each_instance_has_its_share_and_the_store_is_told_later(redis: RedisServer) -> None:
    """The overshoot that the document states: less than the allowance once more."""

    async def run() -> None:
        one, other = Instance(100, redis, "one"), Instance(100, redis, "other")
        for instance in (one, other):
            await instance.connect(replicas=2)
        assert await one.allowed(90) == 90
        redis.kill()
        assert await one.allowed(50) == 0  # more than its half already
        assert await other.allowed(80) == 50
        redis.start()  # with nothing in it
        for instance in (one, other):
            assert instance.store is not None
            assert instance.shared is not None
            await patiently(instance.store)
            instance.shared._regain()
        assert await other.allowed(20) == 20  # all that Redis knows of are its own fifty
        assert await one.allowed(20) == 0  # and now its ninety
        assert leased(redis) == 160  # what was used without it is on its account
        for instance in (one, other):
            await instance.stop()

    asyncio.run(run())


def test_closed_uses_up_its_lease_and_then_denies(redis: RedisServer) -> None:
    async def run() -> None:
        one = Instance(10_000, redis, closed=True)
        await one.connect()
        assert await one.allowed(3) == 3
        redis.kill()
        assert await one.allowed(2) == 2
        with pytest.raises(Unavailable):
            await one.quota.take("agent-1")
        await one.stop()

    asyncio.run(run())
