"""Cloud gone mad, disks that are full, agents that want to go uncounted: faults that were found by looking for them."""

import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import httpx
import pytest

from kalguard.wire.cloud import VALIDATE_PATH
from tests.cloud import API_KEY, SIGNING_SECRET, StandIn, cloud
from tests.sidecar.test_cloud import SYNC, check, connected, metric, sidecar, state
from tests.sidecar.test_cloud_usage import adds_up, events
from tests.support import PATIENCE_SECONDS, SIDECAR, Server, environment, running, token, until, workers_of


def test_a_cloud_that_will_have_no_event_at_all_does_not_empty_the_spool(tmp_path: Path) -> None:
    """What answers 400 to everything may be a gateway in front of Cloud: that is an outage, not one bad event."""
    with cloud() as stand_in, sidecar(tmp_path, stand_in, state_dir=str(tmp_path / "state")) as server:
        connected(server)
        stand_in.behaviour = "unacceptable"
        text = token(SIGNING_SECRET)
        for _ in range(150):
            assert check(server, text).status_code == 200
        until(lambda: events(server)["dropped"] > 0)
        time.sleep(4)
        account = events(server)
        assert adds_up(account)
        assert account["dropped"] <= 5
        assert server.log().count("will not have a usage event") <= 5
        stand_in.behaviour = "good"
        until(lambda: events(server)["spool"] < 100)


def test_an_expiry_beyond_all_calendars_is_no_licence(tmp_path: Path) -> None:
    """It could be neither kept nor compared: every call for the licence would end in an error, one after the other."""
    text = token(SIGNING_SECRET)
    with cloud() as stand_in, sidecar(tmp_path, stand_in) as server:
        connected(server)
        stand_in.change(expires_at=datetime.max.replace(tzinfo=timezone(timedelta(hours=-5))))
        until(lambda: state(server) == "degraded")
        stand_in.change(expires_at=datetime.max.replace(tzinfo=UTC))
        stand_in.revoke(text)
        until(lambda: check(server, text).status_code == 401)
        assert "failed" not in server.log()


@pytest.mark.parametrize("said", ["0", "Thu, 01 Jan 2026 00:00:00 GMT"])
def test_who_says_to_come_again_at_once_is_not_asked_without_end(tmp_path: Path, said: str) -> None:
    """A date that is over is what a clock that is ahead makes of any."""
    with cloud() as stand_in:
        stand_in.retry_after = said
        stand_in.behaviour = "busy"
        with sidecar(tmp_path, stand_in, cloud_sync_interval_ms="600000"):
            until(lambda: stand_in.calls(VALIDATE_PATH) > 0)
            time.sleep(8)
            assert stand_in.calls(VALIDATE_PATH) <= 8  # two tries each, and pauses that grow


def test_no_choice_of_a_request_id_makes_an_event_that_cloud_need_not_take(tmp_path: Path) -> None:
    text = token(SIGNING_SECRET)
    with cloud() as stand_in:
        with sidecar(tmp_path, stand_in) as server:
            connected(server)
            for _ in range(3):
                check(server, text, **{"x-kalguard-request-id": "x" * 128})
        ids = [event.request_id for event in stand_in.events]
        assert len(set(ids)) == 3
        assert {len(found) for found in ids} == {128}


def test_metrics_are_there_while_the_ledger_is_held(tmp_path: Path) -> None:
    """By a worker that is stopped, or that waits for the disk: that is when somebody looks."""
    folder = tmp_path / "state"
    with cloud() as stand_in, sidecar(tmp_path, stand_in, state_dir=str(folder)) as server:
        connected(server)
        assert check(server, token(SIGNING_SECRET)).status_code == 200
        with (folder / "ledger").open() as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            assert check(server, token(SIGNING_SECRET)).status_code == 503
            assert metric(server, "kalguard_quota_used") == 1
            assert adds_up(events(server))
            assert metric(server, 'kalguard_license_state{state="connected"}') == 1


def test_a_list_of_authorities_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    """The connection could never be made, and one line in the log would be all that tells."""
    for content in (None, b"nothing of the kind"):
        path = tmp_path / "authorities.pem"
        if content is not None:
            path.write_bytes(content)
        ended = subprocess.run(
            [SIDECAR],
            env={**environment(api_key=API_KEY, cloud_url="https://127.0.0.1:1"), "SSL_CERT_FILE": str(path)},
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert ended.returncode == 2
        assert ended.stderr.startswith(f"kalguard-sidecar: SSL_CERT_FILE: `{path}` ")


@contextmanager
def on_a_small_disk(folder: Path, stand_in: StandIn) -> Iterator[tuple[Server, Path]]:
    """A sidecar whose state folder is on a disk that has room for the ledger and little more, and where that is."""
    disk = folder / "disk"
    disk.mkdir()
    command = f"mount -t tmpfs -o size=70m none {disk} && exec {SIDECAR}"
    confined = [
        "unshare",
        "--mount",
        *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]),
        "sh",
        "-c",
        command,
    ]
    variables = {**SYNC, "api_key": API_KEY, "cloud_url": stand_in.url, "state_dir": str(disk / "state")}
    with running(folder, confined, **variables) as server:
        yield server, Path(f"/proc/{server.process.pid}/root{disk}")


def test_a_full_disk_lets_no_withdrawn_token_pass(tmp_path: Path) -> None:
    """Whoever can fill a disk, with an audit log for instance, would else hold up what Cloud withdraws."""
    text, other = token(SIGNING_SECRET), token(SIGNING_SECRET, sub="agent-2")
    with cloud() as stand_in, on_a_small_disk(tmp_path, stand_in) as (server, disk):
        connected(server)
        with (disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
            while filler.write(b"x" * 4096):
                pass
        for withdrawn in (text, other):  # one after the other: what is set aside for it is set aside again
            until(lambda one=withdrawn: check(server, one).status_code == 200)  # type: ignore[misc]
            stand_in.revoke(withdrawn)
            until(lambda one=withdrawn: check(server, one).status_code == 401)  # type: ignore[misc]
        assert "cannot be kept" not in server.log()


def test_a_start_with_the_wrong_key_destroys_nothing(tmp_path: Path) -> None:
    """In an outage, when somebody tries this and that: with the right key all is as it was."""
    text = token(SIGNING_SECRET)
    kept = {"state_dir": str(tmp_path / "state")}
    with cloud() as stand_in:
        with sidecar(tmp_path, stand_in, **kept) as server:
            connected(server)
        stand_in.stop()
        for wrong in ("kg_test_wrong", "kg_test_wrong", "kg_test_another"):
            with sidecar(tmp_path, stand_in, **kept, api_key=wrong) as server:
                assert check(server, text).status_code == 401
        with sidecar(tmp_path, stand_in, **kept) as server:
            assert check(server, text).status_code == 200
        assert {path.name for path in (tmp_path / "state").iterdir()} == {"ledger", "licence", "licence.new", "lock"}


def test_a_state_folder_that_vanishes_is_told_in_lines(tmp_path: Path) -> None:
    text = token(SIGNING_SECRET)
    with cloud() as stand_in, sidecar(tmp_path, stand_in, state_dir=str(tmp_path / "state"), workers="2") as server:
        connected(server)
        shutil.rmtree(tmp_path / "state")
        os.kill(workers_of(server)[0], signal.SIGKILL)
        until(lambda: _answered(server, text))  # by the other, and before ten starts have failed
        until(lambda: "worker process cannot start: the ledger cannot be used" in server.log())
        assert all(line.startswith("{") for line in server.log().splitlines())


def _answered(server: Server, text: str) -> bool:
    """Whether a check is allowed. What the killed worker had accepted is lost to its client."""
    try:
        return check(server, text).status_code == 200
    except httpx.TransportError:
        return False
