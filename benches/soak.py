"""Mixed load at half of what a service can carry, for as long as it is told: `make soak`.

Every reply is compared with what its request must get, every answered request must be on record exactly once, the log
must verify, and the memory of the worker processes is sampled. Talks to the loopback only, to a server of its own.
"""

import argparse
import asyncio
import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from tests.support import ATTACK, ROOT, Server, bearer, running, stop, token, workers_of

from benches.load.bodies import bodies
from kalguard.records.verification import verify

CONNECTIONS = 8
CAPACITY_SECONDS = 10.0
SAMPLE_SECONDS = 5.0
TOOL = {
    "name": "get_weather",
    "argumentSchema": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
}
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_REQUEST_ID = re.compile(rb'"requestId":"soak-([0-9]+)"')


class Kind(msgspec.Struct, frozen=True):
    """One kind of request: how often it is sent among a hundred, what by number, and what it must get."""

    weight: int
    path: str
    content: Callable[[int], bytes]
    status: int
    authorization: str


class Result(msgspec.Struct, kw_only=True):
    """What came of it. Rates in requests a second, memory in bytes (all worker processes), `seconds` of steady load."""

    seconds: float
    capacity: float
    rate: float
    answered: int
    wrong: list[str]
    unrecorded: int
    recorded_twice: int
    log_problem: str | None
    memory: list[int]

    @property
    def growth(self) -> float:
        """Memory at the end over memory when the first third was over; medians of a tenth of the samples each."""
        part = max(1, len(self.memory) // 10)
        third = len(self.memory) // 3
        early, late = sorted(self.memory[third : third + part]), sorted(self.memory[-part:])
        return late[len(late) // 2] / early[len(early) // 2]


def kinds() -> list[Kind]:
    """The mix."""
    good = bearer(token(iat=int(time.time()), exp=int(time.time()) + 7200))["authorization"]

    def always(content: Any) -> Callable[[int], bytes]:
        written = content if isinstance(content, bytes) else json.dumps(content).encode()
        return lambda _: written

    new = {name: body.numbered for name, body in bodies().items()}  # what was read before is not read again
    mail = {"messages": [{"role": "user", "content": "Write to ada@example.org that the meeting is moved."}]}
    call = {"toolName": "get_weather", "arguments": {"location": "Oslo"}}
    bad_call = {"toolName": "get_weather", "arguments": {"location": 7}}
    return [
        Kind(50, "/v1/prompt/check", new["small"], 200, good),
        Kind(5, "/v1/prompt/check", always(mail), 200, good),
        Kind(9, "/v1/prompt/check", new["medium"], 200, good),
        Kind(1, "/v1/prompt/check", new["long"], 200, good),
        Kind(5, "/v1/prompt/check", always(ATTACK), 403, good),
        Kind(20, "/v1/tool/check", always(call), 200, good),
        Kind(5, "/v1/tool/check", always(bad_call), 403, good),
        Kind(3, "/v1/tool/check", always(b'{"toolName": '), 400, good),
        Kind(2, "/v1/prompt/check", always(b"{}"), 401, "Bearer a.b.c"),
    ]


class Load:
    """Sends requests, numbered through, over a few connections, and compares what comes back."""

    def __init__(self, server: Server) -> None:
        self._address = urlsplit(server.url)
        self._kinds = kinds()
        self._choice = random.Random(1)
        self.answered = 0
        self.wrong: list[str] = []

    async def run(self, seconds: float, pause: Callable[[], Awaitable[None]] | None = None) -> float:
        """Send until the time is over, as fast as answers come or with pauses. Gives the rate."""
        began, before = time.monotonic(), self.answered
        await asyncio.gather(*(self._connection(began + seconds, pause) for _ in range(CONNECTIONS)))
        return (self.answered - before) / (time.monotonic() - began)

    async def _connection(self, until: float, pause: Callable[[], Awaitable[None]] | None) -> None:
        reader, writer = await asyncio.open_connection(self._address.hostname, self._address.port)
        while time.monotonic() < until:
            if pause is not None:
                await pause()
            (kind,) = self._choice.choices(self._kinds, [kind.weight for kind in self._kinds])
            number = self.answered
            self.answered += 1
            content = kind.content(number)
            head = (
                f"POST {kind.path} HTTP/1.1\r\nhost: soak\r\nauthorization: {kind.authorization}\r\n"
                f"x-kalguard-request-id: soak-{number}\r\ncontent-length: {len(content)}\r\n\r\n"
            )
            writer.write(head.encode() + content)
            status, body = await _reply(reader)
            if status != kind.status or f'"requestId":"soak-{number}"'.encode() not in body:
                self.wrong.append(f"{kind.path}: {status} instead of {kind.status}: {body[:200]!r}")
        writer.close()
        await writer.wait_closed()


async def _reply(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return int(head[9:12]), await reader.readexactly(int(length[1]) if length else 0)


def _at_rate(rate: float) -> Callable[[], Awaitable[None]]:
    """A pause that lets requests go at a rate, all connections together. What is late is not made up for."""
    due = time.monotonic()

    async def pause() -> None:
        nonlocal due
        due = max(due + 1 / rate, time.monotonic() - 1 / rate)
        await asyncio.sleep(max(0.0, due - time.monotonic()))

    return pause


async def _sample(server: Server, memory: list[int]) -> None:
    while True:
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in workers_of(server)]
        memory.append(sum(pages) * 4096)
        await asyncio.sleep(SAMPLE_SECONDS)


async def _measure(server: Server, seconds: float) -> tuple[float, float, Load, list[int]]:
    load, memory = Load(server), list[int]()
    await load.run(2.0)
    capacity = await load.run(CAPACITY_SECONDS)
    sampling = asyncio.create_task(_sample(server, memory))
    rate = await load.run(seconds, _at_rate(capacity / 2))
    sampling.cancel()
    return capacity, rate, load, memory


def soak(seconds: float, folder: Path) -> Result:
    """Load a server that is started in `folder` for so long."""
    (folder / "tools.json").write_text(json.dumps({"tools": [TOOL]}))
    variables = {
        "policy_path": str(ROOT / "deploy" / "policy.example.json"),
        "tools_path": str(folder / "tools.json"),
        "tool_rate_limit": "1000000",  # counted, never reached
        "drain_seconds": "5",
    }
    with running(folder, **variables) as server:
        capacity, rate, load, memory = asyncio.run(_measure(server, seconds))
        stop(server.process)
        counts = bytearray(load.answered)
        with server.audit_path.open("rb") as log:
            for line in log:
                if found := _REQUEST_ID.search(line):
                    counts[int(found[1])] += 1
        bad = verify([str(server.audit_path)]).bad
    return Result(
        seconds=seconds,
        capacity=capacity,
        rate=rate,
        answered=load.answered,
        wrong=load.wrong,
        unrecorded=counts.count(0),
        recorded_twice=load.answered - counts.count(0) - counts.count(1),
        log_problem=None if bad is None else str(bad),
        memory=memory,
    )


def problems(result: Result) -> list[str]:
    """What should not be."""
    found = [f"{len(result.wrong)} wrong replies, the first: {result.wrong[0]}"] if result.wrong else []
    if result.unrecorded or result.recorded_twice:
        found.append(f"{result.unrecorded} requests without a record, {result.recorded_twice} with two")
    if result.log_problem is not None:
        found.append(f"the log does not verify: {result.log_problem}")
    if result.growth > 1.1:
        found.append(f"memory grew to {result.growth:.2f} of what it was after a third of the time")
    return found


def main() -> None:
    """Run it and print what came of it. Exits with 1 if something should not be."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=1800)
    seconds: float = arguments.parse_args().seconds
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        result = soak(seconds, Path(folder))
    memory = result.memory
    told: dict[str, Any] = {
        "seconds": round(result.seconds),
        "requests": result.answered,
        "rate of requests over that at capacity": round(result.rate / result.capacity, 2),
        "memory in MiB, at the start, after a third, at the end": [
            round(size / 2**20, 1) for size in (memory[0], memory[len(memory) // 3], memory[-1])
        ],
        "memory at the end over that after a third": round(result.growth, 3),
        "problems": problems(result),
    }
    print(json.dumps(told, indent=1))
    sys.exit(1 if told["problems"] else 0)


if __name__ == "__main__":
    main()
