"""Policies, through the loader that the service uses: decisions, and what is refused and how it is said."""

import json
from typing import Any

import pytest

from kalguard._core import Arguments
from kalguard.decision.model import AccessRequest, Action
from kalguard.decision.policy import attributes_of, default_policy, load_policy
from kalguard.errors import PolicyError
from tests.support import vectors

VECTORS = vectors("policy.json")
ASKED = AccessRequest(action=Action.PROMPT_CHECK, agent_id="a", attributes={})


def load(document: object) -> Any:
    return load_policy(json.dumps(document).encode(), may_allow_all=True)


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_the_rule_that_decides(case: dict[str, Any]) -> None:
    request = case["request"]
    asked = request["agentId"], request["action"], request["tool"], request["attributes"]
    found = tuple(request.get("findings", ()))
    call = (Arguments(json.dumps(request["arguments"]).encode()), found) if "arguments" in request else None
    answer = load(case["policy"]).rules.evaluate(*asked, call)
    assert (answer.decision, answer.rule_id) == (case["decision"], case["ruleId"])


@pytest.mark.parametrize("case", VECTORS["invalid"], ids=lambda case: case["name"])
def test_a_document_that_is_refused_names_the_place(case: dict[str, Any]) -> None:
    with pytest.raises(PolicyError) as caught:
        load(case["policy"])
    assert "\n" not in str(caught.value)
    for part in case["error"]:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ({"id": "r1", "decision": "allow", "match": {"tools": []}}, ["r1", "match.tools"]),
        ({"id": "r1", "decision": "allow", "match": {"agentIDs": ["a"]}}, ["r1", "agentIDs"]),
        ({"id": "r1", "decision": "permit"}, ["r1", "decision"]),
        ({"id": "r1"}, ["r1", "decision"]),
        ({"decision": "allow"}, ["index 0", "id"]),
        ({"id": "r1", "decision": "allow", "match": {"attributes": {"env": 1}}}, ["r1", "env"]),
    ],
)
def test_the_message_names_rule_and_field(rule: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(PolicyError) as caught:
        load({"rules": [rule]})
    for name in named:
        assert name in str(caught.value)


def test_two_rules_of_one_id_are_refused() -> None:
    with pytest.raises(PolicyError, match="r1"):
        load({"rules": [{"id": "r1", "decision": "deny"}, {"id": "r1", "decision": "allow"}]})


@pytest.mark.parametrize("document", [b"", b"{", b"[]", b'"x"', b"{}", b"\xff", b"[" * 100_000, b'{"rules": [NaN]}'])
def test_what_is_no_policy_at_all_is_refused(document: bytes) -> None:
    with pytest.raises(PolicyError):
        load_policy(document)


def test_a_document_that_allows_everything_needs_to_be_meant() -> None:
    document = b'{"rules": [], "defaultDecision": "allow"}'
    with pytest.raises(PolicyError, match="KALGUARD_POLICY_DEFAULT_DENY=false"):
        load_policy(document)
    assert load_policy(document, may_allow_all=True).evaluate(ASKED).decision == "allow"


def test_of_a_key_given_twice_the_last_one_counts() -> None:
    document = b'{"rules": [{"id": "r", "decision": "allow", "decision": "deny"}]}'
    assert load_policy(document).evaluate(ASKED).decision == "deny"


def test_without_a_file_everything_is_denied_unless_asked_for() -> None:
    assert default_policy(deny=True).evaluate(ASKED).decision == "deny"
    assert default_policy(deny=False).evaluate(ASKED).decision == "allow"


def test_no_document_makes_a_reference_be_followed() -> None:
    with pytest.raises(PolicyError):
        load({"$ref": "http://127.0.0.1:9/schema", "rules": []})


def test_the_token_wins_over_the_request() -> None:
    assert attributes_of({"env": "x", "a": "1"}, {"env": "y"}) == {"env": "y", "a": "1"}


@pytest.mark.parametrize("value", [None, [], {}, 1.5])
def test_a_value_of_the_token_that_cannot_be_compared_still_hides_the_request_s(value: object) -> None:
    assert attributes_of({"env": "production"}, {"env": value}) == {}


def test_nobody_but_the_service_sets_the_built_in_attributes() -> None:
    claimed = {"messageCount": "1", "toolName": "harmless"}
    assert attributes_of(claimed, claimed) == {}
    assert attributes_of(claimed, {}, toolName="rm") == {"toolName": "rm"}


def test_booleans_and_whole_numbers_are_compared_as_written() -> None:
    assert attributes_of({"a": True, "b": False, "c": 7}, {}) == {"a": "true", "b": "false", "c": "7"}
