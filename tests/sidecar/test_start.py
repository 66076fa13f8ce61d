"""What a bad configuration does: it stops the start, or degrades it, and says which variable is to blame."""

import json
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support import GOOD_PROMPT, SECRET, environment, free_ports, make_certificate, running

COMMAND = str(Path(sys.executable).with_name("kalguard-sidecar"))


def start(**variables: str) -> subprocess.CompletedProcess[str]:
    """Start the server with something that it must refuse."""
    port, metrics_port = free_ports(2)
    ports = {"port": str(port), "metrics_port": str(metrics_port), "host": "127.0.0.1"}
    return subprocess.run(
        [COMMAND], env=environment(**{**ports, **variables}), capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"port": "abc"}, "KALGUARD_PORT: `abc`"),
        ({"prompt_block_threshold": "200"}, "KALGUARD_PROMPT_BLOCK_THRESHOLD: `200`"),
        ({"token_secret": "short"}, "KALGUARD_TOKEN_SECRET: the value given is not at least 32 bytes"),
        ({"token_secret_file": "/nowhere"}, "KALGUARD_TOKEN_SECRET_FILE: `/nowhere` cannot be read"),
        ({"token_jwks_path": "/nowhere"}, "KALGUARD_TOKEN_JWKS_PATH: `/nowhere` cannot be read"),
        ({"token_jwks_path": "/etc/hostname"}, "KALGUARD_TOKEN_JWKS_PATH: `/etc/hostname` is not a JSON Web Key Set"),
        ({"tls_cert_path": "/nowhere", "tls_key_path": "/nowhere"}, "KALGUARD_TLS_CERT_PATH: `/nowhere`"),
        (
            {"tls_cert_path": "/etc/hostname", "tls_key_path": "/etc/hostname"},
            "KALGUARD_TLS_CERT_PATH: `/etc/hostname`",
        ),
        ({"host": "no.such.host.invalid"}, "KALGUARD_HOST: `no.such.host.invalid` cannot be resolved"),
        ({"blocked_phrases": "a\udcff"}, "KALGUARD_BLOCKED_PHRASES: the value given is not UTF-8"),
        ({"redis_url": "redis://:hunter2@h:port/"}, "KALGUARD_REDIS_URL: the value given cannot be used"),
        (
            {"redis_url": "rediss://h/?ssl_ca_certs=/nowhere"},
            "KALGUARD_REDIS_URL: the value given cannot be used",
        ),
        ({"redis_url": "redis://h/?nonsense=1"}, "KALGUARD_REDIS_URL: the value given cannot be used"),
        ({"limits_on_store_loss": "open"}, "KALGUARD_LIMITS_ON_STORE_LOSS: `open` is not local or closed"),
    ],
)
def test_a_bad_value_stops_the_start(variables: dict[str, str], named: str) -> None:
    ended = start(**variables)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"kalguard-sidecar: {named}")


def test_a_certificate_and_a_key_have_to_belong_together(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    certificate, _ = make_certificate(tmp_path / "one")
    _, key = make_certificate(tmp_path / "other")
    ended = start(tls_cert_path=str(certificate), tls_key_path=str(key))
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"kalguard-sidecar: KALGUARD_TLS_KEY_PATH: `{key}` is not the key of")
    (tmp_path / "old.pem").write_text(key.read_text().replace("PRIVATE", "EC PRIVATE"))
    ended = start(tls_cert_path=str(certificate), tls_key_path=str(tmp_path / "old.pem"))
    assert "PKCS#8" in ended.stderr


def test_all_mistakes_are_told_at_once() -> None:
    ended = start(port="abc", prompt_block_threshold="200", token_secret="short")
    assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 3)


@pytest.mark.parametrize("which", ["port", "metrics_port"])
def test_a_port_in_use_is_one_clear_line(which: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = start(token_secret=SECRET, **{which: port})
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [f"kalguard-sidecar: cannot listen on 127.0.0.1:{port}: Address already in use"]


def test_a_second_server_on_the_same_port_is_refused(tmp_path: Path) -> None:
    with running(tmp_path) as first:
        port = first.url.rpartition(":")[2]
        assert start(token_secret=SECRET, port=port).returncode == 1


@pytest.mark.parametrize(
    "content", [None, "", "{", '{"rules": [{"id": "r", "decision": "allow", "match": {"tools": []}}]}']
)
def test_a_policy_that_cannot_be_used_denies_everything_and_shows(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "policy.json"
    if content is not None:
        path.write_text(content)
    with running(tmp_path, policy_path=str(path)) as server:
        reply = server.post("/v1/prompt/check", GOOD_PROMPT)
        assert (reply.status_code, reply.json()["message"]) == (403, "policy cannot be loaded")
        health = httpx.get(f"{server.url}/health")
        assert (health.status_code, health.json()["status"], health.json()["failing"]) == (503, "degraded", ["policy"])
        assert httpx.get(f"{server.url}/health/ready").status_code == 503
        assert server.audit()[0]["type"] == "policy_error"
        assert httpx.get(f"{server.url}/health/live").status_code == 200
        assert f"KALGUARD_POLICY_PATH: `{path}`" in server.log()


def test_a_policy_that_cannot_be_read_denies_everything(tmp_path: Path) -> None:
    with running(tmp_path, policy_path=str(tmp_path)) as server:
        assert server.post("/v1/prompt/check", GOOD_PROMPT).status_code == 403
        assert f"KALGUARD_POLICY_PATH: `{tmp_path}` cannot be read: Is a directory" in server.log()


def test_tools_that_cannot_be_used_leave_none(tmp_path: Path) -> None:
    (tmp_path / "tools.json").write_text("{")
    with running(tmp_path, tools_path=str(tmp_path / "tools.json"), policy_default_deny="false") as server:
        reply = server.post("/v1/tool/check", {"toolName": "t"}).json()
        assert (reply["errorCode"], reply["message"]) == ("TOOL_DENIED", "tools file cannot be loaded")
        assert httpx.get(f"{server.url}/health").json()["failing"] == ["tools"]


def test_a_list_of_revoked_tokens_that_cannot_be_read_lets_no_token_in(tmp_path: Path) -> None:
    with running(tmp_path, revoked_tokens_path=str(tmp_path / "missing"), policy_default_deny="false") as server:
        reply = server.post("/v1/prompt/check", GOOD_PROMPT)
        assert (reply.status_code, reply.json()["errorCode"]) == (503, "UNAVAILABLE")
        assert reply.json()["message"] == "list of revoked tokens cannot be loaded"
        assert httpx.get(f"{server.url}/health").json()["failing"] == ["revocation"]


def test_without_a_policy_everything_is_denied(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        reply = server.post("/v1/prompt/check", GOOD_PROMPT)
        assert (reply.status_code, reply.json()["errorCode"]) == (403, "POLICY_DENY")
        assert httpx.get(f"{server.url}/health").status_code == 200


def test_without_keys_every_token_is_refused_and_the_log_says_so(tmp_path: Path) -> None:
    with running(tmp_path, token_secret="", policy_default_deny="false", log_level="error") as server:
        assert server.post("/v1/prompt/check", GOOD_PROMPT).json()["errorCode"] == "AUTH_FAILED"
        assert "EVERY TOKEN IS REFUSED" in server.log()


def test_unsigned_tokens_need_to_be_asked_for_and_show(tmp_path: Path) -> None:
    variables = {
        "token_secret": "",
        "insecure_unsigned_tokens": "true",
        "policy_default_deny": "false",
        "log_level": "error",
    }
    with running(tmp_path, **variables) as server:
        assert server.post("/v1/prompt/check", GOOD_PROMPT).status_code == 200
        assert httpx.get(f"{server.url}/health").json()["insecure"] == [
            "unsigned tokens are accepted",
            "everything is allowed",
        ]
        assert "INSECURE" in server.log()
        assert "EVERYTHING IS ALLOWED" in server.log()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2"])
def test_it_listens_where_it_is_told_to(tmp_path: Path, host: str) -> None:
    with running(tmp_path, wait_for=host, host=host) as server:
        port = server.url.rpartition(":")[2]
        assert httpx.get(f"http://{host}:{port}/health").status_code == 200


def test_an_unknown_variable_is_a_warning(tmp_path: Path) -> None:
    with running(tmp_path, polcy_path="/x") as server:
        assert "KALGUARD_POLCY_PATH: unknown variable" in server.log()


def test_an_audit_log_that_appears_later_is_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "late" / "audit.jsonl"
    with running(tmp_path, audit_log_path=str(path), policy_default_deny="false") as server:
        assert server.post("/v1/prompt/check", GOOD_PROMPT).json()["errorCode"] == "UNAVAILABLE"
        path.parent.mkdir()
        assert server.post("/v1/prompt/check", GOOD_PROMPT).status_code == 200
        assert httpx.get(f"{server.url}/health").status_code == 200
        assert len(server.audit()) == 1


def test_the_audit_log_can_be_standard_output(tmp_path: Path) -> None:
    with running(tmp_path, audit_log_path="-", policy_default_deny="false") as server:
        reply = server.post("/v1/prompt/check", GOOD_PROMPT)
        lines = [json.loads(line) for line in server.log().splitlines()]
        assert [line["requestId"] for line in lines if line.get("type") == "prompt_allowed"] == [
            reply.json()["requestId"]
        ]


def test_it_speaks_tls_where_it_is_told_to(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    context = ssl.create_default_context(cafile=str(certificate))
    variables = {"tls_cert_path": str(certificate), "tls_key_path": str(key), "host": "localhost"}
    with running(tmp_path, wait_for="localhost", scheme="https", **variables) as server:
        assert httpx.get(f"{server.url}/health", verify=context).status_code == 200
        with pytest.raises(httpx.TransportError):
            httpx.get(server.url.replace("https", "http") + "/health")
