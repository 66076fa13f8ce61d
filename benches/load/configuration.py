"""Whether a request costs the same with a small configuration and with a large one.

What is measured is CPU time per request; `SMALL` is what all else is compared with. Each size is tried alone, so that
one sees which of them costs something, and all together.
"""

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.support import ALL_CAPABILITIES, signed_with_hmac

from benches.load.bodies import bodies
from benches.load.measuring import Cell, Row, case_of, rounds, say, warm
from benches.load.servers import TOKEN_SECONDS, ours, tool

RULES, TOOLS, REVOKED = 10_000, 1_000, 50_000
AGENTS, MANY_AGENTS = 10_000, 100_000
CONNECTIONS = 16
SMALL = "small"


def configuration(folder: Path, *, count: int, seconds: int) -> list[Row]:
    """Measure small prompts and tool calls under each configuration in turn. Raises `Wrong`."""
    rows: list[Row] = []
    with ExitStack() as started:
        targets = [started.enter_context(ours(folder, name, **given)) for name, given in _servers(folder)]
        for body in (bodies()["small"], bodies()["tool"]):
            case = case_of(body, CONNECTIONS)
            say(case)
            for target in targets:
                warm(target, body)
            cells = [Cell(target.name, target, body, CONNECTIONS) for target in targets]
            rows += rounds(cells, case, count=count, seconds=seconds)
    return rows


def _servers(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The servers, by name, and what they get beside what all have.

    Each number of agents has servers of its own: which tokens a server remembers depends on all that it has seen.
    """
    small, large, revoked = folder / "small-policy.json", folder / "large-policy.json", folder / "revoked"
    small.write_text(json.dumps(policy(0)))
    large.write_text(json.dumps(policy(RULES)))
    revoked.write_text("".join(f"{secrets.token_hex(32)}\n" for _ in range(REVOKED)))
    tools = [tool(f"search_{number}") for number in range(TOOLS - 1)] + [tool("get_weather")]
    tokens = agents_tokens(MANY_AGENTS)
    alone: dict[str, Any] = {"policy_path": str(small)}
    everything = {"policy_path": str(large), "tools": tools, "revoked_tokens_path": str(revoked)}
    yield SMALL, alone
    yield f"{RULES:,} rules", {"policy_path": str(large)}
    yield f"{TOOLS:,} tools", {**alone, "tools": tools}
    yield f"{REVOKED:,} revoked tokens", {**alone, "revoked_tokens_path": str(revoked)}
    for agents in (AGENTS, MANY_AGENTS):
        yield f"{agents:,} agents", {**alone, "tokens": tokens[:agents]}
        yield f"all of these, {agents:,} agents", {**everything, "tokens": tokens[:agents]}


def policy(rules: int) -> dict[str, Any]:
    """A policy that lets agents ask and look up the weather, and says so in its last rule, after `rules` others.

    The others are of three kinds, none of which a request of ours meets: another agent, another tool, an attribute.
    """
    kinds: list[dict[str, Any]] = [
        {"agentIds": ["tenant-{}-*"]},
        {"actions": ["prompt:check", "tool:execute"], "agentIds": ["agent-*"], "attributes": {"team": "team-{}"}},
        {"actions": ["tool:execute"], "tools": ["search_{}_*", "fetch_{}"]},
    ]
    others = [
        {
            "id": f"no-{number}",
            "match": json.loads(json.dumps(kinds[number % len(kinds)]).replace("{}", str(number))),
            "decision": "deny",
        }
        for number in range(rules)
    ]
    last = {
        "id": "yes",
        "match": {"agentIds": ["agent-*"], "actions": ["prompt:check", "tool:execute"]},
        "decision": "allow",
        "reason": "agents may ask and look up",
    }
    return {"version": "1.0", "rules": [*others, last]}


def agents_tokens(count: int) -> list[str]:
    """Tokens of different agents, rightly signed."""
    now = int(time.time())
    rest = {"iss": "load", "iat": now, "exp": now + TOKEN_SECONDS, "capabilities": ALL_CAPABILITIES}
    header = b'{"alg":"HS256"}'
    return [
        signed_with_hmac(header, json.dumps({"sub": f"agent-{number}", **rest}).encode()) for number in range(count)
    ]
