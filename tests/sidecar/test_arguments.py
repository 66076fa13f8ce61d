"""Policies that look into the arguments of a tool call, over HTTP."""

import json
from pathlib import Path
from typing import Any

import pytest

from kalguard.records.sinks import MemorySink
from tests.support import Reply, app, call, records, token

RULES = [
    {"id": "no-secrets", "decision": "deny", "reason": "no secrets", "match": {"findings": ["pii.secret", "pii.ssn"]}},
    {"id": "inside", "decision": "deny", "match": {"arguments": {"/url": {"cidr": ["127.0.0.0/8", "169.254.0.0/16"]}}}},
    {"id": "files", "decision": "allow", "match": {"arguments": {"/path": {"pathPrefix": "/srv/data"}}}},
    {"id": "fetch", "decision": "allow", "match": {"arguments": {"/url": "https://*"}}},
]


@pytest.fixture
def sink() -> MemorySink:
    return MemorySink()


@pytest.fixture
def ask(tmp_path: Path, sink: MemorySink) -> Any:
    (tmp_path / "policy.json").write_text(json.dumps({"rules": RULES}))
    service = app(sink, policy_path=str(tmp_path / "policy.json"))

    def ask(**arguments: Any) -> Reply:
        return call(service, "/v1/tool/check", {"toolName": "t", "arguments": arguments})

    return ask


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"path": "/etc/passwd"},
        {"path": "/srv/data/../../etc/passwd"},
        {"path": ["/srv/data/a", "/etc/passwd"]},
        {"path": {"pathPrefix": "/srv/data"}},
        {"url": "http://example.com"},
        {"url": "https://127.0.0.1/"},
        {"url": "https://2130706433/"},
        {"url": ["https://example.com", "https://[::ffff:a9fe:a9fe]/latest/meta-data"]},
        {"path": "/srv/data/a", "note": "my SSN is 536-22-8726"},
    ],
)
def test_arguments_that_no_rule_allows_are_denied(ask: Any, arguments: dict[str, Any]) -> None:
    reply = ask(**arguments)
    assert (reply.status, reply.body["errorCode"]) == (403, "POLICY_DENY")


def test_arguments_that_a_rule_allows_are_allowed(ask: Any) -> None:
    assert ask(path="/srv/data/a.txt").status == 200
    assert ask(url="https://example.com/x").status == 200


def test_what_was_found_is_in_reply_and_record_and_nothing_that_was_said(ask: Any, sink: MemorySink) -> None:
    secret = token()
    reply = ask(path="/srv/data/a", header=f"Bearer {secret}", to="ann@example.com")
    assert reply.status == 403
    assert reply.body["message"] == "no secrets"
    categories = [finding["category"] for finding in reply.body["data"]["findings"]]
    assert sorted(categories) == ["pii.email", "pii.secret"]
    assert all(set(finding) == {"category", "score"} for finding in reply.body["data"]["findings"])
    record = records(sink)[-1]
    assert (record["type"], record["metadata"]["ruleId"]) == ("tool_denied", "no-secrets")
    assert sorted(finding["category"] for finding in record["metadata"]["findings"]) == ["pii.email", "pii.secret"]
    for told in (reply.raw.decode(), json.dumps(record)):
        assert secret not in told and "ann@" not in told


def test_without_a_rule_about_them_findings_are_only_told(ask: Any) -> None:
    reply = ask(path="/srv/data/a", to="ann@example.com")
    assert (reply.status, [f["category"] for f in reply.body["data"]["findings"]]) == (200, ["pii.email"])
    assert "findings" not in ask(path="/srv/data/a").body["data"]


def test_a_patterns_file_that_cannot_be_used_denies_tool_calls_too(tmp_path: Path) -> None:
    (tmp_path / "patterns.json").write_text("{")
    service = app(patterns_path=str(tmp_path / "patterns.json"), policy_default_deny="false")
    reply = call(service, "/v1/tool/check", {"toolName": "t"})
    assert (reply.status, reply.body["errorCode"], reply.body["allowed"]) == (503, "UNAVAILABLE", False)


def test_arguments_nested_too_deep_are_a_bad_request(ask: Any) -> None:
    deep: Any = 1
    for _ in range(63):
        deep = [deep]
    assert ask(path="/srv/data/a", deep=deep).status == 400
