"""Servers as the measure sees them: where they are, what they use, and whether they answer rightly."""

import json
import re
import time
from abc import ABC, abstractmethod
from pathlib import Path
from urllib.parse import urlsplit

from benches.load.bodies import Body
from benches.load.errors import Wrong
from benches.load.processes import cpu_seconds, memory_mib
from benches.load.replies import AuditTail, Expected, Raw, Request, constant_of, exchange, request

_SETTLED_SECONDS = 0.1  # after a load, until nothing of it is left to do
_HEAD_ID = re.compile(rb"\r\nx-kalguard-request-id: *(\S+)\r\n", re.IGNORECASE)
_RECORDED_ID = re.compile(rb'"requestId":"(req_[0-9a-f]{24})"')


class Target(ABC):
    """One server. `pid` is that of its first process, where we may look at it; `tokens` are used in turn."""

    def __init__(self, name: str, url: str, *, folder: Path, tokens: list[str], pid: int | None) -> None:
        self.name = name
        self.url = url
        self._pid = pid
        self._folder = folder
        self._tokens = tokens
        self.first = 0  # which token is next
        self._number = 0  # which body is next
        self.tokens_path = folder / f"tokens-{re.sub('[^a-z0-9]+', '-', name.lower())}-{urlsplit(url).port}"
        self.tokens_path.write_text("".join(f"{token}\n" for token in tokens))

    @property
    def token_count(self) -> int:
        return len(self._tokens)

    def path(self, body: Body) -> str:
        """Where a body is sent to."""
        return body.path

    def file_of(self, body: Body) -> Path:
        """A body as a file."""
        path = self._folder / f"{body.name}.body"
        if not path.exists():
            path.write_bytes(body.content)
        return path

    def numbers(self, count: int) -> int:
        """The first of so many numbers that no body had yet."""
        self._number += count
        return self._number - count

    def request(self, body: Body) -> Request:
        """A request with the next token, to be sent with other numbers."""
        token = self._tokens[self.first % len(self._tokens)]
        self.first += 1
        return request(self.url, self.path(body), body, token)

    def verify(self, body: Body) -> range | None:
        """Fetch one reply and compare it. Gives the sizes that every reply has, head included; `None` if they vary.

        Raises `Wrong`.
        """
        try:
            raw = exchange(self.url, self.request(body).numbered(self.numbers(1)))
        except OSError as error:
            raise Wrong(f"{self.name}: {error}") from None
        if raw.status != 200:
            raise Wrong(f"{self.name}, {body.title}: {raw.status}: {raw.body[:300]!r}")
        return self._compared(body, raw)

    @abstractmethod
    def _compared(self, body: Body, raw: Raw) -> range | None:
        """The sizes of `raw`, if it is the reply that `body` gets."""

    def new_ids(self) -> set[bytes] | None:
        """Waits until nothing is left to do. Gives the ids on record since the last time, `None` without a record."""
        time.sleep(_SETTLED_SECONDS)
        return None

    def cpu_seconds(self) -> float | None:
        """Seconds of CPU that its processes have used."""
        return None if self._pid is None else cpu_seconds(self._pid)

    def memory_mib(self) -> list[float] | None:
        """Memory of each of its processes in MiB."""
        return None if self._pid is None else memory_mib(self._pid)


class Foreseen(Target):
    """A server whose every reply can be told beforehand."""

    @abstractmethod
    def expected(self, body: Body) -> Expected:
        """What every reply must be, once one was verified."""


class Ours(Foreseen):
    """Our service: every reply allows and has a fresh id, and the audit file a record of it."""

    def __init__(
        self, name: str, url: str, *, folder: Path, tokens: list[str], pid: int | None, audit: AuditTail
    ) -> None:
        super().__init__(name, url, folder=folder, tokens=tokens, pid=pid)
        self.audit = audit
        self._expected: dict[str, Expected] = {}

    def _compared(self, body: Body, raw: Raw) -> range:
        self._expected.setdefault(body.name, constant_of(raw.body))
        found, named = self._expected[body.name].request_id(raw.body), _HEAD_ID.search(raw.head)
        if found is None or named is None or named[1] != found:
            raise Wrong(f"{self.name}, {body.title}: not the reply of before: {raw.head!r}{raw.body[:300]!r}")
        if found not in self.new_ids():
            raise Wrong(f"{self.name}, {body.title}: no record of {found.decode()}")
        return raw.sizes

    def expected(self, body: Body) -> Expected:
        return self._expected[body.name]

    def new_ids(self) -> set[bytes]:
        ids = _RECORDED_ID.findall(self.audit.take())
        if len(ids) != len(set(ids)):
            raise Wrong(f"{self.name}: {len(ids) - len(set(ids))} ids on record twice")
        return set(ids)


class Yardstick(Foreseen):
    """A server that sends a constant. `constants` are what it sends, by path."""

    def __init__(self, name: str, url: str, *, folder: Path, pid: int, constants: dict[str, bytes]) -> None:
        super().__init__(name, url, folder=folder, tokens=["as.long.as.ours".ljust(250, ".")], pid=pid)
        self._constants = constants

    def path(self, body: Body) -> str:
        return body.bare_path

    def _compared(self, body: Body, raw: Raw) -> range:
        if raw.body != self._constants[body.bare_path]:
            raise Wrong(f"{self.name}, {body.title}: {raw.body[:300]!r}")
        return raw.sizes

    def expected(self, body: Body) -> Expected:
        return Expected(self._constants[body.bare_path], is_fresh=False)


class Peer(Target):
    """Any other server: every reply is a 200 and, if it is one of JSON that says so, allows."""

    def __init__(self, name: str, url: str, *, folder: Path, token: str, pid: int | None) -> None:
        super().__init__(f"(e) {name}", url, folder=folder, tokens=[token], pid=pid)
        self._sizes: dict[str, set[int]] = {}

    def _compared(self, body: Body, raw: Raw) -> range | None:
        try:
            reply = json.loads(raw.body)
        except ValueError:
            reply = None
        if not isinstance(reply, dict) or reply.get("allowed", True) is not True:
            raise Wrong(f"{self.name}, {body.title}: not a reply that allows: {raw.body[:300]!r}")
        seen = self._sizes.setdefault(body.name, set())
        seen.add(raw.sizes.start)
        return raw.sizes if len(seen) == 1 else None
