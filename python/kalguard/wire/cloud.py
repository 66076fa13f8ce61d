"""What KalGuard and KalGuard Cloud tell each other. There is no field for anything that was said in a check.

Times are RFC 3339. A count of -1 is no limit. Fields that we do not know are passed over: Cloud may be newer.
"""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

API_KEY_HEADER = "x-api-key"
VALIDATE_PATH = "/api/v1/license/validate"
REPORT_PATH = "/api/v1/usage/report"

Count = Annotated[int, msgspec.Meta(ge=-1, le=2**53)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._:@/-]{1,128}\Z")]  # goes into a header
TokenHash = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F]{64}\Z")]


class LicenseLimits(msgspec.Struct, frozen=True, rename="camel"):
    """What the plan allows."""

    checks_per_day: Count
    max_agents: Count
    audit_retention_days: Count
    features: list[str] = []


class LicenseReply(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The licence of an API key. Where it is valid, `tier`, `org_id` and `limits` are there.

    `token_signing_secret` signs agent tokens (HS256). `revoked_token_hashes` are the SHA-256, in hex, of all tokens
    that were withdrawn and would otherwise be good; without the field nothing is said of them.
    """

    valid: bool
    tier: Name | None = None
    org_id: Name | None = None
    limits: LicenseLimits | None = None
    expires_at: datetime | None = None
    token_signing_secret: str | None = None
    revoked_token_hashes: list[TokenHash] | None = None


class UsageEvent(msgspec.Struct, frozen=True, rename="camel"):
    """One check, as counted. `timestamp` is RFC 3339 in UTC with milliseconds. `request_id` is of no other event."""

    event_type: Literal["prompt_check", "tool_check"]
    agent_id: str
    decision: str
    timestamp: str
    request_id: str


class UsageReport(msgspec.Struct, frozen=True):
    """Events that Cloud may have already: it counts each `request_id` once."""

    events: list[UsageEvent]


class UsageReply(msgspec.Struct, frozen=True):
    """How many events were taken, and how many checks are left for the day, over all sidecars."""

    accepted: Annotated[int, msgspec.Meta(ge=0)]
    remaining: Count
