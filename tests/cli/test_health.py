"""`kalguard health`: what a container's health check runs, against real services."""

import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.cli.test_commands import run
from tests.support import Server, free_port, make_certificate, running


def test_a_service_that_nobody_started_is_not_healthy() -> None:
    ended = run("health", port=str(free_port()))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "no answer: [Errno 111] Connection refused" in ended.stderr


def test_one_that_does_not_speak_http_is_not_healthy() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        ended = run("health", "--url", f"http://127.0.0.1:{silent.getsockname()[1]}/health")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "no answer: timed out" in ended.stderr


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:9292", "file:///etc/passwd", "http://", "http://a:99999/", "http://[::1"]
)
def test_what_is_no_url_is_a_question_that_cannot_be_answered(url: str) -> None:
    ended = run("health", "--url", url)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "is not an http or https URL" in ended.stderr


def test_bad_settings_are_named() -> None:
    ended = run("health", port="many")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "KALGUARD_PORT" in ended.stderr


def test_a_service_that_cannot_decide_is_not_healthy(tmp_path: Path) -> None:
    with running(tmp_path, policy_path=str(tmp_path / "missing.json")) as server:
        ended = run("health", port=str(urlsplit(server.url).port))
    assert ended.returncode == 1
    assert ended.stdout.startswith("503 ")
    assert '"failing": ["policy"]' in ended.stdout


def test_the_service_of_these_settings_is_found(server: Server) -> None:
    ended = run("health", host="0.0.0.0", port=str(urlsplit(server.url).port))
    assert ended.returncode == 0
    assert ended.stdout.startswith('200 {"status": "ok"')
    assert run("health", "--url", f"{server.url}/health/ready").returncode == 0
    assert run("health", "--url", f"{server.url}/nothing").returncode == 1


def test_a_service_that_speaks_tls_is_asked_so(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    paths = {"tls_cert_path": str(certificate), "tls_key_path": str(key)}
    with running(tmp_path, scheme="https", **paths) as server:
        port = str(urlsplit(server.url).port)
        assert run("health", port=port, **paths).returncode == 0
        assert run("health", port=port).returncode == 1  # plain HTTP is not answered
