"""Every decision on record: from a verdict to a line.

`AuditLog` gives each record its id, encodes it and hands it to a sink (`records.sinks`). A record that cannot be
written raises `AuditUnavailable`, and what it was about must then be refused. Records hold counts, categories,
scores and rule ids: never what was said, nor the token. Lines are pure ASCII, so that nothing in a record ends a line
or speaks to a terminal, whoever reads it.
"""

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from kalguard.decision.model import Check, Finding, LimitName, Verdict
from kalguard.errors import AuditUnavailable
from kalguard.records.clock import rfc3339
from kalguard.wire.audit import AuditRecord, EventType
from kalguard.wire.codes import ErrorCode

_ENCODER = msgspec.json.Encoder()
_TOOL_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,128}")


class AuditSink(Protocol):
    """Takes records, in order."""

    async def write(self, record: bytes, *, sign: bool = False) -> None:
        """Put a record where a killed process leaves it. `sign`: sign it, given a key. Raises `AuditUnavailable`."""

    def is_working(self) -> bool:
        """Whether the next record can be expected to be taken."""

    async def close(self) -> None:
        """Let go of what is held open."""


class AuditLog:
    """Writes records to one sink. `clock` gives unix seconds, for events that are not a check.

    `shape` turns a record into what is written of it as JSON, by default what it is.
    """

    def __init__(
        self,
        sink: AuditSink,
        *,
        clock: Callable[[], float],
        shape: Callable[[AuditRecord], Any] = lambda record: record,
    ) -> None:
        self._sink = sink
        self._clock = clock
        self._shape = shape
        self._has_begun = False
        self._is_closing = False

    async def record_check(self, verdict: Verdict) -> None:
        """Write the one record of a check. Raises `AuditUnavailable`."""
        await self._write(
            AuditRecord(
                id=_event_id(),
                type=_type_of(verdict),
                timestamp=rfc3339(verdict.at),
                agent_id=verdict.agent_id,
                request_id=verdict.request_id,
                decision=verdict.decision,
                reason=_reason_of(verdict),
                metadata=_metadata_of(verdict),
            )
        )

    async def record_event(
        self, event: EventType, *, decision: str, reason: str, metadata: dict[str, Any], sign: bool = False
    ) -> None:
        """Write something that happened to the service itself. Raises `AuditUnavailable`."""
        record = AuditRecord(
            id=_event_id(),
            type=event,
            timestamp=rfc3339(datetime.fromtimestamp(self._clock(), UTC)),
            agent_id=None,
            request_id=None,
            decision=decision,
            reason=reason,
            metadata=metadata,
        )
        await self._write(record, sign=sign)

    async def record_checkpoint(self) -> None:
        """Sign what was written so far. Raises `AuditUnavailable`."""
        await self.record_event("audit_checkpoint", decision="allow", reason="checkpoint", metadata={}, sign=True)

    def is_working(self) -> bool:
        """Whether the next record can be expected to be taken."""
        return self._sink.is_working()

    async def close(self) -> None:
        """Say, if anything was said, that there is no more to come, and close the sink. Raises `AuditUnavailable`.

        A record that comes now is refused: behind the last one there is none.
        """
        self._is_closing = True
        try:
            if self._has_begun:
                reason = "writer stopped"
                await self.record_event("audit_closed", decision="allow", reason=reason, metadata={}, sign=True)
        finally:
            await self._sink.close()

    async def _write(self, record: AuditRecord, *, sign: bool = False) -> None:
        if self._is_closing and record.type != "audit_closed":
            raise AuditUnavailable("audit log is closed")
        await self._sink.write(_encoded(record if self._shape is None else self._shape(record)), sign=sign)
        self._has_begun = True


def _encoded(shaped: Any) -> bytes:
    line = _ENCODER.encode(shaped)
    if not line.isascii():
        line = json.dumps(msgspec.json.decode(line), separators=(",", ":")).encode("ascii")
    return line.replace(b"\x7f", b"\\u007f")


def _event_id() -> str:
    return f"evt_{secrets.token_hex(12)}"


def _type_of(verdict: Verdict) -> EventType:
    if verdict.code in (ErrorCode.AUTH_FAILED, ErrorCode.TOKEN_REVOKED):
        return "auth_failure"
    if verdict.code is ErrorCode.AGENT_LIMIT_EXCEEDED or any(
        state.name is LimitName.DAILY for state in verdict.exceeded
    ):
        return "policy_deny"
    if verdict.check is not Check.PROMPT:
        allowed: EventType = "tool_allowed" if verdict.check is Check.TOOL else "tool_registered"
        return allowed if verdict.allowed else "tool_denied"
    if not verdict.allowed:
        return "prompt_denied"
    return "prompt_allowed" if verdict.sanitized_messages is None else "prompt_sanitized"


def _reason_of(verdict: Verdict) -> str:
    """As in the reply, unless it quotes what an agent wrote: what is wrong with a schema names its keys."""
    if verdict.check is Check.REGISTER and verdict.code is ErrorCode.BAD_REQUEST:
        return "definition cannot be used"
    return verdict.reason


def _metadata_of(verdict: Verdict) -> dict[str, Any]:
    """What is known, and only that: a key is missing where a check ended before it could be."""
    metadata: dict[str, Any] = {"check": verdict.check}
    if verdict.code is not None:
        metadata["errorCode"] = verdict.code
    if verdict.principal is not None:
        metadata["tokenHash"] = verdict.principal.token_hashes[0]
    if verdict.access is not None:
        counts = {
            "toolName": _tool_name(verdict.access.tool),
            "argumentCount": verdict.access.argument_count,
            "messageCount": verdict.access.message_count,
        }
        metadata.update((name, value) for name, value in counts.items() if value is not None)
    if verdict.evaluation is not None:
        metadata["ruleId"] = verdict.evaluation.rule_id
        metadata["policyVersion"] = verdict.policy_version
        metadata["policyDigest"] = verdict.policy_digest
    if verdict.shadow is not None and verdict.shadow_differs:
        metadata["shadow"] = {
            "decision": verdict.shadow.decision,
            "ruleId": verdict.shadow.rule_id,
            "policyVersion": verdict.shadow.policy_version,
            "policyDigest": verdict.shadow.policy_digest,
        }
    if verdict.exceeded:
        metadata["exceededLimits"] = [state.name for state in verdict.exceeded]
    if verdict.inspection is not None:
        checked = {
            "failedCheck": verdict.inspection.failed_check,
            "definitionDigest": verdict.inspection.definition_digest,
            "agreedDigest": verdict.inspection.agreed_digest,
        }
        metadata.update((name, value) for name, value in checked.items() if value is not None)
    if verdict.inspection is not None and verdict.inspection.risk is not None:
        risk = verdict.inspection.risk
        metadata["riskScore"] = risk.score
        metadata["riskLevel"] = risk.level
        if risk.monitored is not None:
            metadata["monitored"] = risk.monitored
        metadata["findings"] = _by_category(risk.findings)
    if verdict.access is not None and verdict.access.arguments is not None:
        metadata["findings"] = [{"category": f.category, "score": f.score} for f in verdict.access.findings]
    return metadata


def _by_category(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """One entry for each category, gravest first: in how many messages, and the highest score."""
    entries: dict[str, dict[str, Any]] = {}
    for finding in findings:
        entry = entries.setdefault(finding.category, {"category": finding.category, "messages": 0, "score": 0})
        entry["messages"] += 1
        entry["score"] = max(entry["score"], finding.score)
    return list(entries.values())


def _tool_name(name: str | None) -> str | None:
    """The name of a tool, or the hash of what an agent calls one: it must not be a way to put words on record."""
    if name is None or _TOOL_NAME.fullmatch(name):
        return name
    return f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"
