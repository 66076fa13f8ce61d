"""Tool limits: never more than N calls in any minute."""

import asyncio
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from kalguard.counters.memory import MAX_WINDOWS, MemoryCounters
from kalguard.decision.limits import WINDOW_SECONDS, Limit, ToolLimits
from kalguard.decision.model import LimitName, LimitState
from kalguard.errors import Unavailable


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def take(limits: ToolLimits, agent: str, tool: str, per_tool: int | None) -> tuple[LimitState, ...]:
    return asyncio.run(limits.take(agent, tool, per_tool))


def allowed(limits: ToolLimits, agent: str, tool: str, per_tool: int | None = None) -> bool:
    return not any(state.exceeded for state in take(limits, agent, tool, per_tool))


def test_exactly_the_limit_is_allowed() -> None:
    limits = ToolLimits(MemoryCounters(Clock()), per_agent=100, clock=Clock())
    assert [allowed(limits, "a", "t") for _ in range(150)].count(True) == 100


def test_without_a_limit_nothing_is_counted() -> None:
    counters = MemoryCounters(Clock())
    assert take(ToolLimits(counters, per_agent=None, clock=Clock()), "a", "t", None) == ()
    assert len(counters) == 0


def test_what_is_told_of_a_limit() -> None:
    clock = Clock()
    limits = ToolLimits(MemoryCounters(clock), per_agent=2, clock=clock)
    told = partial(LimitState, LimitName.AGENT, 2, 60, reset_at=1061)
    assert take(limits, "a", "t", None) == (told(remaining=1, reset_seconds=61),)
    clock.now += 10.5
    assert take(limits, "a", "t", None) == (told(remaining=0, reset_seconds=51),)
    assert take(limits, "a", "t", None) == (told(remaining=0, reset_seconds=51, exceeded=True),)


def test_the_wait_that_is_told_is_enough_and_not_more() -> None:
    clock = Clock()
    limits = ToolLimits(MemoryCounters(clock), per_agent=2, clock=clock)
    assert allowed(limits, "a", "t")
    clock.now += 10
    assert allowed(limits, "a", "t")
    (refused,) = take(limits, "a", "t", None)
    assert refused.exceeded
    clock.now += refused.reset_seconds - 0.1
    assert not allowed(limits, "a", "t")
    clock.now += 0.1
    assert allowed(limits, "a", "t")
    assert not allowed(limits, "a", "t")


def test_a_limit_that_is_lowered_holds_at_once() -> None:
    clock = Clock()
    counters = MemoryCounters(clock)
    for _ in range(5):
        assert allowed(ToolLimits(counters, per_agent=5, clock=clock), "a", "t")
        clock.now += 1
    (refused,) = take(ToolLimits(counters, per_agent=2, clock=clock), "a", "t", None)
    assert refused.exceeded
    assert refused.reset_seconds == 59  # until four of the five have left


def test_agents_and_tools_are_counted_apart() -> None:
    limits = ToolLimits(MemoryCounters(Clock()), per_agent=None, clock=Clock())
    assert [allowed(limits, agent, tool, 1) for agent in "ab" for tool in "tu" for _ in "12"] == [True, False] * 4


def test_no_name_of_an_agent_or_tool_runs_into_another() -> None:
    limits = ToolLimits(MemoryCounters(Clock()), per_agent=None, clock=Clock())
    assert allowed(limits, "a", "b:c", 1)
    assert allowed(limits, "a:b", "c", 1)


def test_a_call_that_one_limit_refuses_is_counted_under_none_and_only_that_one_is_exceeded() -> None:
    limits = ToolLimits(MemoryCounters(Clock()), per_agent=3, clock=Clock())
    assert [allowed(limits, "a", tool, 1) for tool in ("t", "t", "t", "t", "u")] == [True, False, False, False, True]
    agent, tool = take(limits, "a", "u", 1)
    assert (agent.remaining, agent.exceeded, tool.remaining, tool.exceeded) == (1, False, 0, True)
    assert [allowed(limits, "a", tool, 1) for tool in ("v", "w")] == [True, False]
    agent, tool = take(limits, "a", "w", 1)
    assert (agent.exceeded, tool.exceeded, tool.remaining, tool.reset_seconds) == (True, False, 1, 0)


def test_idle_windows_are_dropped() -> None:
    clock = Clock()
    counters = MemoryCounters(clock)

    async def come_and_go() -> None:
        for number in range(5000):
            await counters.take([Limit(LimitName.AGENT, (str(number),), 1)])
            clock.now += 1

    asyncio.run(come_and_go())
    assert len(counters) < 2000


def test_more_agents_than_can_be_counted_are_refused_and_those_counted_go_on() -> None:
    clock = Clock()
    counters = MemoryCounters(clock)

    async def crowd() -> int:
        refused = 0
        for number in range(MAX_WINDOWS + 10):
            try:
                await counters.take([Limit(LimitName.AGENT, (str(number),), 5)])
            except Unavailable:
                refused += 1
        assert (await counters.take([Limit(LimitName.AGENT, ("0",), 5)])).rooms[0].remaining == 3
        return refused

    assert asyncio.run(crowd()) == 10
    assert len(counters) == MAX_WINDOWS


@given(st.lists(st.floats(0, 40), max_size=60), st.integers(1, 4))
def test_in_no_minute_are_more_than_the_limit_allowed(pauses: list[float], limit: int) -> None:
    clock = Clock()
    limits = ToolLimits(MemoryCounters(clock), per_agent=limit, clock=clock)
    times: list[float] = []
    for pause in pauses:
        clock.now += pause
        recent = [at for at in times if at > clock.now - WINDOW_SECONDS]
        longer = [at for at in times if at > clock.now - WINDOW_SECONDS - 1]
        if allowed(limits, "a", "t"):
            assert len(recent) < limit
            times.append(clock.now)
        else:
            assert len(longer) >= limit
