"""The sidecar and Cloud, as real processes over real sockets: whatever Cloud does, nothing opens and nothing closes.

The stand-in (`tests.cloud`) behaves as it is told. What the parts do for themselves is tested in `tests/connector` and
`tests/ledger`; quota and usage in `test_cloud_usage.py`.
"""

import json
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from kalguard.connector import sync
from kalguard.connector.snapshot import SnapshotFile
from kalguard.ledger.file import temporary_ledger
from kalguard.sidecar import connection
from kalguard.sidecar.app import Plan
from kalguard.sidecar.cloud import CloudView
from tests.cloud import API_KEY, BEHAVIOURS, SIGNING_SECRET, StandIn, cloud
from tests.support import (
    GOOD_PROMPT,
    PATIENCE_SECONDS,
    SECRET,
    SIDECAR,
    Server,
    app_with,
    bearer,
    call,
    environment,
    running,
    settings,
    stop,
    token,
    until,
    wait_for_a_day_that_lasts,
    workers_of,
)

PROMPT = "/v1/prompt/check"
FAULTS = sorted({*BEHAVIOURS, "gone"} - {"good", "unacceptable"})
REJECTING = {"refused", "forbidden", "invalid"}
RESTARTED = {"gone", "hanging", "rubbish", "refused", "invalid"}
SYNC = {"cloud_sync_interval_ms": "10000", "policy_default_deny": "false", "token_secret": ""}
PLAN_HEADERS = {"x-kalguard-plan", "x-kalguard-usage-remaining", "x-ratelimit-reset"}


@pytest.fixture(autouse=True)
def _one_day() -> None:
    wait_for_a_day_that_lasts()


@contextmanager
def sidecar(
    folder: Path, stand_in: StandIn, command: Sequence[str] | None = None, **variables: str
) -> Iterator[Server]:
    folder.mkdir(exist_ok=True, parents=True)
    with running(folder, command, **{"api_key": API_KEY, "cloud_url": stand_in.url, **SYNC, **variables}) as server:
        yield server


def behave(stand_in: StandIn, behaviour: str) -> None:
    if behaviour == "gone":
        stand_in.stop()
    else:
        stand_in.behaviour = behaviour


def check(server: Server, text: str, **headers: str) -> httpx.Response:
    return server.post(PROMPT, GOOD_PROMPT, {**bearer(text), **headers})


def state(server: Server) -> Any:
    return httpx.get(f"{server.url}/health", timeout=60).json()["cloud"]["state"]


def metric(server: Server, name: str) -> float:
    """The value of one series."""
    for line in httpx.get(f"{server.metrics_url}/metrics", timeout=60).text.splitlines():
        if line.startswith(f"{name} "):
            return float(line.rpartition(" ")[2])
    raise AssertionError(f"no {name}")


def connected(server: Server) -> None:
    """Wait until every worker process has it from the main one: each connection is to any of them."""
    until(lambda: all(state(server) == "connected" for _ in range(24)))


def all_at_once(cases: list[str], carry_out: Callable[[str], None]) -> None:
    """Several cases at a time, since most of it is waiting."""
    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(carry_out, case) for case in cases]:
            done.result()


def test_a_cloud_that_never_gave_a_good_answer_lets_nobody_in_and_holds_nobody_up(tmp_path: Path) -> None:
    def carry_out(behaviour: str) -> None:
        with cloud() as stand_in:
            behave(stand_in, behaviour)
            with sidecar(tmp_path / behaviour, stand_in) as server:
                for text in (token(SIGNING_SECRET), token(), token("x" * 32)):  # of Cloud, of nobody we know
                    assert check(server, text).status_code == 401, behaviour
                if behaviour != "gone":
                    until(lambda: stand_in.calls("/api/v1/license/validate") > 0)
                expected = "rejected" if behaviour in REJECTING else "connecting"
                until(lambda: state(server) == expected)
                reply = check(server, token(SIGNING_SECRET))
                assert reply.status_code == 401, behaviour
                assert PLAN_HEADERS.isdisjoint(reply.headers)
                assert httpx.get(f"{server.url}/health/ready").status_code == 200, behaviour
                assert "EVERY TOKEN IS REFUSED" in server.log()
                assert API_KEY not in server.log()

    all_at_once(FAULTS, carry_out)


def test_with_a_secret_of_its_own_it_decides_without_plan_limits_until_cloud_answers(tmp_path: Path) -> None:
    with cloud() as stand_in:
        stand_in.limit(checks_per_day=0)
        stand_in.stop()
        with sidecar(tmp_path, stand_in, token_secret=SECRET) as server:
            assert [check(server, token()).status_code for _ in range(3)] == [200] * 3
            assert check(server, token(SIGNING_SECRET)).status_code == 401
            until(lambda: "there are no plan limits" in server.log())
            stand_in.start()
            connected(server)
            until(lambda: check(server, token()).status_code == 401)  # Cloud's key is in force, and ours is not
            assert check(server, token(SIGNING_SECRET)).status_code == 429
            assert server.log().count("there are no plan limits") == 1


def test_losing_cloud_changes_nothing_and_neither_does_a_restart_meanwhile(tmp_path: Path) -> None:
    """Keys, withdrawn tokens and limits stay; what was counted too."""
    good, withdrawn, forged = token(SIGNING_SECRET), token(SIGNING_SECRET, sub="agent-2"), token("x" * 40)

    def decides_as_before(server: Server, behaviour: str) -> None:
        assert check(server, withdrawn).json()["errorCode"] == "TOKEN_REVOKED", behaviour
        assert check(server, forged).json()["errorCode"] == "AUTH_FAILED", behaviour
        assert check(server, token(SIGNING_SECRET, iat=1, exp=2)).json()["errorCode"] == "AUTH_FAILED"
        reply = check(server, good)
        assert reply.status_code == 200, (behaviour, reply.text)
        assert PLAN_HEADERS.isdisjoint(reply.headers) == (behaviour in REJECTING), behaviour

    def carry_out(behaviour: str) -> None:
        folder = tmp_path / behaviour
        with cloud() as stand_in:
            stand_in.limit(checks_per_day=4)
            stand_in.revoke(withdrawn)
            kept = {"state_dir": str(folder / "state")}
            with sidecar(folder, stand_in, **kept) as server:
                connected(server)
                assert check(server, good).headers["x-kalguard-usage-remaining"] == "3"
                behave(stand_in, behaviour)
                expected = "rejected" if behaviour in REJECTING else "degraded"
                until(lambda: state(server) == expected)
                decides_as_before(server, behaviour)
                (telling,) = [line for line in server.log().splitlines() if f"Cloud: {expected}" in line]
                assert json.loads(telling)["level"] == ("error" if behaviour in REJECTING else "warning")
                assert metric(server, f'kalguard_license_state{{state="{expected}"}}') == 1
            if behaviour not in RESTARTED:
                return
            with sidecar(folder, stand_in, **kept) as server:
                assert state(server) == expected  # before Cloud was asked at all
                decides_as_before(server, behaviour)
                assert check(server, good).status_code == 200
                refused = check(server, good)
                assert (refused.status_code, refused.json()["data"]["remaining"]) == (429, 0), behaviour
                assert API_KEY not in server.log()
                assert SIGNING_SECRET not in server.log()

    all_at_once(FAULTS, carry_out)


def test_what_is_kept_can_be_read_by_nobody_else(tmp_path: Path) -> None:
    with cloud() as stand_in:
        with sidecar(tmp_path, stand_in, state_dir=str(tmp_path / "state")) as server:
            connected(server)
        for path in (tmp_path / "state").iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            content = path.read_bytes()
            assert SIGNING_SECRET.encode() not in content
            assert API_KEY.encode() not in content
        # With another key it is worth nothing: nobody gets in by it.
        stand_in.stop()
        with sidecar(tmp_path, stand_in, state_dir=str(tmp_path / "state"), api_key="kg_test_other") as server:
            assert check(server, token(SIGNING_SECRET)).status_code == 401
            assert "not of this API key" in server.log()


def test_a_withdrawn_token_is_refused_by_every_worker_soon_after(tmp_path: Path) -> None:
    with cloud() as stand_in, sidecar(tmp_path, stand_in, workers="2") as server:
        connected(server)
        text = token(SIGNING_SECRET)
        until(lambda: check(server, text).status_code == 200)
        stand_in.revoke(text)
        # The workers take it up each for itself. So many replies are hardly ever all from one of them.
        until(lambda: {check(server, text).json().get("errorCode") for _ in range(24)} == {"TOKEN_REVOKED"})
        assert metric(server, "kalguard_cloud_revoked_tokens") == 1


@pytest.mark.parametrize("overlap", ["3600", "0"])
def test_a_new_signing_key_is_taken_up_and_the_old_one_stays_as_long_as_was_asked_for(
    tmp_path: Path, overlap: str
) -> None:
    old, new = token(SIGNING_SECRET), token("n" * 40)
    with cloud() as stand_in, sidecar(tmp_path, stand_in, cloud_key_overlap_s=overlap) as server:
        connected(server)
        until(lambda: check(server, old).status_code == 200)
        assert check(server, new).status_code == 401
        stand_in.change(token_signing_secret="n" * 40)
        until(lambda: check(server, new).status_code == 200)
        assert check(server, old).status_code == (401 if overlap == "0" else 200)


def test_the_old_signing_key_ends_with_its_overlap(tmp_path: Path) -> None:
    old = token(SIGNING_SECRET)
    with cloud() as stand_in, sidecar(tmp_path, stand_in, cloud_key_overlap_s="2") as server:
        connected(server)
        until(lambda: check(server, old).status_code == 200)
        stand_in.change(token_signing_secret="n" * 40)
        until(lambda: check(server, token("n" * 40)).status_code == 200)
        stand_in.stop()  # nobody need say so
        until(lambda: check(server, old).status_code == 401)


def test_a_plan_is_told_on_every_reply_and_changes_with_the_next_answer(tmp_path: Path) -> None:
    with cloud() as stand_in, sidecar(tmp_path, stand_in) as server:
        connected(server)
        midnight = str((int(time.time()) // 86_400 + 1) * 86_400)
        for reply in (
            check(server, token(SIGNING_SECRET)),
            check(server, "x.y.z"),
            server.post("/v1/nothing", {}),
            httpx.get(f"{server.url}/health"),
            httpx.get(f"{server.url}/schema/openapi.json"),
        ):
            assert reply.headers["x-kalguard-plan"] == "pro"
            assert reply.headers["x-kalguard-usage-remaining"] == "99999"
            assert reply.headers["x-ratelimit-reset"] == midnight
        stand_in.change(tier="enterprise")
        stand_in.limit(checks_per_day=-1)
        until(lambda: httpx.get(f"{server.url}/health").headers["x-kalguard-plan"] == "enterprise")
        assert check(server, token(SIGNING_SECRET)).headers["x-kalguard-usage-remaining"] == "-1"
        said = httpx.get(f"{server.url}/health").json()["cloud"]
        assert said == {"connected": True, "state": "connected", "tier": "enterprise", "orgId": "org_1"}


def test_what_is_not_changed_is_not_sent_again(tmp_path: Path) -> None:
    with cloud() as stand_in, sidecar(tmp_path, stand_in) as server:
        connected(server)
        until(lambda: metric(server, 'kalguard_cloud_syncs_total{result="unchanged"}') > 0)
        assert state(server) == "connected"
        assert server.log().count("KalGuard Cloud: connected") == 1


def test_a_licence_that_cannot_be_read_is_told_and_written_anew(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    with cloud() as stand_in, sidecar(tmp_path, stand_in, state_dir=str(folder), token_secret=SECRET) as server:
        connected(server)
        until(lambda: check(server, token(SIGNING_SECRET)).status_code == 200)
        stand_in.stop()
        (folder / "licence").write_bytes(b"broken")
        until(lambda: httpx.get(f"{server.url}/health").json().get("failing") == ["licence"])
        assert check(server, token(SIGNING_SECRET)).status_code == 200  # what this one knew stays in force
        server.process.send_signal(signal.SIGHUP)  # others take its place
        until(lambda: "until the licence's snapshot can be read" in server.log())
        until(lambda: check(server, token(SIGNING_SECRET)).status_code == 200)  # it is written anew before long


def test_without_a_licence_that_can_be_read_nobody_knows_which_token_is_withdrawn(tmp_path: Path) -> None:
    (tmp_path / "licence").write_bytes(b"broken")
    view = CloudView(SnapshotFile(tmp_path / "licence", url="https://cloud.example", api_key=API_KEY))
    served = app_with(Plan(view, temporary_ledger()), None, policy_default_deny="false")
    assert call(served, headers=bearer(token())).body["errorCode"] == "UNAVAILABLE"  # ours, and good otherwise
    assert call(served, headers=bearer(token(SIGNING_SECRET))).body["errorCode"] == "AUTH_FAILED"


def test_a_folder_is_one_instance_s_own(tmp_path: Path) -> None:
    with cloud() as stand_in, sidecar(tmp_path, stand_in, state_dir=str(tmp_path / "state")):
        assert refused_to_start(state_dir=str(tmp_path / "state")) == (
            2,
            f"kalguard-sidecar: KALGUARD_STATE_DIR: `{tmp_path}/state` is in use by another instance; "
            "each needs one of its own\n",
        )


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, said = refused_to_start(state_dir=str(tmp_path / "file"))
    assert code == 2
    assert said.startswith(f"kalguard-sidecar: KALGUARD_STATE_DIR: `{tmp_path}/file` cannot be used: ")


def test_a_ledger_of_another_kind_is_put_aside_and_counting_begins_anew(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "ledger").write_bytes(b"what is this" * 1000)
    with cloud() as stand_in, sidecar(tmp_path, stand_in, state_dir=str(folder)) as server:
        connected(server)
        assert check(server, token(SIGNING_SECRET)).status_code == 200
        (aside,) = folder.glob("ledger.broken-*")
        assert aside.read_bytes().startswith(b"what is this")
        assert str(aside) in server.log()


def test_the_end_does_not_wait_for_a_cloud_that_hangs(tmp_path: Path) -> None:
    with cloud() as stand_in, sidecar(tmp_path, stand_in, drain_seconds="2") as server:
        connected(server)
        assert check(server, token(SIGNING_SECRET)).status_code == 200
        stand_in.behaviour = "hanging"
        started = time.monotonic()
        assert stop(server.process) == 0
        assert time.monotonic() - started < 30  # Cloud hangs for a minute
        assert "1 usage events are lost" in server.log()


def test_workers_that_die_find_the_licence_again(tmp_path: Path) -> None:
    with cloud() as stand_in, sidecar(tmp_path, stand_in) as server:
        connected(server)
        stand_in.stop()
        for worker in workers_of(server):
            subprocess.run(["kill", "-9", str(worker)], check=True)
        until(lambda: answers(server, token(SIGNING_SECRET)))


def answers(server: Server, text: str) -> bool:
    try:
        return check(server, text).status_code == 200
    except httpx.TransportError:
        return False


def refused_to_start(**variables: str) -> tuple[int, str]:
    ended = subprocess.run(
        [SIDECAR],
        env=environment(api_key=API_KEY, cloud_url="http://127.0.0.1:1", **variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return ended.returncode, ended.stderr.splitlines(keepends=True)[-1]


def test_a_connection_that_fails_unforeseen_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From what was known, and not only said in the log: withdrawn tokens would stay good for ever."""
    failures = iter([RuntimeError("nobody thought of this"), MemoryError()])
    monkeypatch.setattr(connection, "_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(connection, "_READY_SECONDS", 0.0)
    run = sync.Connector.run

    async def failing(connector: sync.Connector) -> None:
        if failure := next(failures, None):
            raise failure
        await run(connector)

    monkeypatch.setattr(sync.Connector, "run", failing)
    with cloud() as stand_in:
        found = settings(api_key=API_KEY, cloud_url=stand_in.url, cloud_sync_interval_ms="10000")
        made = connection.Connection(found, tmp_path, tmp_path)
        made.start()
        try:
            until(lambda: made.snapshot.state == "connected")
        finally:
            made.stop(1.0)
