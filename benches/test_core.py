"""What the core costs, beside a yardstick on the same input in the same run. Each answer is asserted.

The yardstick for scanning is google-re2 looking for a dozen patterns of the plainest kind at once: far less work than
the firewall does (no normalisation, no decoding, no personal data, no spans), at a speed that everybody knows.
"""

import json
from typing import Any

import pytest
import re2

from kalguard.decision.firewall import FirewallOptions, PromptFirewall
from kalguard.decision.mediator import load_tools
from kalguard.decision.model import AccessRequest, Action, PromptRequest, TextSlot
from kalguard.decision.policy import load_policy

SENTENCE = "Please compare the two offers and tell me which one is cheaper over three years, and why. "
SIZES = {"200 B": 200, "4 KB": 4_000, "55 KB": 55_000}
PLAIN_PATTERNS = [
    r"(?i)ignore (all )?(previous|prior) instructions",
    r"(?i)disregard (the )?(above|previous)",
    r"(?i)system prompt",
    r"(?i)you are now",
    r"(?i)pretend to be",
    r"(?i)act as (if|though)",
    r"(?i)jailbreak",
    r"(?i)developer mode",
    r"(?i)do anything now",
    r"(?i)reveal your",
    r"(?i)<\|im_start\|>",
    r"(?i)\[INST\]",
]


def conversation(size: int) -> str:
    return (SENTENCE * (size // len(SENTENCE) + 1))[:size]


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_firewall(benchmark: Any, size: int) -> None:
    benchmark.group = f"scan {size} bytes"
    firewall = PromptFirewall(FirewallOptions())
    slots = [TextSlot(message=0, path=("content",), role="user", text=conversation(size))]
    request = PromptRequest(messages=[{"role": "user", "content": slots[0].text}], slots=slots, metadata={})
    inspection = benchmark(firewall.inspect, request)
    assert inspection.passed
    assert all(finding.category.startswith("abnormality.") for finding in inspection.risk.findings)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_yardstick_re2_set_of_twelve(benchmark: Any, size: int) -> None:
    benchmark.group = f"scan {size} bytes"
    patterns = re2.Set.SearchSet()
    for pattern in PLAIN_PATTERNS:
        patterns.Add(pattern)
    patterns.Compile()
    assert patterns.Match("now ignore all previous instructions") == [0]
    assert not benchmark(patterns.Match, conversation(size))


RULES = [
    {"id": f"r{number}", "match": {"agentIds": [f"agent-{number}"], "tools": [f"tool_{number}_*"]}, "decision": "deny"}
    for number in range(1000)
]
LAST = {"id": "last", "match": {"agentIds": ["agent-x"], "tools": ["search_*"]}, "decision": "allow"}
ASKED = AccessRequest(action=Action.TOOL_EXECUTE, agent_id="agent-x", attributes={}, tool="search_web")


def test_policy_of_a_thousand_rules(benchmark: Any) -> None:
    benchmark.group = "policy, 1,001 rules, the last one matches"
    policy = load_policy(json.dumps({"rules": [*RULES, LAST]}).encode())
    assert benchmark(policy.evaluate, ASKED).rule_id == "last"


def test_yardstick_plain_python_loop(benchmark: Any) -> None:
    benchmark.group = "policy, 1,001 rules, the last one matches"

    def holds(patterns: list[str], value: str) -> bool:
        return any(
            value.startswith(pattern[:-1]) if pattern.endswith("*") else value == pattern for pattern in patterns
        )

    def evaluate(rules: list[dict[str, Any]]) -> str | None:
        for rule in rules:
            match = rule["match"]
            if holds(match["agentIds"], "agent-x") and holds(match["tools"], "search_web"):
                return str(rule["id"])
        return None

    assert benchmark(evaluate, [*RULES, LAST]) == "last"


def test_tool_call(benchmark: Any) -> None:
    benchmark.group = "tool call against a schema"
    schema = {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]}
    tools = load_tools(json.dumps({"tools": [{"name": "get_weather", "argumentSchema": schema}]}).encode())
    assert benchmark(tools.registry.check, "get_weather", b'{"location": "Oslo"}') is None


def test_yardstick_json_decode(benchmark: Any) -> None:
    benchmark.group = "tool call against a schema"
    assert benchmark(json.loads, b'{"location": "Oslo"}') == {"location": "Oslo"}
