"""Registered tools in the memory of one process."""

from collections import Counter
from collections.abc import Sequence

from kalguard.decision.registration import (
    MAX_DEFINITIONS,
    MAX_TOOLS,
    MAX_TOOLS_PER_AGENT,
    MAX_TOTAL_BYTES,
    Registration,
    TooManyTools,
)

TOO_MANY = "too many tools are registered"
PER_AGENT = f"agent has registered {MAX_TOOLS_PER_AGENT} tools, which is all it may"


class Table:
    """Registrations by tool. Not for several threads at once, except for `of`."""

    def __init__(self) -> None:
        self._tools: dict[str, tuple[Registration, ...]] = {}
        self._per_agent: Counter[str] = Counter()
        self._bytes = 0

    def of(self, tool: str) -> Sequence[Registration]:
        """The registrations of a tool."""
        return self._tools.get(tool, ())

    def takes(self, registration: Registration, *, pinned: bool) -> bool:
        """Whether this registration is to be kept. Raises `TooManyTools`."""
        known = self.of(registration.tool)
        if any(registration.digest == other.digest for other in known):
            return False
        if known:
            return pinned or len(known) < MAX_DEFINITIONS
        if len(self._tools) >= MAX_TOOLS or self._bytes + len(registration.argument_schema) > MAX_TOTAL_BYTES:
            raise TooManyTools(TOO_MANY)
        if self._per_agent[registration.agent_id] >= MAX_TOOLS_PER_AGENT:
            raise TooManyTools(PER_AGENT)
        return True

    def put(self, registration: Registration) -> None:
        """Keep a registration."""
        known = self._tools.get(registration.tool, ())
        self._tools[registration.tool] = (*known, registration)
        if not known:
            self._per_agent[registration.agent_id] += 1
            self._bytes += len(registration.argument_schema)


class KnownAtOnce:
    """What stores have in common in which everybody sees a registration as soon as it is made."""

    has_looked = True
    sees_all = True

    def __init__(self) -> None:
        self._table = Table()

    def of(self, tool: str) -> Sequence[Registration]:
        """The registrations of a tool, the first one first."""
        return self._table.of(tool)

    async def look(self) -> None:
        """There is nothing that `of` does not see."""


class MemoryRegistrations(KnownAtOnce):
    """For a service of one process. They are gone with it."""

    async def add(self, registration: Registration, *, pinned: bool) -> Sequence[Registration]:
        """Keep a registration if it is to be kept. Raises `TooManyTools`."""
        if self._table.takes(registration, pinned=pinned):
            self._table.put(registration)
        return self._table.of(registration.tool)
