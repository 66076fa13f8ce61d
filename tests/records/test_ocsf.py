"""The audit record as an OCSF event: valid by the published schema, nothing added, nothing lost."""

from functools import cache
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError
from ocsf_json_schema import OcsfJsonSchemaEmbedded
from ocsf_json_schema.loader import get_ocsf_schema

from kalguard.records.ocsf import OCSF_VERSION, native_record, ocsf_event
from kalguard.records.sinks import MemorySink
from kalguard.wire.audit import AuditRecord
from kalguard.wire.codes import ErrorCode
from tests.support import ATTACK, GOOD_PROMPT, app, bearer, call, token

PROMPT, TOOL = "/v1/prompt/check", "/v1/tool/check"
MAIL = {"messages": [{"role": "user", "content": "I am ada@example.org"}]}
CLASSES = {6003: "api_activity", 6002: "application_lifecycle", 6008: "application_error", 3004: "entity_management"}


@cache
def schemas() -> OcsfJsonSchemaEmbedded:
    return OcsfJsonSchemaEmbedded(get_ocsf_schema(OCSF_VERSION))


@cache
def validator(class_uid: int, profiles: tuple[str, ...]) -> Draft202012Validator:
    """For events of a class with profiles; members that the schema does not know are an error too."""
    return Draft202012Validator(schemas().get_class_schema(CLASSES[class_uid], list(profiles)))


def validated(event: dict[str, Any]) -> dict[str, Any]:
    """The event, which is one by the schema that it names."""
    written = msgspec.json.decode(msgspec.json.encode(event))
    validator(written["class_uid"], tuple(written["metadata"]["profiles"])).validate(written)
    assert written["type_uid"] == written["class_uid"] * 100 + written["activity_id"]
    assert next(reversed(written)) == "unmapped"
    assert written["unmapped"]
    return event


def recorded(path: str, body: object, *, headers: dict[str, str] | None = None, **variables: str) -> AuditRecord:
    """The record that the service makes of a request."""
    sink = MemorySink()
    call(app(sink, **{"policy_default_deny": "false", **variables}), path, body, headers=headers)
    return msgspec.json.decode(sink.lines[-1], type=AuditRecord)


def service_record(kind: str, **metadata: Any) -> AuditRecord:
    fields = {"id": "evt_" + "0" * 24, "timestamp": "2026-01-02T03:04:05.678Z", "reason": "why", "metadata": metadata}
    decision = "deny" if kind == "policy_error" else "allow"
    return msgspec.convert(
        {"type": kind, "agentId": None, "requestId": None, "decision": decision, **fields}, AuditRecord
    )


CASES = [
    # path, body, headers, variables, action, disposition, alert
    (PROMPT, GOOD_PROMPT, None, {}, 1, 1, False),
    (PROMPT, MAIL, None, {}, 4, 11, False),
    (PROMPT, ATTACK, None, {}, 2, 2, True),
    (PROMPT, ATTACK, None, {"firewall_mode": "monitor"}, 3, 15, True),
    (PROMPT, GOOD_PROMPT, None, {"policy_default_deny": "true"}, 2, 2, False),
    (PROMPT, b"{", None, {}, 2, 25, False),
    (PROMPT, b"x" * (5 * 1024 * 1024 + 1), None, {}, 2, 25, False),
    (PROMPT, GOOD_PROMPT, {}, {}, 2, 26, False),
    (PROMPT, GOOD_PROMPT, bearer(token(capabilities=[])), {}, 2, 26, False),
    (TOOL, {"toolName": "t"}, None, {}, 1, 1, False),
    (TOOL, {"toolName": "t", "arguments": {"x": "`rm -rf /`"}}, None, {}, 2, 2, True),
    (TOOL, {"toolName": "t"}, None, {"patterns_path": "/nowhere"}, 2, 27, False),
]


@pytest.mark.parametrize(("path", "body", "headers", "variables", "action", "disposition", "alert"), CASES)
def test_what_the_service_records_is_a_valid_event_with_its_outcome(
    path: str,
    body: object,
    headers: dict[str, str] | None,
    variables: dict[str, str],
    action: int,
    disposition: int,
    alert: bool,
) -> None:
    record = recorded(path, body, headers=headers, **variables)
    event = validated(ocsf_event(record))
    assert event["class_uid"] == 6003
    assert (event["action_id"], event["disposition_id"], event["is_alert"]) == (action, disposition, alert)
    assert event["status_id"] == (1 if record.decision == "allow" else 2)
    assert native_record(msgspec.json.encode(event)) == record


def test_what_needs_approval_is_denied_and_says_so() -> None:
    record = recorded(TOOL, {"toolName": "t"})
    asked = msgspec.structs.replace(
        record,
        type="tool_denied",
        decision="require_approval",
        metadata={**record.metadata, "errorCode": "REQUIRE_APPROVAL", "ruleId": "ask"},
    )
    event = validated(ocsf_event(asked))
    assert (event["action_id"], event["disposition_id"], event["disposition"]) == (2, 99, "Approval Required")
    assert event["firewall_rule"]["uid"] == "ask"
    assert native_record(msgspec.json.encode(event)) == asked


@pytest.mark.parametrize(
    ("kind", "metadata", "class_uid", "activity"),
    [
        ("policy_reload", {"file": "policy", "digest": "ab", "problem": None}, 3004, 3),
        ("policy_error", {"file": "policy", "digest": None, "problem": "not JSON"}, 6008, 1),
        ("audit_checkpoint", {}, 6002, 99),
        ("audit_closed", {}, 6002, 4),
    ],
)
def test_what_happens_to_the_service_is_a_valid_event(
    kind: str, metadata: dict[str, Any], class_uid: int, activity: int
) -> None:
    record = service_record(kind, **metadata)
    event = validated(ocsf_event(record))
    assert (event["class_uid"], event["activity_id"]) == (class_uid, activity)
    assert event["time"] == 1767323045678
    assert native_record(msgspec.json.encode(event)) == record


def test_an_event_holds_who_what_and_why() -> None:
    event = ocsf_event(recorded(PROMPT, ATTACK, headers={**bearer(), "x-kalguard-request-id": "r-1"}))
    assert event["actor"]["user"]["uid"] == "agent-1"
    assert event["api"]["operation"] == "prompt:check"
    assert event["api"]["request"]["uid"] == "r-1"
    assert event["api"]["response"]["code"] == 403
    assert event["status_code"] == "PROMPT_BLOCKED"
    assert (event["risk_level_id"], event["risk_level"]) == (4, "Critical")
    assert "injection.instruction_override" in event["risk_details"]
    assert "Ignore all" not in str(event)


def test_every_code_has_a_disposition_that_the_schema_knows() -> None:
    record = recorded(PROMPT, GOOD_PROMPT)
    for code in ErrorCode:
        refused = msgspec.structs.replace(record, metadata={**record.metadata, "errorCode": code}, decision="deny")
        event = validated(ocsf_event(refused))
        assert event["action_id"] == 2
        assert event["api"]["response"]["code"] == code.status


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(
    agent=st.none() | texts,
    request=texts,
    reason=texts,
    metadata=st.fixed_dictionaries(
        {"check": st.sampled_from(["prompt", "tool", "register"])},
        optional={
            "errorCode": st.sampled_from([str(code) for code in ErrorCode]),
            "toolName": texts,
            "ruleId": st.none() | texts,
            "policyVersion": st.none() | texts,
            "policyDigest": texts,
            "tokenHash": texts,
            "messageCount": st.integers(0, 10_000),
            "findings": st.lists(st.fixed_dictionaries({"category": texts, "score": st.integers(0, 100)}), max_size=3),
        },
    ),
)
def test_any_record_becomes_a_valid_event_and_comes_back(
    agent: str | None, request: str, reason: str, metadata: dict[str, Any]
) -> None:
    record = AuditRecord(
        id="evt_" + "0" * 24,
        type="tool_denied",
        timestamp="2026-01-02T03:04:05.678Z",
        agent_id=agent,
        request_id=request,
        decision="deny",
        reason=reason,
        metadata=metadata,
    )
    event = validated(ocsf_event(record))
    assert native_record(msgspec.json.encode(event)) == record
    said = msgspec.json.encode(event["unmapped"]["metadata"])
    assert said == msgspec.json.encode(metadata)


@pytest.mark.parametrize("line", [b"{}", b"[]", b'{"class_uid":6003}', b'{"metadata":{"uid":"x"},"message":"m"}'])
def test_an_event_of_somebody_else_is_no_record(line: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        native_record(line)


def test_a_wrong_event_would_be_noticed() -> None:
    event = ocsf_event(recorded(PROMPT, GOOD_PROMPT))
    for broken in ({**event, "made_up": 1}, {**event, "action_id": 5}, {**event, "actor": {}}):
        with pytest.raises(ValidationError):
            validator(6003, ("security_control",)).validate(broken)
