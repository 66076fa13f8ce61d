"""What is sent to Cloud, exactly, and that the API key goes to nobody else."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from kalguard.connector.client import CloudClient
from kalguard.connector.license import Failed
from kalguard.version import VERSION
from kalguard.wire.cloud import REPORT_PATH, VALIDATE_PATH
from tests.cloud import API_KEY, PRO
from tests.connector.answers import EVENTS, assert_plain, http, saying


def test_a_redirect_takes_the_key_nowhere() -> None:
    async def run() -> None:
        async with saying(http(200, msgspec.json.encode(PRO))) as (other, heard):
            for status in (301, 302, 303, 307, 308):
                async with saying(http(status, location=f"{other}{VALIDATE_PATH}")) as (url, _):
                    found = CloudClient(url, API_KEY)
                    assert await found.validate(None) == Failed(f"HTTP {status}")
                    assert await found.report(EVENTS) == Failed(f"HTTP {status}")
                    await found.close()
            assert heard == []

    asyncio.run(run())


def sent(url: str, path: str, body: bytes, *more: bytes) -> list[bytes]:
    """The lines of a whole request, in no order."""
    lines = [
        f"post {path} http/1.1".encode(),
        f"host: {url.removeprefix('http://')}".encode(),
        b"connection: keep-alive",
        b"x-api-key: " + API_KEY.encode(),
        b"accept: application/json",
        b"accept-encoding: identity",
        b"content-type: application/json",
        f"user-agent: kalguard-sidecar/{VERSION}".encode(),
        f"content-length: {len(body)}".encode(),
        *more,
    ]
    return sorted([*lines, body])


def lines_of(request: bytes) -> list[bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    return sorted([*(line if b"x-api-key" in line.lower() else line.lower() for line in head.split(b"\r\n")), body])


def exactly(url: str, heard: list[bytes]) -> None:
    """What was heard is the licence asked for twice and a report, and nothing more."""
    validate, report = b"{}", b'{"events":[%s]}' % b",".join(map(msgspec.json.encode, EVENTS))
    assert lines_of(heard[0]) == sent(url, VALIDATE_PATH, validate)
    assert lines_of(heard[1]) == sent(url, VALIDATE_PATH, validate, b'if-none-match: "e"')
    assert lines_of(heard[2]) == sent(url, REPORT_PATH, report)
    assert len(heard) == 3


def test_a_request_is_exactly_this_whatever_is_answered_and_whatever_surrounds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a cookie nor a `.netrc` adds to it; and a proxy, who could read the key, is not asked for plain HTTP."""
    (tmp_path / ".netrc").write_text("default\nlogin me\npassword secret\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))

    async def run() -> None:
        answer = http(200, b"{}", set_cookie="a=b; Path=/")
        async with saying(answer) as (proxy, asked_of_proxy), saying(answer) as (url, heard):
            for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
                monkeypatch.setenv(name, proxy.replace("//", "//user:password@"))
                monkeypatch.setenv(name.lower(), proxy.replace("//", "//user:password@"))
            found = CloudClient(url + "/", API_KEY)
            await found.validate(None)
            await found.validate('"e"')
            await found.report(EVENTS)
            await found.close()
            assert asked_of_proxy == []
            exactly(url, heard)

    asyncio.run(run())


def test_a_proxy_is_asked_only_for_a_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    """In which TLS runs: it learns the name of Cloud's host and nothing else."""

    async def run() -> None:
        heard: list[bytes] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            heard.append(await reader.read(5))
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            found = CloudClient("https://cloud.example", API_KEY)
            assert isinstance(await found.validate(None), Failed)
            await found.close()
        assert heard[0].startswith(b"CONNECT cloud.example:443 HTTP/1.1\r\n")
        assert heard[1].startswith(b"\x16\x03")  # a handshake
        assert not any(API_KEY.encode() in part for part in heard)

    asyncio.run(run())


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "http://999.1", "nothing", "http://"])
def test_a_url_that_leads_nowhere_is_no_answer(url: str) -> None:
    async def run() -> None:
        outcome = await CloudClient(url, API_KEY).validate(None)
        assert isinstance(outcome, Failed)
        assert_plain(outcome.problem)

    asyncio.run(run())
