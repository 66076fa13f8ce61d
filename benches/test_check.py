"""What a whole check costs without a network, beside a bare handler of the same framework. Each answer is asserted.

Ours has everything on: token, policy, firewall, tools file, limits, audit file, metrics. The yardstick is (b) of
`make load`.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from prometheus_client import CollectorRegistry
from tests.support import settings, token

from benches.load import bare
from benches.load.bodies import Body, bodies
from benches.load.servers import POLICY, tool
from kalguard.counters.workers import WorkerCounters, make_table
from kalguard.records.audit import AuditSink
from kalguard.records.sinks import file_sink
from kalguard.sidecar.app import build
from kalguard.sidecar.metrics import Metrics

CHECKS = 16  # at once, as many as wait for one write of the audit log
BODIES = bodies()


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made


@pytest.fixture(params=BODIES)
def body(request: pytest.FixtureRequest) -> Body:
    return BODIES[request.param]


def test_kalguard(benchmark: Any, runner: asyncio.Runner, tmp_path: Path, body: Body) -> None:
    benchmark.group = _group(body)
    sink = file_sink(str(tmp_path / "audit.jsonl"))
    asked = CHECKS * _measure(benchmark, runner, _ours(tmp_path, sink), body)
    runner.run(sink.close())
    assert len((tmp_path / "audit.jsonl").read_bytes().splitlines()) == asked


def test_yardstick_bare_litestar(
    benchmark: Any, runner: asyncio.Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: Body
) -> None:
    benchmark.group = _group(body)
    replies = tmp_path / "replies.json"
    replies.write_text(json.dumps({body.path: json.dumps({"allowed": True, "requestId": "req_" + 24 * "0"})}))
    monkeypatch.setenv(bare.REPLIES, str(replies))
    _measure(benchmark, runner, bare.litestar(), body)


def _group(body: Body) -> str:
    return f"a whole check, {body.title}, {CHECKS} at once"


def _ours(folder: Path, sink: AuditSink) -> Litestar:
    (folder / "tools.json").write_text(json.dumps({"tools": [tool("get_weather")]}))
    make_table(folder / "counters")
    chosen = settings(policy_path=str(POLICY), tools_path=str(folder / "tools.json"), tool_rate_limit="1000000")
    counters = WorkerCounters(folder / "counters")
    return build(chosen, metrics=Metrics(CollectorRegistry()), own=counters, sink=sink)


def _measure(benchmark: Any, runner: asyncio.Runner, app: Litestar, body: Body) -> int:
    """Ask again and again. Gives how often `CHECKS` were asked together."""
    ask = _asking(app, body)
    counted = 0

    def once() -> tuple[set[int], Any]:
        nonlocal counted
        counted += 1
        return runner.run(ask())

    statuses, reply = benchmark(once)
    assert statuses == {200}
    assert reply["allowed"] is True
    return counted


def _asking(app: Litestar, body: Body) -> Callable[[], Coroutine[Any, Any, tuple[set[int], Any]]]:
    """Ask `CHECKS` times at once, each time something new. Gives the statuses, and the last reply."""
    numbers = count()
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": body.path,
        "raw_path": body.path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", b"localhost"),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body.content)).encode()),
            (b"authorization", f"Bearer {token()}".encode()),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }

    async def receive() -> Any:
        return {"type": "http.request", "body": body.numbered(next(numbers)), "more_body": False}

    async def ask() -> list[Any]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        await app({**scope, "state": {}}, receive, send)  # type: ignore[arg-type]
        return sent

    async def ask_all() -> tuple[set[int], Any]:
        replies = await asyncio.gather(*(ask() for _ in range(CHECKS)))
        return {start["status"] for start, _ in replies}, json.loads(replies[-1][1]["body"])

    return ask_all
