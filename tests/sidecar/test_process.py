"""What others on the same machine, and on the way, get to see of a running service."""

import os
import ssl
import stat
from pathlib import Path

import httpx
import pytest

from tests.support import SECRET, Server, bearer, make_certificate, running, workers_of


def folder_of(server: Server) -> Path:
    """Where the service keeps what its processes share."""
    environ = Path(f"/proc/{workers_of(server)[0]}/environ").read_bytes().split(b"\0")
    (name,) = [value.partition(b"=")[2] for value in environ if value.startswith(b"PROMETHEUS_MULTIPROC_DIR=")]
    return Path(os.fsdecode(name))


def test_the_temporary_folder_is_for_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    previous = os.umask(0)
    try:
        with running(tmp_path, tool_rate_limit="5") as server:
            folder = folder_of(server)
            assert folder.parent == tmp_path
            assert folder.stat().st_uid == os.getuid()
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            kept = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
            assert (kept["counters"], kept["tools.jsonl"]) == (0o600, 0o600)
    finally:
        os.umask(previous)
    assert not folder.exists()


def test_no_secret_is_among_the_arguments_of_a_process(tmp_path: Path) -> None:
    password = "redis-hunter2"
    with running(tmp_path, redis_url=f"redis://:{password}@127.0.0.1:1/0", workers="2") as server:
        token = bearer()["authorization"]
        httpx.post(f"{server.url}/v1/prompt/check", headers={"authorization": token}, content=b"{}")
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
        assert len(children) >= 2
        for pid in (server.process.pid, *children):
            said = Path(f"/proc/{pid}/cmdline").read_text()
            assert said
            assert not [secret for secret in (SECRET, password, token.split()[1]) if secret in said]


def test_tls_is_1_3_or_nothing(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    variables = {"tls_cert_path": str(certificate), "tls_key_path": str(key), "host": "localhost"}
    with running(tmp_path, wait_for="localhost", scheme="https", **variables) as server:
        old = ssl.create_default_context(cafile=str(certificate))
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(httpx.ConnectError, match=r"(?i)version|protocol|handshake"):
            httpx.get(f"{server.url}/health", verify=old)
        new = ssl.create_default_context(cafile=str(certificate))
        new.minimum_version = ssl.TLSVersion.TLSv1_3
        assert httpx.get(f"{server.url}/health", verify=new).status_code == 200
