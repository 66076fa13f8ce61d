"""A stand-in for KalGuard Cloud: a real server on a real port, whose behaviour can be switched while it runs.

What it says and takes are the messages of `wire.cloud`; beyond that it knows nothing of how the sidecar works. Like the
control plane it counts each event once, by its request id.
"""

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

from kalguard.wire.cloud import (
    API_KEY_HEADER,
    REPORT_PATH,
    VALIDATE_PATH,
    LicenseLimits,
    LicenseReply,
    UsageEvent,
    UsageReply,
    UsageReport,
)
from tests.support import free_port

API_KEY = "kg_test_a-key-for-tests"
SIGNING_SECRET = "the signing secret of the stand-in for Cloud"
PRO = LicenseReply(
    valid=True,
    tier="pro",
    org_id="org_1",
    limits=LicenseLimits(checks_per_day=100_000, max_agents=-1, audit_retention_days=90, features=["x"]),
    token_signing_secret=SIGNING_SECRET,
    revoked_token_hashes=[],
)
# How it can behave: as Cloud should, or as a name here says.
BEHAVIOURS = (
    "good",
    "invalid",  # says that the licence is not valid
    "refused",  # 401 for every key
    "forbidden",  # 403
    "broken",  # 500
    "busy",  # 429 and 503 with retry-after
    "rubbish",  # 200 and no JSON
    "wrong",  # 200 and JSON of another shape
    "elsewhere",  # a redirect
    "cut",  # a body that ends too early
    "slow",  # a byte a second, for ever
    "hanging",  # takes the request and says nothing
    "unacceptable",  # takes no usage events: 422
)


class StandIn:
    """The server. `license` is what it says; `behaviour` how it behaves; `seen` the request ids that it has counted."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        self.license = PRO
        self.behaviour = "good"
        self.retry_after = "2"
        self.poison: set[str] = set()  # agents whose events it will not have
        self.uses_etags = True
        self.lock = threading.Lock()
        self.requests: list[tuple[float, str, dict[str, str]]] = []  # time, path, headers
        self.bodies: list[tuple[str, bytes]] = []
        self.events: list[UsageEvent] = []
        self.seen: set[str] = set()
        self.twice = 0  # events that came again
        self._server: _Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def is_gone(self) -> bool:
        return self._server is None

    def calls(self, path: str) -> int:
        """How many requests there were for a path."""
        return sum(called == path for _, called, _ in list(self.requests))

    def change(self, **changes: Any) -> None:
        """Say something else from now on."""
        self.license = msgspec.structs.replace(self.license, **changes)

    def limit(self, **changes: Any) -> None:
        """Another plan."""
        assert self.license.limits is not None
        self.change(limits=msgspec.structs.replace(self.license.limits, **changes))

    def revoke(self, *tokens: str) -> None:
        """Withdraw tokens, besides those that are withdrawn already."""
        digests = [hashlib.sha256(text.encode()).hexdigest() for text in tokens]
        self.change(revoked_token_hashes=[*(self.license.revoked_token_hashes or []), *digests])

    def start(self) -> None:
        """Be there, on the port of before if there was one."""
        stand_in = self

        class Handler(_Handler):
            cloud = stand_in

        ThreadingHTTPServer.allow_reuse_address = True
        self.port = self.port or free_port()  # one that stays ours while nobody listens on it
        self._server = _Server((self.host, self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Be gone: nobody listens any more, and connections are cut."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            server.cut()

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        """What a good Cloud answers."""
        if headers.get(API_KEY_HEADER) != API_KEY:
            return 401, {}, b'{"error": "unauthorized"}'
        if path == VALIDATE_PATH:
            reply = self.license if self.behaviour != "invalid" else LicenseReply(valid=False)
            content = msgspec.json.encode(reply)
            etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
            if self.uses_etags and headers.get("if-none-match") == etag and self.behaviour != "cut":
                return 304, {"etag": etag}, b""
            return 200, {"etag": etag} if self.uses_etags else {}, content
        if path == REPORT_PATH:
            return self._take(msgspec.json.decode(body, type=UsageReport))
        return 404, {}, b"{}"

    def _take(self, report: UsageReport) -> tuple[int, dict[str, str], bytes]:
        if any(event.agent_id in self.poison for event in report.events):
            return 422, {}, b'{"error": "unacceptable"}'
        with self.lock:
            new = [event for event in report.events if event.request_id not in self.seen]
            self.twice += len(report.events) - len(new)
            self.seen |= {event.request_id for event in new}
            self.events += new
        return 200, {}, msgspec.json.encode(UsageReply(accepted=len(new), remaining=self.remaining()))

    def remaining(self) -> int:
        """How many checks are left today, over all sidecars."""
        limits = self.license.limits
        if limits is None or limits.checks_per_day < 0:
            return -1
        today = time.strftime("%Y-%m-%d", time.gmtime())
        used = sum(event.timestamp.startswith(today) for event in self.events)
        return max(0, limits.checks_per_day - used)

    def counted(self) -> Counter[str]:
        """How many events of each agent were counted."""
        with self.lock:
            return Counter(event.agent_id for event in self.events)


@contextmanager
def cloud() -> Iterator[StandIn]:
    """A stand-in that is there until the end."""
    found = StandIn()
    found.start()
    try:
        yield found
    finally:
        found.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._open: set[Any] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def cut(self) -> None:
        for request in list(self._open):
            self.shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever goes away, goes."""


class _Handler(BaseHTTPRequestHandler):
    cloud: StandIn
    protocol_version = "HTTP/1.1"
    timeout = 60

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        cloud = self.cloud
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        cloud.requests.append((time.time(), self.path, headers))
        cloud.bodies.append((self.path, body))
        behaviour = cloud.behaviour
        if behaviour == "hanging":
            time.sleep(60)
            return
        if behaviour == "slow":
            self._tell(200, {"content-length": "100"})
            for _ in range(60):
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(1)
            return
        said = {
            "refused": (401, {}, b"{}"),
            "forbidden": (403, {}, b"{}"),
            "broken": (500, {}, b"oh"),
            "busy": (503 if len(cloud.requests) % 2 else 429, {"retry-after": cloud.retry_after}, b"{}"),
            "rubbish": (200, {}, b"<html>\xff"),
            "wrong": (200, {}, json.dumps({"valid": "yes", "accepted": -1, "remaining": None}).encode()),
            "elsewhere": (307, {"location": f"{cloud.url}/elsewhere"}, b""),
        }
        answer = said.get(behaviour)
        if behaviour == "unacceptable" and self.path == REPORT_PATH:
            answer = (422, {}, b"{}")
        status, more, content = answer or cloud.answer(self.path, headers, body)
        length = len(content) + (10 if behaviour == "cut" else 0)
        self._tell(status, {**more, "content-type": "application/json", "content-length": str(length)})
        self.wfile.write(content)
        if behaviour == "cut":
            self.close_connection = True

    def _tell(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
