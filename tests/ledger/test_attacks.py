"""What instances that share a store could let through, and what they leave behind there."""

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.counters.patience import patient
from tests.counters.test_quota import Instance
from tests.redis import redis_server


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer of Redis is late here."""
    patient(monkeypatch)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No ledger of these is let go of in the middle of another test, which counts open files."""
    yield
    gc.collect()


def test_a_limit_that_is_lowered_holds_for_what_was_leased_too(tmp_path: Path) -> None:
    async def run() -> None:
        with redis_server(tmp_path) as redis:
            several = [Instance(100_000, redis, name) for name in ("one", "other")]
            for one in several:
                await one.connect(2)
                assert await one.allowed(10) == 10  # and has leased 50
            for one in several:
                one.allowance = 30
            assert [await one.allowed(40) for one in several] == [0, 10]  # the first hears of it first, and holds back
            assert await several[0].allowed(40) == 0
            for one in several:
                await one.stop()

    asyncio.run(run())


def test_what_is_given_back_to_a_store_that_came_back_empty_is_no_gift(tmp_path: Path) -> None:
    async def run() -> None:
        with redis_server(tmp_path) as redis:
            one, other = Instance(100_000, redis), Instance(60, redis, "other")
            await one.connect(2)
            await other.connect(2)
            assert await one.allowed(1) == 1
            redis.client.flushdb()
            await one.stop()  # gives back 49 of which the store knows nothing
            assert await other.allowed(200) == 60
            assert all(redis.client.ttl(name) > 0 for name in redis.client.scan_iter("kalguard:*"))
            await other.stop()

    asyncio.run(run())
