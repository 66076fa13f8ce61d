"""Tool limits: never more than N calls in any minute, compared with a plain count."""

from hypothesis import given
from hypothesis import strategies as st

from kalguard.counters.memory import MemoryCounters
from kalguard.decision.limits import WINDOW_SECONDS, ToolLimits


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_exactly_the_limit_is_allowed() -> None:
    limits = ToolLimits(MemoryCounters(Clock()), per_agent=100, clock=Clock())
    assert [limits.take("a", "t", None) for _ in range(150)].count(None) == 100


def test_the_wait_that_is_given_is_enough_and_not_more() -> None:
    clock = Clock()
    limits = ToolLimits(MemoryCounters(clock), per_agent=2, clock=clock)
    assert limits.take("a", "t", None) is None
    clock.now += 10
    assert limits.take("a", "t", None) is None
    refused = limits.take("a", "t", None)
    assert refused is not None
    assert (refused.retry_after_seconds, refused.reset_at) == (50, 1060)
    clock.now += 49.9
    assert limits.take("a", "t", None) is not None
    clock.now += 0.1
    assert limits.take("a", "t", None) is None


def test_agents_and_tools_are_counted_apart() -> None:
    limits = ToolLimits(MemoryCounters(Clock()), per_agent=None, clock=Clock())
    assert [limits.take(agent, tool, 1) is None for agent in "ab" for tool in "tu" for _ in "12"] == [True, False] * 4


def test_no_name_of_an_agent_or_tool_runs_into_another() -> None:
    limits = ToolLimits(MemoryCounters(Clock()), per_agent=None, clock=Clock())
    assert limits.take("a", "b:c", 1) is None
    assert limits.take("a:b", "c", 1) is None


def test_a_call_that_one_limit_refuses_is_counted_under_none() -> None:
    limits = ToolLimits(MemoryCounters(Clock()), per_agent=3, clock=Clock())
    allowed = [limits.take("a", tool, 1) is None for tool in ("t", "t", "t", "t", "u", "v", "w")]
    assert allowed == [True, False, False, False, True, True, False]


def test_idle_windows_are_dropped() -> None:
    clock = Clock()
    counters = MemoryCounters(clock)
    for number in range(5000):
        counters.take([((str(number),), 1)])
        clock.now += 1
    assert len(counters) < 2000


@given(st.lists(st.tuples(st.floats(0, 40), st.sampled_from("ab")), max_size=60), st.integers(1, 4))
def test_it_agrees_with_a_plain_count(calls: list[tuple[float, str]], limit: int) -> None:
    clock = Clock()
    counters = MemoryCounters(clock)
    allowed: list[tuple[float, str]] = []
    for pause, agent in calls:
        clock.now += pause
        recent = [at for at, who in allowed if who == agent and at > clock.now - WINDOW_SECONDS]
        got = counters.take([((agent,), limit)]) <= 0
        assert got == (len(recent) < limit)
        if got:
            allowed.append((clock.now, agent))
