"""Reads the sidecar's replies. What is not surely an allowance is none.

An allowance is a reply with status 200 whose every part says so and that names the request it answers. A status that
says no is `KalGuardDenied`, whatever comes with it. Everything else is `KalGuardUnavailable`: a proxy's error page, a
redirect, half a reply, somebody else's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from kalguard.errors import KalGuardDenied, KalGuardUnavailable

REQUEST_ID_HEADER = "x-kalguard-request-id"
MAX_REPLY_BYTES = 16 * 1024 * 1024  # a reply holds at most the messages of a body of 5 MiB, escaped otherwise
_DENYING = frozenset({400, 401, 403, 404, 405, 413, 429})


class Finding(msgspec.Struct, frozen=True):
    """Something that was found: its category, its score (0 to 100), the index of its message if it has one."""

    category: str
    score: int
    message: int | None = None


class PlanInfo(msgspec.Struct, frozen=True):
    """The plan, as of the last reply. `remaining` checks today (-1: no limit); `reset_at` in unix seconds."""

    plan: str
    remaining: int
    reset_at: int


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """An allowance. `is_unchecked`: nobody could be asked, and the caller wanted to go on then."""

    request_id: str
    reason: str = ""
    is_unchecked: bool = False


class PromptResult(CheckResult, frozen=True, kw_only=True):
    """A prompt that may be sent: `messages`, and not those that were asked about, if `is_sanitized`."""

    messages: list[dict[str, Any]]
    is_sanitized: bool = False
    risk_score: int | None = None
    risk_level: str | None = None
    findings: tuple[Finding, ...] = ()


class _Data(msgspec.Struct, frozen=True, rename="camel"):
    allowed: bool | UnsetType = UNSET
    risk_score: int | UnsetType = UNSET
    risk_level: str | UnsetType = UNSET
    findings: list[Finding] | UnsetType = UNSET
    sanitized_messages: list[dict[str, Any]] | UnsetType = UNSET
    reset_at: int | UnsetType = UNSET


class _Reply(msgspec.Struct, frozen=True, rename="camel"):
    ok: bool
    allowed: bool
    decision: str
    message: str
    request_id: str
    data: _Data = _Data()
    error_code: str | UnsetType = UNSET


class Answer(msgspec.Struct, frozen=True):
    """What came over HTTP. Names of headers are in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def retry_after(self) -> float | None:
        """Seconds until it is worth asking again, if the sidecar says so."""
        given = self.headers.get("retry-after", "")
        return float(given) if given.isascii() and given.isdigit() and len(given) < 10 else None


def read_prompt(answer: Answer, request_id: str, sent: Sequence[dict[str, Any]]) -> PromptResult:
    """The allowance for `sent`. Raises `KalGuardDenied` or `KalGuardUnavailable`."""
    reply = _allowance(answer, request_id)
    data = reply.data
    changed = data.sanitized_messages
    if changed is not UNSET and len(changed) != len(sent):
        raise _unusable("a reply with other messages than were sent", request_id)
    return PromptResult(
        request_id=request_id,
        reason=reply.message,
        messages=[*sent] if changed is UNSET else changed,
        is_sanitized=changed is not UNSET,
        risk_score=None if data.risk_score is UNSET else data.risk_score,
        risk_level=None if data.risk_level is UNSET else data.risk_level,
        findings=() if data.findings is UNSET else tuple(data.findings),
    )


def read_tool(answer: Answer, request_id: str) -> CheckResult:
    """The allowance for a tool call, or for the registration of a tool. Raises as `read_prompt`."""
    return CheckResult(request_id=request_id, reason=_allowance(answer, request_id).message)


def plan_info(headers: Mapping[str, str]) -> PlanInfo | None:
    """The plan that the head of a reply tells of, if it does."""
    plan = headers.get("x-kalguard-plan")
    try:
        remaining, reset_at = int(headers["x-kalguard-usage-remaining"]), int(headers["x-ratelimit-reset"])
    except (KeyError, ValueError):
        return None
    return PlanInfo(plan, remaining, reset_at) if plan else None


def _allowance(answer: Answer, request_id: str) -> _Reply:
    if answer.status != 200 and answer.status not in _DENYING:
        raise _unusable(f"HTTP {answer.status}", request_id)
    reply = _decoded(answer, request_id)
    if isinstance(reply, str):
        if answer.status == 200:
            raise _unusable(reply, request_id)
        # Whoever said so, it was said: nobody need be able to read why.
        raise KalGuardDenied(f"HTTP_{answer.status}", reply, request_id=request_id, retry_after=answer.retry_after)
    says_yes = (answer.status == 200, reply.ok, reply.allowed, reply.decision == "allow", reply.error_code is UNSET)
    if all(says_yes) and reply.data.allowed is not False:
        return reply
    if answer.status == 200:
        raise _unusable("a reply that contradicts itself", request_id)
    raise KalGuardDenied(
        f"HTTP_{answer.status}" if reply.error_code is UNSET else reply.error_code,
        reply.message,
        request_id=request_id,
        risk_score=None if reply.data.risk_score is UNSET else reply.data.risk_score,
        retry_after=answer.retry_after,
        reset_at=None if reply.data.reset_at is UNSET else reply.data.reset_at,
    )


def _decoded(answer: Answer, request_id: str) -> _Reply | str:
    """The reply, or why it is none."""
    try:
        reply = msgspec.json.decode(answer.body, type=_Reply)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return f"HTTP {answer.status} with a body that is no reply of the sidecar"
    return reply if reply.request_id == request_id else "a reply to another request"


def _unusable(what: str, request_id: str) -> KalGuardUnavailable:
    return KalGuardUnavailable(what, request_id=request_id)
