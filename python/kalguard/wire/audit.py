"""One line of the audit log. No prompt text, no argument value, no personal data, no token is ever a field of it."""

from typing import Any, Literal

import msgspec

EventType = Literal[
    "auth_failure",
    "prompt_allowed",
    "prompt_denied",
    "prompt_sanitized",
    "tool_allowed",
    "tool_denied",
    "policy_deny",
    "tool_registered",
    "policy_error",
    "policy_reload",
    "audit_checkpoint",
    "audit_closed",
]


class AuditRecord(msgspec.Struct, frozen=True, rename="camel"):
    """As in the log. `timestamp` is RFC 3339 in UTC with milliseconds; `agentId` is null until a token is verified."""

    id: str
    type: EventType
    timestamp: str
    agent_id: str | None
    request_id: str | None
    decision: str
    reason: str
    metadata: dict[str, Any]
