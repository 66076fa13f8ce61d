"""The three stores say the same as a list of everything that happened, on whatever calls can be made up."""

import asyncio
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from kalguard.counters.memory import MemoryCounters
from kalguard.counters.redis import TAKE, RedisStore
from kalguard.counters.workers import WorkerCounters, make_table
from kalguard.decision.limits import Counters, Limit
from kalguard.decision.model import LimitName
from tests.counters.plain import PlainCounters, same
from tests.redis import RedisServer, redis_server

TIME = "redis.call('TIME')"
TEST_TIME = "{redis.call('GET', 'seconds'), redis.call('GET', 'micros')}"
Call = tuple[float, str, str | None, int, int]  # a pause, an agent, a tool, the limit of each
PAUSES = st.one_of(st.just(0.0), st.floats(0, 3), st.sampled_from([1.0, 59.0, 60.0, 60.5, 61.0, 62.0, 200.0]))
CALLS = st.lists(
    st.tuples(PAUSES, st.sampled_from("ab"), st.sampled_from(["t", "u", None]), st.integers(1, 4), st.integers(1, 3)),
    max_size=40,
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def limits_of(agent: str, tool: str | None, per_agent: int, per_tool: int) -> list[Limit]:
    """A limit on the agent, and one on a tool of its, if one is named."""
    limits = [Limit(LimitName.AGENT, (agent,), per_agent)]
    return limits if tool is None else [*limits, Limit(LimitName.TOOL, (agent, tool), per_tool)]


async def agree(store: Counters, calls: list[Call], tell: Callable[[float], None]) -> None:
    """Make the calls of both, and compare each answer. `tell` gives the store the time."""
    plain = PlainCounters()
    plain.now = 1000.0
    for pause, agent, tool, per_agent, per_tool in calls:
        plain.now = round(plain.now + pause, 6)
        tell(plain.now)
        limits = limits_of(agent, tool, per_agent, per_tool)
        expected, got = plain.take(limits), await store.take(limits)
        assert same(got, expected), (plain.now, limits, got, expected)


@given(CALLS)
def test_in_the_memory_of_a_process(calls: list[Call]) -> None:
    clock = Clock()
    asyncio.run(agree(MemoryCounters(clock), calls, lambda now: setattr(clock, "now", now)))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> WorkerCounters:
    path = tmp_path_factory.mktemp("table") / "counters"
    make_table(path, slots=64)
    return WorkerCounters(path, clock=Clock())


@given(calls=CALLS)
def test_in_the_table_of_an_instance(table: WorkerCounters, calls: list[Call]) -> None:
    clock = table._clock
    assert isinstance(clock, Clock)
    started = int(clock.now) + 100  # nothing of the example before counts any more, but its places are still there

    def tell(now: float) -> None:
        clock.now = started + now - 1000

    asyncio.run(agree(table, calls, tell))


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


def with_a_clock_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    assert TAKE.count(TIME) == 1
    monkeypatch.setattr("kalguard.counters.redis.TAKE", TAKE.replace(TIME, TEST_TIME))


def set_time(server: RedisServer, now: float) -> None:
    seconds, micros = divmod(round(now * 1e6), 1_000_000)
    server.client.mset({"seconds": seconds, "micros": micros})


def test_in_redis(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with_a_clock_of_ours(monkeypatch)

    @given(CALLS)
    @hypothesis_settings(max_examples=60)
    def check(calls: list[Call]) -> None:
        async def run() -> None:
            store = RedisStore(redis.url, instance="i")
            await agree(store, calls, lambda now: set_time(redis, now))
            await store.close()

        redis.client.flushdb()
        asyncio.run(run())

    check()


def test_a_clock_of_redis_that_is_set_back_lets_nothing_through_and_holds_nothing_for_longer_than_a_window(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_a_clock_of_ours(monkeypatch)
    limits = limits_of("a", None, 3, 1)

    async def counted(store: RedisStore, now: float) -> bool:
        set_time(redis, now)
        return (await store.take(limits)).counted

    async def run() -> None:
        redis.client.flushdb()
        store = RedisStore(redis.url, instance="i")
        assert [await counted(store, 100_000 + second) for second in range(4)] == [True, True, True, False]
        back = 50_000
        assert not await counted(store, back)
        assert not await counted(store, back + 30)
        assert not await counted(store, back + 60.9)
        assert [await counted(store, back + 61) for _ in range(4)] == [True, True, True, False]
        await store.close()

    asyncio.run(run())
