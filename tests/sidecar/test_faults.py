"""What breaks around the service, made to break: the answer is a denial, probes go on, and it recovers by itself."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

import kalguard
from kalguard.records.sinks import MemorySink
from kalguard.records.verification import verify
from tests.support import GOOD_PROMPT, SIDECAR, Server, app, bearer, call, environment, records, running, token, until

PROMPT, TOOL = "/v1/prompt/check", "/v1/tool/check"
OPEN = {"policy_default_deny": "false"}


def failing(server: Server) -> list[str]:
    health = httpx.get(f"{server.url}/health")
    assert httpx.get(f"{server.url}/health/live").status_code == 200
    assert (health.status_code == 200) == (health.json().get("failing", []) == [])
    return list(health.json().get("failing", []))


def assert_refused(server: Server) -> None:
    body = server.post(PROMPT, GOOD_PROMPT).json()
    assert (body["errorCode"], body["allowed"]) == ("UNAVAILABLE", False)


@contextmanager
def on_a_disk_of_its_own(folder: Path, options: str) -> Iterator[tuple[Server, Path]]:
    """A server whose audit log is on a small file system that only it sees, and where that is seen from here."""
    disk = folder / "disk"
    disk.mkdir()
    command = f"mount -t tmpfs -o {options} none {disk} && exec {SIDECAR}"
    confined = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
    audit_log_path = str(disk / "audit.jsonl")
    with running(folder, [*confined, "sh", "-c", command], audit_log_path=audit_log_path, **OPEN) as server:
        yield server, Path(f"/proc/{server.process.pid}/root{disk}")


def test_a_full_disk_denies_until_there_is_room_and_leaves_a_log_that_is_whole(tmp_path: Path) -> None:
    with on_a_disk_of_its_own(tmp_path, "size=64k") as (server, disk):
        (disk / "filler").write_bytes(b"x" * 32 * 1024)
        answered = []
        while (reply := server.post(PROMPT, GOOD_PROMPT)).status_code == 200:
            answered.append(reply.json()["requestId"])
        assert len(answered) > 5
        assert reply.json()["message"] == "audit log cannot be written"
        assert_refused(server)
        assert failing(server) == ["audit"]
        (disk / "filler").unlink()
        until(lambda: failing(server) == [])
        answered.append(server.post(PROMPT, GOOD_PROMPT).json()["requestId"])
        log = disk / "audit.jsonl"
        assert [json.loads(line)["requestId"] for line in log.read_text().splitlines()] == answered
        assert verify([str(log)]).bad is None


def test_a_disk_that_cannot_be_written_to_denies(tmp_path: Path) -> None:
    with on_a_disk_of_its_own(tmp_path, "ro") as (server, _):
        assert_refused(server)
        assert failing(server) == ["audit"]
        assert "Read-only file system" in server.log()


def test_a_disk_that_hangs_denies_and_holds_up_nothing_else(tmp_path: Path) -> None:
    with running(tmp_path, **OPEN) as server:
        assert server.post(PROMPT, GOOD_PROMPT).status_code == 200
        with server.audit_path.open() as held:
            fcntl.flock(held, fcntl.LOCK_EX)  # the writer waits for this as it would for the disk
            assert_refused(server)
            assert failing(server) == ["audit"]
            assert httpx.get(f"{server.metrics_url}/metrics").status_code == 200
            assert_refused(server)
        until(lambda: failing(server) == [])
        assert server.post(PROMPT, GOOD_PROMPT).status_code == 200
        assert len(server.audit()) == 2
        assert verify([str(server.audit_path)]).bad is None


def test_a_folder_that_vanishes_denies_until_it_is_back(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    # Not confined: to Landlock the folder that comes back is another, which no rule names (docs/hardening.md).
    with running(tmp_path, audit_log_path=str(folder / "audit.jsonl"), harden="false", **OPEN) as server:
        assert server.post(PROMPT, GOOD_PROMPT).status_code == 200
        folder.rename(tmp_path / "elsewhere")
        assert_refused(server)
        assert failing(server) == ["audit"]
        folder.mkdir()
        until(lambda: failing(server) == [])
        assert server.post(PROMPT, GOOD_PROMPT).status_code == 200
        files = [tmp_path / "elsewhere" / "audit.jsonl", folder / "audit.jsonl"]
        assert verify([str(file) for file in files]).bad is None


def test_a_folder_that_vanishes_from_a_confined_service_denies_until_a_restart(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    audit_log_path = str(folder / "audit.jsonl")
    with running(tmp_path, audit_log_path=audit_log_path, **OPEN) as server:
        folder.rename(tmp_path / "elsewhere")
        folder.mkdir()
        assert_refused(server)
        assert failing(server) == ["audit"]
    with running(tmp_path, audit_log_path=audit_log_path, **OPEN) as server:
        assert server.post(PROMPT, GOOD_PROMPT).status_code == 200


def test_without_the_extension_there_is_no_start(tmp_path: Path) -> None:
    package = Path(kalguard.__file__).parent
    shutil.copytree(package, tmp_path / "kalguard", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for name in ("sidecar", "cli"):
        ended = subprocess.run(
            [sys.executable, "-c", f"from kalguard.cli.entry import {name}; {name}()"],
            env={**environment(**OPEN), "PYTHONPATH": str(tmp_path)},
            cwd=tmp_path,
            check=False,
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 1
        (line,) = ended.stderr.splitlines()
        assert line.startswith("kalguard: the compiled extension kalguard._core cannot be loaded: ")


def test_a_clock_that_jumps_back_lets_nobody_in_and_nobody_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    offset = 0.0
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + offset)
    sink = MemorySink()
    target = app(sink, tool_rate_limit="1", **OPEN)
    expired = token(iat=int(real()) - 120, exp=int(real()) - 60)
    good = bearer(token(iat=int(real()) - 120))

    def status(headers: dict[str, str], path: str = PROMPT) -> int:
        return call(target, path, {"toolName": "t"} if path == TOOL else GOOD_PROMPT, headers=headers).status

    assert (status(bearer(expired)), status(good), status(good, TOOL), status(good, TOOL)) == (401, 200, 200, 429)
    offset = -3600.0
    assert status(good) == 401, "not valid yet"
    assert status(bearer(expired)) == 401
    offset = -60.0
    assert status(good) == 200
    assert status(good, TOOL) == 429, "limits do not look at the clock of the day"
    offset = 3600.0
    assert status(good) == 401, "expired"
    assert [record["seq"] for record in records(sink)] == list(range(1, 10))


def test_a_prompt_of_four_mebibytes_costs_no_more_memory_the_tenth_time(tmp_path: Path) -> None:
    text = "The committee met on Tuesday and talked about the budget for the coming year. " * 53_000
    with running(tmp_path, **OPEN) as server:
        sizes = []
        for number in range(10):  # another one each time: what was read before is not read again
            body = json.dumps({"messages": [{"role": "user", "content": f"{number}. {text}"}]}).encode()
            assert server.post(PROMPT, body).status_code in (200, 403)
            sizes.append(peak_bytes(server))
        assert sizes[9] < sizes[2] * 1.3


def peak_bytes(server: Server) -> int:
    """The most that a process of the server ever held."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    status = [Path(f"/proc/{pid}/status").read_text() for pid in children]
    return max(int(text.partition("VmHWM:")[2].split()[0]) * 1024 for text in status)
