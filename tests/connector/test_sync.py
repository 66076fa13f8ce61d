"""Keeping in step with Cloud: what is asked when, what is handed over, and that each event is counted once."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from kalguard.connector import sync
from kalguard.connector.license import Failed, Good, LicenseState, Refused, Unchanged
from kalguard.connector.sealed import SealedFile
from kalguard.wire.cloud import REPORT_PATH, VALIDATE_PATH
from tests.cloud import StandIn, cloud
from tests.connector.conftest import gives_up_soon
from tests.connector.sidecars import Sidecar
from tests.ledger.buffers import lock_held
from tests.support import until_in_loop


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {
        "BATCH_SECONDS": 0.6,
        "LOOK_SECONDS": 0.02,
        "SPREAD_SECONDS": 0.05,
        "BACKOFF_SECONDS": 0.05,
    }.items():
        monkeypatch.setattr(sync, name, seconds)
    # No pause is shorter than half a second otherwise.
    monkeypatch.setattr(sync, "_backoff", lambda failures, most: min(most, 0.05 * failures))


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with cloud() as found:
        yield found


@pytest.fixture
def sidecar(stand_in: StandIn, tmp_path: Path) -> Sidecar:
    return Sidecar(tmp_path / "one", stand_in.url)


def in_step(sidecar: Sidecar, steps: Callable[[], Awaitable[None]]) -> None:
    """Do something while the sidecar is in step with Cloud, and end it as its main process does."""

    async def run() -> None:
        async with sidecar.running():
            await steps()
        await sidecar.connector.finish(60.0)

    asyncio.run(run())


def ask(sidecar: Sidecar, stand_in: StandIn, *steps: str | Callable[[], object]) -> list[object]:
    """Ask for the licence once for each way in which Cloud may behave; something else may be done between."""

    async def run() -> list[object]:
        outcomes: list[object] = []
        try:
            for step in steps:
                if isinstance(step, str):
                    stand_in.behaviour = step
                    outcomes.append(await sidecar.connector.sync())
                else:
                    step()
        finally:
            await sidecar.connector._client.close()
        return outcomes

    return asyncio.run(run())


def test_the_licence_is_fetched_again_and_again_and_sent_once(stand_in: StandIn, tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path, stand_in.url, interval=0.1)

    async def steps() -> None:
        await until_in_loop(lambda: stand_in.calls(VALIDATE_PATH) >= 5)

    in_step(sidecar, steps)
    told = sidecar.connector.told
    assert told.syncs["ok"] == 1
    assert told.syncs["unchanged"] >= 4
    assert told.last_success == sidecar.now
    pauses = [later[0] - earlier[0] for earlier, later in pairwise(stand_in.requests)]
    assert min(pauses) >= 0.07
    assert sidecar.store.read().state is LicenseState.CONNECTED


def test_events_go_by_the_hundred_at_once_and_the_rest_after_a_while(stand_in: StandIn, sidecar: Sidecar) -> None:
    async def steps() -> None:
        await sidecar.checks(250)
        await until_in_loop(lambda: len(stand_in.events) == 250)

    in_step(sidecar, steps)
    _, second, third = [at for at, path, _ in stand_in.requests if path == REPORT_PATH]
    assert [body.count(b"requestId") for path, body in stand_in.bodies if path == REPORT_PATH] == [100, 100, 50]
    assert third - second >= 0.5
    assert stand_in.twice == 0
    assert sidecar.counts() == (250, 250, 0, 0)


def test_nothing_is_reported_where_nothing_waits(stand_in: StandIn, sidecar: Sidecar) -> None:
    async def steps() -> None:
        await asyncio.sleep(0.8)

    in_step(sidecar, steps)
    assert stand_in.calls(REPORT_PATH) == 0


def test_what_failed_is_sent_again_and_counted_once(
    stand_in: StandIn, sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that is cut off is the one that tells: Cloud has counted the events, and nobody knows."""

    async def steps() -> None:
        for behaviour in ("broken", "cut", "rubbish", "refused", "busy", "hanging", "good"):
            stand_in.behaviour = behaviour
            stand_in.retry_after = "0"
            sidecar.connector.told.reports.clear()
            with monkeypatch.context() as hurried:
                if behaviour == "hanging":
                    gives_up_soon(hurried)
                await sidecar.checks(120)
                await until_in_loop(lambda: sidecar.connector.told.reports.total() > 0)
            sidecar.counts()
        await until_in_loop(lambda: sidecar.counts()[1] == 7 * 120)

    in_step(sidecar, steps)
    assert len(stand_in.events) == len(stand_in.seen) == 7 * 120
    assert stand_in.twice > 0
    assert sidecar.counts() == (840, 840, 0, 0)


def test_what_one_instance_could_not_hand_over_the_next_start_does(stand_in: StandIn, tmp_path: Path) -> None:
    async def first() -> None:
        stand_in.behaviour = "broken"
        sidecar = Sidecar(tmp_path, stand_in.url)
        async with sidecar.running():
            await sidecar.checks(130)
            await until_in_loop(lambda: sidecar.connector.told.reports["error"] > 0)
        assert await sidecar.connector.finish(1.0) == 130

    asyncio.run(first())
    stand_in.behaviour = "good"
    second = Sidecar(tmp_path, stand_in.url)
    assert asyncio.run(second.connector.finish(60.0)) == 0
    assert len(stand_in.events) == 130
    assert second.counts() == (130, 130, 0, 0)


def test_an_event_that_cloud_will_not_have_is_found_dropped_and_costs_no_other(
    stand_in: StandIn, sidecar: Sidecar, caplog: pytest.LogCaptureFixture
) -> None:
    stand_in.poison = {"poison"}

    async def steps() -> None:
        for agent_id, count in (("agent-1", 63), ("poison", 1), ("agent-2", 136), ("poison", 1), ("agent-3", 99)):
            await sidecar.checks(count, agent_id)
        await until_in_loop(lambda: sidecar.counts()[2] == 0)

    in_step(sidecar, steps)
    assert stand_in.counted() == {"agent-1": 63, "agent-2": 136, "agent-3": 99}
    assert sidecar.counts() == (300, 298, 0, 2)
    assert caplog.text.count("will not have a usage event (HTTP 422)") == 2
    assert (
        sidecar.connector.told.reports["unacceptable"] <= 2 * 14
    )  # halves of a hundred, and some again while they grow
    assert "poison" not in caplog.text


def test_a_report_that_is_refused_makes_it_ask_for_the_licence(stand_in: StandIn, sidecar: Sidecar) -> None:
    async def steps() -> None:
        await until_in_loop(lambda: sidecar.connector.snapshot.state is LicenseState.CONNECTED)
        stand_in.behaviour = "refused"
        await sidecar.checks(100)
        await until_in_loop(lambda: sidecar.connector.snapshot.state is LicenseState.REJECTED)
        stand_in.behaviour = "good"

    in_step(sidecar, steps)
    assert sidecar.counts() == (100, 100, 0, 0)


def test_cloud_says_when_to_ask_again_and_they_do_not_all_come_then(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.behaviour, stand_in.retry_after = "busy", "1"
    monkeypatch.setattr(sync, "BATCH_SECONDS", 0.1)
    sidecars = [Sidecar(tmp_path / str(number), stand_in.url, interval=0.1) for number in range(10)]

    async def run() -> None:
        async with asyncio.TaskGroup() as tasks:
            works = [tasks.create_task(one.connector.run()) for one in sidecars]
            for one in sidecars:
                await one.checks(1)
            await until_in_loop(lambda: stand_in.calls(REPORT_PATH) >= 10 and stand_in.calls(VALIDATE_PATH) >= 10)
            asked_at = time.time()
            await until_in_loop(lambda: stand_in.calls(REPORT_PATH) >= 20 and stand_in.calls(VALIDATE_PATH) >= 20)
            for work in works:
                work.cancel()
        for path in (VALIDATE_PATH, REPORT_PATH):
            times = [at for at, called, _ in stand_in.requests if called == path]
            assert times[10] - times[0] >= 1.0
            assert max(times[10:20]) - min(times[10:20]) > 0.1  # of ten moments in a second and a tenth
        assert time.time() - asked_at < 20
        for one in sidecars:
            await one.connector._client.close()

    asyncio.run(run())


def test_pauses_are_random_grow_with_failures_and_are_bounded(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    good = [sidecar.connector._pause_after(Unchanged(), 0) for _ in range(500)]
    assert 225 <= min(good) < 230 < 295 < max(good) <= 300
    assert max(sidecar.connector._pause_after(Refused(), 0) for _ in range(100)) <= 300
    for failures, most in ((1, 10.0), (3, 40.0), (10, 300.0), (10**6, 300.0)):
        pauses = [sidecar.connector._pause_after(Failed("gone"), failures) for _ in range(500)]
        assert 0.5 <= min(pauses) <= 0.1 * most
        assert 0.9 * most < max(pauses) <= most
    later = [sidecar.connector._pause_after(Failed("busy", 100.0), 1) for _ in range(500)]
    assert 100 <= min(later) < 102 < 109 < max(later) <= 111


def test_a_snapshot_that_cannot_be_written_is_known_when_it_can(
    stand_in: StandIn, sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def there_is_room() -> None:
        assert sidecar.store.read().license is None
        monkeypatch.undo()

    monkeypatch.setattr(SealedFile, "write", full)
    outcomes = ask(sidecar, stand_in, "good", "broken", there_is_room, "good")
    assert [type(one) for one in outcomes] == [Good, Failed, Unchanged]
    assert "licence cannot be kept: No space left on device" in caplog.text
    assert sidecar.store.read() == sidecar.connector.snapshot


@pytest.mark.parametrize("content", [None, b"rubbish"])
def test_a_snapshot_that_is_lost_is_written_again(stand_in: StandIn, sidecar: Sidecar, content: bytes | None) -> None:
    path = sidecar.store._file.path

    def lose() -> None:
        path.unlink()
        if content is not None:
            path.write_bytes(content)

    assert ask(sidecar, stand_in, "good", lose, "good")[1] == Unchanged()
    assert sidecar.store.read() == sidecar.connector.snapshot


def test_a_snapshot_that_is_as_it_was_is_not_written_again(stand_in: StandIn, sidecar: Sidecar) -> None:
    marks = []
    ask(sidecar, stand_in, "good", lambda: marks.append(sidecar.store.mark()), "good")
    assert marks == [sidecar.store.mark()]


def test_each_transition_is_logged_once(stand_in: StandIn, sidecar: Sidecar, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "kalguard")
    behaviours = ["broken", "rubbish", "good", "good", "broken", "wrong", "good", "refused", "refused", "broken"]
    ask(sidecar, stand_in, *behaviours, "invalid", "good")
    said = [record.getMessage() for record in caplog.records if record.name.startswith("kalguard")]
    expected = [
        "gives no answer: HTTP 500; there are no plan limits until it does",
        "connected, plan pro",
        "degraded, HTTP 500; the last licence stays in force, plan pro",
        "connected, plan pro",
        "rejected, API key is refused; keys, revocations and limits stay as they were",
        "connected, plan pro",
    ]
    assert [message.removeprefix("KalGuard Cloud").removeprefix(":").strip() for message in said] == expected


def test_a_plan_that_changes_is_not_bound_by_what_was_left_of_the_one_before(
    stand_in: StandIn, sidecar: Sidecar
) -> None:
    stand_in.limit(checks_per_day=3)

    async def steps() -> None:
        await until_in_loop(lambda: sidecar.connector.told.syncs["ok"] == 1)
        await sidecar.checks(100)
        await until_in_loop(lambda: sidecar.ledger.read().accepted == 100)

    in_step(sidecar, steps)
    assert sidecar.ledger.read().ceiling == 1
    stand_in.limit(checks_per_day=1000)
    again = Sidecar(sidecar.store._file.path.parent, stand_in.url)
    ask(again, stand_in, "good")
    assert again.ledger.read().ceiling == 0


def test_a_held_lock_keeps_no_transition_from_being_known(
    stand_in: StandIn, sidecar: Sidecar, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "kalguard")
    ask(sidecar, stand_in, "good", "broken")
    stand_in.limit(checks_per_day=7)
    again = Sidecar(sidecar.store._file.path.parent, stand_in.url)
    with lock_held(again.ledger), pytest.raises(Exception, match="the lock is held"):
        ask(again, stand_in, "good")
    assert caplog.messages[-1] == "KalGuard Cloud: connected, plan pro"
    assert again.store.read().license == again.connector.snapshot.license


def test_what_is_left_of_a_day_that_ended_meanwhile_does_not_bound_the_next(
    stand_in: StandIn, sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.limit(checks_per_day=0)
    midnight = (sidecar.now // 86_400 + 1) * 86_400
    sidecar.now = midnight - 0.1
    asyncio.run(sidecar.checks(1))
    report = sidecar.connector._client.report

    async def slow(events: Any) -> Any:
        answer = await report(events)
        sidecar.now = midnight + 0.1
        return answer

    monkeypatch.setattr(sidecar.connector._client, "report", slow)
    assert asyncio.run(sidecar.connector.finish(60.0)) == 0
    assert sidecar.usage.entries().ceiling == 0


@pytest.mark.parametrize("behaviour", ["broken", "refused", "hanging"])
def test_the_end_comes_in_time_whatever_cloud_does(stand_in: StandIn, sidecar: Sidecar, behaviour: str) -> None:
    async def run() -> None:
        await sidecar.checks(150)
        stand_in.behaviour = behaviour
        started = time.monotonic()
        assert await sidecar.connector.finish(0.3) == 150
        assert time.monotonic() - started < 10  # a single try may last twenty

    asyncio.run(run())
    assert sidecar.counts() == (150, 0, 150, 0)
