"""Probes, metrics, the description of the API, and the end of the process."""

import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from kalguard.wire.codes import ErrorCode
from tests.support import GOOD_PROMPT, Server, bearer, running, stop


def test_probes_need_no_token_and_carry_a_request_id(server: Server) -> None:
    for path in ("/health", "/health/live", "/health/ready"):
        reply = httpx.get(server.url + path, headers={"x-kalguard-request-id": "probe-1"})
        assert (reply.status_code, reply.json()) == (200, {"status": "ok", "requestId": "probe-1"})
        assert reply.headers["x-kalguard-request-id"] == "probe-1"


def test_every_reply_carries_a_request_id(server: Server) -> None:
    for method, path in [("GET", "/health"), ("GET", "/nothing"), ("GET", "/schema/openapi.json"), ("PUT", "/health")]:
        assert httpx.request(method, server.url + path).headers["x-kalguard-request-id"].startswith("req_")


def test_the_description_of_the_api_names_every_status(server: Server) -> None:
    document = httpx.get(f"{server.url}/schema/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    assert set(document["paths"]) == {
        "/v1/prompt/check",
        "/v1/llm/check",
        "/v1/tool/check",
        "/health",
        "/health/live",
        "/health/ready",
    }
    described = set(document["paths"]["/v1/prompt/check"]["post"]["responses"])
    assert described == {"200"} | {str(code.status) for code in ErrorCode if code is not ErrorCode.NOT_FOUND}
    schemas = document["components"]["schemas"]
    assert {"Reply", "PromptCheck", "ToolCheck"} <= set(schemas)
    assert "errorCode" in schemas["Reply"]["properties"]


def test_metrics_count_decisions_of_all_workers(tmp_path: Path) -> None:
    with running(tmp_path, policy_default_deny="false", workers="2") as server:
        for _ in range(20):
            assert server.post("/v1/prompt/check", GOOD_PROMPT).status_code == 200
        server.post("/v1/prompt/check", GOOD_PROMPT, {})
        text = httpx.get(f"{server.metrics_url}/metrics").text
    assert 'kalguard_checks_total{check="prompt",code="",decision="allow"} 20.0' in text
    assert 'kalguard_checks_total{check="prompt",code="AUTH_FAILED",decision="deny"} 1.0' in text
    assert 'kalguard_check_failures_total{cause="auth",check="prompt",effect="denied"} 1.0' in text
    assert 'kalguard_check_duration_seconds_count{check="prompt"} 21.0' in text
    assert "agent-1" not in text


def test_metrics_have_no_place_on_the_api_s_port(server: Server) -> None:
    assert httpx.get(f"{server.url}/metrics").status_code == 404


def test_sigterm_drains_and_ends_well(tmp_path: Path) -> None:
    with running(tmp_path, policy_default_deny="false", drain_seconds="5") as server:
        server.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 4
        while httpx.get(f"{server.url}/health/ready").status_code == 200:
            assert time.monotonic() < deadline
        assert httpx.get(f"{server.url}/health/ready").json()["status"] == "draining"
        assert httpx.get(f"{server.url}/health/live").status_code == 200
        assert server.post("/v1/prompt/check", GOOD_PROMPT).status_code == 200
        assert server.process.wait(6) == 0


def test_a_request_in_flight_is_finished(tmp_path: Path) -> None:
    with running(tmp_path, policy_default_deny="false", drain_seconds="5") as server:
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
        assert server.process.wait(6) == 0
        assert [record["type"] for record in server.audit()] == ["prompt_allowed"]


def test_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    with running(tmp_path, drain_seconds="10") as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(3) == 0


def test_what_was_answered_is_on_record_after_a_kill(tmp_path: Path) -> None:
    with running(tmp_path, policy_default_deny="false") as server:
        answered = [server.post("/v1/prompt/check", GOOD_PROMPT).json()["requestId"] for _ in range(50)]
        workers = subprocess.run(
            ["pgrep", "-P", str(server.process.pid)], capture_output=True, text=True, check=True
        ).stdout.split()
        server.process.kill()
        for worker in workers:
            subprocess.run(["kill", "-9", worker], check=False)
        server.process.wait()
        assert [record["requestId"] for record in server.audit()] == answered


def test_the_command_explains_itself() -> None:
    for command in ("kalguard-sidecar", "kalguard"):
        shown = subprocess.run(
            [str(Path(sys.executable).with_name(command)), "--help"], capture_output=True, text=True, check=True
        )
        assert "KALGUARD_" in shown.stdout


def test_the_server_is_stopped_by_its_process_id(tmp_path: Path) -> None:
    with running(tmp_path, drain_seconds="0") as server:
        assert stop(server.process) == 0
