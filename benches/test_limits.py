"""What counting a call under two limits costs in each store, a hundred calls a time. Each answer is asserted.

Each of the hundred is another agent's: one agent is not let call as often in a second as is measured here.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from tests.redis import redis_server

from kalguard.counters import batches
from kalguard.counters.memory import MemoryCounters
from kalguard.counters.redis import RedisStore
from kalguard.counters.workers import WorkerCounters, make_table, uptime
from kalguard.decision.limits import Counters, Limit
from kalguard.decision.model import LimitName

GROUP = "100 calls, each under two limits"
CALLS = 100
LIMITS = [
    [Limit(LimitName.AGENT, (f"agent-{n}",), 10**9), Limit(LimitName.TOOL, (f"agent-{n}", "search"), 10**9)]
    for n in range(CALLS)
]


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with asyncio.Runner() as runner:
        yield runner.get_loop()


async def one_after_another(store: Counters) -> int:
    return sum([(await store.take(limits)).counted for limits in LIMITS])


async def together(store: Counters) -> int:
    return sum(taken.counted for taken in await asyncio.gather(*(store.take(limits) for limits in LIMITS)))


def test_in_the_memory_of_a_process(benchmark: Any, loop: asyncio.AbstractEventLoop) -> None:
    benchmark.group = GROUP
    store = MemoryCounters(uptime)
    assert benchmark(lambda: loop.run_until_complete(one_after_another(store))) == CALLS


def test_in_the_table_of_an_instance(benchmark: Any, loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    benchmark.group = GROUP
    make_table(tmp_path / "counters")
    store = WorkerCounters(tmp_path / "counters")
    assert benchmark(lambda: loop.run_until_complete(one_after_another(store))) == CALLS


@pytest.mark.parametrize("how", [one_after_another, together], ids=["one after another", "together"])
def test_in_redis(
    benchmark: Any, loop: asyncio.AbstractEventLoop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: Any
) -> None:
    benchmark.group = GROUP
    monkeypatch.setattr(batches, "BUDGET_SECONDS", 5.0)  # among thousands some are late: no answer is none to measure
    with redis_server(tmp_path) as server:
        store = RedisStore(server.url, instance="benches")
        loop.run_until_complete(store.beat())
        assert benchmark(lambda: loop.run_until_complete(how(store))) == CALLS
        loop.run_until_complete(store.close())


def test_yardstick_list_of_times(benchmark: Any) -> None:
    """What one would write first: exact, in one process, and as large as the limit. Here the limit is small."""
    benchmark.group = GROUP
    windows: dict[tuple[str, ...], deque[float]] = {}

    def take(limits: Sequence[Limit]) -> bool:
        now = monotonic()
        found = [windows.setdefault(limit.key, deque(maxlen=1000)) for limit in limits]
        for window in found:
            while window and window[0] <= now - 60:
                window.popleft()
        if any(len(window) > 1000 for window in found):
            return False
        for window in found:
            window.append(now)
        return True

    assert benchmark(lambda: sum([take(limits) for limits in LIMITS])) == CALLS
