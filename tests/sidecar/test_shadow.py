"""A shadow policy: asked beside the policy, on record where it differs, never in the answer."""

import json
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from kalguard.records.sinks import MemorySink
from kalguard.sidecar.app import build
from kalguard.sidecar.metrics import Metrics
from tests.support import GOOD_PROMPT, bearer, call, records, running, settings, start_and_end, until

ALLOW = {"version": "1", "rules": [{"id": "all", "decision": "allow"}]}
SHADOW = {"version": "2", "rules": [{"id": "some", "decision": "allow", "match": {"tools": ["t"]}}]}
TOOL = ("/v1/tool/check", {"toolName": "t"})


def service(folder: Path, live: object, shadow: object) -> tuple[Any, MemorySink, CollectorRegistry]:
    for name, document in (("live.json", live), ("shadow.json", shadow)):
        (folder / name).write_text(document if isinstance(document, str) else json.dumps(document))
    sink, registry = MemorySink(), CollectorRegistry()
    paths = {"policy_path": str(folder / "live.json"), "policy_shadow_path": str(folder / "shadow.json")}
    return build(settings(**paths), metrics=Metrics(registry), sink=sink), sink, registry


def test_the_shadow_never_decides(tmp_path: Path) -> None:
    for live, shadow, status in ((ALLOW, {"rules": []}, 200), ({"rules": []}, ALLOW, 403)):
        target, _, _ = service(tmp_path, live, shadow)
        reply = call(target)
        assert reply.status == status
        assert "shadow" not in reply.raw.decode()


def test_a_difference_is_on_record_and_counted(tmp_path: Path) -> None:
    target, sink, registry = service(tmp_path, ALLOW, SHADOW)
    call(target)
    call(target, *TOOL)
    start_and_end(target)
    differing, agreeing, _ = records(sink)
    assert differing["metadata"]["shadow"]["decision"] == "deny"
    assert differing["metadata"]["shadow"]["ruleId"] is None
    assert differing["metadata"]["shadow"]["policyVersion"] == "2"
    assert len(differing["metadata"]["shadow"]["policyDigest"]) == 64
    assert "shadow" not in agreeing["metadata"]

    def count(live: str, shadow: str) -> float | None:
        return registry.get_sample_value("kalguard_shadow_decisions_total", {"live": live, "shadow": shadow})

    assert (count("allow", "deny"), count("allow", "allow"), count("deny", "allow")) == (1, 1, None)


def test_health_names_both_policies(tmp_path: Path) -> None:
    target, _, _ = service(tmp_path, ALLOW, SHADOW)
    body = call(target, "/health", b"", method="GET", headers={}).body
    assert (body["status"], body["policy"]["version"], body["shadowPolicy"]["version"]) == ("ok", "1", "2")
    assert len(body["policy"]["digest"]) == len(body["shadowPolicy"]["digest"]) == 64


@pytest.mark.parametrize("bad", ["", "{", '{"rules": [{"id": "x"}]}'])
def test_a_shadow_that_cannot_be_used_is_told_and_changes_nothing(tmp_path: Path, bad: str) -> None:
    target, sink, _ = service(tmp_path, ALLOW, bad)
    assert call(target).status == 200
    health = call(target, "/health", b"", method="GET", headers={})
    start_and_end(target)
    assert [record["type"] for record in records(sink)] == ["prompt_allowed", "policy_error", "audit_closed"]
    assert records(sink)[1]["metadata"]["file"] == "policy_shadow"
    assert (health.status, "shadowPolicy" in health.body) == (200, False)


def test_the_shadow_is_followed_like_the_policy(tmp_path: Path) -> None:
    (tmp_path / "live.json").write_text(json.dumps(ALLOW))
    paths = {"policy_path": str(tmp_path / "live.json"), "policy_shadow_path": str(tmp_path / "shadow.json")}
    with running(tmp_path, policy_watch="true", policy_watch_interval_ms="50", **paths) as server:
        (tmp_path / "shadow.json").write_text(json.dumps(SHADOW))

        def differs() -> bool:
            assert server.post("/v1/prompt/check", GOOD_PROMPT, bearer()).status_code == 200
            return "shadow" in server.audit()[-1]["metadata"]

        until(differs)
