"""What becomes of limits while the store that replicas share is lost, and when it is back."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kalguard.counters.batches import StoreLost
from kalguard.counters.memory import MemoryCounters
from kalguard.counters.redis import RedisStore
from kalguard.counters.replicas import ReplicaCounters
from kalguard.counters.workers import uptime
from kalguard.decision.limits import Limit, Taken
from kalguard.decision.model import LimitName
from kalguard.errors import Unavailable
from tests.redis import RedisServer, redis_server
from tests.support import until_in_loop

AGENT = Limit(LimitName.AGENT, ("a",), 20)


class Watcher:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.failed = 0
        self.lost: list[bool] = []

    def store_failed(self, store: str) -> None:
        assert store == "redis"
        self.failed += 1

    def store_degraded(self, *, lost: bool) -> None:
        self.lost.append(lost)


class Store(RedisStore):
    """The real store, which counts how often it is asked."""

    asked = 0

    async def take(self, limits: object) -> Taken:
        self.asked += 1
        return await super().take(limits)  # type: ignore[arg-type]


class Instance:
    """One instance: its counters, its store, what its watcher was told."""

    def __init__(self, url: str, name: str, *, closed: bool = False) -> None:
        self.store = Store(url, instance=name)
        self.watcher = Watcher()
        self.counters = ReplicaCounters(self.store, MemoryCounters(uptime), closed=closed, watcher=self.watcher)

    async def allowed(self, calls: int) -> int:
        """How many of so many calls at once are allowed."""
        taken = await asyncio.gather(*(self.counters.take([AGENT]) for _ in range(calls)))
        return sum(one.counted for one in taken)


@asynccontextmanager
async def instances(*names: str, url: str, closed: bool = False) -> AsyncIterator[list[Instance]]:
    """Instances that know of each other."""
    there = [Instance(url, name, closed=closed) for name in names]
    for one in (*there, *there):
        one.counters._replicas = await patiently(one.store)
    tasks = [asyncio.create_task(one.counters.run()) for one in there]
    try:
        yield there
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for one in there:
            await one.counters.close()


async def patiently(store: RedisStore) -> int:
    while True:
        try:
            return await store.beat()
        except StoreLost:
            await asyncio.sleep(0.1)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


def test_after_a_loss_no_call_asks_the_store_and_each_instance_allows_its_share(redis: RedisServer) -> None:
    async def run() -> None:
        async with instances("one", "other", url=redis.url) as (one, other):
            assert await one.allowed(4) == 4
            redis.kill()
            # Half of 20 for each, and one knows of its own four calls.
            assert await one.allowed(50) == 6
            assert await other.allowed(50) == 10
            asked = one.store.asked, other.store.asked
            assert await one.allowed(50) == 0
            assert (one.store.asked, other.store.asked) == asked
            assert one.counters.is_lost
            assert one.counters.is_working()
            assert one.watcher.lost[-1] is True

    asyncio.run(run())


def test_when_it_is_back_it_is_in_use_again_and_said_once(redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "kalguard")

    async def run() -> None:
        async with instances("one", url=redis.url) as (one,):
            redis.kill()
            assert await one.allowed(3) == 3
            await until_in_loop(lambda: one.watcher.failed >= 3)  # some more attempts that fail
            redis.start()
            await until_in_loop(lambda: not one.counters.is_lost)
            assert one.watcher.lost[-2:] == [True, False]
            asked = one.store.asked
            assert await one.allowed(5) == 5
            assert one.store.asked == asked + 5

    asyncio.run(run())
    told = [record.message for record in caplog.records]
    assert len(told) == 2
    assert told[0].startswith("store of limits lost: ConnectionError")
    assert told[1] == "store of limits is back, 1 instances"


@pytest.mark.usefixtures("impatient")
def test_one_that_hangs_costs_one_wait_and_not_one_for_each_call(redis: RedisServer) -> None:
    async def run() -> None:
        async with instances("one", url=redis.url) as (one,):
            redis.hold()
            try:
                assert await one.allowed(10) == 10
                asked = one.store.asked
                for _ in range(20):
                    await one.allowed(1)
                assert one.store.asked == asked
            finally:
                redis.go_on()
            await until_in_loop(lambda: not one.counters.is_lost)

    asyncio.run(run())


def test_one_that_comes_and_goes_is_asked_less_and_less(redis: RedisServer) -> None:
    async def run() -> None:
        async with instances("one", url=redis.url) as (one,):
            assert await one.allowed(1) == 1
            (name,) = redis.client.keys("kalguard:{*")
            redis.client.set(name, "not a window")  # it says that it is there, and cannot count
            deadline = time.monotonic() + 3
            while time.monotonic() < deadline:
                await one.allowed(1)
                await asyncio.sleep(0.01)
            assert 2 <= one.watcher.lost.count(True) <= 6  # after 1/4, 1/2, 1 and 2 seconds, or half of that

    asyncio.run(run())


@pytest.mark.usefixtures("impatient")
def test_one_that_is_slow_is_lost(redis: RedisServer) -> None:
    async def run() -> None:
        async with instances("one", url=redis.url) as (one,):
            slow = asyncio.create_task(asyncio.to_thread(redis.client.execute_command, "DEBUG", "SLEEP", "3"))
            await asyncio.sleep(0.1)
            assert await one.allowed(1) == 1
            assert one.counters.is_lost
            await slow
            await until_in_loop(lambda: not one.counters.is_lost)

    asyncio.run(run())


def test_closed_denies_what_is_under_a_limit_while_the_store_is_lost(redis: RedisServer) -> None:
    async def run() -> None:
        async with instances("one", url=redis.url, closed=True) as (one,):
            assert await one.allowed(2) == 2
            redis.kill()
            for _ in range(3):
                with pytest.raises(Unavailable, match="the store that replicas share is lost"):
                    await one.counters.take([AGENT])
            with pytest.raises(Unavailable):
                await one.counters.lease(1, held=0, wanted=1, allowance=10)
            assert not one.counters.is_working()
            redis.start()
            await until_in_loop(one.counters.is_working)
            assert await one.allowed(1) == 1

    asyncio.run(run())


def test_a_store_that_was_never_there_leaves_an_instance_that_takes_itself_for_the_only_one() -> None:
    async def run() -> None:
        one = Instance("redis://127.0.0.1:1", "one")
        started = time.monotonic()
        assert await one.allowed(50) == 20
        assert time.monotonic() - started < 2
        await one.counters.close()

    asyncio.run(run())


def test_a_share_is_one_call_at_least(redis: RedisServer) -> None:
    async def run() -> None:
        async with instances("one", "two", "three", url=redis.url) as (_, _, last):
            redis.kill()
            few = Limit(LimitName.AGENT, ("few",), 2)
            assert [(await last.counters.take([few])).counted for _ in range(3)] == [True, False, False]

    asyncio.run(run())
