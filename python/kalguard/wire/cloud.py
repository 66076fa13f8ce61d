"""What KalGuard Cloud may learn of a check. There is no field for anything that was said in it."""

from typing import Literal

import msgspec


class UsageEvent(msgspec.Struct, frozen=True, rename="camel"):
    """One check, as counted. `timestamp` is RFC 3339 in UTC with milliseconds."""

    event_type: Literal["prompt_check", "tool_check"]
    agent_id: str
    decision: str
    timestamp: str
    request_id: str
