"""Odd requests over a real socket: none is taken for two, none makes an error of ours, and the next one is answered.

Behind every request follows a probe on the same connection. It is answered exactly where the server still knows where
one request ends and the next begins; everywhere else the connection is closed, so that nothing that was sent along is
taken for a request. Replies of ours carry a request id. The server's own ones (400, 414, 431) are without.
"""

import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support import GOOD_PROMPT, Server, token

PROMPT, TOOL = b"/v1/prompt/check", b"/v1/tool/check"
GOOD = json.dumps(GOOD_PROMPT).encode()
SMUGGLED, PROBE = b"smuggled", "probe"  # request ids
ID = b"x-kalguard-request-id: "
THE_PROBE = b"GET /health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + ID + PROBE.encode() + b"\r\n\r\n"
TOKEN = token(exp=int(time.time()) + 36_000).encode()
AUTHORIZATION = b"Authorization: Bearer " + TOKEN


@dataclass(frozen=True)
class Answer:
    """One reply on a connection."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def request_id(self) -> str | None:
        return self.headers.get("x-kalguard-request-id")


def request(
    *fields: bytes,
    target: bytes = PROMPT,
    method: bytes = b"POST",
    version: bytes = b"HTTP/1.1",
    body: bytes = GOOD,
    authorization: bytes = AUTHORIZATION,
    length: bool = True,
) -> bytes:
    """A request; without `fields` and changes a good prompt check."""
    announced = [b"Content-Length: %d" % len(body)] if length else []
    head = [method + b" " + target + b" " + version, b"Host: a", authorization, *announced, *fields]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def chunked(*chunks: bytes, fields: tuple[bytes, ...] = (b"Transfer-Encoding: chunked",), end: bytes = b"") -> bytes:
    """A request whose body is sent in these chunks, as they are."""
    return request(*fields, body=b"".join(chunks) + end, length=False)


def chunk(text: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(text), text)


END = b"0\r\n\r\n"
WHOLE = chunk(GOOD) + END
HIDDEN = request(ID + SMUGGLED)  # what would be answered if it were taken for a request


@dataclass(frozen=True)
class Case:
    """A request, the statuses of its answers, and whether the connection can still be used. `large` ones may end
    without an answer: what is still under way when the connection is closed takes the answer with it."""

    sent: bytes
    statuses: list[int]
    goes_on: bool = False
    large: bool = field(default=False)


def taken(sent: bytes, *statuses: int) -> Case:
    """The service answers, and the connection goes on."""
    return Case(sent, list(statuses), goes_on=True)


def closed(sent: bytes, *statuses: int, large: bool = False) -> Case:
    """After the answers, if any, the connection is closed."""
    return Case(sent, list(statuses), large=large)


LENGTHS = {
    "both lengths": closed(
        chunked(chunk(b"hello"), END, fields=(b"Content-Length: 5", b"Transfer-Encoding: chunked")), 400
    ),
    "both lengths, a request behind the chunks": closed(
        chunked(END, HIDDEN, fields=(b"Content-Length: %d" % len(END + HIDDEN), b"Transfer-Encoding: chunked")), 400
    ),
    "both lengths, the other way round": closed(
        chunked(END, HIDDEN, fields=(b"Transfer-Encoding: chunked", b"Content-Length: %d" % len(END + HIDDEN))), 400
    ),
    "both lengths, a short one": closed(
        chunked(WHOLE, HIDDEN, fields=(b"Content-Length: 4", b"Transfer-Encoding: chunked")), 200
    ),
    "two lengths": closed(request(b"Content-Length: 5", b"Content-Length: 6", length=False), 400),
    "two equal lengths": taken(request(b"Content-Length: %d" % len(GOOD)), 200),
    "a list of lengths": closed(request(b"Content-Length: 5, 5", length=False), 400),
    "a negative length": closed(request(b"Content-Length: -1", length=False), 400),
    "a length with a sign": closed(request(b"Content-Length: +5", length=False), 400),
    "a length in hex": closed(request(b"Content-Length: 0x10", length=False), 400),
    "a length in full-width digits": closed(request("Content-Length: ５".encode(), length=False), 400),
    "a length with a fraction": closed(request(b"Content-Length: 5.0", length=False), 400),
    "a length that is text": closed(request(b"Content-Length: five", length=False), 400),
    "an empty length": closed(request(b"Content-Length: ", length=False), 400),
    "a length of 23 digits": closed(request(b"Content-Length: 9" + b"9" * 22, length=False), 400),
    "no length, a body nevertheless": closed(request(length=False), 400, 400),
    "a coding that is none": closed(request(b"Transfer-Encoding: xchunked", length=False), 400),
    "identity": closed(request(b"Transfer-Encoding: identity", length=False), 400),
    "chunked, but not last": closed(chunked(WHOLE, fields=(b"Transfer-Encoding: chunked, gzip",)), 400),
    "chunked twice": taken(chunked(WHOLE, fields=(b"Transfer-Encoding: chunked",) * 2), 200),
    "chunked with a vertical tab": closed(chunked(WHOLE, fields=(b"Transfer-Encoding: \x0bchunked",)), 400),
    "a space before the colon": closed(chunked(WHOLE, fields=(b"Transfer-Encoding : chunked",)), 400),
}
CHUNKS = {
    "good chunks": taken(chunked(chunk(GOOD[:9]), chunk(GOOD[9:]), END), 200),
    "a chunk with an extension": taken(chunked(b"%x;a=b\r\n%s\r\n" % (len(GOOD), GOOD), END), 200),
    "a trailer": taken(chunked(WHOLE[:-2], b"Authorization: Bearer x\r\n\r\n"), 200),
    "a trailer that is a request": closed(chunked(WHOLE[:-2], HIDDEN), 400),
    "a size that is none": closed(chunked(b"zz\r\nhello\r\n", END), 400),
    "an empty size": closed(chunked(b"\r\nhello\r\n", END), 400),
    "a size with a sign": closed(chunked(b"-5\r\nhello\r\n", END), 400),
    "a size with 0x": closed(chunked(b"0x5\r\nhello\r\n", END), 400),
    "a size beyond 64 bits": closed(chunked(b"f" * 17 + b"\r\nhello\r\n", END), 400),
    "a size too small": closed(chunked(b"3\r\nhello\r\n", END), 400),
    "a size too large": closed(chunked(b"7\r\nhello\r\n", END), 400),
    "bare line feeds": closed(chunked(b"5\nhello\n0\n\n"), 400),
    "an extension without end": closed(chunked(b"5;" + b"a" * 100_000 + b"\r\nhello\r\n", END), 400, large=True),
}
FIELDS = {
    "folded": closed(request(b"X-A: a", b" b"), 400),
    "a folded token": closed(request(authorization=b"Authorization: Bearer\r\n " + TOKEN), 400),
    "a line that begins with a space": closed(request(b" X-A: b"), 400),
    "NUL in a value": closed(request(b"X-A: a\0b"), 400),
    "CR in a value": closed(request(b"X-A: a\rb"), 400),
    "NUL in the request id": closed(request(ID + b"a\0b"), 400),
    "bytes beyond ASCII in a value": taken(request(b"X-A: \xff\xfe"), 200),
    "no colon": closed(request(b"X-A"), 400),
    "a space in a name": closed(request(b"X A: b"), 400),
    "an empty name": closed(request(b": b"), 400),
    "10,000 of them": closed(request(*(b"X-%d: b" % number for number in range(10_000))), 431, large=True),
    "one of a mebibyte": closed(request(b"X-A: " + b"a" * (1 << 20)), 431, large=True),
    "a token of a mebibyte": closed(
        request(authorization=b"Authorization: Bearer " + b"a" * (1 << 20)), 431, large=True
    ),
    "a token of 16 KiB": taken(request(authorization=b"Authorization: Bearer " + b"a" * (16 << 10)), 401),
    "bytes beyond ASCII in the token": taken(request(authorization=b"Authorization: Bearer \xff\xfe"), 401),
    "two authorizations": taken(request(AUTHORIZATION), 401),
    "expect: 100-continue": taken(request(b"Expect: 100-continue"), 100, 200),
    "expect something else": taken(request(b"Expect: 200-ok"), 200),
    "an upgrade to HTTP/2": taken(
        request(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AA"), 200
    ),
    "an upgrade to a websocket": taken(
        request(b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 200
    ),
    "a compressed body that is none": taken(request(b"Content-Encoding: gzip"), 200),
    "compressed chunks that are none": taken(chunked(WHOLE, fields=(b"Transfer-Encoding: gzip, chunked",)), 200),
    "another method in a field": taken(request(b"X-HTTP-Method-Override: GET"), 200),
    "another path in a field": taken(request(b"X-Original-URL: /health", b"X-Rewrite-URL: /health"), 200),
    "line feeds only": taken(request().replace(b"\r\n", b"\n"), 200),
    "no host": taken(request().replace(b"Host: a\r\n", b""), 200),
    "two hosts": taken(request(b"Host: b"), 200),
}
# All spellings of a path that lead somewhere lead to the one check, which asks for a token whatever the path.
TARGETS = {
    "64 KiB": closed(request(target=b"/" + b"a" * 65535), 414, large=True),
    "two slashes in front": taken(request(target=b"//v1/prompt/check"), 200),
    "two slashes inside, without a token": taken(request(target=b"/v1//prompt/check", authorization=b"X-A: b"), 401),
    "a slash at the end, without a token": taken(request(target=PROMPT + b"/", authorization=b"X-A: b"), 401),
    "a percent-encoded slash, without a token": taken(
        request(target=b"/v1%2fprompt/check", authorization=b"X-A: b"), 401
    ),
    "a percent-encoded letter, without a token": taken(
        request(target=b"/%761/prompt/check", authorization=b"X-A: b"), 401
    ),
    "a folder up": taken(request(target=b"/v1/../v1/prompt/check"), 404),
    "from one check to another": taken(request(target=b"/v1/prompt/check/../../tool/check"), 404),
    "a folder up, percent-encoded": taken(request(target=b"/v1/%2e%2e/v1/prompt/check"), 404),
    "from a probe to a check": taken(request(target=b"/health/../v1/prompt/check"), 404),
    "a percent-encoded NUL": taken(request(target=PROMPT + b"%00"), 404),
    "a percent sign and no digits": taken(request(target=PROMPT + b"%zz"), 404),
    "percent-encoded bytes that are not UTF-8": taken(request(target=PROMPT + b"%ff"), 404),
    "a percent-encoded line break": taken(request(target=PROMPT + b"%0d%0aX-A:%20b"), 404),
    "bytes beyond ASCII": closed(request(target=b"/v1/prompt/\xff\xfe"), 400),
    "capital letters": taken(request(target=b"/V1/PROMPT/CHECK"), 404),
    "a parameter": taken(request(target=PROMPT + b";a=b"), 404),
    "a query": taken(request(target=PROMPT + b"?a=%00&a=%zz"), 200),
    "a fragment": taken(request(target=PROMPT + b"#a"), 200),
    "backslashes": closed(request(target=b"\\v1\\prompt\\check"), 400),
    "with another host": taken(request(target=b"http://other.example" + PROMPT), 200),
    "a scheme and nothing else": closed(request(target=b"http://"), 400),
    "a star": taken(request(target=b"*"), 404),
    "a star, OPTIONS": taken(request(target=b"*", method=b"OPTIONS"), 404),
    "no slash": closed(request(target=b"v1/prompt/check"), 400),
    "none": closed(request(target=b""), 400),
    "with a space": closed(request(target=b"/v1/prompt check"), 400),
    "with a tab": closed(request(target=b"/v1/prompt\tcheck"), 400),
}
METHODS = {
    "CONNECT to a host": taken(request(method=b"CONNECT", target=b"example.com:443"), 404),
    **{
        f"{name.decode()}": taken(request(method=name), 405)
        for name in (b"CONNECT", b"TRACE", b"post", b"Post", b"PROPFIND", b"BREW", b"PRI", b"A" * 5000)
    },
    "with a space": closed(request(method=b"PO ST"), 400),
    "with a NUL": closed(request(method=b"PO\0ST"), 400),
    "none": closed(request(method=b""), 400),
    "HTTP/1.0": closed(request(version=b"HTTP/1.0"), 200),
    "HTTP/1.0, kept open": taken(request(b"Connection: keep-alive", version=b"HTTP/1.0"), 200),
    "HTTP/0.9": closed(b"GET /health\r\n", 400),
    **{
        f"version {version.decode() or 'none'}": closed(request(version=version), 400)
        for version in (b"HTTP/1.2", b"HTTP/2.0", b"HTTP/9.9", b"http/1.1", b"HTTP/1.1 x", b"HTTP", b"")
    },
    "the preface of HTTP/2": closed(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"),
    "a TLS hello": closed(bytes.fromhex("16030100c8010000c40303") + bytes(190), 400),
    "bytes": closed(b"\0\1\2\r\n\r\n", 400),
    "line breaks in front": taken(b"\r\n\r\n" + request(), 200),
}
SEQUENCES = {
    "one after another": taken(
        request() + request(target=TOOL, body=b'{"toolName": "send_payment"}') + request(), 200, 403, 200
    ),
    "the first refused for its token": taken(request(authorization=b"X-A: b") + request(), 401, 200),
    "the first refused for its body": taken(request(body=b"{") + request(), 400, 200),
    "the first refused for its path": taken(request(target=b"/nothing") + request(), 404, 200),
    "the first refused for its method": taken(request(method=b"PUT") + request(), 405, 200),
    "the first refused for its token, in chunks": taken(
        chunked(WHOLE).replace(AUTHORIZATION, b"X-A: b") + request(), 401, 200
    ),
    "the first to be the last": closed(request(b"Connection: close") + HIDDEN, 200),
    "a body that looks like a request": taken(request(body=HIDDEN), 400),
    "a body that looks like a request, refused unread": taken(request(body=HIDDEN, authorization=b"X-A: b"), 401),
    "a body that looks like a request, to nowhere": taken(request(target=b"/nothing", body=HIDDEN), 404),
    "a body that looks like a request, for a probe": taken(
        request(method=b"GET", target=b"/health/live", body=HIDDEN), 200
    ),
    "a body longer than announced": closed(request() + b"rubbish\r\n\r\n", 200, 400),
    "a body shorter than announced": closed(request(b"Content-Length: %d" % (len(GOOD) + 9), length=False), 400, 400),
}
GROUPS = {
    "lengths": LENGTHS,
    "chunks": CHUNKS,
    "fields": FIELDS,
    "targets": TARGETS,
    "methods": METHODS,
    "sequences": SEQUENCES,
}


def answers(server: Server, data: bytes, *, half_close: bool = False) -> list[Answer]:
    """Send bytes on a connection of their own; give all that comes back until it is closed."""
    address = urlsplit(server.url)
    received = b""
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        try:
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                received += part
        except ConnectionError:
            pass  # closed while we were sending
    return list(parsed(received))


def parsed(received: bytes) -> Iterator[Answer]:
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        yield Answer(int(first.split(" ")[1]), headers, received[:length])
        received = received[length:]


@pytest.mark.parametrize(
    ("group", "name"), [(group, name) for group, cases in GROUPS.items() for name in cases], ids=lambda part: part[:60]
)
def test_an_odd_request_is_answered_or_cut_off_and_never_taken_for_two(server: Server, group: str, name: str) -> None:
    case = GROUPS[group][name]
    found = answers(server, case.sent + THE_PROBE)
    probed = [answer.request_id for answer in found].count(PROBE)
    statuses = [answer.status for answer in found if answer.request_id != PROBE]
    assert statuses == case.statuses or (case.large and statuses == [])
    assert probed == case.goes_on
    for answer in found:
        assert answer.request_id or answer.status in (100, 400, 414, 431)
        assert answer.status == 200 or answer.body == b"" or json.loads(answer.body)["allowed"] is False
    assert SMUGGLED not in server.audit_path.read_bytes()
    assert [answer.status for answer in answers(server, request(b"Connection: close"))] == [200]
    assert "Traceback" not in server.log()
    assert '"level": "error"' not in server.log()


def test_requests_on_one_connection_are_answered_in_their_order(server: Server) -> None:
    names = [ID + b"number-%d" % number for number in range(30)]
    unknown, nowhere = request(names[1], authorization=b"X-A: b"), request(names[2], target=b"/nothing")
    kinds = [request(names[0]), unknown, nowhere]
    data = b"".join(kinds[number % 3].replace(names[number % 3], name) for number, name in enumerate(names))
    found = answers(server, data + THE_PROBE)
    assert [answer.request_id for answer in found] == [*(f"number-{number}" for number in range(30)), PROBE]
    assert [answer.status for answer in found] == [200, 401, 404] * 10 + [200]


@pytest.mark.parametrize(
    "data",
    [
        request(b"Content-Length: %d" % (len(GOOD) + 9), length=False),
        chunked(chunk(GOOD)),
        chunked(b"5\r\nhe"),
    ],
)
def test_a_body_that_breaks_off_is_refused(server: Server, data: bytes) -> None:
    (answer,) = answers(server, data, half_close=True)
    assert (answer.status, json.loads(answer.body)["message"]) == (400, "body is not complete")


def test_a_body_that_is_announced_too_large_is_not_waited_for(server: Server) -> None:
    (answer,) = answers(server, request(b"Content-Length: 10000000000", length=False), half_close=True)
    assert (answer.status, json.loads(answer.body)["errorCode"]) == (413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize("data", [b"", b"P", b"POST /v1/prompt/check HTTP/1.1\r\nHost", request()[:-100]])
def test_a_client_that_goes_away_leaves_nothing_behind(server: Server, data: bytes) -> None:
    address = urlsplit(server.url)
    for _ in range(20):
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(data)
    assert httpx.get(f"{server.url}/health/live").status_code == 200
    assert "Traceback" not in server.log()
