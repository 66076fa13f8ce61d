"""Within limits: how many tool calls an agent may make a minute, over all tools and for each tool.

A limit of N means that in no span of `WINDOW_SECONDS` more than N calls are allowed. Calls are counted by the second;
what counts now is the current second and the 60 before it, so that a place becomes free up to a second late and never
early. Asking and counting are one step, for all limits of a call together; a refused call is counted nowhere. Where
the counts are kept is the store's business (`kalguard.counters`).

*Rejected*: GCRA, which is one number a key. Its burst of N and the refill after it let up to 2N - 1 calls through in
a minute. A list of times is exact to the instant, but takes memory in proportion to the limit.
"""

from collections.abc import Callable, Sequence
from math import ceil
from typing import Protocol

import msgspec

from kalguard.decision.model import LimitName, LimitState

WINDOW_SECONDS = 60


class Limit(msgspec.Struct, frozen=True):
    """At most `allowed` calls under `key`. `name` is what replies and metrics call it; it says nothing of the agent."""

    name: LimitName
    key: tuple[str, ...]
    allowed: int


class Room(msgspec.Struct, frozen=True):
    """What is left under one limit, and the seconds until it grows: until there is any, where there is none.

    `reset_seconds` is 0.0 where nothing is counted.
    """

    remaining: int
    reset_seconds: float


class Taken(msgspec.Struct, frozen=True):
    """Whether a call was counted, and what each limit then leaves, in the order in which they were given."""

    counted: bool
    rooms: tuple[Room, ...]


class Counters(Protocol):
    """Counts calls in sliding windows."""

    async def take(self, limits: Sequence[Limit]) -> Taken:
        """Count one call under each of `limits`, if all of them have room. Raises `Unavailable`."""


class ToolLimits:
    """The limits on tool calls. `clock` gives unix seconds, for saying when a limit resets."""

    def __init__(self, counters: Counters, *, per_agent: int | None, clock: Callable[[], float]) -> None:
        self._counters = counters
        self._per_agent = per_agent
        self._clock = clock

    async def take(self, agent_id: str, tool: str, per_tool: int | None) -> tuple[LimitState, ...]:
        """Count one call of `tool` by an agent, and say how its limits stand. It was refused if one is exceeded.

        Raises `Unavailable` if it cannot be counted.
        """
        limits: list[Limit] = []
        if self._per_agent is not None:
            limits.append(Limit(LimitName.AGENT, (agent_id,), self._per_agent))
        if per_tool is not None:
            limits.append(Limit(LimitName.TOOL, (agent_id, tool), per_tool))
        if not limits:
            return ()
        taken = await self._counters.take(limits)
        return tuple(
            self._state(limit, room, counted=taken.counted) for limit, room in zip(limits, taken.rooms, strict=True)
        )

    def _state(self, limit: Limit, room: Room, *, counted: bool) -> LimitState:
        return LimitState(
            name=limit.name,
            quota=limit.allowed,
            window_seconds=WINDOW_SECONDS,
            remaining=room.remaining,
            reset_seconds=ceil(room.reset_seconds),
            reset_at=ceil(self._clock() + room.reset_seconds),
            exceeded=not counted and room.remaining == 0,
        )
