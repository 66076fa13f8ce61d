"""The audit record as an event of the Open Cybersecurity Schema Framework, and back.

OCSF 1.8.0 (schema.ocsf.io). A check is an API Activity with the `security_control` profile; a file taken up is Entity
Management, a file refused an Application Error, and what the log says of itself is Application Lifecycle. What has no
place in the schema stands in `unmapped`, our metadata whole, so that `native_record` can undo `ocsf_event`. Nothing is
in an event that is not in the record: no text of prompts, no argument, no token.

INVARIANT: `unmapped` is the last member and never empty, since the writer of the log puts the chain at its end.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from kalguard.version import VERSION
from kalguard.wire.audit import AuditRecord
from kalguard.wire.codes import ErrorCode

OCSF_VERSION = "1.8.0"

# class uid, category uid, activity id, activity name
_ACTIVITIES = {
    "prompt": (6003, 6, 99, "prompt:check"),
    "tool": (6003, 6, 99, "tool:execute"),
    "register": (6003, 6, 1, "tool:register"),
    "policy_reload": (3004, 3, 3, "Update"),
    "policy_error": (6008, 6, 1, "General Error"),
    "audit_checkpoint": (6002, 6, 99, "Checkpoint"),
    "audit_closed": (6002, 6, 4, "Stop"),
}
_INFORMATIONAL, _LOW, _MEDIUM, _HIGH = 1, 2, 3, 4
_RISK_LEVELS = {"low": 1, "medium": 2, "high": 3, "critical": 4}
_ALLOWED, _DENIED, _OBSERVED, _MODIFIED = 1, 2, 3, 4
# The disposition of a refusal. Whatever is not here was blocked.
_UNAUTHORIZED, _REJECTED, _ERROR, _OTHER = 26, 25, 27, 99
_DISPOSITIONS = {
    ErrorCode.AUTH_FAILED: _UNAUTHORIZED,
    ErrorCode.TOKEN_REVOKED: _UNAUTHORIZED,
    ErrorCode.CAPABILITY_DENIED: _UNAUTHORIZED,
    ErrorCode.BAD_REQUEST: _REJECTED,
    ErrorCode.PAYLOAD_TOO_LARGE: _REJECTED,
    ErrorCode.INTERNAL: _ERROR,
    ErrorCode.UNAVAILABLE: _ERROR,
    ErrorCode.REQUIRE_APPROVAL: _OTHER,
}
_BLOCKED, _DISPOSED_ALLOWED, _CORRECTED, _DETECTED = 2, 1, 11, 15
_ALERTS = frozenset({ErrorCode.PROMPT_BLOCKED, ErrorCode.TOOL_DENIED})
_UNVERIFIED = "unverified"
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00Z")


class _User(msgspec.Struct):
    uid: str | None = None


class _Actor(msgspec.Struct):
    user: _User


class _Request(msgspec.Struct):
    uid: str


class _Api(msgspec.Struct):
    request: _Request | None = None


class _Metadata(msgspec.Struct):
    uid: str
    event_code: str
    original_time: str


class _Unmapped(msgspec.Struct):
    decision: str
    metadata: dict[str, Any]


class _Event(msgspec.Struct):
    """The parts of an event that the record is read back from."""

    metadata: _Metadata
    message: str
    unmapped: _Unmapped
    actor: _Actor | None = None
    api: _Api | None = None


def ocsf_event(record: AuditRecord) -> dict[str, Any]:
    """The event for a record, ready to be written as JSON. `unmapped` is its last member."""
    checked = record.metadata.get("check")
    parts = _service_event(record) if checked is None else _check(record, str(checked))
    class_uid, category_uid, activity_id, activity = _ACTIVITIES[str(checked or record.type)]
    return {
        "class_uid": class_uid,
        "category_uid": category_uid,
        "activity_id": activity_id,
        "activity_name": activity,
        "type_uid": class_uid * 100 + activity_id,
        "time": _milliseconds(record.timestamp),
        "timezone_offset": 0,
        "metadata": {
            "version": OCSF_VERSION,
            "product": _product(),
            "profiles": [] if checked is None else ["security_control"],
            "log_name": "audit",
            "uid": record.id,
            "event_code": record.type,
            "original_time": record.timestamp,
        },
        "status_id": 1 if record.decision == "allow" else 2,
        "message": record.reason,
        **parts,
        "unmapped": {"decision": record.decision, "metadata": record.metadata},
    }


def native_record(line: bytes) -> AuditRecord:
    """The record that an event was made from. Raises `msgspec.MsgspecError` for what is no event of ours."""
    event = _READER.decode(line)
    user = None if event.actor is None else event.actor.user
    request = None if event.api is None else event.api.request
    return msgspec.convert(
        {
            "id": event.metadata.uid,
            "type": event.metadata.event_code,
            "timestamp": event.metadata.original_time,
            "agentId": None if user is None else user.uid,
            "requestId": None if request is None else request.uid,
            "decision": event.unmapped.decision,
            "reason": event.message,
            "metadata": event.unmapped.metadata,
        },
        AuditRecord,
    )


_READER = msgspec.json.Decoder(_Event)


def _check(record: AuditRecord, checked: str) -> dict[str, Any]:
    """What an API Activity has beside the common members: who asked for what, and what was decided."""
    metadata = record.metadata
    code = ErrorCode(metadata["errorCode"]) if "errorCode" in metadata else None
    outcome = {} if code is None else {"error": str(code), "error_message": record.reason}
    parts: dict[str, Any] = {
        "actor": {"user": _user(record)},
        "api": {
            "operation": _ACTIVITIES[checked][3],
            "service": {"name": "kalguard", "version": VERSION},
            **({} if record.request_id is None else {"request": {"uid": record.request_id}}),
            "response": {"code": 200 if code is None else code.status, **outcome},
        },
        "src_endpoint": {"svc_name": record.agent_id or _UNVERIFIED},
        **({} if code is None else {"status_code": str(code)}),
        **_control(record, code),
    }
    if (tool := metadata.get("toolName")) is not None:
        parts["resources"] = [{"name": tool, "type": "tool"}]
    if (digest := metadata.get("policyDigest")) is not None:
        version = metadata.get("policyVersion")
        parts["policy"] = {"uid": digest, "is_applied": True, **({} if version is None else {"version": version})}
    if (rule := metadata.get("ruleId")) is not None:
        parts["firewall_rule"] = {"uid": rule, "type": "policy"}
    return parts


def _user(record: AuditRecord) -> dict[str, Any]:
    if record.agent_id is None:
        return {"name": _UNVERIFIED, "type_id": 0}
    user: dict[str, Any] = {"uid": record.agent_id, "type_id": 99, "type": "AI agent"}
    if (digest := record.metadata.get("tokenHash")) is not None:
        user["programmatic_credentials"] = [{"uid": digest, "type": "SHA-256 of the token"}]
    return user


def _control(record: AuditRecord, code: ErrorCode | None) -> dict[str, Any]:
    """The `security_control` profile: what was done, how it ended, and how grave it is."""
    if code is not None:
        action, disposition = _DENIED, _DISPOSITIONS.get(code, _BLOCKED)
        severity = {_ERROR: _HIGH, _OTHER: _LOW}.get(disposition, _MEDIUM)
    elif record.type == "prompt_sanitized":
        action, disposition, severity = _MODIFIED, _CORRECTED, _LOW
    elif "monitored" in record.metadata:
        action, disposition, severity = _OBSERVED, _DETECTED, _LOW
    else:
        action, disposition, severity = _ALLOWED, _DISPOSED_ALLOWED, _INFORMATIONAL
    control: dict[str, Any] = {
        "severity_id": severity,
        "action_id": action,
        "disposition_id": disposition,
        "is_alert": code in _ALERTS or action == _OBSERVED,
    }
    if disposition == _OTHER:
        control["disposition"] = "Approval Required"
    if (score := record.metadata.get("riskScore")) is not None:
        level = str(record.metadata["riskLevel"])
        control |= {"risk_score": score, "risk_level_id": _RISK_LEVELS[level], "risk_level": level.capitalize()}
    if found := record.metadata.get("findings"):
        control["risk_details"] = ", ".join(dict.fromkeys(str(finding["category"]) for finding in found))
    return control


def _service_event(record: AuditRecord) -> dict[str, Any]:
    """What an event of the service itself has beside the common members."""
    if record.type == "policy_error":
        return {"severity_id": _HIGH}
    if record.type == "policy_reload":
        entity = {"name": record.metadata.get("file"), "uid": record.metadata.get("digest")}
        known = {name: value for name, value in entity.items() if value is not None}
        return {"severity_id": _INFORMATIONAL, "entity": {**known, "type_id": 99, "type": "configuration file"}}
    return {"severity_id": _INFORMATIONAL, "app": {**_product(), "feature": {"name": "audit log"}}}


def _product() -> Mapping[str, Any]:
    return {"name": "KalGuard", "vendor_name": "KalGuard", "version": VERSION}


def _milliseconds(timestamp: str) -> int:
    """RFC 3339 -> milliseconds since 1970."""
    return (datetime.fromisoformat(timestamp) - _EPOCH) // timedelta(milliseconds=1)
