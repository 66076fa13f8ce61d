"""Limits over HTTP: exact for parallel callers, worker processes and replicas, whatever dies meanwhile."""

import asyncio
import json
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.patient import PATIENT
from tests.redis import RedisServer, redis_server
from tests.support import PATIENCE_SECONDS, Server, bearer, running, said_of, token, until

TOOL = "/v1/tool/check"
CALL = {"toolName": "t"}
OPEN = {"policy_default_deny": "false"}


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


def call_together(servers: list[Server], calls: int, callers: int = 50, agent: str = "agent-1") -> list[httpx.Response]:
    """So many calls, by so many callers at once, spread over the servers."""
    headers = bearer(token(sub=agent))

    async def run() -> list[httpx.Response]:
        turn = asyncio.Semaphore(callers)
        limits = httpx.Limits(max_connections=callers, max_keepalive_connections=callers)
        async with httpx.AsyncClient(limits=limits, timeout=60) as client:

            async def one(number: int) -> httpx.Response:
                async with turn:
                    url = servers[number % len(servers)].url
                    return await client.post(url + TOOL, json=CALL, headers=headers)

            return list(await asyncio.gather(*(one(number) for number in range(calls))))

    return asyncio.run(run())


def statuses(replies: list[httpx.Response]) -> Counter[int]:
    return Counter(reply.status_code for reply in replies)


def call(server: Server, agent: str = "agent-1") -> httpx.Response:
    return server.post(TOOL, CALL, bearer(token(sub=agent)))


def health(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{server.url}/health").json()
    return found


def is_healthy(server: Server) -> bool:
    """Whether it says so; one whose only worker is just being replaced says nothing."""
    try:
        return httpx.get(f"{server.url}/health").status_code == 200
    except httpx.TransportError:
        return False


def metric(server: Server, name: str) -> float | None:
    text = httpx.get(f"{server.metrics_url}/metrics").text
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else None


def beats(redis: RedisServer) -> int:
    """How often workers have said that they are there."""
    return int(redis.client.info("commandstats")["cmdstat_zremrangebyscore"]["calls"])


def workers_of(server: Server) -> list[int]:
    """The process ids of the worker processes: those that have the table of counts open."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return [int(pid) for pid in children if "counters" in said_of(pid, "maps")]


def test_fifty_callers_at_four_workers_get_exactly_the_limit(tmp_path: Path) -> None:
    with running(tmp_path, PATIENT, workers="4", tool_rate_limit="100", **OPEN) as server:
        until(lambda: len(workers_of(server)) == 4)
        replies = call_together([server], 150)
        assert statuses(replies) == {200: 100, 429: 50}
        remaining = sorted(
            int(found[1]) for reply in replies if (found := re.search(r"r=(\d+)", reply.headers["ratelimit"]))
        )
        assert remaining == [0] * 50 + list(range(100))
        until(lambda: metric(server, 'kalguard_ratelimit_decisions_total{limit="agent",result="ok"}') == 100)
        until(lambda: metric(server, 'kalguard_ratelimit_decisions_total{limit="agent",result="exceeded"}') == 50)
        records = [record for record in server.audit() if record["metadata"].get("exceededLimits") == ["agent"]]
        assert len(records) == 50
        assert call(server, "agent-2").status_code == 200


def test_the_replies_say_how_the_limits_stand(tmp_path: Path) -> None:
    (tmp_path / "tools.json").write_text('{"tools": [{"name": "t", "rateLimitPerMinute": 1}, {"name": "free"}]}')
    tools = str(tmp_path / "tools.json")
    with running(tmp_path, tool_rate_limit="3", tools_path=tools, **OPEN) as server:
        began = time.time()
        first, second = call(server), call(server)
        waited = time.time() - began
        free = server.post(TOOL, {"toolName": "free"})
        for reply in (first, second):
            assert reply.headers["ratelimit-policy"] == '"agent";q=3;w=60, "tool";q=1;w=60'
        assert re.fullmatch(r'"agent";r=2;t=6[01], "tool";r=0;t=6[01]', first.headers["ratelimit"])
        assert "retry-after" not in first.headers
        assert re.fullmatch(r'"agent";r=2;t=\d+, "tool";r=0;t=(\d+)', second.headers["ratelimit"])
        assert second.status_code == 429
        assert 59 - waited <= int(second.headers["retry-after"]) <= 61
        data = second.json()["data"]
        assert data["remaining"] == 0
        assert began - 1 <= data["resetAt"] - int(second.headers["retry-after"]) <= began + waited + 1
        assert free.headers["ratelimit-policy"] == '"agent";q=3;w=60'
        denied = server.post(TOOL, {"toolName": "unknown"})
        assert denied.status_code == 403
        assert "ratelimit" not in denied.headers
        assert (
            "ratelimit" not in server.post("/v1/prompt/check", {"messages": [{"role": "user", "content": "x"}]}).headers
        )


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_worker_that_is_killed_takes_no_counts_with_it(tmp_path: Path, workers: str) -> None:
    with running(tmp_path, workers=workers, tool_rate_limit="5", **OPEN) as server:
        until(lambda: len(workers_of(server)) == int(workers))
        assert [call(server).status_code for _ in range(3)] == [200] * 3
        old = set(workers_of(server))
        os.kill(min(old), signal.SIGKILL)
        until(lambda: len(workers_of(server)) == int(workers) and set(workers_of(server)) != old)
        replies: list[int] = []

        def answered() -> bool:
            try:
                replies.append(call(server).status_code)
            except httpx.TransportError:
                return False
            return len(replies) == 4

        until(answered)
        assert replies == [200, 200, 429, 429]


def test_two_instances_with_a_redis_get_exactly_the_limit(tmp_path: Path, redis: RedisServer) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    shared = {"redis_url": redis.url, "workers": "2", "tool_rate_limit": "100", **OPEN}
    with running(tmp_path / "one", PATIENT, **shared) as one, running(tmp_path / "other", PATIENT, **shared) as other:
        until(lambda: redis.client.zcard("kalguard:instances") == 2)
        for server in (one, other):
            until(lambda server=server: metric(server, "kalguard_ratelimit_degraded") == 0)  # type: ignore[misc]
        assert statuses(call_together([one, other], 150)) == {200: 100, 429: 50}
        assert health(one)["limits"] == {"store": "redis", "state": "ok"}
        assert redis.client.zcard("kalguard:instances") == 2
        assert not any("agent-1" in key for key in redis.client.keys("*"))


def test_while_redis_is_lost_an_instance_counts_its_share_and_says_so(tmp_path: Path, redis: RedisServer) -> None:
    with running(tmp_path, PATIENT, redis_url=redis.url, workers="2", tool_rate_limit="20", **OPEN) as server:
        until(lambda: redis.client.zcard("kalguard:instances") == 1)
        redis.client.zadd("kalguard:instances", {"another-instance": time.time() + 3600})
        said = beats(redis)  # each worker says every five seconds that it is there, and so hears of the other
        until(lambda: beats(redis) >= said + 3)
        assert [call(server).status_code for _ in range(4)] == [200] * 4
        redis.kill()
        assert statuses(call_together([server], 30)) == {200: 6, 429: 24}  # 20 // 2, of which 4 are used up
        until(lambda: metric(server, "kalguard_ratelimit_degraded") == 1)
        until(lambda: health(server)["limits"] == {"store": "redis", "state": "degraded"})
        assert httpx.get(f"{server.url}/health/ready").status_code == 200
        assert (metric(server, 'kalguard_ratelimit_backend_errors_total{store="redis"}') or 0) >= 1
        assert server.log().count("store of limits lost") in (1, 2)  # once for each worker
        redis.start()
        until(lambda: metric(server, "kalguard_ratelimit_degraded") == 0)
        assert health(server)["limits"]["state"] == "ok"
        assert call(server).status_code == 200
        assert server.log().count("store of limits is back") == 2


def test_a_redis_that_hangs_is_waited_for_once(tmp_path: Path, redis: RedisServer) -> None:
    with running(tmp_path, redis_url=redis.url, tool_rate_limit="1000", **OPEN) as server:
        until(lambda: redis.client.zcard("kalguard:instances") == 1)
        assert call(server).status_code == 200
        redis.hold()
        try:
            assert call(server).status_code == 200
            failed = metric(server, 'kalguard_ratelimit_backend_errors_total{store="redis"}')
            assert statuses(call_together([server], 100, callers=1)) == {200: 100}
            # Each wait is told as an error. Only the background has asked meanwhile, ever less often.
            assert (metric(server, 'kalguard_ratelimit_backend_errors_total{store="redis"}') or 0) - (failed or 0) <= 10
        finally:
            redis.go_on()
        until(lambda: health(server)["limits"]["state"] == "ok")
        assert "never retrieved" not in server.log()
        assert "Traceback" not in server.log()


def test_closed_denies_tool_calls_under_a_limit_and_nothing_else(tmp_path: Path, redis: RedisServer) -> None:
    variables = {"redis_url": redis.url, "limits_on_store_loss": "closed", "tool_rate_limit": "9", **OPEN}
    with running(tmp_path, **variables) as server:
        until(lambda: redis.client.zcard("kalguard:instances") == 1)
        assert call(server).status_code == 200
        redis.kill()
        reply = call(server)
        assert (reply.status_code, reply.json()["errorCode"], reply.json()["allowed"]) == (503, "UNAVAILABLE", False)
        assert 1 <= int(reply.headers["retry-after"]) <= 5
        found = httpx.get(f"{server.url}/health")
        assert (found.status_code, found.json()["failing"]) == (503, ["limits"])
        prompt = server.post("/v1/prompt/check", {"messages": [{"role": "user", "content": "x"}]})
        assert prompt.status_code == 200
        assert server.audit()[-2]["metadata"]["errorCode"] == "UNAVAILABLE"
        assert metric(server, "kalguard_ratelimit_degraded") == 1
        (old,) = workers_of(server)
        os.kill(old, signal.SIGKILL)  # what it said of itself is forgotten with it
        redis.start()
        until(lambda: workers_of(server) not in ([], [old]))
        until(lambda: metric(server, "kalguard_ratelimit_degraded") == 0)
        until(lambda: is_healthy(server))
        assert call(server).status_code == 200


def test_the_start_does_not_wait_for_redis_and_no_log_holds_its_password(tmp_path: Path) -> None:
    # Declared: whether a tool that is not was registered elsewhere, a worker that never reached Redis cannot know.
    (tmp_path / "tools.json").write_text(json.dumps({"tools": [{"name": CALL["toolName"]}]}))
    variables = {"redis_url": "redis://:hunter2@127.0.0.1:1/0", "tools_path": str(tmp_path / "tools.json"), **OPEN}
    with running(tmp_path, tool_rate_limit="1", **variables) as server:
        assert [call(server).status_code for _ in range(2)] == [200, 429]
        until(lambda: health(server)["limits"]["state"] == "degraded")
        assert server.post("/v1/tool/check", {"toolName": "undeclared"}).status_code == 503
        assert "hunter2" not in server.log()


def test_what_nobody_registered_is_the_policy_s_business_until_redis_was_never_reached(tmp_path: Path) -> None:
    with running(tmp_path, redis_url="redis://127.0.0.1:1/0", **OPEN) as server:
        assert (call(server).status_code, call(server).json()["errorCode"]) == (503, "UNAVAILABLE")


def test_a_worker_that_is_stopped_holds_up_nobody(tmp_path: Path) -> None:
    """Stopped at any time; if it holds the lock then, the others deny rather than wait."""
    with running(tmp_path, workers="2", tool_rate_limit="1000000", **OPEN) as server:
        # Each writes a chain of its own: both have answered, none is just starting.
        until(lambda: call(server).status_code == 200 and len({record["chain"] for record in server.audit()}) == 2)
        stopped = workers_of(server)[0]
        deadline = time.monotonic() + PATIENCE_SECONDS

        def answered(_: int) -> int:
            while time.monotonic() < deadline:  # new connections: some are given to the stopped one, and time out
                with suppress(httpx.TimeoutException):
                    return httpx.post(server.url + TOOL, json=CALL, headers=bearer(), timeout=3).status_code
            return 0

        os.kill(stopped, signal.SIGSTOP)
        try:
            with ThreadPoolExecutor(10) as pool:
                assert set(pool.map(answered, range(10))) <= {200, 503}
        finally:
            os.kill(stopped, signal.SIGCONT)
