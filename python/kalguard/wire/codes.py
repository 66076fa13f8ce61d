"""The registry of refusals: every `errorCode`, its HTTP status, and whether the check was carried out.

A code is never reused for something else. Documents and tests are compared with this table.
"""

from enum import StrEnum


class ErrorCode(StrEnum):
    """Why a request was refused."""

    BAD_REQUEST = "BAD_REQUEST"
    AUTH_FAILED = "AUTH_FAILED"
    TOKEN_REVOKED = "TOKEN_REVOKED"
    CAPABILITY_DENIED = "CAPABILITY_DENIED"
    POLICY_DENY = "POLICY_DENY"
    REQUIRE_APPROVAL = "REQUIRE_APPROVAL"
    PROMPT_BLOCKED = "PROMPT_BLOCKED"
    TOOL_DENIED = "TOOL_DENIED"
    AGENT_LIMIT_EXCEEDED = "AGENT_LIMIT_EXCEEDED"
    NOT_FOUND = "NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    RATE_LIMIT_EXCEEDED = "RATE_LIMIT_EXCEEDED"
    INTERNAL = "INTERNAL"
    UNAVAILABLE = "UNAVAILABLE"

    @property
    def status(self) -> int:
        """The HTTP status that carries this code."""
        return _STATUS[self]

    @property
    def is_decision(self) -> bool:
        """Whether the check was carried out and the answer is no, rather than the check being impossible."""
        return self.status == 403


_STATUS = {
    ErrorCode.BAD_REQUEST: 400,
    ErrorCode.AUTH_FAILED: 401,
    ErrorCode.TOKEN_REVOKED: 401,
    ErrorCode.CAPABILITY_DENIED: 403,
    ErrorCode.POLICY_DENY: 403,
    ErrorCode.REQUIRE_APPROVAL: 403,
    ErrorCode.PROMPT_BLOCKED: 403,
    ErrorCode.TOOL_DENIED: 403,
    ErrorCode.AGENT_LIMIT_EXCEEDED: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.METHOD_NOT_ALLOWED: 405,
    ErrorCode.PAYLOAD_TOO_LARGE: 413,
    ErrorCode.RATE_LIMIT_EXCEEDED: 429,
    ErrorCode.INTERNAL: 500,
    ErrorCode.UNAVAILABLE: 503,
}
