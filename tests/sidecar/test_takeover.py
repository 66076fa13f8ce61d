"""A worker process ends at a reload when the one after it serves, and not before, whatever happens to that one."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from kalguard.sidecar import takeover
from kalguard.sidecar.serving import mark
from tests.sidecar.asking import asking
from tests.support import GOOD_PROMPT, PATIENCE_SECONDS, Server, running, until, wait_until_up, workers_of

OPEN = {"policy_default_deny": "false"}
STOPPED_SECONDS = 6.0


def hold_up_a_new_worker(server: Server, old: list[int]) -> int:
    """Ask for new workers, and stop the first of them before it serves. Its process id."""
    server.process.send_signal(signal.SIGHUP)
    until(lambda: len(workers_of(server)) > len(old))
    (new,) = set(workers_of(server)) - set(old)
    os.kill(new, signal.SIGSTOP)
    return new


def assert_new_workers_serve(server: Server, old: list[int]) -> None:
    until(lambda: len(workers_of(server)) == len(old) and not set(old) & set(workers_of(server)))
    assert server.post("/v1/prompt/check", GOOD_PROMPT).status_code == 200


@pytest.mark.parametrize("harden", ["true", "false"])
def test_nobody_is_refused_while_a_new_worker_is_slow_to_start(tmp_path: Path, harden: str) -> None:
    with running(tmp_path, harden=harden, **OPEN) as server, asking(server) as wrong:
        old = workers_of(server)
        new = hold_up_a_new_worker(server, old)
        time.sleep(STOPPED_SECONDS)
        assert workers_of(server) == [*old, new]
        os.kill(new, signal.SIGCONT)
        assert_new_workers_serve(server, old)
        assert workers_of(server) == [new]
    assert wrong == []


def test_a_worker_stays_when_the_one_after_it_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    with running(tmp_path, workers="2", **OPEN) as server, asking(server) as wrong:
        old = workers_of(server)
        (folder,) = temporary.glob("kalguard-*")
        folder.rename(temporary / "away")  # so that a new one finds no room for what it counts
        for times in (1, 2):
            server.process.send_signal(signal.SIGHUP)
            until(lambda n=times: server.log().count("those before go on") == n)  # type: ignore[misc]
            assert workers_of(server) == old
        (temporary / "away").rename(folder)
        server.process.send_signal(signal.SIGHUP)
        assert_new_workers_serve(server, old)
    assert wrong == []
    assert server.log().count("new worker process ended before it served") == 2
    assert "crash loop" not in server.log()


def test_a_worker_that_is_killed_is_replaced_though_another_is_slow_to_start(tmp_path: Path) -> None:
    with running(tmp_path, workers="2", **OPEN) as server:
        old = workers_of(server)
        hold_up_a_new_worker(server, old)
        os.kill(old[1], signal.SIGKILL)
        assert_new_workers_serve(server, old)
        assert "those before go on" not in server.log()


def test_a_worker_that_is_killed_while_the_one_after_it_starts_has_its_place_taken_once(tmp_path: Path) -> None:
    with running(tmp_path, **OPEN) as server:
        old = workers_of(server)
        new = hold_up_a_new_worker(server, old)
        os.kill(old[0], signal.SIGKILL)
        until(lambda: "Unexpected exit from worker-1" in server.log())
        os.kill(new, signal.SIGCONT)
        wait_until_up(server)
        assert_new_workers_serve(server, old)
        time.sleep(1)  # nobody comes to take the place of the one that was killed
        assert workers_of(server) == [new]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_the_end_does_not_wait_for_a_worker_that_is_slow_to_start(tmp_path: Path, name: str) -> None:
    with running(tmp_path, drain_seconds="2", **OPEN) as server:
        new = hold_up_a_new_worker(server, workers_of(server))
        begun = time.monotonic()
        server.process.send_signal(getattr(signal, name))
        assert server.process.wait(PATIENCE_SECONDS) == 0
        assert time.monotonic() - begun < takeover.READY_SECONDS / 2
        assert not Path(f"/proc/{new}").exists()


class Stood:
    """A worker process that stands in for one, as far as the server looks at it."""

    def __init__(self, pid: int) -> None:
        self.inner = self
        self.pid = pid
        self.interrupt_by_parent = False
        self.lives = False

    def start(self) -> None:
        self.lives = True

    def is_alive(self) -> bool:
        return self.lives

    def terminate(self) -> None:
        self.lives = False

    kill = terminate

    def join(self, timeout: float | None = None) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> takeover.TakeoverServer:
    """One with a worker that serves, and the next one made; of a reload it gives up waiting soon."""
    monkeypatch.setattr(takeover, "READY_SECONDS", 0.1)
    monkeypatch.setattr(takeover, "AGAIN_SECONDS", 3.0)
    made = takeover.TakeoverServer("nowhere:nothing", serving=tmp_path, workers_kill_timeout=1)
    old = Stood(1)
    old.start()
    mark(tmp_path, 1).touch()
    made.wrks = [old]  # type: ignore[list-item]
    new = Stood(2)
    monkeypatch.setattr(made, "_spawn_worker", lambda *_: new)
    return made


def reload(server: takeover.TakeoverServer) -> list[int]:
    """The workers that there are after it."""
    server._respawn_workers([0], None, None, delay=3.5)
    workers: list[Any] = server.wrks
    assert all(worker.is_alive() and not worker.interrupt_by_parent for worker in workers)
    return [worker.pid for worker in workers]


def test_one_that_hangs_is_given_up_and_tried_again(
    server: takeover.TakeoverServer, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    assert reload(server) == [1]
    assert "new worker process did not serve within 0.1 seconds: those before go on" in caplog.text
    assert not server.reload_signal
    until(lambda: server.reload_signal and server.main_loop_interrupt.is_set())
    mark(tmp_path, 2).touch()
    assert reload(server) == [2]
    assert [path.name for path in tmp_path.iterdir()] == ["2"]


def test_one_for_which_there_is_no_process_leaves_the_one_before(
    server: takeover.TakeoverServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_process(_: Stood) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(Stood, "start", no_process)
    assert reload(server) == [1]
    assert "new worker process cannot be started: [Errno 11]" in caplog.text
