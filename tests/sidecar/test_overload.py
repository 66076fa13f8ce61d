"""What happens when more is asked than can be done: a refusal, at once, and nobody else notices."""

import asyncio
import json
import time
from pathlib import Path
from statistics import median

import httpx
import pytest

from kalguard.errors import Overloaded
from kalguard.records.sinks import MemorySink
from kalguard.sidecar import routes
from kalguard.sidecar.load import FREE_BYTES, Load
from kalguard.sidecar.routes import DISCARD_SECONDS
from tests.support import GOOD_PROMPT, Server, app, bearer, call, records, running, until

PROMPT = "/v1/prompt/check"
MIB = 1024 * 1024


class Watcher:
    def __init__(self) -> None:
        self.refused = 0

    def shed(self) -> None:
        self.refused += 1


def test_no_more_checks_than_there_are_places() -> None:
    watcher = Watcher()
    load = Load(checks=2, body_bytes=0, watcher=watcher)
    with load.check():
        with load.check(), pytest.raises(Overloaded), load.check():
            pass
        with pytest.raises(ZeroDivisionError), load.check():
            _ = 1 / 0
        with load.check():
            assert (load.inside, watcher.refused) == (2, 1)
    assert load.inside == 0


def test_bodies_share_a_room_but_small_ones_need_none() -> None:
    watcher = Watcher()
    load = Load(checks=1, body_bytes=1000, watcher=watcher)
    with load.body(0) as first:
        first.take(FREE_BYTES)
        first.take(900)
        with pytest.raises(Overloaded), load.body(FREE_BYTES + 101):
            pass
        with load.body(FREE_BYTES + 100) as second:
            second.take(FREE_BYTES - 1)
            with pytest.raises(Overloaded):
                second.take(102)
            second.take(1)
    assert watcher.refused == 2
    with load.body(FREE_BYTES + 1000) as third:
        third.take(FREE_BYTES + 1000)


def test_what_is_announced_takes_nothing_away() -> None:
    load = Load(checks=1, body_bytes=1000, watcher=Watcher())
    with load.body(FREE_BYTES + 1000), load.body(FREE_BYTES + 1000) as sender:
        sender.take(FREE_BYTES + 1000)


def prompt_of(size: int, number: int) -> bytes:
    """Another one for each number: what was read before is not read again."""
    sentence = "The committee met on Tuesday and talked about the budget for the coming year. "
    return json.dumps(
        {"messages": [{"role": "user", "content": f"{number}. {sentence * (size // len(sentence))}"}]}
    ).encode()


async def flood(server: Server, size: int, count: int) -> tuple[list[httpx.Response], list[float], list[float]]:
    """`count` prompts of `size` bytes at once; beside them probes and small prompts, and how long those took."""
    timeout, limits = httpx.Timeout(60), httpx.Limits(max_connections=count + 2)
    probes: list[float] = []
    small: list[float] = []
    async with httpx.AsyncClient(base_url=server.url, timeout=timeout, limits=limits, headers=bearer()) as client:

        async def beside() -> None:
            while True:
                began = time.monotonic()
                assert (await client.get("/health/live")).status_code == 200
                probes.append(time.monotonic() - began)
                began = time.monotonic()
                assert (await client.post(PROMPT, content=json.dumps(GOOD_PROMPT))).status_code in (200, 503)
                small.append(time.monotonic() - began)
                await asyncio.sleep(0.01)

        watching = asyncio.create_task(beside())
        bodies = [prompt_of(size, number) for number in range(count)]
        replies = await asyncio.gather(*(client.post(PROMPT, content=body) for body in bodies))
        watching.cancel()
    return list(replies), probes, small


def test_large_prompts_in_parallel_are_refused_beyond_the_room_there_is(tmp_path: Path) -> None:
    variables = {"policy_default_deny": "false", "max_buffered_bytes": str(12 * MIB), "drain_seconds": "5"}
    with running(tmp_path, **variables) as server:
        replies, probes, small = asyncio.run(flood(server, 4 * MIB, 40))
        by_status = {code: [reply for reply in replies if reply.status_code == code] for code in (200, 503)}
        assert sum(map(len, by_status.values())) == 40
        assert by_status[200] and by_status[503]
        for refused in by_status[503]:
            body = refused.json()
            assert (body["errorCode"], body["allowed"]) == ("UNAVAILABLE", False)
            assert body["message"] == "too many large bodies at once"
            assert 1 <= int(refused.headers["retry-after"]) <= 5
        assert probes and small and median(probes) < 2.0 and median(small) < 2.0
        on_record = [record["requestId"] for record in server.audit()]
        assert {reply.json()["requestId"] for reply in replies} <= set(on_record)
        assert len(on_record) == len(set(on_record))
        refusals = [record for record in server.audit() if record["metadata"].get("errorCode") == "UNAVAILABLE"]
        assert {record["agentId"] for record in refusals} == {"agent-1"}
        assert resident_bytes(server) < 600 * MIB
        assert server.post(PROMPT, GOOD_PROMPT).status_code == 200


def test_more_checks_than_places_are_refused_at_once(tmp_path: Path) -> None:
    variables = {"policy_default_deny": "false", "max_concurrent_checks": "2", "drain_seconds": "5"}
    with running(tmp_path, **variables) as server:
        replies, probes, _ = asyncio.run(flood(server, MIB, 30))
        assert max(reply.elapsed.total_seconds() for reply in replies if reply.status_code == 503) < DISCARD_SECONDS
        refused = [reply for reply in replies if reply.status_code == 503]
        assert refused and {reply.json()["message"] for reply in refused} == {"too many checks at once"}
        assert median(probes) < 2.0
        assert server.post(PROMPT, GOOD_PROMPT).status_code == 200
        on_record = sum(record["metadata"].get("errorCode") == "UNAVAILABLE" for record in server.audit())
        failures = 'kalguard_check_failures_total{cause="%s",check="prompt",effect="denied"} %s'
        measured = {
            f"kalguard_shed_total {float(on_record)}",
            failures % ("overload", float(on_record)),
            failures % ("dependency", 0.0),
            "kalguard_inflight_requests 0.0",
        }
        until(lambda: measured <= set(httpx.get(f"{server.metrics_url}/metrics").text.splitlines()))


def test_a_body_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "BODY_SECONDS", 0.05)
    sink = MemorySink()
    reply = call(app(sink, policy_default_deny="false"), stalls=True)
    assert (reply.status, reply.body["errorCode"]) == (400, "BAD_REQUEST")
    assert "did not arrive" in reply.body["message"]
    assert [record["requestId"] for record in records(sink)] == [reply.body["requestId"]]


def test_who_sends_slowly_takes_no_place_away(tmp_path: Path) -> None:
    variables = {"policy_default_deny": "false", "max_concurrent_checks": "1"}
    with running(tmp_path, **variables) as server:

        async def run() -> None:
            waiting = []
            address = httpx.URL(server.url)
            for _ in range(20):
                reader, writer = await asyncio.open_connection(address.host, address.port)
                head = f"POST {PROMPT} HTTP/1.1\r\nhost: x\r\nauthorization: {bearer()['authorization']}\r\n"
                writer.write(f"{head}content-length: 1000\r\n\r\n{{".encode())
                await writer.drain()
                waiting.append((reader, writer))
            async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as client:
                for _ in range(20):
                    assert (await client.post(PROMPT, content=json.dumps(GOOD_PROMPT))).status_code == 200
            for _, writer in waiting:
                writer.close()

        asyncio.run(run())


def resident_bytes(server: Server) -> int:
    """Of all processes of the server."""
    pids = [server.process.pid]
    pids += [int(pid) for pid in Path(f"/proc/{pids[0]}/task/{pids[0]}/children").read_text().split()]
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids]
    return sum(pages) * 4096
