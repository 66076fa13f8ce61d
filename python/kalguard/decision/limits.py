"""Within limits: how many tool calls an agent may make a minute, over all tools and for each tool.

A limit of N means that in no span of `WINDOW_SECONDS` more than N calls are allowed. Asking and counting are one
step; a refused call is counted nowhere. Where the counts are kept is the store's business (`kalguard.counters`).
"""

from collections.abc import Callable, Sequence
from math import ceil
from typing import Protocol

from kalguard.decision.model import LimitReached

WINDOW_SECONDS = 60.0


class Counters(Protocol):
    """Counts calls in sliding windows."""

    def take(self, limits: Sequence[tuple[tuple[str, ...], int]]) -> float:
        """Count one call under each `(key, limit)`, if all of them have room.

        Gives 0.0 when it was counted, else the seconds after which there is room under all of them.
        """


class ToolLimits:
    """The limits on tool calls. `clock` gives unix seconds, for saying when a limit resets."""

    def __init__(self, counters: Counters, *, per_agent: int | None, clock: Callable[[], float]) -> None:
        self._counters = counters
        self._per_agent = per_agent
        self._clock = clock

    def take(self, agent_id: str, tool: str, per_tool: int | None) -> LimitReached | None:
        """Count one call of `tool` by an agent, or say which wait it takes. `None` means that it was counted."""
        limits: list[tuple[tuple[str, ...], int]] = []
        if self._per_agent is not None:
            limits.append(((agent_id,), self._per_agent))
        if per_tool is not None:
            limits.append(((agent_id, tool), per_tool))
        if not limits:
            return None
        wait = self._counters.take(limits)
        if wait <= 0.0:
            return None
        return LimitReached(retry_after_seconds=ceil(wait), reset_at=ceil(self._clock() + wait))
