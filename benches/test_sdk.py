"""What the SDK adds to a check over loopback: beside httpx alone, which sends the same and reads the same reply.

The server answers at once and always yes; each answer is asserted.
"""

import asyncio
import json
import secrets
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.sdk.faulty import FaultySidecar, allows, faulty

from kalguard import AsyncKalGuardClient, KalGuardClient

ARGUMENTS = {"location": "Oslo"}
SYNC, ASYNC = "one check over loopback", "one check over loopback, async"


@pytest.fixture
def sidecar() -> Iterator[FaultySidecar]:
    with faulty(allows) as found:
        yield found


def _request() -> dict[str, Any]:
    headers = {"authorization": "Bearer token", "x-kalguard-request-id": f"req_{secrets.token_hex(12)}"}
    return {"content": json.dumps({"toolName": "t", "arguments": ARGUMENTS}), "headers": headers}


def test_client(benchmark: Any, sidecar: FaultySidecar) -> None:
    benchmark.group = SYNC
    with KalGuardClient(sidecar.url, "token") as client:
        assert benchmark(lambda: client.check_tool("t", ARGUMENTS)).reason == "fine"


def test_yardstick_httpx(benchmark: Any, sidecar: FaultySidecar) -> None:
    benchmark.group = SYNC
    with httpx.Client(base_url=sidecar.url) as client:
        reply = benchmark(lambda: client.post("/v1/tool/check", **_request()))
        assert reply.json()["allowed"] is True


def test_async_client(benchmark: Any, sidecar: FaultySidecar) -> None:
    benchmark.group = ASYNC
    with asyncio.Runner() as runner:
        client = AsyncKalGuardClient(sidecar.url, "token")
        assert benchmark(lambda: runner.run(client.check_tool("t", ARGUMENTS))).reason == "fine"
        runner.run(client.aclose())


def test_yardstick_async_httpx(benchmark: Any, sidecar: FaultySidecar) -> None:
    benchmark.group = ASYNC
    with asyncio.Runner() as runner:
        client = httpx.AsyncClient(base_url=sidecar.url)
        reply = benchmark(lambda: runner.run(client.post("/v1/tool/check", **_request())))
        assert reply.json()["allowed"] is True
        runner.run(client.aclose())
