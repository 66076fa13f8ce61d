"""A sidecar that can misbehave in every way there is: raw bytes on a real socket."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

LONG_SECONDS = 40.0  # what nobody should wait for
DRIP_SECONDS = 0.05
Behaviour = Callable[["Request", socket.socket], None]


class Request(NamedTuple):
    """What came. Names of headers are in small letters."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class FaultySidecar:
    """Listens on `url`, keeps every request in `requests`, answers as `behaviour` does."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.requests: list[Request] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._ended = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        self._ended.set()
        self._listener.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError), connection.makefile("rb") as reader:
            while line := reader.readline():
                headers = {}
                while (header := reader.readline().strip()) != b"":
                    name, _, value = header.decode().partition(":")
                    headers[name.lower()] = value.strip()
                body = reader.read(int(headers.get("content-length", 0)))
                request = Request(line.split()[1].decode(), headers, body)
                self.requests.append(request)
                self.behaviour(request, connection)


@contextmanager
def faulty(behaviour: Behaviour) -> Iterator[FaultySidecar]:
    """One that is there until the end."""
    server = FaultySidecar(behaviour)
    try:
        yield server
    finally:
        server.stop()


def http(status: int, body: bytes, *headers: str, length: int | None = None) -> bytes:
    """A response."""
    head = [f"HTTP/1.1 {status} x", f"content-length: {len(body) if length is None else length}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def reply(request: Request, **changes: Any) -> bytes:
    """The body of an allowance for a request, with `changes`."""
    good = {
        "ok": True,
        "allowed": True,
        "decision": "allow",
        "message": "fine",
        "requestId": request.headers["x-kalguard-request-id"],
        "data": {"allowed": True},
    }
    return json.dumps({**good, **changes}).encode()


def allows(request: Request, connection: socket.socket) -> None:
    """As a sidecar that allows everything."""
    connection.sendall(http(200, reply(request)))


def refuses(status: int, code: str, *headers: str, **data: Any) -> Behaviour:
    """As a sidecar that says no."""

    def behave(request: Request, connection: socket.socket) -> None:
        body = reply(
            request,
            ok=status == 403,
            allowed=False,
            decision="deny",
            message="because",
            reason="because",
            errorCode=code,
            data={"allowed": False, **data},
        )
        connection.sendall(http(status, body, *headers))

    return behave


def says(status: int, body: bytes = b"", *headers: str) -> Behaviour:
    """As something that is no sidecar."""
    return lambda _, connection: connection.sendall(http(status, body, *headers))


def changed(status: int = 200, **changes: Any) -> Behaviour:
    """As a sidecar whose allowance is not quite one."""
    return lambda request, connection: connection.sendall(http(status, reply(request, **changes)))


def silent(_: Request, connection: socket.socket) -> None:
    """Takes the request and says nothing."""
    time.sleep(LONG_SECONDS)


def dripping_head(request: Request, connection: socket.socket) -> None:
    """A byte of the head now and then: no single wait is long."""
    for _ in range(int(LONG_SECONDS / DRIP_SECONDS)):
        connection.sendall(b"H")
        time.sleep(DRIP_SECONDS)


def dripping_body(request: Request, connection: socket.socket) -> None:
    """A byte of the body now and then."""
    connection.sendall(http(200, b"", length=1000))
    for _ in range(int(LONG_SECONDS / DRIP_SECONDS)):
        connection.sendall(b" ")
        time.sleep(DRIP_SECONDS)


def cut(request: Request, connection: socket.socket) -> None:
    """Ends in the middle of an allowance."""
    body = reply(request)
    connection.sendall(http(200, body[:-5], length=len(body)))
    connection.shutdown(socket.SHUT_RDWR)


def cut_without_length(request: Request, connection: socket.socket) -> None:
    """Ends in the middle of an allowance that did not say how long it is."""
    connection.sendall(b"HTTP/1.1 200 x\r\nconnection: close\r\n\r\n" + reply(request)[:-5])
    connection.shutdown(socket.SHUT_RDWR)


def closes(_: Request, connection: socket.socket) -> None:
    """Takes the request and hangs up."""
    connection.shutdown(socket.SHUT_RDWR)


def endless(request: Request, connection: socket.socket) -> None:
    """An allowance with more behind it than anybody can want."""
    connection.sendall(b"HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n")
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    for _ in range(64):
        connection.sendall(chunk)


def redirects(request: Request, connection: socket.socket) -> None:
    """Sends on to somebody who would allow it."""
    connection.sendall(http(307, b"", f"location: {request.path}"))
