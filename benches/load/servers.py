"""Starts what is measured, and stops it by its process id."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.support import ROOT, environment, free_ports, running, stop, token

from benches.load import bare
from benches.load.bodies import Body
from benches.load.errors import Wrong
from benches.load.replies import AuditTail
from benches.load.targets import Ours, Yardstick

POLICY = ROOT / "deploy" / "policy.example.json"
TOKEN_SECONDS = 6 * 3600
_START_SECONDS = 30.0


def tool(name: str, **more: Any) -> dict[str, Any]:
    """A tool that takes a place."""
    schema = {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]}
    return {"name": name, "argumentSchema": schema, **more}


def good_token() -> str:
    """A signed token of agent-1 that outlives the run."""
    return token(exp=int(time.time()) + TOKEN_SECONDS)


@contextmanager
def ours(
    folder: Path,
    name: str = "(a) KalGuard",
    *,
    tools: Iterable[dict[str, Any]] | None = None,
    tokens: list[str] | None = None,
    **variables: str,
) -> Iterator[Ours]:
    """Our service with all of it on: policy, tools with schemas, limits, firewall, audit file, metrics, confinement.

    `tools` and `tokens` are one each where they are not given.
    """
    own = Path(tempfile.mkdtemp(dir=folder))
    (own / "tools.json").write_text(json.dumps({"tools": [tool("get_weather")] if tools is None else list(tools)}))
    given = {
        "policy_path": str(POLICY),
        "tools_path": str(own / "tools.json"),
        "tool_rate_limit": "1000000",  # counted, never reached
        "harden": "true",
        "log_level": "warning",
    }
    with running(own, **{**given, **variables}) as server:
        audit = AuditTail(server.audit_path)
        yield Ours(name, server.url, folder=own, tokens=tokens or [good_token()], pid=server.process.pid, audit=audit)


@contextmanager
def yardsticks(
    folder: Path, like: Ours, bodies: Iterable[Body], names: Iterable[str], workers: Iterable[int] = (1,)
) -> Iterator[list[Yardstick]]:
    """Servers of `bare.YARDSTICKS` that send what our service replies to these bodies, with so many workers each."""
    constants: dict[str, bytes] = {}
    for body in bodies:
        like.verify(body)
        reply = like.expected(body).body
        if constants.setdefault(body.bare_path, reply) != reply:
            raise Wrong(f"two replies for {body.bare_path}")
    replies = folder / "replies.json"
    replies.write_text(json.dumps({path: reply.decode() for path, reply in constants.items()}))
    with ExitStack() as started:
        chosen = [(name, number) for name in names for number in workers]
        yield [started.enter_context(_yardstick(folder, *each, replies, constants)) for each in chosen]


@contextmanager
def _yardstick(
    folder: Path, name: str, workers: int, replies: Path, constants: dict[str, bytes]
) -> Iterator[Yardstick]:
    (port,) = free_ports(1)
    log = folder / f"{name}-{workers}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "benches.load.bare", name, str(port), str(workers)],
            env={**environment(), bare.REPLIES: str(replies)},
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
        )
    try:
        _wait_for(port, process, log)
        url = f"http://127.0.0.1:{port}"
        title = bare.YARDSTICKS[name] if workers == 1 else f"{bare.YARDSTICKS[name]}, {workers} workers"
        yield Yardstick(title, url, folder=folder, pid=process.pid, constants=constants)
    finally:
        stop(process)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not is_listening(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise Wrong(f"a yardstick did not start: {log.read_text()}")
        time.sleep(0.05)


def is_listening(port: int) -> bool:
    """Whether somebody takes connections at a port of the loopback."""
    import socket

    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
