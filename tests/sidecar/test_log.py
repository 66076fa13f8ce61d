"""The service log: one event a line, with the request it belongs to; no secret, no decision, nobody else's line."""

import asyncio
import io
import json
import logging
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from structlog.stdlib import ProcessorFormatter

from kalguard.sidecar.logs import in_this_context, log_config, serving
from kalguard.sidecar.operator import OperatorFiles
from kalguard.wire.cloud import REPORT_PATH, VALIDATE_PATH
from tests.cloud import API_KEY, SIGNING_SECRET, cloud
from tests.redis import redis_server
from tests.support import (
    ALLOW_ALL,
    ATTACK,
    GOOD_PROMPT,
    Server,
    app,
    bearer,
    call,
    environment,
    free_port,
    running,
    stop,
    token,
    until,
    workers_of,
)

LARGE = {"messages": [{"role": "user", "content": "What is the weather in Oslo tomorrow? " * 2000}]}
# A line feed and another's line, a terminal's escape, a line separator, a reversal of direction, half a character.
FORGED = 'x\n{"event": "forged"}\r\x1b[31m\x9b1m\x85\u2028\u202e\ud800\x00end'


@contextmanager
def logged(style: str = "json") -> Iterator[io.StringIO]:
    """What our modules log, as the service would write it."""
    options = {
        name: value for name, value in log_config("debug", style)["formatters"]["service"].items() if name != "()"
    }
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(ProcessorFormatter(**options))
    logger = logging.getLogger("kalguard")
    logger.addHandler(handler)
    try:
        yield written
    finally:
        logger.removeHandler(handler)


def lines(text: str) -> list[dict[str, Any]]:
    """Every line of a log, each of which has to be an event."""
    found = [json.loads(line) for line in text.split("\n") if line]
    assert all({"event", "level", "logger", "timestamp"} <= set(line) for line in found)
    return found


class FaultyFiles(OperatorFiles):
    """Files with a shadow policy that cannot be asked."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.shadow = self._fail

    @staticmethod
    def _fail() -> Any:
        raise RuntimeError(FORGED)


@pytest.mark.parametrize("body", [GOOD_PROMPT, LARGE], ids=["here", "in a thread"])
def test_a_line_of_a_request_carries_its_id(body: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kalguard.sidecar.app.OperatorFiles", FaultyFiles)
    with logged() as written:
        reply = call(app(policy_default_deny="false"), body=body, headers={**bearer(), "x-kalguard-request-id": "r-1"})
    assert reply.status == 200
    (line,) = lines(written.getvalue())
    assert (line["event"], line["request_id"]) == ("shadow policy failed", "r-1")
    assert "RuntimeError" in line["exception"]


def test_an_id_ends_with_its_request() -> None:
    async def serve(name: str) -> None:
        serving(name)
        await asyncio.sleep(0)
        with ThreadPoolExecutor(1) as executor:
            await asyncio.get_running_loop().run_in_executor(executor, in_this_context(lambda: say(name)))
            await asyncio.get_running_loop().run_in_executor(executor, say, "nobody")

    def say(what: str) -> None:
        logging.getLogger("kalguard").error(what)

    async def both() -> None:
        await asyncio.gather(serve("one"), serve("two"))
        say("after")

    with logged() as written:
        asyncio.run(both())
    told = [(line["event"], line.get("request_id")) for line in lines(written.getvalue())]
    assert sorted(told, key=str) == [
        ("after", None),
        ("nobody", None),
        ("nobody", None),
        ("one", "one"),
        ("two", "two"),
    ]


def fail() -> None:
    raise ValueError(FORGED)


def say_everything(log: Callable[..., None]) -> None:
    log("said: %s", FORGED, extra={"value": FORGED, "values": [FORGED]})
    try:
        fail()
    except ValueError:
        log("failed", exc_info=True)


def test_no_text_can_forge_a_line_in_json() -> None:
    with logged() as written:
        say_everything(logging.getLogger("kalguard").error)
    text = written.getvalue()
    assert text.replace("\n", "").isascii()
    assert text.replace("\n", "").isprintable()
    said, failed = lines(text)
    assert said["event"] == f"said: {FORGED}"
    assert failed["exception"].endswith(f"ValueError: {FORGED}")


def test_no_text_can_forge_a_line_for_people() -> None:
    with logged("console") as written:
        say_everything(logging.getLogger("kalguard").error)
    text = written.getvalue()
    assert text.replace("\n", "").isprintable()
    events = [line for line in text.split("\n") if line and not line.startswith("    ")]
    assert len(events) == 2
    assert all("[error" in line for line in events)
    assert "\\x1b[31m" in text


@pytest.mark.parametrize("start", ["configure('info', 'json')", "dictConfig(log_config('info', 'json')); create()"])
def test_what_python_warns_of_is_a_line_too(start: str) -> None:
    program = (
        "import warnings; from logging.config import dictConfig; from kalguard.sidecar.app import create;"
        f"from kalguard.sidecar.logs import configure, log_config; {start}; warnings.warn('first\\nsecond')"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=True
    )
    assert "first\nsecond" in lines(shown.stderr)[-1]["event"]


def test_decisions_are_not_logged(server: Server) -> None:
    before = server.log()
    for body, headers in ((GOOD_PROMPT, bearer()), (ATTACK, bearer()), (GOOD_PROMPT, {}), (b"{", bearer())):
        server.post("/v1/prompt/check", body, headers)
        server.post("/v1/tool/check", body, headers)
    httpx.get(f"{server.url}/nothing")
    assert server.log() == before


def test_calls_to_cloud_are_not_logged_one_by_one(tmp_path: Path) -> None:
    with cloud() as stand_in:
        variables = {"api_key": API_KEY, "cloud_url": stand_in.url, "log_level": "debug"}
        with running(tmp_path, **variables) as server:
            of_cloud = bearer(token(SIGNING_SECRET))
            until(lambda: server.post("/v1/prompt/check", GOOD_PROMPT, of_cloud).status_code == 403)
        assert {path for _, path, _ in stand_in.requests} == {VALIDATE_PATH, REPORT_PATH}
    told = [line for line in lines(server.log()) if line["logger"].partition(".")[0] in ("httpx", "httpcore")]
    assert told == []


def test_what_no_request_caused_carries_no_id(tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_text(json.dumps(ALLOW_ALL))
    watched = {"policy_path": str(tmp_path / "policy.json"), "policy_watch": "true", "policy_watch_interval_ms": "50"}
    with running(tmp_path, **watched) as server, httpx.Client(headers=bearer()) as client:
        for _ in range(5):
            assert client.post(f"{server.url}/v1/prompt/check", json=GOOD_PROMPT).status_code == 200
        (tmp_path / "policy.json").write_text("{")
        until(lambda: "the version before stays in force" in server.log())
        server.audit_path.unlink()
        server.audit_path.mkdir()
        refused = client.post(f"{server.url}/v1/prompt/check", json=GOOD_PROMPT)
        assert refused.status_code == 503
        told = lines(server.log())
    with_id = [(line["request_id"], line["event"]) for line in told if "request_id" in line]
    assert with_id == [(refused.json()["requestId"], "audit log cannot be written: Is a directory")]


def raw(url: str, data: bytes) -> None:
    """Send bytes that need not be a request, and go away."""
    place = urlsplit(url)
    with socket.create_connection((place.hostname, place.port), timeout=5) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass


def provoke(server: Server, secrets: dict[str, str]) -> None:
    """Whatever can be got wrong, with secrets and a terminal's escapes in it."""
    mine, forged = secrets["agent token"], secrets["forged token"]
    for path in ("/v1/prompt/check", "/v1/tool/check", "/v1/tool/register"):
        for body in (
            GOOD_PROMPT,
            LARGE,
            b"\xff\xfe",
            b"[" * 100_000,
            {"toolName": FORGED[:2], "arguments": {"a": mine}},
        ):
            server.post(path, body, bearer(mine))
        server.post(path, GOOD_PROMPT, bearer(forged))
        server.post(path, GOOD_PROMPT, {"authorization": f"Basic {mine}"})
    httpx.get(f"{server.url}/{mine}/%1b[31m%0aforged", params={"token": mine}, headers=bearer(mine))
    head = b"POST /v1/prompt/check HTTP/1.1\r\nhost: a\r\nauthorization: Bearer " + mine.encode() + b"\r\n"
    for rest in (
        b"authorization: Bearer x\r\n\r\n",
        b"content-length: 5\r\n\r\n{",
        b"transfer-encoding: odd\r\n\r\nzz",
        b"\x1b",
    ):
        raw(server.url, head + rest)


def break_off(url: str, data: bytes) -> None:
    """Send bytes, and break the connection off as a process that dies does."""
    place = urlsplit(url)
    with socket.create_connection((place.hostname, place.port), timeout=5) as connection:
        connection.sendall(data)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_whoever_reaches_the_metrics_port_can_write_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        for data in (
            b"\xff\x1b[31m\r\n\r\n",
            b"GET /metrics HTTP/9.9\r\n\r\n",
            b"GET /\x1b[31m HTTP/1.1\r\n\r\n",
            b"x",
        ):
            for _ in range(5):
                break_off(server.metrics_url, data)
            raw(server.metrics_url, data)
        assert httpx.get(f"{server.metrics_url}/metrics").status_code == 200
        assert {line["logger"] for line in lines(server.log())} == {"kalguard.sidecar", "_granian", "_granian.serve"}


def test_a_scrape_that_fails_is_one_line(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        environ = Path(f"/proc/{workers_of(server)[0]}/environ").read_bytes().split(b"\0")
        (folder,) = [value.partition(b"=")[2] for value in environ if value.startswith(b"PROMETHEUS_MULTIPROC_DIR=")]
        before = len(lines(server.log()))
        Path(folder.decode(), "counter_1.db").write_bytes(struct.pack("<i4xi", 64, 1000) + bytes(100))
        assert httpx.get(f"{server.metrics_url}/metrics").status_code == 500
        (line,) = lines(server.log())[before:]
        assert line["event"].startswith("metrics cannot be told: Traceback")
        Path(folder.decode(), "counter_1.db").unlink()
        assert httpx.get(f"{server.metrics_url}/metrics").status_code == 200


def secrets_of(forger: str) -> dict[str, str]:
    return {
        "token secret": "the first secret, of more than 32 bytes",
        "api key": API_KEY,
        "redis password": "redis-hunter2",
        "collector password": "collector-hunter3",
        "collector header": "header-hunter4",
        "agent token": token("the first secret, of more than 32 bytes"),
        "forged token": token(forger),
    }


def test_no_secret_gets_into_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = secrets_of("another secret, of more than 32 bytes")
    monkeypatch.setenv(
        "OTEL_EXPORTER_OTLP_ENDPOINT", f"http://u:{secrets['collector password']}@127.0.0.1:{free_port()}"
    )
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization={secrets['collector header']}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    (tmp_path / "policy.json").write_text(json.dumps(ALLOW_ALL))
    (tmp_path / "key").write_text(secrets["api key"])
    with cloud() as stand_in, redis_server(tmp_path, "--requirepass", "the right one") as redis:
        stand_in.change(token_signing_secret=secrets["token secret"])
        stand_in.limit(checks_per_day=-1)  # one could not be kept with such a Redis
        variables = {
            "token_secret": secrets["token secret"],
            "api_key_file": str(tmp_path / "key"),
            "cloud_url": stand_in.url,
            "redis_url": f"redis://:{secrets['redis password']}@127.0.0.1:{redis.port}/0",
            "tool_rate_limit": "5",
            "limits_on_store_loss": "closed",
            "policy_path": str(tmp_path / "policy.json"),
            "policy_watch": "true",
            "policy_watch_interval_ms": "50",
            "log_level": "debug",
            "workers": "2",
        }
        with running(tmp_path, **variables) as server:
            assert server.post("/v1/prompt/check", GOOD_PROMPT, bearer(secrets["agent token"])).status_code == 200
            provoke(server, secrets)
            redis.kill()
            provoke(server, secrets)
            (tmp_path / "policy.json").write_text(json.dumps({"rules": [{"id": secrets["agent token"]}]})[:-1])
            until(lambda: "the version before stays in force" in server.log())
            server.audit_path.unlink()
            server.audit_path.mkdir()
            provoke(server, secrets)
            until(lambda: "traces cannot be exported" in server.log())
            until(lambda: "KalGuard Cloud: connected" in server.log())
            stand_in.behaviour = "refused"
            stop(server.process)
            text = server.log()
    for needed in (
        "store of limits lost",
        "audit log cannot be written",
        "traces cannot be exported",
        "Cloud: connected",
    ):
        assert needed in text
    assert [name for name, secret in secrets.items() if secret in text or secret.rpartition(".")[2] in text] == []
    assert "hunter" not in text
    assert lines(text)
    assert "\x1b" not in text


def test_the_log_for_people_is_no_way_to_a_terminal(tmp_path: Path) -> None:
    secrets = secrets_of("another secret, of more than 32 bytes")
    with running(tmp_path, token_secret=secrets["token secret"], log_format="console", log_level="debug") as server:
        server.audit_path.unlink(missing_ok=True)
        server.audit_path.mkdir()
        provoke(server, secrets)
        text = server.log()
    assert "audit log cannot be written" in text
    assert text.replace("\n", "").isprintable()
    assert "forged" not in text
