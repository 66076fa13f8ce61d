"""What policies and tool calls cost, beside a yardstick on the same input in the same run. Each answer is asserted."""

import json
from typing import Any

from kalguard._core import Arguments
from kalguard.decision.mediator import load_tools
from kalguard.decision.model import AccessRequest, Action
from kalguard.decision.policy import load_policy

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
    assert benchmark(tools.registry.check, "get_weather", Arguments(b'{"location": "Oslo"}')) is None


def test_yardstick_json_decode(benchmark: Any) -> None:
    benchmark.group = "tool call against a schema"
    assert benchmark(json.loads, b'{"location": "Oslo"}') == {"location": "Oslo"}
