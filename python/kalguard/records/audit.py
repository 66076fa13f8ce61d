"""Every decision on record: from a verdict to a line.

`AuditLog` gives each record its id, encodes it and hands it to a sink (`records.sinks`). A record that cannot be
written raises `AuditUnavailable`, and what it was about must then be refused. Records hold counts, categories,
scores and rule ids: never what was said, nor the token. Lines are pure ASCII, so that nothing in a record ends a line
or speaks to a terminal, whoever reads it.
"""

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import msgspec

from kalguard.decision.model import Check, Finding, Inspection, LimitName, Verdict
from kalguard.errors import AuditUnavailable
from kalguard.randomness import hex_ids
from kalguard.records.clock import rfc3339
from kalguard.wire.audit import AuditRecord, EventType
from kalguard.wire.codes import ErrorCode

_ENCODER = msgspec.json.Encoder()
_EVENT_IDS = hex_ids(12)
_TOOL_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,128}")


class AuditSink(Protocol):
    """Takes records, in order."""

    def write(self, record: bytes, *, sign: bool = False) -> Awaitable[None]:
        """Put a record where a killed process leaves it. `sign`: sign it, given a key.

        It is there once what this gives was awaited, which may raise `AuditUnavailable`.
        """

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

    def record_check(self, verdict: Verdict) -> Awaitable[None]:
        """Write the one record of a check. Raises `AuditUnavailable`."""
        return self._write(
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
            timestamp=rfc3339(self._clock()),
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

    def _write(self, record: AuditRecord, *, sign: bool = False) -> Awaitable[None]:
        if self._is_closing and record.type != "audit_closed":
            raise AuditUnavailable("audit log is closed")
        written = self._sink.write(_encoded(self._shape(record)), sign=sign)
        self._has_begun = True
        return written


def _encoded(shaped: Any) -> bytes:
    line = _ENCODER.encode(shaped)
    if not line.isascii():
        line = json.dumps(msgspec.json.decode(line), separators=(",", ":")).encode("ascii")
    return line.replace(b"\x7f", b"\\u007f")


def _event_id() -> str:
    return f"evt_{next(_EVENT_IDS)}"


def _type_of(verdict: Verdict) -> EventType:
    if verdict.code is None:
        if verdict.check is Check.PROMPT:
            return "prompt_allowed" if verdict.sanitized_messages is None else "prompt_sanitized"
        return "tool_allowed" if verdict.check is Check.TOOL else "tool_registered"
    if verdict.code in (ErrorCode.AUTH_FAILED, ErrorCode.TOKEN_REVOKED):
        return "auth_failure"
    if verdict.code is ErrorCode.AGENT_LIMIT_EXCEEDED or any(
        state.name is LimitName.DAILY for state in verdict.exceeded
    ):
        return "policy_deny"
    return "prompt_denied" if verdict.check is Check.PROMPT else "tool_denied"


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
        if verdict.access.tool is not None:
            metadata["toolName"] = _tool_name(verdict.access.tool)
        if verdict.access.argument_count is not None:
            metadata["argumentCount"] = verdict.access.argument_count
        if verdict.access.message_count is not None:
            metadata["messageCount"] = verdict.access.message_count
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
    if exceeded := verdict.exceeded:
        metadata["exceededLimits"] = [state.name for state in exceeded]
    if verdict.inspection is not None:
        _add_inspection(verdict.inspection, metadata)
    if verdict.access is not None and verdict.access.arguments is not None:
        metadata["findings"] = [{"category": f.category, "score": f.score} for f in verdict.access.findings]
    return metadata


def _add_inspection(inspection: Inspection, metadata: dict[str, Any]) -> None:
    if inspection.failed_check is not None:
        metadata["failedCheck"] = inspection.failed_check
    if inspection.definition_digest is not None:
        metadata["definitionDigest"] = inspection.definition_digest
    if inspection.agreed_digest is not None:
        metadata["agreedDigest"] = inspection.agreed_digest
    if (risk := inspection.risk) is not None:
        metadata["riskScore"] = risk.score
        metadata["riskLevel"] = risk.level
        if risk.monitored is not None:
            metadata["monitored"] = risk.monitored
        metadata["findings"] = _by_category(risk.findings)


def _by_category(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """One entry for each category, gravest first: in how many messages, and the highest score."""
    entries: dict[str, dict[str, Any]] = {}
    for finding in findings:
        entry = entries.setdefault(finding.category, {"category": finding.category, "messages": 0, "score": 0})
        entry["messages"] += 1
        entry["score"] = max(entry["score"], finding.score)
    return list(entries.values())


def _tool_name(name: str) -> str:
    """The name of a tool, or the hash of what an agent calls one: it must not be a way to put words on record."""
    if _TOOL_NAME.fullmatch(name):
        return name
    return f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"
