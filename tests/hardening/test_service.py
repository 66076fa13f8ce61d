"""The service itself, confined: what the kernel says of its processes, what it says itself, which calls it makes."""

import json
import os
import platform
import signal
import sys
from pathlib import Path

import httpx
import pytest

from kalguard._core import landlock_abi
from kalguard.hardening.process import PROTECTIONS
from tests.hardening.tracing import seen, traced, unlisted
from tests.redis import redis_server
from tests.support import (
    ALLOW_ALL,
    ATTACK,
    GOOD_PROMPT,
    SIDECAR,
    Server,
    bearer,
    make_certificate,
    running,
    until,
    workers_of,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is neither Landlock nor seccomp elsewhere")
# Before it starts the service, this lets a system call fail as it does on a kernel that has no such thing.
_OLD_KERNEL = """
import errno, os, platform, sys
from kalguard._core import install_seccomp, seccomp_program
calls = {
    "landlock": ([("landlock_create_ruleset", ())], errno.ENOSYS),
    "switched-off landlock": ([("landlock_create_ruleset", ())], errno.EOPNOTSUPP),
    "seccomp": ([("prctl", [(0, 0xFFFFFFFF, 21)]), ("seccomp", ())], errno.EINVAL),
}
named, number = calls[sys.argv[1]]
program = seccomp_program(named, matched=number, otherwise="allow", arch=platform.machine())
install_seccomp(program)
os.execv(sys.argv[2], sys.argv[2:])
"""


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def in_force(server: Server) -> dict[str, float]:
    """What the metric says of each protection."""
    text = httpx.get(f"{server.metrics_url}/metrics").text
    lines = [line for line in text.splitlines() if line.startswith("kalguard_hardening{")]
    return {line.split('"')[1]: float(line.split()[1]) for line in lines}


def old_kernel(without: str) -> list[str]:
    return [sys.executable, "-c", _OLD_KERNEL, without, SIDECAR]


def test_the_kernel_says_that_every_process_is_confined(tmp_path: Path) -> None:
    with running(tmp_path, workers="2") as server:
        until(lambda: len(workers_of(server)) == 2)
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
        for pid in (server.process.pid, *map(int, children)):
            status = status_of(pid)
            assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        until(lambda: all(status_of(pid)["Seccomp_filters"] == "3" for pid in workers_of(server)))
        assert status_of(server.process.pid)["Seccomp_filters"] == "2"
        os.kill(workers_of(server)[0], signal.SIGKILL)
        until(lambda: len(workers_of(server)) == 2)
        until(lambda: all(status_of(pid)["Seccomp_filters"] == "3" for pid in workers_of(server)))
        expected = {"tcp_bind": 4, "tcp_connect": 4, "files": 5, "abstract_sockets": 6, "signals": 6}
        assert in_force(server) == {name: float(landlock_abi() >= expected.get(name, 0)) for name in PROTECTIONS}
        assert "hardened: no_new_privs, seccomp" in server.log()


def test_it_is_confined_only_where_that_is_asked_for(tmp_path: Path) -> None:
    with running(tmp_path, harden="false") as server:
        assert status_of(server.process.pid)["Seccomp"] == status_of(os.getpid())["Seccomp"]
        assert in_force(server) == {}
        assert "hardened" not in server.log()


@pytest.mark.parametrize(
    ("without", "missing"),
    [
        ("landlock", PROTECTIONS[2:]),
        ("switched-off landlock", PROTECTIONS[2:]),
        ("seccomp", PROTECTIONS[1:2]),
    ],
)
def test_an_older_kernel_does_what_it_can_and_the_log_says_what_is_missing(
    tmp_path: Path, without: str, missing: tuple[str, ...]
) -> None:
    with running(tmp_path, command=old_kernel(without)) as server:
        told = {name for name, extent in in_force(server).items() if extent == 0.0}
        assert set(missing) <= told
        (warning,) = [line for line in map(json.loads, server.log().splitlines()) if "lacks" in line["event"]]
        assert warning["level"] == "warning"
        assert all(f"{name} (none)" in warning["event"] for name in missing)
        until(lambda: len(workers_of(server)) == 1)
        assert status_of(server.process.pid)["NoNewPrivs"] == "1"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the names on arm64 were not traced")
def test_the_calls_that_the_service_makes_are_those_of_the_list(tmp_path: Path) -> None:
    # A shorter run than `make trace-syscalls`, of all that a service does in its life.
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps(ALLOW_ALL))
    certificate, key = make_certificate(tmp_path)
    variables = {
        "policy_path": str(policy),
        "policy_watch": "true",
        "policy_watch_interval_ms": "50",
        "tls_cert_path": str(certificate),
        "tls_key_path": str(key),
        "audit_fsync": "always",
        "tool_rate_limit": "100",
    }
    with (
        redis_server(tmp_path) as redis,
        running(tmp_path, command=traced(tmp_path), scheme="https", redis_url=redis.url, **variables) as server,
        httpx.Client(verify=False, headers=bearer(), timeout=60) as client,
    ):

        def statuses() -> list[int]:
            tool = {"toolName": "get_weather", "arguments": {}}
            sent = [("prompt/check", GOOD_PROMPT), ("prompt/check", ATTACK), ("tool/check", tool)]
            return [client.post(f"{server.url}/v1/{path}", json=body).status_code for path, body in sent]

        until(lambda: statuses() == [200, 403, 200])
        new = tmp_path / "new.json"
        new.write_text('{"rules": []}')
        new.replace(policy)
        until(lambda: statuses() == [403, 403, 403])
        (worker,) = workers_of(server)
        os.kill(worker, signal.SIGKILL)
        until(lambda: worker not in workers_of(server) and len(workers_of(server)) == 1)
        server.process.send_signal(signal.SIGHUP)
        httpx.get(f"{server.metrics_url}/metrics", timeout=60)
    with (tmp_path / "trace").open(errors="replace") as lines:
        found = seen(lines)
    assert {"execve", "landlock_restrict_self", "bind"} <= found["main"]
    assert {"accept4", "fdatasync", "inotify_add_watch", "connect"} <= found["worker"]
    assert "execve" not in found["worker"]
    assert unlisted(found) == {"main": set(), "worker": set()}


def test_a_trace_with_a_call_outside_the_list_would_be_noticed() -> None:
    trace = [
        '10 execve("kalguard-sidecar") = 0',
        "10 vfork( <unfinished ...>",
        '11 execve("python") = 0',
        "10 <... vfork resumed>) = 11",
        "10 swapon(1) = 0",
        "11 fallocate(3, 0, 0, 10) = 0",
        "11 clone(child_stack=0x1, flags=CLONE_VM|CLONE_THREAD, tid=[12]) = 12",
        "12 execve(1) = 0",
        "12 read(1) = 0",
    ]
    assert unlisted(seen(trace)) == {"main": {"swapon"}, "worker": {"execve"}}
