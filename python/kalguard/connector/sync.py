"""Keeps in step with Cloud: fetches the licence again and again, and hands over usage events.

Runs in a thread of the main process, which answers no checks. The workers see what it writes: the sealed snapshot of
the licence. Pauses are random, so that a thousand sidecars that start together, or find Cloud again together, do not
ask together.
"""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime

from kalguard.connector.client import CloudClient, Reported, Unacceptable
from kalguard.connector.license import (
    Failed,
    Good,
    Invalid,
    LicenseState,
    Outcome,
    Refused,
    Snapshot,
    after,
)
from kalguard.connector.snapshot import SnapshotFile
from kalguard.decision.unforeseen import UNFORESEEN
from kalguard.errors import Unavailable
from kalguard.ledger.usage import UsageBuffer

BATCH_EVENTS = 100
BATCH_SECONDS = 30.0
LOOK_SECONDS = 0.25
SPREAD_SECONDS = 5.0  # over which first calls are spread where there is nothing yet to go on with
BACKOFF_SECONDS = 5.0
LONGEST_REPORT_PAUSE_SECONDS = 60.0
_RESULTS = ("ok", "unchanged", "invalid", "refused", "error")
_REPORT_RESULTS = ("ok", "refused", "unacceptable", "error")
_log = logging.getLogger(__name__)


class Told:
    """What became of calls to Cloud, for whoever wants to count them."""

    def __init__(self) -> None:
        self.syncs: Counter[str] = Counter(dict.fromkeys(_RESULTS, 0))
        self.reports: Counter[str] = Counter(dict.fromkeys(_REPORT_RESULTS, 0))
        self.last_success = 0.0  # unix seconds; 0 before the first


class Connector:
    """One sidecar's dealings with Cloud.

    `snapshot` is what is known at the start and `store` where it becomes known. A replaced signing key stays good for
    `overlap_seconds`. `obeys_remaining`: what Cloud says is left of the day bounds this instance, there being no store
    that replicas share. `clock` gives unix seconds.
    """

    def __init__(
        self,
        client: CloudClient,
        *,
        store: SnapshotFile,
        snapshot: Snapshot,
        usage: UsageBuffer,
        interval_seconds: float,
        overlap_seconds: float,
        obeys_remaining: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._store = store
        self._usage = usage
        self._interval = interval_seconds
        self._overlap = overlap_seconds
        self._obeys_remaining = obeys_remaining
        self._clock = clock
        self._published = self._mark()
        self._ask_again = asyncio.Event()
        self._batch = BATCH_EVENTS
        self._retry_after: float | None = None  # as Cloud said to the last report
        self.snapshot = snapshot
        self.told = Told()

    async def run(self) -> None:
        """Go on until cancelled."""
        self._log_state()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_again_and_again("licence", self._follow_license))
            tasks.create_task(_again_and_again("usage", self._hand_over))

    async def finish(self, seconds: float) -> int:
        """Hand over what waits, for so many seconds at most. Gives how many events still wait."""
        with suppress(TimeoutError, Unavailable, OSError):
            async with asyncio.timeout(seconds):
                while self._usage.entries().waiting:
                    if await self._report() not in ("ok", "unacceptable"):
                        break
        await self._client.close()
        with suppress(Unavailable):
            return self._usage.entries().waiting
        return 0

    async def sync(self) -> Outcome:
        """Ask for the licence once, and make known what is new."""
        outcome = await self._client.validate(self.snapshot.etag)
        before, now = self.snapshot, self._clock()
        self.snapshot = after(before, outcome, now=now, overlap=self._overlap)
        result = _result_of(outcome)
        self.told.syncs[result] += 1
        if result in ("ok", "unchanged"):
            self.told.last_success = now
        if self.snapshot != before or self._published is None or self._published != self._mark():
            self._publish()
        if self.snapshot.state is not before.state:
            self._log_state(outcome)
        elif isinstance(outcome, Failed) and before.state is LicenseState.CONNECTING and self.told.syncs["error"] == 1:
            _log.warning("KalGuard Cloud gives no answer: %s; there are no plan limits until it does", outcome.problem)
        elif isinstance(outcome, Failed):
            _log.debug("KalGuard Cloud gives no answer: %s", outcome.problem)
        if _checks_per_day(before) != _checks_per_day(self.snapshot):
            self._usage.forget_ceiling()  # it was said of another plan
        return outcome

    def _publish(self) -> None:
        """Make the snapshot known, now or after the next call."""
        self._published = None
        try:
            self._store.write(self.snapshot)
            self._published = self._mark()
        except OSError as error:
            _log.error("licence cannot be kept: %s; what was known before stays in force", error.strerror)

    def _mark(self) -> tuple[int, int, int] | None:
        """What is there of what was made known: it can be lost, or somebody have put another in its place."""
        with suppress(OSError):
            return self._store.mark()
        return None

    async def _follow_license(self) -> None:
        known = self.snapshot.license is not None
        spread = self._interval / 10 if known else min(SPREAD_SECONDS, self._interval / 10)
        await self._asleep(_between(0, spread))
        failures = 0
        while True:
            outcome = await self.sync()
            failures = failures + 1 if isinstance(outcome, Failed) else 0
            await self._asleep(self._pause_after(outcome, failures))

    def _pause_after(self, outcome: Outcome, failures: int) -> float:
        if not isinstance(outcome, Failed):
            return _between(0.75 * self._interval, self._interval)
        if outcome.retry_after is not None:
            return _later(outcome.retry_after)
        return _backoff(failures, self._interval)

    async def _asleep(self, seconds: float) -> None:
        """Wait, unless there is a reason to ask at once."""
        self._ask_again.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ask_again.wait()

    async def _hand_over(self) -> None:
        """Report events by the hundred, or all there are after a while."""
        failures, waited_since = 0, None
        pause = LOOK_SECONDS
        while True:
            await asyncio.sleep(pause)
            pause = LOOK_SECONDS
            waiting = self._usage.entries().waiting
            now = time.monotonic()
            waited_since = None if waiting == 0 else waited_since or now
            if waited_since is None or (waiting < BATCH_EVENTS and now - waited_since < BATCH_SECONDS):
                continue
            result = await self._report()
            waited_since = None
            failures = 0 if result in ("ok", "unacceptable") else failures + 1
            if not failures:
                pause = 0.0  # there may be more already
            else:
                pause = self._pause_after_report(failures)
                waited_since = now - BATCH_SECONDS  # what waited so long need not wait for more

    def _pause_after_report(self, failures: int) -> float:
        if self._retry_after is not None:
            return _later(self._retry_after)
        return _backoff(failures, min(self._interval, LONGEST_REPORT_PAUSE_SECONDS))

    async def _report(self) -> str:
        """Report the oldest events once. Raises `Unavailable` or `OSError` if they cannot be had."""
        batch = self._usage.oldest(self._batch)
        if not batch.events:
            self._usage.drop(batch)
            return "ok"
        answer = await self._client.report(batch.events)
        result = "error"
        self._retry_after = answer.retry_after if isinstance(answer, Failed) else None
        if isinstance(answer, Reported):
            result = "ok"
            now = datetime.fromtimestamp(self._clock(), UTC)
            self._usage.accept(batch, now=now, remaining=answer.remaining if self._obeys_remaining else None)
            self._batch = min(BATCH_EVENTS, 2 * self._batch)
        elif isinstance(answer, Unacceptable):
            result = "unacceptable"
            if len(batch.events) == 1:
                _log.error("KalGuard Cloud will not have a usage event (%s): it is dropped", answer.problem)
                self._usage.drop(batch)
            self._batch = max(1, len(batch.events) // 2)  # perhaps it is only one of them
        elif isinstance(answer, Refused):
            result = "refused"
            if self.snapshot.state is LicenseState.CONNECTED:
                self._ask_again.set()
        else:
            _log.debug("usage events are not handed over: %s", answer.problem)
        self.told.reports[result] += 1
        return result

    def _log_state(self, outcome: Outcome | None = None) -> None:
        state, license_ = self.snapshot.state, self.snapshot.license
        plan = "none" if license_ is None else license_.tier
        if state is LicenseState.CONNECTED:
            _log.info("KalGuard Cloud: connected, plan %s", plan)
        elif state is LicenseState.REJECTED:
            _log.error(
                "KalGuard Cloud: rejected, %s; keys, revocations and limits stay as they were", self.snapshot.problem
            )
        elif state is LicenseState.DEGRADED:
            why = outcome.problem if isinstance(outcome, Failed) else "not asked since the start"
            _log.warning("KalGuard Cloud: degraded, %s; the last licence stays in force, plan %s", why, plan)
        else:
            _log.info("KalGuard Cloud: connecting")


async def _again_and_again(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """See to it that work goes on whatever happens in it."""
    while True:
        try:
            await work()
        except UNFORESEEN as error:
            if isinstance(error, Unavailable | OSError):
                _log.warning("%s: %s", name, error)
            else:
                _log.error("%s failed", name, exc_info=error)
            await asyncio.sleep(_between(0.5, 1.5))


def _checks_per_day(snapshot: Snapshot) -> int | None:
    return None if snapshot.license is None else snapshot.license.checks_per_day


def _result_of(outcome: Outcome) -> str:
    if isinstance(outcome, Good):
        return "ok"
    if isinstance(outcome, Invalid):
        return "invalid"
    if isinstance(outcome, Refused):
        return "refused"
    return "error" if isinstance(outcome, Failed) else "unchanged"


def _later(seconds: float) -> float:
    """When to ask again who wants to be asked after so many seconds, and told others the same."""
    return seconds + _between(0, 1 + seconds / 10)


def _backoff(failures: int, most: float) -> float:
    return max(0.5, _between(0, min(most, BACKOFF_SECONDS * 2 ** min(failures, 20))))


def _between(low: float, high: float) -> float:
    return random.uniform(low, high)  # noqa: S311 - so that not all ask at once
