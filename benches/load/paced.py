"""A client that sends when requests are due, not when replies have come.

Latency is counted from the moment at which a request was due: what has to wait because all connections are waiting
counts in full, so that a server that stops for a moment shows it. A thread keeps the time, since timers of an event
loop have milliseconds; how late the client itself was is measured too.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import cast
from urllib.parse import urlsplit

import msgspec
import uvloop

from benches.load.errors import Wrong
from benches.load.replies import Expected, Request, length_of

CONNECTIONS = 16
_PATIENCE_SECONDS = 60.0


class Planned(msgspec.Struct, frozen=True):
    """One request and what it must get. `counts`: its latency is one of those asked for."""

    request: Request
    expected: Expected
    counts: bool = True


class Played(msgspec.Struct):
    """What came of it, in milliseconds. `ids` are those in the replies, `late_p99_ms` is the client's own delay."""

    latencies_ms: list[float]
    late_p99_ms: float
    ids: list[bytes]

    def percentile(self, percent: float) -> float:
        """A percentile of the latencies, in milliseconds."""
        return percentile(self.latencies_ms, percent)


def percentile(values: list[float], percent: float) -> float:
    """The least value that so many per cent of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * percent // 100) - 1)]


def play(url: str, plan: Callable[[int], Planned], *, rate: float, seconds: float, first: int) -> Played:
    """Send `rate` requests a second. `plan` gives them by number; the first has the text of `first`. Raises `Wrong`."""
    return uvloop.run(_Player(plan, rate, int(rate * seconds), first).run(url))


class _Connection(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self, player: "_Player") -> None:
        self._player = player
        self._buffer = bytearray()
        self.number = 0  # of the request that is under way

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by type

    def send(self, number: int, content: bytes) -> None:
        self.number = number
        self._transport.write(content)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._buffer[: end + 4])
        length = length_of(head)
        if length is None:
            self._player.failed(f"reply without a length: {head!r}")
        elif len(self._buffer) >= len(head) + length:
            body = bytes(self._buffer[len(head) : len(head) + length])
            self._buffer.clear()
            self._player.answered(self, head, body)

    def connection_lost(self, exc: Exception | None) -> None:
        self._player.failed(f"connection lost: {exc}")

    def close(self) -> None:
        self._transport.close()


class _Player:
    """Hands requests that are due to connections that are free. All of it runs in the loop but `_keep_time`."""

    def __init__(self, plan: Callable[[int], Planned], rate: float, count: int, first: int) -> None:
        self._plan = plan
        self._first = first
        self._rate = rate
        self._count = count
        self._left = count
        self._began = 0.0
        self._late: list[float] = []
        self._played = Played([], 0.0, [])
        self._waiting: deque[int] = deque()
        self._free: list[_Connection] = []
        self._ended: asyncio.Future[None] | None = None

    async def run(self, url: str) -> Played:
        loop = asyncio.get_running_loop()
        host, port = urlsplit(url).hostname or "", urlsplit(url).port or 80
        self._ended = loop.create_future()
        loop.set_exception_handler(lambda _, context: self.failed(repr(context)))
        for _ in range(CONNECTIONS):
            _, made = await loop.create_connection(lambda: _Connection(self), host, port)
            self._free.append(made)
        connections = list(self._free)
        self._began = time.perf_counter() + 0.05
        keeper = threading.Thread(target=self._keep_time, args=(loop, self._ended), daemon=True)
        keeper.start()
        try:
            await asyncio.wait_for(self._ended, self._count / self._rate + _PATIENCE_SECONDS)
        except TimeoutError:
            raise Wrong(f"{self._left} replies are missing") from None
        finally:
            await loop.run_in_executor(None, keeper.join)
            for connection in connections:
                connection.close()
        self._played.late_p99_ms = percentile(self._late, 99)
        return self._played

    def _due(self, number: int) -> float:
        return self._began + number / self._rate

    def _keep_time(self, loop: asyncio.AbstractEventLoop, ended: "asyncio.Future[None]") -> None:
        for number in range(self._count):
            if ended.done():
                return
            time.sleep(max(0.0, self._due(number) - time.perf_counter()))
            loop.call_soon_threadsafe(self._is_due, number)

    def _is_due(self, number: int) -> None:
        self._late.append((time.perf_counter() - self._due(number)) * 1e3)
        if self._free:
            self._free.pop().send(number, self._content(number))
        else:
            self._waiting.append(number)

    def _content(self, number: int) -> bytes:
        return self._plan(number).request.numbered(self._first + number)

    def answered(self, connection: _Connection, head: bytes, body: bytes) -> None:
        """Take up a reply, and give its connection the next request that is due."""
        latency = (time.perf_counter() - self._due(connection.number)) * 1e3
        planned = self._plan(connection.number)
        found = planned.expected.request_id(body) if head.startswith(b"HTTP/1.1 200 ") else None
        if found is None:
            self.failed(f"wrong reply: {head!r}{body[:300]!r}")
            return
        self._played.ids.append(found)
        if planned.counts:
            self._played.latencies_ms.append(latency)
        self._left -= 1
        if self._waiting:
            number = self._waiting.popleft()
            connection.send(number, self._content(number))
        else:
            self._free.append(connection)
        if not self._left and self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def failed(self, reason: str) -> None:
        """End it. Without effect once it has ended."""
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(Wrong(reason))
