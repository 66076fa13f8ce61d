"""Probes, metrics, the description of the API, and the end of the process."""

import contextlib
import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from kalguard.wire.codes import ErrorCode
from tests.support import GOOD_PROMPT, PATIENCE_SECONDS, Server, bearer, running, stop, until, wait_until_up, workers_of


def test_probes_need_no_token_and_carry_a_request_id(server: Server) -> None:
    for path in ("/health", "/health/live", "/health/ready"):
        reply = httpx.get(server.url + path, headers={"x-kalguard-request-id": "probe-1"})
        told = {name: value for name, value in reply.json().items() if name != "policy"}
        assert (reply.status_code, told) == (200, {"status": "ok", "requestId": "probe-1"})
        assert reply.headers["x-kalguard-request-id"] == "probe-1"


EVERYWHERE = [
    (method, path)
    for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")
    for path in ("/health", "/health/live", "/health/ready", "/schema/openapi.json", "/v1/prompt/check", "/nothing")
]


def test_every_reply_carries_a_request_id(server: Server) -> None:
    for method, path in EVERYWHERE:
        assert httpx.request(method, server.url + path).headers["x-kalguard-request-id"].startswith("req_")


def test_a_load_balancer_may_probe_with_head(server: Server) -> None:
    reply = httpx.head(f"{server.url}/health")
    assert (reply.status_code, reply.content) == (200, b"")


def test_the_description_of_the_api_names_every_status(server: Server) -> None:
    document = httpx.get(f"{server.url}/schema/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    assert set(document["paths"]) == {
        "/v1/prompt/check",
        "/v1/llm/check",
        "/v1/tool/check",
        "/v1/tool/register",
        "/health",
        "/health/live",
        "/health/ready",
    }
    described = set(document["paths"]["/v1/prompt/check"]["post"]["responses"])
    assert described == {"200"} | {str(code.status) for code in ErrorCode if code is not ErrorCode.NOT_FOUND}
    schemas = document["components"]["schemas"]
    assert {"Reply", "PromptCheck", "ToolCheck", "ToolRegister"} <= set(schemas)
    assert set(schemas["ErrorCode"]["enum"]) == set(ErrorCode)


def test_metrics_count_decisions_of_all_workers(tmp_path: Path) -> None:
    with running(tmp_path, policy_default_deny="false", workers="2") as server:
        for _ in range(20):
            assert server.post("/v1/prompt/check", GOOD_PROMPT).status_code == 200
        server.post("/v1/prompt/check", GOOD_PROMPT, {})
        counted = {
            'kalguard_checks_total{check="prompt",code="",decision="allow",mode="enforce"} 20.0',
            'kalguard_checks_total{check="prompt",code="AUTH_FAILED",decision="deny",mode="enforce"} 1.0',
            'kalguard_check_failures_total{cause="auth",check="prompt",effect="denied"} 1.0',
            'kalguard_check_duration_seconds_count{check="prompt"} 21.0',
        }
        until(lambda: counted <= set(httpx.get(f"{server.metrics_url}/metrics").text.splitlines()))
        assert "agent-1" not in httpx.get(f"{server.metrics_url}/metrics").text


def test_metrics_have_no_place_on_the_api_s_port(server: Server) -> None:
    assert httpx.get(f"{server.url}/metrics").status_code == 404


def test_sigterm_drains_and_ends_well(tmp_path: Path) -> None:
    with running(tmp_path, policy_default_deny="false", drain_seconds="60") as server:
        server.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 15
        while httpx.get(f"{server.url}/health/ready").status_code == 200:
            assert time.monotonic() < deadline
        assert httpx.get(f"{server.url}/health/ready").json()["status"] == "draining"
        assert httpx.get(f"{server.url}/health/live").status_code == 200
        assert server.post("/v1/prompt/check", GOOD_PROMPT).status_code == 200
        assert server.process.wait(PATIENCE_SECONDS) == 0


def test_a_request_in_flight_is_finished(tmp_path: Path) -> None:
    with running(tmp_path, policy_default_deny="false", drain_seconds="10") as server:
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc)
        body = json.dumps(GOOD_PROMPT).encode()
        connection.putrequest("POST", "/v1/prompt/check")
        for name, value in {**bearer(), "content-length": str(len(body))}.items():
            connection.putheader(name, value)
        connection.endheaders(body[:10])
        server.process.send_signal(signal.SIGTERM)
        threading.Timer(1.5, connection.send, [body[10:]]).start()
        assert connection.getresponse().status == 200
        connection.close()
        assert server.process.wait(PATIENCE_SECONDS) == 0
        assert [record["type"] for record in server.audit()] == ["prompt_allowed"]


def test_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    with running(tmp_path, drain_seconds="600") as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(PATIENCE_SECONDS) == 0


def test_what_was_answered_is_on_record_after_a_kill(tmp_path: Path) -> None:
    with running(tmp_path, policy_default_deny="false") as server:
        answered = [server.post("/v1/prompt/check", GOOD_PROMPT).json()["requestId"] for _ in range(50)]
        (worker,) = workers_of(server)
        os.kill(worker, signal.SIGKILL)
        server.process.kill()
        server.process.wait()
        assert [record["requestId"] for record in server.audit()] == answered


def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    with running(tmp_path, policy_default_deny="false") as server:
        (worker,) = workers_of(server)
        os.kill(worker, signal.SIGKILL)
        wait_until_up(server)
        assert server.post("/v1/prompt/check", GOOD_PROMPT).status_code == 200


def test_no_worker_is_left_that_answers_when_the_main_process_is_killed(tmp_path: Path) -> None:
    with running(tmp_path, policy_default_deny="false", workers="2") as server:
        server.process.kill()
        server.process.wait()
        deadline = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{server.url}/health/live")
            except httpx.TransportError:
                break
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_token_that_is_withdrawn_while_the_body_is_held_back_is_refused(tmp_path: Path) -> None:
    (tmp_path / "revoked").write_text("")
    variables = {"revoked_tokens_path": str(tmp_path / "revoked"), "policy_watch_interval_ms": "50"}
    with running(tmp_path, policy_default_deny="false", **variables) as server:
        headers = bearer()
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc)
        body = json.dumps(GOOD_PROMPT).encode()
        connection.putrequest("POST", "/v1/prompt/check")
        for name, value in {**headers, "content-length": str(len(body))}.items():
            connection.putheader(name, value)
        connection.endheaders(body[:10])
        digest = hashlib.sha256(headers["authorization"].removeprefix("Bearer ").encode()).hexdigest()
        (tmp_path / "revoked").write_text(digest)
        deadline = time.monotonic() + 60
        while server.post("/v1/prompt/check", GOOD_PROMPT, headers).status_code == 200:
            assert time.monotonic() < deadline
        connection.send(body[10:])
        assert json.loads(connection.getresponse().read())["errorCode"] == "TOKEN_REVOKED"
        connection.close()


def exchange(server: Server, head: bytes, *, close: bool = False) -> bytes:
    """Send bytes as they are, and read until the other side has no more to say."""
    address = urlsplit(server.url)
    with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=10) as raw:
        raw.sendall(head)
        if close:
            raw.shutdown(socket.SHUT_WR)
        received = b""
        with contextlib.suppress(TimeoutError, ConnectionError):
            while chunk := raw.recv(65536):
                received += chunk
                if b"requestId" in received:
                    break
        return received


def test_a_body_that_is_broken_off_is_a_bad_request_on_record(tmp_path: Path) -> None:
    authorization = f"authorization: {bearer()['authorization']}\r\n".encode()
    start = b"POST /v1/prompt/check HTTP/1.1\r\nhost: x\r\n" + authorization
    with running(tmp_path, policy_default_deny="false") as server:
        bad_chunk = exchange(server, start + b"transfer-encoding: chunked\r\n\r\nzz\r\n")
        half = exchange(server, start + b'content-length: 100\r\n\r\n{"messages"', close=True)
        for reply in (bad_chunk, half):
            assert reply == b"" or b" 400 " in reply.splitlines()[0]
            assert b" 500 " not in reply
        until(lambda: len(server.audit()) == 2)
        assert [record["metadata"]["errorCode"] for record in server.audit()] == ["BAD_REQUEST"] * 2
        assert server.post("/v1/prompt/check", GOOD_PROMPT).status_code == 200


def test_a_large_prompt_does_not_hold_up_a_probe(server: Server) -> None:
    text = "The quick brown fox jumps over the lazy dog, and mails a@example.org. " * 60_000
    large = {"messages": [{"role": "user", "content": text}]}
    judged: list[httpx.Response] = []
    thread = threading.Thread(
        target=lambda: judged.append(
            httpx.post(server.url + "/v1/prompt/check", json=large, headers=bearer(), timeout=60)
        )
    )
    thread.start()
    probes = 0
    while thread.is_alive():
        assert httpx.get(f"{server.url}/health/live").status_code == 200
        probes += 1
    assert judged[0].status_code in (200, 403)
    assert probes > 3


def test_the_command_explains_itself() -> None:
    for command in ("kalguard-sidecar", "kalguard"):
        shown = subprocess.run(
            [str(Path(sys.executable).with_name(command)), "--help"], capture_output=True, text=True, check=True
        )
        assert "KALGUARD_" in shown.stdout


def test_the_server_is_stopped_by_its_process_id(tmp_path: Path) -> None:
    with running(tmp_path, drain_seconds="0") as server:
        assert stop(server.process) == 0
