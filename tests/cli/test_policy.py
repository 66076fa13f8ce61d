"""`kalguard policy`: what it warns of, what a document's own tests do, and what another policy would change."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kalguard.records.ocsf import ocsf_event
from kalguard.records.sinks import MemorySink
from kalguard.wire.audit import AuditRecord
from tests.cli.test_commands import run
from tests.support import app, bearer, call, records, token


def written(folder: Path, name: str, document: object) -> str:
    (folder / name).write_text(document if isinstance(document, str) else json.dumps(document))
    return str(folder / name)


SHADOWED = {"rules": [{"id": "all", "decision": "deny"}, {"id": "web", "decision": "allow", "match": {"tools": ["w"]}}]}


def test_rules_that_never_decide_are_warned_of(tmp_path: Path) -> None:
    file = written(tmp_path, "p.json", SHADOWED)
    ended = run("policy", "check", file)
    assert ended.returncode == 0
    assert "rule `web` (index 1): never decides: rule `all` (index 0)" in ended.stderr
    assert run("policy", "check", file, "--strict").returncode == 1
    told = json.loads(run("policy", "check", file, "--json").stdout)
    assert told["valid"] and len(told["warnings"]) == 1


def test_a_document_that_fails_its_own_tests_is_not_good(tmp_path: Path) -> None:
    test = {"name": "web is open", "request": {"agentId": "a", "action": "tool:execute", "tool": "w"}}
    file = written(tmp_path, "p.json", {**SHADOWED, "tests": [{**test, "decision": "allow"}]})
    ended = run("policy", "check", file)
    assert ended.returncode == 1
    assert "test `web is open` (index 0): fails: `deny` by rule `all`, not `allow`" in ended.stderr
    file = written(tmp_path, "p.json", {**SHADOWED, "tests": [{**test, "decision": "deny", "ruleId": "all"}]})
    assert run("policy", "check", file).returncode == 0


MAIL = {
    "rules": [
        {"id": "no-secrets", "decision": "deny", "match": {"findings": ["pii.secret"]}},
        {"id": "inside", "decision": "allow", "match": {"tools": ["mail"], "arguments": {"/to": "*@example.com"}}},
    ]
}
ASK = ("--agent", "a", "--action", "tool:execute", "--tool", "mail")


def test_a_test_can_be_given_arguments(tmp_path: Path) -> None:
    file = written(tmp_path, "p.json", MAIL)
    ended = run("policy", "test", file, *ASK, "--arguments", '{"to": "ann@example.com"}')
    assert (ended.returncode, "allow by rule inside" in ended.stdout) == (0, True)
    ended = run("policy", "test", file, *ASK, "--arguments", '{"to": ["ann@example.com", "eve@evil.example"]}')
    assert ended.returncode == 1
    assert "inside: condition `arguments./to` does not hold" in ended.stdout


def test_what_is_found_in_the_arguments_is_what_the_service_would_find(tmp_path: Path) -> None:
    file = written(tmp_path, "p.json", MAIL)
    given = json.dumps({"to": "ann@example.com", "text": f"Bearer {token()}"})
    ended = run("policy", "test", file, *ASK, "--arguments", given)
    assert (ended.returncode, "deny by rule no-secrets" in ended.stdout) == (1, True)
    told = json.loads(run("policy", "test", file, *ASK, "--arguments", given, "--json").stdout)
    assert set(told["findings"]) == {"pii.email", "pii.secret"}
    assert run("policy", "test", file, *ASK, "--arguments", given, disable_pii_check="true").returncode == 0


@pytest.mark.parametrize("bad", ["", "[]", "{", "[" * 1000])
def test_arguments_that_are_no_object_are_a_usage_error(tmp_path: Path, bad: str) -> None:
    ended = run("policy", "test", written(tmp_path, "p.json", MAIL), *ASK, "--arguments", bad)
    assert ended.returncode == 2
    assert "--arguments" in ended.stderr


OLD = {
    "rules": [
        {"id": "prod", "decision": "deny", "match": {"attributes": {"env": "prod"}}},
        {"id": "web", "decision": "allow", "match": {"tools": ["web_*"], "arguments": {"/q": "*"}}},
        {"id": "prompts", "decision": "allow", "match": {"actions": ["prompt:check"]}},
    ]
}


@pytest.fixture(params=["native", "ocsf"])
def log(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """What the service records when it is asked, under the old policy."""
    sink = MemorySink()
    service = app(sink, policy_path=written(tmp_path, "old.json", OLD))
    for body in (
        {"toolName": "web_get", "arguments": {"q": "x"}},
        {"toolName": "web_get", "arguments": {"q": "y"}},
        {"toolName": "web_get", "arguments": {}},
        {"toolName": "web_get", "context": {"metadata": {"env": "prod"}}},
        {"toolName": "a tool with spaces"},
    ):
        call(service, "/v1/tool/check", body)
    call(service)
    call(service, headers=bearer("forged"))
    kept: list[Any] = records(sink)
    if request.param == "ocsf":
        kept = [ocsf_event(msgspec.convert(record, AuditRecord)) for record in kept]
    return written(tmp_path, "audit.jsonl", "\n".join(json.dumps(record) for record in kept) + "\n{torn")


def diff(folder: Path, new: object, log: str) -> dict[str, Any]:
    ended = run(
        "policy", "diff", str(folder / "old.json"), written(folder, "new.json", new), "--against", log, "--json"
    )
    told = json.loads(ended.stdout)
    assert ended.returncode == (1 if told["changed"] or told["undecided"] else 0)
    assert "1 lines are no audit records" in ended.stderr
    assert (told["records"], told["skippedLines"]) == (6, 1)
    return dict(told)


def test_the_same_policy_changes_nothing(tmp_path: Path, log: str) -> None:
    told = diff(tmp_path, {**OLD, "version": "2"}, log)
    assert (told["changed"], told["undecided"]) == ([], [])


def test_what_would_change_is_said_for_sure_where_the_log_says_enough(tmp_path: Path, log: str) -> None:
    rules = OLD["rules"]
    told = diff(tmp_path, {"rules": [rules[0], {**rules[1], "decision": "require_approval"}, rules[2]]}, log)
    changed = {"request": "agent-1 tool:execute web_get", "old": ["allow"], "new": ["require_approval"], "records": 2}
    assert told["changed"] == [changed]
    # A rule that does not allow is read widely: it may match where the old one did not.
    assert [(item["new"], item["records"]) for item in told["undecided"]] == [(["deny", "require_approval"], 1)] * 2
    told = diff(tmp_path, {"rules": [*rules[:2], {**rules[2], "match": {"agentIds": ["agent-2"]}}]}, log)
    assert [(item["request"], item["new"]) for item in told["changed"]] == [("agent-1 prompt:check", ["deny"])]


def test_what_depends_on_what_is_not_on_record_may_change(tmp_path: Path, log: str) -> None:
    shell = {"id": "x", "decision": "deny", "match": {"tools": ["web_*"], "arguments": {"/q": "x"}}}
    told = diff(tmp_path, {"rules": [shell, *OLD["rules"]]}, log)
    assert told["changed"] == []
    assert [(item["new"], item["records"]) for item in told["undecided"]] == [(["allow", "deny"], 2)]


def test_for_a_person_it_is_a_line_each_and_a_sum(tmp_path: Path, log: str) -> None:
    ended = run(
        "policy", "diff", str(tmp_path / "old.json"), written(tmp_path, "new.json", {"rules": []}), "--against", log
    )
    assert "changes: agent-1 tool:execute web_get: allow -> deny (2 records)" in ended.stdout
    assert ended.stdout.splitlines()[-1] == "6 decisions: 3 stay, 3 change, 0 may change"
    bad = written(tmp_path, "bad.json", "{}")
    assert run("policy", "diff", str(tmp_path / "old.json"), bad, "--against", log).returncode == 2
