"""Servers that say one thing to the client, and what comes of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from kalguard.connector.client import CloudClient
from kalguard.wire.cloud import UsageEvent
from tests.cloud import API_KEY

Value = TypeVar("Value")
EVENTS = [UsageEvent("prompt_check", "agent-1", "allow", "2026-03-14T12:00:00.000Z", f"id-{n}") for n in range(3)]


@asynccontextmanager
async def saying(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that says the same whatever it is asked, and what it is asked."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        heard.append(head + await reader.readexactly(length))
        try:
            writer.write(answer)
            await writer.drain()
        except OSError:
            pass  # it has heard enough
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heard


def answered(answer: bytes, ask: Callable[[CloudClient], Awaitable[Value]]) -> tuple[Value, list[bytes]]:
    """What comes of one call to a server that says this, and what it was asked."""

    async def run() -> tuple[Value, list[bytes]]:
        async with saying(answer) as (url, heard):
            found = CloudClient(url, API_KEY)
            outcome = await ask(found)
            await found.close()
            return outcome, heard

    return asyncio.run(run())


def http(status: int, body: bytes = b"", **headers: str) -> bytes:
    head = {"content-length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = [f"HTTP/1.1 {status} So", *(f"{name}: {value}" for name, value in head.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def assert_plain(problem: str) -> None:
    """Something that can be shown: short, in one line, and without the key."""
    assert API_KEY not in problem
    assert "\n" not in problem
    assert len(problem) <= 300
