"""From the start to the end of the service, with everything that can happen to its processes in between."""

import ctypes
import os
import resource
import signal
import socket
import ssl
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from kalguard.sidecar.respawns import DEATHS, SHORT_SECONDS, Respawns
from kalguard.sidecar.tls import CertificateWatch
from tests.sidecar.asking import asking
from tests.support import (
    GOOD_PROMPT,
    PATIENCE_SECONDS,
    Server,
    bearer,
    make_certificate,
    running,
    until,
    wait_until_up,
    workers_of,
)

PROMPT = "/v1/prompt/check"


def test_workers_that_die_one_after_the_other_are_replaced(tmp_path: Path) -> None:
    with running(tmp_path, policy_default_deny="false", workers="2") as server:
        for _ in range(3):
            before = workers_of(server)
            for worker in before:
                os.kill(worker, signal.SIGKILL)
            until(lambda dead=set(before): len(workers_of(server)) == 2 and not dead & set(workers_of(server)))  # type: ignore[misc]
            wait_until_up(server)
            assert server.post(PROMPT, GOOD_PROMPT).status_code == 200
        assert "Unexpected exit from worker" in server.log()


class Looped:
    """Workers under a clock of the test, replaced as the server does it."""

    def __init__(self, workers: int) -> None:
        self.now = 1000.0
        self.respawns = Respawns(clock=lambda: self.now)
        self.start(*range(workers))

    def start(self, *workers: int) -> None:
        self.respawns.clear()
        for worker in workers:
            self.respawns[worker] = self.now

    def dies(self, worker: int, *, after: float) -> bool:
        """Let time go by and the worker die. Whether the server ends."""
        self.now += after
        is_end = self.now - self.respawns.get(worker, 0) <= 5.5
        self.start(worker)
        return is_end


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_workers_that_die_soon_after_their_start_are_a_crash_loop(workers: int) -> None:
    looped = Looped(workers)
    ends = [looped.dies(number % workers, after=1.5 / workers) for number in range(DEATHS)]
    assert ends == [False] * (DEATHS - 1) + [True]


def test_a_crash_loop_is_one_from_the_first_start() -> None:
    now = 5.0
    respawns = Respawns(clock=lambda: now)
    assert [respawns.get(0, 0) for _ in range(DEATHS)] == [0.0] * (DEATHS - 1) + [5.0]


def test_workers_that_served_are_no_crash_loop_however_often_they_are_killed() -> None:
    looped = Looped(2)
    assert not any(looped.dies(number % 2, after=1.6) for number in range(100))


def test_a_worker_that_lived_breaks_the_row() -> None:
    looped = Looped(1)
    for _ in range(5):
        assert not any(looped.dies(0, after=1.0) for _ in range(DEATHS - 1))
        assert not looped.dies(0, after=SHORT_SECONDS + 0.1)


def test_short_lives_far_apart_are_no_crash_loop() -> None:
    looped = Looped(1)
    for _ in range(30):
        looped.start(0)  # a reload
        assert not looped.dies(0, after=2.0)
        looped.now += 5.0
        looped.start(0)


def test_while_draining_clients_are_sent_elsewhere(tmp_path: Path) -> None:
    with running(tmp_path, policy_default_deny="false", drain_seconds="60") as server:
        with httpx.Client(base_url=server.url, headers=bearer(), timeout=60) as client:
            assert "connection" not in client.post(PROMPT, json=GOOD_PROMPT).headers
            server.process.send_signal(signal.SIGTERM)
            until(lambda: httpx.get(f"{server.url}/health/ready").status_code == 503)
            reply = client.post(PROMPT, json=GOOD_PROMPT)
        assert (reply.status_code, reply.headers["connection"]) == (200, "close")


def test_the_end_comes_in_time_while_workers_are_being_replaced(tmp_path: Path) -> None:
    with running(tmp_path, policy_default_deny="false", workers="3", drain_seconds="3") as server:
        server.process.send_signal(signal.SIGHUP)
        until(lambda: "Respawning worker-1" in server.log())
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        until(lambda: "draining" in server.log())
        assert server.process.wait(PATIENCE_SECONDS) == 0
        assert 0.5 < time.monotonic() - begun < 60  # a start may take two minutes
    assert not Path(f"/proc/{server.process.pid}").exists()


def test_a_worker_that_does_not_finish_does_not_put_off_the_end(tmp_path: Path) -> None:
    with running(tmp_path, policy_default_deny="false", workers="2", drain_seconds="2") as server:
        workers = workers_of(server)
        os.kill(workers[0], signal.SIGSTOP)
        begun = time.monotonic()
        for _ in range(3):  # asking again changes nothing
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
        assert server.process.wait(PATIENCE_SECONDS) == 0
        assert time.monotonic() - begun < 60  # it would never end by itself
        assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
        assert f"worker process {workers[0]} is killed" in server.log()


def test_sigterm_needs_no_thread(tmp_path: Path) -> None:
    with running(tmp_path, policy_default_deny="false") as server:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        in_use = int(status.partition("VmSize:")[2].split()[0]) * 1024
        # Room for all but the stack of a thread, 8 MiB.
        resource.prlimit(server.process.pid, resource.RLIMIT_AS, (in_use + 2**22, in_use + 2**22))
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE_SECONDS) == 0
        assert "draining" in server.log()


def send_to_thread(process: int, thread: int, number: signal.Signals) -> None:
    """Send a signal that this thread of a process takes, and no other."""
    assert ctypes.CDLL(None, use_errno=True).tgkill(process, thread, number) == 0


def threads_of(process: int) -> list[int]:
    """All but the main one."""
    return [int(name) for name in os.listdir(f"/proc/{process}/task") if int(name) != process]


def test_it_is_all_the_same_which_thread_takes_a_signal(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        main, (worker,) = server.process.pid, workers_of(server)
        send_to_thread(main, threads_of(main)[0], signal.SIGHUP)
        until(lambda: worker not in workers_of(server) and len(workers_of(server)) == 1)
        (worker,) = workers_of(server)
        send_to_thread(worker, threads_of(worker)[-1], signal.SIGTERM)
        until(lambda: worker not in workers_of(server) and len(workers_of(server)) == 1)
        send_to_thread(main, threads_of(main)[0], signal.SIGTERM)
        assert server.process.wait(PATIENCE_SECONDS) == 0


def test_who_says_nothing_is_cut_off(tmp_path: Path) -> None:
    with running(tmp_path, idle_seconds="1") as server:
        address = urlsplit(server.url)
        for begun in (
            b"",
            b"POST /v1/prompt/check HTTP/1.1\r\nhost: x\r\nauthori",
            b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n",
        ):
            with socket.create_connection(
                (str(address.hostname), int(address.port or 0)), timeout=PATIENCE_SECONDS
            ) as raw:
                raw.sendall(begun)
                while raw.recv(65536):
                    pass


def test_a_renewed_certificate_is_taken_up_without_a_gap(tmp_path: Path) -> None:
    for name in ("live", "renewed"):
        (tmp_path / name).mkdir()
        make_certificate(tmp_path / name)
    live, renewed = tmp_path / "live", tmp_path / "renewed"

    def shown() -> str:
        return ssl.get_server_certificate((address.hostname or "", address.port or 0))

    def is_shown(certificate: str) -> bool:
        try:
            return shown() == certificate
        except OSError:  # a worker that ends closes the connections on which nothing was asked yet
            return False

    variables = {"tls_cert_path": str(live / "cert.pem"), "tls_key_path": str(live / "key.pem")}
    with running(tmp_path, host="localhost", wait_for="localhost", scheme="https", **variables) as server:
        address = urlsplit(server.url)
        first = shown()
        (live / "key.pem").write_text("rubbish")
        until(lambda: "the certificate before stays in force" in server.log())
        os.kill(workers_of(server)[0], signal.SIGKILL)
        until(lambda: "Unexpected exit from worker" in server.log())
        wait_until_up(server)
        assert shown() == first  # shown by a worker that was started while there were no good files
        with asking(server) as wrong:
            for name in ("cert.pem", "key.pem"):
                os.replace(renewed / name, live / name)
            until(lambda: is_shown((live / "cert.pem").read_text()))
            until(lambda: len(workers_of(server)) == 1)
        assert wrong == []


def begin_a_body(server: Server) -> socket.socket:
    """A check whose body is never sent whole."""
    address = urlsplit(server.url)
    raw = socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=PATIENCE_SECONDS)
    authorization = bearer()["authorization"]
    raw.sendall(f"POST {PROMPT} HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\n".encode())
    raw.sendall(b"content-length: 1000\r\n\r\n{")
    return raw


def test_who_sends_slowly_does_not_prevent_an_orderly_end(tmp_path: Path) -> None:
    with running(tmp_path, policy_default_deny="false", drain_seconds="10") as server, begin_a_body(server) as slow:
        assert server.post(PROMPT, GOOD_PROMPT).status_code == 200
        server.process.send_signal(signal.SIGTERM)
        assert b" 400 " in slow.recv(4096)
        assert server.process.wait(PATIENCE_SECONDS) == 0
        assert "Killing worker" not in server.log()
        types = [record["type"] for record in server.whole_audit()]
        assert types == ["prompt_allowed", "prompt_denied", "audit_closed"]


def test_a_worker_without_its_main_process_ends_though_a_request_is_in_flight(tmp_path: Path) -> None:
    with running(tmp_path, policy_default_deny="false", drain_seconds="2") as server, begin_a_body(server):
        (worker,) = workers_of(server)
        server.process.kill()
        server.process.wait()
        until(lambda: not Path(f"/proc/{worker}").exists())


def test_only_a_pair_that_can_be_used_is_put_in_place(tmp_path: Path) -> None:
    for name in ("live", "renewed", "ours"):
        (tmp_path / name).mkdir()
    given = make_certificate(tmp_path / "live")
    renewed = make_certificate(tmp_path / "renewed")
    watch = CertificateWatch(str(given[0]), str(given[1]), tmp_path / "ours")

    def kept() -> list[bytes]:
        assert [path.stat().st_mode & 0o777 for path in watch.paths] == [0o600, 0o600]
        return [path.read_bytes() for path in watch.paths]

    first = kept()
    given[1].write_text("rubbish")
    assert [watch.look() for _ in range(3)] == [False] * 3
    os.replace(renewed[0], given[0])
    given[1].unlink()
    assert [watch.look() for _ in range(3)] == [False] * 3
    assert kept() == first
    os.replace(renewed[1], given[1])
    assert [watch.look() for _ in range(3)] == [False, True, False]
    assert kept() == [path.read_bytes() for path in given] != first


def test_looking_at_certificates_goes_on_whatever_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kalguard.sidecar.tls.LOOK_SECONDS", 0.02)
    given = make_certificate(tmp_path)
    (tmp_path / "ours").mkdir()
    renewals: list[bytes] = []
    watch = CertificateWatch(str(given[0]), str(given[1]), tmp_path / "ours")
    (tmp_path / "ours").rename(tmp_path / "away")  # nothing can be copied
    watch.start(lambda: renewals.append(watch.paths[0].read_bytes()))
    try:
        make_certificate(tmp_path)
        time.sleep(0.5)
        assert renewals == []
        (tmp_path / "away").rename(tmp_path / "ours")
        until(lambda: renewals == [given[0].read_bytes()])
    finally:
        watch.stop()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_the_chain_of_each_worker_is_closed_at_the_end(tmp_path: Path, name: str) -> None:
    with running(tmp_path, policy_default_deny="false", workers="2", drain_seconds="10") as server:
        for _ in range(20):
            assert server.post(PROMPT, GOOD_PROMPT).status_code == 200
        server.process.send_signal(getattr(signal, name))
        assert server.process.wait(PATIENCE_SECONDS) == 0
        chains = {record["chain"]: record for record in server.whole_audit()}
        assert {record["type"] for record in chains.values()} == {"audit_closed"}
        assert "Unexpected exit" not in server.log()
