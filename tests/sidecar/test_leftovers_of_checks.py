"""What a check leaves behind in memory: nothing, however it ends."""

import asyncio
import gc
import json
from types import FrameType, TracebackType

import pytest
from prometheus_client import CollectorRegistry

from kalguard.records.sinks import MemorySink
from kalguard.sidecar.app import build
from kalguard.sidecar.metrics import Metrics
from kalguard.wire.check import MAX_BODY_BYTES
from tests.support import ATTACK, GOOD_PROMPT, bearer, settings, token

PROMPT = "/v1/prompt/check"
GOOD = json.dumps(GOOD_PROMPT).encode()
CHECKS = {
    "allowed": (GOOD, bearer(), 200),
    "blocked": (json.dumps(ATTACK).encode(), bearer(), 403),
    "unreadable": (b"{", bearer(), 400),
    "of nobody": (GOOD, {}, 401),
    "of a stranger": (GOOD, bearer("a.b.c"), 401),
    "not permitted": (GOOD, bearer(token(capabilities=[])), 403),
    "announced too large": (GOOD, {**bearer(), "content-length": str(MAX_BODY_BYTES + 1)}, 413),
    "too large": (b" " * (MAX_BODY_BYTES + 1), bearer(), 413),
}


@pytest.mark.parametrize("kind", CHECKS)
def test_nothing_is_left_of_a_check(kind: str) -> None:
    """Neither circles, for which garbage is seldom searched, nor the frames of an exception that somebody keeps."""
    body, headers, status = CHECKS[kind]
    served = build(settings(policy_default_deny="false"), metrics=Metrics(CollectorRegistry()), sink=MemorySink())
    scope = {
        "type": "http",
        "method": "POST",
        "path": PROMPT,
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    statuses: list[int] = []

    async def receive() -> object:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(int(str(message["status"])))

    async def ask(times: int) -> None:
        for _ in range(times):
            await served(dict(scope), receive, send)  # type: ignore[arg-type]

    def frames() -> int:
        return sum(isinstance(thing, FrameType | TracebackType) for thing in gc.get_objects())

    async def left() -> tuple[int, int]:
        gc.collect()
        before = frames()
        gc.disable()
        try:
            await ask(20)
            return frames() - before, gc.collect()
        finally:
            gc.enable()

    async def both() -> None:
        await ask(5)
        # More than once: a thread that another test left may leave something meanwhile.
        assert (0, 0) in [await left() for _ in range(3)]

    asyncio.run(both())
    assert set(statuses) == {status}
