"""What Cloud may know of a check: derived from the verdict, and nothing that was said is in it."""

from kalguard.decision.model import Check, Verdict
from kalguard.records.clock import rfc3339
from kalguard.wire.cloud import UsageEvent
from kalguard.wire.codes import ErrorCode

_NOBODY = (ErrorCode.AUTH_FAILED, ErrorCode.TOKEN_REVOKED)  # of a token that is good no more, an agent may be known


def usage_event(verdict: Verdict, event_id: str) -> UsageEvent | None:
    """The event for one verdict; `None` where there is none. `event_id` is what it is told from all others by.

    That is where no agent was let in, since there is nobody to count it for, and for what is no check. It is where the
    plan's quota counts nothing either, but for registrations.
    """
    if verdict.agent_id is None or verdict.code in _NOBODY or verdict.check is Check.REGISTER:
        return None
    return UsageEvent(
        event_type="prompt_check" if verdict.check is Check.PROMPT else "tool_check",
        agent_id=verdict.agent_id,
        decision=verdict.decision,
        timestamp=rfc3339(verdict.at),
        request_id=event_id,
    )
