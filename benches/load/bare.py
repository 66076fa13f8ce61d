"""The yardsticks: servers that read the body and send a constant, on Granian as our service sets it.

`python -m benches.load.bare NAME PORT WORKERS`, where NAME is one of `YARDSTICKS`. What they answer, by path, is in the
JSON file that `LOAD_REPLIES` names. They decide nothing, and know neither tokens nor records: what they reach is what
the server below us leaves to be reached.
"""

import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

REPLIES = "LOAD_REPLIES"
YARDSTICKS = {"litestar": "(b) Litestar", "asgi": "(c) ASGI", "rsgi": "(d) RSGI"}
_Asgi = Callable[[Any, Any, Any], Awaitable[None]]


def litestar() -> Any:
    """(b) A Litestar application whose handlers await the body and return a dict."""
    from litestar import Litestar, Request, post
    from litestar.handlers import HTTPRouteHandler

    def handler(path: str, reply: dict[str, Any]) -> HTTPRouteHandler:
        async def constant(request: Request[Any, Any, Any]) -> dict[str, Any]:
            await request.body()
            return reply

        return post(path, status_code=200)(constant)

    made = [handler(path, json.loads(reply)) for path, reply in _replies().items()]
    return Litestar(made, openapi_config=None, logging_config=None)


def asgi() -> _Asgi:
    """(c) An ASGI callable that reads the body to its end and sends bytes."""
    messages = {path: _messages(reply) for path, reply in _replies().items()}

    async def constant(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        start, body = messages[scope["path"]]
        while (await receive()).get("more_body"):
            pass
        await send(start)
        await send(body)

    return constant


def _messages(reply: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(reply)).encode())]
    start = {"type": "http.response.start", "status": 200, "headers": headers}
    return start, {"type": "http.response.body", "body": reply, "more_body": False}


def rsgi() -> Callable[[Any, Any], Awaitable[None]]:
    """(d) An RSGI callable that reads the body and sends bytes."""
    replies = _replies()
    headers = [("content-type", "application/json")]

    async def constant(scope: Any, protocol: Any) -> None:
        await protocol()
        protocol.response_bytes(200, headers, replies[scope.path])

    return constant


def _replies() -> dict[str, bytes]:
    return {path: reply.encode() for path, reply in json.loads(Path(os.environ[REPLIES]).read_text()).items()}


def granian_settings(name: str, port: int, workers: int) -> dict[str, Any]:
    """What `kalguard.sidecar.main` gives Granian by default, but for the application, the log and its file.

    A test compares them.
    """
    from granian.constants import HTTPModes, Interfaces, Loops
    from granian.http import HTTP1Settings

    return {
        "factory": True,
        "address": "127.0.0.1",
        "port": port,
        "interface": Interfaces.RSGI if name == "rsgi" else Interfaces.ASGI,
        "workers": workers,
        "respawn_failed_workers": True,
        "loop": Loops.uvloop,
        "http": HTTPModes.http1,
        "http1_settings": HTTP1Settings(header_read_timeout=75_000, max_buffer_size=128 * 1024),
        "websockets": False,
        "backpressure": 8192,
        "backlog": 2048,
    }


def main() -> None:
    """Serve until told to stop."""
    from granian import Granian
    from granian.log import LogLevels

    name, port, workers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    Granian(f"benches.load.bare:{name}", log_level=LogLevels.warning, **granian_settings(name, port, workers)).serve()


if __name__ == "__main__":
    main()
