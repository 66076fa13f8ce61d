"""Requests, and whether replies are right: fetched one by one by a client of our own, looked for in the audit file."""

import json
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from benches.load.bodies import Body, spliced
from benches.load.errors import Wrong

REQUEST_ID = b"req_0123456789abcdef01234567"  # stands in the yardsticks' replies where ours have a fresh one
_FRESH = re.compile(rb"req_[0-9a-f]{24}")
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
# What is left of a limit, and the seconds until it is more: their digits change from reply to reply.
_LIMIT = re.compile(rb"\r\nratelimit: \"\w+\"(;r=[0-9]+)(;t=[0-9]+)?\r\n", re.IGNORECASE)
_LIMIT_ROOM = range(len(";r=0"), len(";r=999999;t=60") + 1)


class Raw(msgspec.Struct, frozen=True):
    """A reply as it came."""

    status: int
    head: bytes
    body: bytes

    @property
    def sizes(self) -> range:
        """Sizes in bytes, head included, that this reply has, whatever is left of a limit."""
        whole = len(self.head) + len(self.body)
        if (found := _LIMIT.search(self.head)) is None:
            return range(whole, whole + 1)
        rest = whole - sum(len(group or b"") for group in found.groups())
        return range(rest + _LIMIT_ROOM.start, rest + _LIMIT_ROOM.stop)


class Expected(msgspec.Struct, frozen=True):
    """The body that a server must send. `is_fresh`: with another id each time in the place of `REQUEST_ID`."""

    body: bytes
    is_fresh: bool

    def request_id(self, body: bytes) -> bytes | None:
        """The id in a body that is as it must be; `None` for any other body."""
        if not self.is_fresh:
            return REQUEST_ID if body == self.body else None
        at = self.body.index(REQUEST_ID)
        end = at + len(REQUEST_ID)
        same = body[:at] == self.body[:at] and body[end:] == self.body[end:]
        return body[at:end] if same and _FRESH.fullmatch(body[at:end]) else None


def constant_of(body: bytes) -> Expected:
    """What a reply of ours must be from now on, from a first one. Raises `Wrong` if it does not allow."""
    reply = json.loads(body)
    if reply.get("allowed") is not True or not _FRESH.fullmatch(str(reply.get("requestId")).encode()):
        raise Wrong(f"not a reply that allows, with a fresh request id: {body[:300]!r}")
    return Expected(body.replace(reply["requestId"].encode(), REQUEST_ID), is_fresh=True)


class Request:
    """The bytes of a request, whose content has that length and is new at those offsets."""

    def __init__(self, whole: bytes, length: int, new_at: tuple[int, ...]) -> None:
        self._whole = whole
        self._new_at = tuple(len(whole) - length + offset for offset in new_at)

    def numbered(self, number: int) -> bytes:
        """The request with the text of this number."""
        return spliced(self._whole, self._new_at, number)


def request(url: str, path: str, body: Body, token: str) -> Request:
    """A request, with the same headers as wrk's."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {token}\r\nContent-Length: {len(body.content)}\r\n\r\n"
    )
    return Request(head.encode() + body.content, len(body.content), body.new_at)


def exchange(url: str, sent: bytes) -> Raw:
    """Send a request on a connection of its own and read the reply. Raises `OSError` and `Wrong`."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(sent)
        with connection.makefile("rb") as incoming:
            return read_reply(incoming.readline, incoming.read)


def read_reply(readline: Callable[[int], bytes], read: Callable[[int], bytes]) -> Raw:
    """One reply from a stream."""
    lines = [readline(65_536)]
    while lines[-1] not in {b"\r\n", b""}:
        lines.append(readline(65_536))
    head = b"".join(lines)
    if (length := length_of(head)) is None:
        raise Wrong(f"reply without a length: {head!r}")
    return Raw(int(head[9:12]), head, read(length))


def length_of(head: bytes) -> int | None:
    """How long the body is that belongs to a head."""
    found = _LENGTH.search(head)
    return int(found[1]) if found else None


class AuditTail:
    """Reads the end of an audit file while it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0

    def take(self) -> bytes:
        """What was written since the last time, once nothing more comes."""
        size = self._path.stat().st_size
        while True:
            time.sleep(0.05)
            if (now := self._path.stat().st_size) == size:
                break
            size = now
        with self._path.open("rb") as file:
            file.seek(self._at)
            added = file.read(size - self._at)
        self._at = size
        return added


def checks_in(records: bytes) -> int:
    """How many records of checks there are in lines of an audit file."""
    return records.count(b'"requestId":"req_')
