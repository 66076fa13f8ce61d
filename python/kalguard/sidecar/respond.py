"""Writes replies: the one shape of `/v1/*`, derived from a verdict."""

import secrets

import msgspec
from msgspec import UNSET

from kalguard.decision.model import Finding, LimitState, Verdict
from kalguard.sidecar.requests import REQUEST_ID_HEADER
from kalguard.wire.check import FindingOut, Reply, ReplyData, write_json
from kalguard.wire.codes import ErrorCode

MAX_FINDINGS = 100  # the gravest ones; a flood of them tells nobody more
# After at most so many seconds it is worth asking again when something that a decision needs is down, or too much is
# asked. Not all are told the same, or they would all be back together.
UNAVAILABLE_SECONDS = 5
_JSON = (b"content-type", b"application/json")


class Answer(msgspec.Struct, frozen=True):
    """An HTTP response."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def answer(verdict: Verdict) -> Answer:
    """Say how a check ended."""
    code = verdict.code
    reply = Reply(
        ok=code is None or code.is_decision,
        allowed=code is None,
        decision=verdict.decision.value,
        message=verdict.reason,
        reason=UNSET if code is None else verdict.reason,
        error_code=UNSET if code is None else code,
        request_id=verdict.request_id,
        data=_data(verdict),
    )
    headers = _headers(verdict.request_id)
    if verdict.limits or code is ErrorCode.UNAVAILABLE:
        headers += _limit_headers(verdict)
    return Answer(200 if code is None else code.status, headers, write_json(reply))


def refuse(code: ErrorCode, message: str, request_id: str, *extra: tuple[bytes, bytes]) -> Answer:
    """Refuse a request that never became a check."""
    reply = Reply(
        ok=False,
        allowed=False,
        decision="deny",
        message=message,
        reason=message,
        error_code=code,
        request_id=request_id,
        data=ReplyData(allowed=False),
    )
    return Answer(code.status, [*_headers(request_id), *extra], write_json(reply))


def _headers(request_id: str) -> list[tuple[bytes, bytes]]:
    return [_JSON, (REQUEST_ID_HEADER, request_id.encode("ascii"))]


def _finding(found: Finding) -> FindingOut:
    return FindingOut(found.category, found.score, UNSET if found.message is None else found.message)


def _limit_headers(verdict: Verdict) -> list[tuple[bytes, bytes]]:
    """`ratelimit-policy` and `ratelimit` of draft-ietf-httpapi-ratelimit-headers, and `retry-after` on a refusal."""
    headers = []
    if verdict.limits:
        policies = ", ".join([f'"{state.name}";q={state.quota};w={state.window_seconds}' for state in verdict.limits])
        headers.append((b"ratelimit-policy", policies.encode()))
        headers.append((b"ratelimit", ", ".join([_state(state) for state in verdict.limits]).encode()))
    if verdict.exceeded:
        headers.append((b"retry-after", str(max(state.reset_seconds for state in verdict.exceeded)).encode()))
    elif verdict.code is ErrorCode.UNAVAILABLE:
        headers.append((b"retry-after", str(1 + secrets.randbelow(UNAVAILABLE_SECONDS)).encode()))
    return headers


def _state(state: LimitState) -> str:
    reset = f";t={state.reset_seconds}" if state.reset_seconds else ""
    return f'"{state.name}";r={state.remaining}{reset}'


def _data(verdict: Verdict) -> ReplyData:
    risk = verdict.inspection.risk if verdict.inspection is not None else None
    sanitized, found, exceeded = verdict.sanitized_messages, verdict.findings, verdict.exceeded
    return ReplyData(
        allowed=verdict.code is None,
        risk_score=UNSET if risk is None else risk.score,
        risk_level=UNSET if risk is None else risk.level,
        findings=UNSET if risk is None and not found else [_finding(one) for one in found[:MAX_FINDINGS]],
        sanitized_messages=UNSET if sanitized is None else msgspec.Raw(sanitized),  # type: ignore[arg-type]
        monitored=UNSET if risk is None or risk.monitored is None else risk.monitored,
        remaining=0 if exceeded else UNSET,
        reset_at=max([state.reset_at for state in exceeded]) if exceeded else UNSET,
    )
