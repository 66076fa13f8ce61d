"""Two workers beside one: what they carry, and that a limit is exact whoever counts.

The client needs processors too. What is left of a second worker then is shown by (b) with two workers beside itself
with one, in the same run.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import msgspec

from benches.load.bodies import bodies, tool_call
from benches.load.errors import Wrong
from benches.load.measuring import Cell, Row, case_of, rounds, say, warm
from benches.load.servers import good_token, ours, tool, yardsticks
from benches.load.targets import Ours

CONNECTIONS = 32
LIMIT, CALLS, CALLERS = 50, 150, 30
LIMITED = "search_limited"


class Limit(msgspec.Struct):
    """What became of calls of a tool that may be called `LIMIT` times a minute."""

    name: str
    calls: int
    allowed: int


def workers(folder: Path, *, count: int, seconds: int) -> tuple[list[Row], list[Limit]]:
    """Measure a service with one worker and one with two in turn, and (b) likewise. Raises `Wrong`."""
    rows, limits = list[Row](), list[Limit]()
    with ExitStack() as started:
        tools = [tool("get_weather"), tool(LIMITED, rateLimitPerMinute=LIMIT)]
        targets = [
            started.enter_context(ours(folder, name, tools=tools, workers=str(number)))
            for number, name in ((1, "1 worker"), (2, "2 workers"))
        ]
        chosen = [bodies()["small"], bodies()["tool"]]
        bare = started.enter_context(yardsticks(folder, targets[0], chosen, ["litestar"], workers=(1, 2)))
        for body in chosen:
            measured = [*targets, *bare]
            for target in measured:
                warm(target, body)
            case = case_of(body, CONNECTIONS)
            say(case)
            cells = [Cell(target.name, target, body, CONNECTIONS) for target in measured]
            rows += rounds(cells, case, count=count, seconds=seconds)
        for target in targets:
            limits.append(_limit(target))
            say(f"  {target.name}: {limits[-1].allowed} of {CALLS} calls allowed, the limit is {LIMIT}")
    return rows, limits


def _limit(target: Ours) -> Limit:
    """Call a tool over many connections at once, faster than its limit allows. Raises `Wrong` if it is not exact."""
    statuses: list[int] = []

    def call(token: str) -> None:
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        body = tool_call(LIMITED)
        with httpx.Client(headers=headers, verify=False) as client:
            for _ in range(CALLS // CALLERS):
                reply = client.post(target.url + body.path, content=body.content)
                if (reply.status_code == 200) is not json.loads(reply.content)["allowed"]:
                    raise Wrong(f"{target.name}: {reply.status_code} {reply.text}")
                statuses.append(reply.status_code)

    with ThreadPoolExecutor(CALLERS) as callers:
        list(callers.map(call, [good_token()] * CALLERS))
    if sorted(statuses) != [200] * LIMIT + [429] * (CALLS - LIMIT):
        raise Wrong(f"{target.name}: {statuses.count(200)} of {CALLS} calls allowed, not {LIMIT}")
    return Limit(target.name, CALLS, statuses.count(200))
