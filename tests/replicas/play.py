"""What three replicas behind a load balancer have to do together. `test_replicas.py` runs it and reads what it prints.

    python -m tests.replicas.play FOLDER

One JSON object on standard output: what was measured. An assertion that fails ends it with exit code 1.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from kalguard.records.reader import read_record
from kalguard.records.verification import verify
from tests.cloud import SIGNING_SECRET
from tests.replicas.stage import Stage, is_pid_1, stage
from tests.support import GOOD_PROMPT, PATIENCE_SECONDS, bearer, token, until, wait_for_a_day_that_lasts

PROMPT, TOOL = "/v1/prompt/check", "/v1/tool/check"
CALLERS = 16
TOOL_LIMIT = 50  # calls of an agent a minute
PLAN_LIMIT = 400  # checks a day


class Asked:
    """Every request that was answered, by its id, with the status."""

    def __init__(self, url: str) -> None:
        self.statuses: dict[str, int] = {}
        self.failed: list[str] = []
        self._url = url
        self._number = 0

    async def ask(
        self, client: httpx.AsyncClient, path: str, body: object, agent: str, url: str = ""
    ) -> httpx.Response | None:
        """Send one request that has a number of its own. Nothing is tried twice."""
        self._number += 1
        name = f"play-{self._number}"
        headers = {**bearer(token(SIGNING_SECRET, sub=agent)), "x-kalguard-request-id": name}
        try:
            reply = await client.post((url or self._url) + path, json=body, headers=headers)
        except httpx.TransportError as error:
            self.failed.append(f"{name}: {error!r}")
            return None
        self.statuses[name] = reply.status_code
        return reply

    async def many(self, calls: int, path: str, body: object, agent: str) -> Counter[int]:
        """So many requests, `CALLERS` at a time. How often each status came back."""
        before = set(self.statuses)
        turn = asyncio.Semaphore(CALLERS)
        async with connections() as client:

            async def one() -> None:
                async with turn:
                    await self.ask(client, path, body, agent)

            await asyncio.gather(*(one() for _ in range(calls)))
        return Counter(status for name, status in self.statuses.items() if name not in before)


def connections() -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=CALLERS, max_keepalive_connections=CALLERS)
    return httpx.AsyncClient(limits=limits, timeout=60)


async def limits_are_exact(found: Stage, asked: Asked) -> dict[str, Any]:
    """A limit of a tool call and one of the plan, over all three."""
    calls = await asked.many(3 * TOOL_LIMIT, TOOL, {"toolName": "t"}, "agent-1")
    assert calls == {200: TOOL_LIMIT, 429: 2 * TOOL_LIMIT}, calls
    left = PLAN_LIMIT - 3 * TOOL_LIMIT  # a call that a limit refuses counts for the day all the same
    checks = await asked.many(left + 150, PROMPT, GOOD_PROMPT, "agent-2")
    assert checks == {200: left, 429: 150}, checks
    shares = [len(replica.audit_path.read_bytes().splitlines()) for replica in found.replicas]
    assert min(shares) > 50, "one replica had nothing to do"
    found.cloud.limit(checks_per_day=-1)
    waited = time.monotonic()
    async with connections() as client:
        for replica in found.replicas:
            while (await remaining(asked, client, replica.url)) != "-1":
                assert time.monotonic() - waited < PATIENCE_SECONDS
                await asyncio.sleep(0.5)
    return {"tool_calls_allowed": calls[200], "checks_allowed": checks[200] + calls[200] + calls[429]}


async def remaining(asked: Asked, client: httpx.AsyncClient, url: str) -> str | None:
    reply = await asked.ask(client, PROMPT, GOOD_PROMPT, "agent-3", url)
    return None if reply is None else reply.headers.get("x-kalguard-usage-remaining")


async def a_policy_is_taken_up_everywhere(found: Stage, asked: Asked) -> dict[str, Any]:
    """A new version, renamed over the old one."""
    assert set(await asked.many(6, PROMPT, GOOD_PROMPT, "agent-x")) == {200}
    found.write_policy("second", "agent-x")
    seconds = found.everywhere(lambda replica: replica.health()["policy"]["version"] == "second")
    assert set(await asked.many(6, PROMPT, GOOD_PROMPT, "agent-x")) == {403}
    assert set(await asked.many(6, PROMPT, GOOD_PROMPT, "agent-y")) == {200}
    return {"policy_everywhere_seconds": round(seconds, 2)}


async def nothing_fails_in_a_rolling_restart(found: Stage, asked: Asked) -> dict[str, Any]:
    """One replica after the other is stopped and started again, while agents go on asking."""
    before = len(asked.statuses)
    over = asyncio.Event()

    async def agent(client: httpx.AsyncClient, name: str) -> None:
        while not over.is_set():
            reply = await asked.ask(client, PROMPT, GOOD_PROMPT, name)
            assert reply is None or reply.status_code == 200, reply.text
            await asyncio.sleep(0.02)

    begun = time.monotonic()
    async with connections() as client:
        agents = [asyncio.create_task(agent(client, f"agent-{number}")) for number in range(CALLERS // 2)]
        stops = await asyncio.to_thread(restart_each, found)
        over.set()
        await asyncio.gather(*agents)
    seconds = time.monotonic() - begun
    answered = len(asked.statuses) - before
    assert asked.failed == []
    assert answered > 200
    return {"rolling_seconds": round(seconds, 1), "rolling_answered": answered, "stop_seconds": stops}


def restart_each(found: Stage) -> list[float]:
    """Stop, start, and wait until requests go there again."""
    stops = []
    for replica in found.replicas:
        stops.append(round(replica.stop(), 1))
        replica.start()
        until(lambda: len(found.balancer.up()) == len(found.replicas))
    return stops


def everything_is_on_record(found: Stage, asked: Asked) -> dict[str, Any]:
    """After the end: each answer once in one of the logs, each log whole, each check counted once by Cloud."""
    recorded: Counter[str | None] = Counter()
    for replica in found.replicas:
        report = verify([str(replica.audit_path)])
        assert report.bad is None, report.bad
        assert [note.text for note in report.remarks] == []
        records = [read_record(line) for line in replica.audit_path.read_bytes().splitlines()]
        recorded.update(record.request_id for record in records if record is not None)
    assert {name: recorded[name] for name in asked.statuses if recorded[name] != 1} == {}
    assert sum(found.cloud.counted().values()) == len(asked.statuses)
    redispatched = sum(int(row["wredis"]) for row in found.balancer.rows().values())
    return {"answered": len(asked.statuses), "failed": len(asked.failed), "sent_elsewhere": redispatched}


async def play(folder: Path) -> dict[str, Any]:
    wait_for_a_day_that_lasts()
    with stage(folder, PLAN_LIMIT, tool_rate_limit=str(TOOL_LIMIT)) as found:
        asked = Asked(found.balancer.url)
        measured = await limits_are_exact(found, asked)
        measured |= await a_policy_is_taken_up_everywhere(found, asked)
        measured |= await nothing_fails_in_a_rolling_restart(found, asked)
        for replica in found.replicas:
            replica.stop()
        return measured | everything_is_on_record(found, asked)


if __name__ == "__main__":
    assert is_pid_1(), "to be run in a PID namespace of its own: make test-replicas"
    print(json.dumps(asyncio.run(play(Path(sys.argv[1])))))
