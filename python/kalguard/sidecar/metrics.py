"""What Prometheus is told, on a port of its own.

Decision (what KalGuard said) and failure (what went wrong inside) are kept apart. No label is anything that an agent
can choose. What every check changes is counted in plain numbers, which `tell` adds now and then to what is scraped.
Worker processes count into files of one folder (prometheus-client's multiprocess mode), which `scrape` reads.
"""

import json
import logging
import platform
from collections.abc import Callable
from functools import partial
from itertools import product

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from kalguard.decision.model import CORE_VERSION, Check, LimitName, Verdict
from kalguard.sidecar.tallies import Durations, Tally
from kalguard.version import VERSION
from kalguard.wire.codes import ErrorCode

POLICY_INFO = "kalguard_policy_info"
# Kind of file of prometheus-client's multiprocess mode -> bytes that hold every series that there can be.
FILE_BYTES = {
    "counter": 65536,
    "histogram": 65536,
    "gauge_livesum": 65536,
    "gauge_livemax": 262144,
    "gauge_livemin": 65536,
    "gauge_max": 65536,
}
_POLICY_BYTES = 196608  # of `gauge_livemax`: what each policy that was in force takes of it, it keeps
_POLICY_ENTRY_BYTES = 400  # at most, besides the version
_log = logging.getLogger(__name__)
_CHECK_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_WRITE_BUCKETS = (0.00001, 0.00005, 0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
_CODE_CAUSES = {
    ErrorCode.AUTH_FAILED: "auth",
    ErrorCode.TOKEN_REVOKED: "auth",
    ErrorCode.INTERNAL: "internal",
    ErrorCode.UNAVAILABLE: "dependency",
}
CAUSES = ("auth", "audit", "dependency", "internal", "overload")


class Metrics:
    """Counts in one worker process. Series that alerts ask for are there from the start, at 0."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._tallies: list[Tally | Durations] = []

        def tally(name: str, documentation: str, labels: list[str]) -> Tally:
            counted = Tally(counter(name, documentation, labels))
            self._tallies.append(counted)
            return counted

        counter = partial(Counter, registry=registry)
        gauge = partial(Gauge, registry=registry)
        histogram = partial(Histogram, registry=registry)
        self._modes = dict.fromkeys(Check, "enforce")
        self._sink = "file"
        self._inside: Callable[[], int] = int
        self._waiting = 0
        self._policies: dict[str, tuple[str, str, str]] = {}
        self._told_policies: set[tuple[str, str, str]] = set()
        self._policy_bytes_left = _POLICY_BYTES
        self._checks = tally("kalguard_checks", "Checks answered", ["check", "decision", "code", "mode"])
        durations = histogram(
            "kalguard_check_duration_seconds",
            "Time from the head of a request to its reply",
            ["check"],
            buckets=_CHECK_BUCKETS,
        )
        self._failures = tally(
            "kalguard_check_failures", "Checks that could not be carried out", ["check", "cause", "effect"]
        )
        self._detections = tally("kalguard_detections", "Prompts and calls in which a category was found", ["category"])
        self._monitored = tally(
            "kalguard_monitored",
            "Prompts that passed only because what was found in them is monitored, by what would have followed",
            ["action"],
        )
        self._shadow = tally(
            "kalguard_shadow_decisions",
            "Decisions of the policy beside those of the shadow policy",
            ["live", "shadow"],
        )
        self._inflight = gauge(
            "kalguard_inflight_requests", "Checks that are being carried out", multiprocess_mode="livesum"
        )
        self._shed = counter("kalguard_shed", "Checks refused because there was too much to do")
        self._records = tally("kalguard_audit_records", "Audit records, by what became of them", ["sink", "result"])
        self._unrecorded = counter("kalguard_audit_records_dropped", "Checks whose record could not be written")
        self._queued = gauge(
            "kalguard_audit_queue_depth", "Audit records that wait to be written", multiprocess_mode="livesum"
        )
        writes = histogram(
            "kalguard_audit_write_duration_seconds",
            "Time that writing took, of one record or of several together",
            buckets=_WRITE_BUCKETS,
        )
        self._limits = tally(
            "kalguard_ratelimit_decisions", "Limits that a check was counted under or refused by", ["limit", "result"]
        )
        self._store_errors = counter(
            "kalguard_ratelimit_backend_errors", "Calls of a store of limits that did not succeed", ["store"]
        )
        self._degraded = gauge(
            "kalguard_ratelimit_degraded",
            "1 while the store that replicas share is lost to a worker process",
            multiprocess_mode="livemax",
        )
        self._reloads = counter("kalguard_policy_reloads", "Attempts to take up a changed file", ["file", "result"])
        self._reload_good = gauge(
            "kalguard_policy_last_reload_successful",
            "1 while what a file says is in force in every worker process",
            ["file"],
            multiprocess_mode="livemin",
        )
        self._reload_time = gauge(
            "kalguard_policy_last_reload_timestamp_seconds",
            "When a file was last taken up, at the start of a worker process too",
            ["file"],
            multiprocess_mode="livemax",
        )
        self._policy = gauge(
            POLICY_INFO,
            "1 for each policy that is in force in a worker process",
            ["file", "version", "digest"],
            multiprocess_mode="livemax",
        )
        self._revoked = gauge(
            "kalguard_revoked_tokens", "Entries of the list of revoked tokens", multiprocess_mode="livemax"
        )
        workers = gauge("kalguard_workers", "Worker processes that are alive", multiprocess_mode="livesum")
        starts = counter("kalguard_worker_starts", "Worker processes that were started, replacements included")
        build = gauge("kalguard_build_info", "Always 1", ["version", "core_version", "python"], multiprocess_mode="max")
        workers.set(1)
        starts.inc()
        build.labels(VERSION, CORE_VERSION, platform.python_version()).set(1)
        for name, result in product(LimitName, ("ok", "exceeded")):
            self._limits.show(name, result)
        for check, cause in product(Check, CAUSES):
            self._failures.show(check, cause, "denied")
        self._durations = {check: Durations(durations.labels(check)) for check in Check}
        self._writes = Durations(writes)
        self._tallies += [*self._durations.values(), self._writes]

    def describe(self, *, monitors: bool, sink: str) -> None:
        """Say whether the prompt firewall only watches, and which sink (file, stdout) audit records go to."""
        self._modes[Check.PROMPT] = "monitor" if monitors else "enforce"
        self._sink = sink
        for result in ("ok", "error"):
            self._records.show(sink, result)

    def follow(self, inside: Callable[[], int]) -> None:
        """From now on tell of as many checks that are being carried out as `inside` gives."""
        self._inside = inside

    def checked(self, verdict: Verdict, seconds: float, *, cause: str | None = None) -> None:
        """Count one answered check. `cause`: of a failure (audit, overload), where the code does not say it."""
        check, code = verdict.check, verdict.code
        decision = verdict.decision if verdict.sanitized_messages is None else "sanitize"
        self._checks[check, decision, code or "", self._modes[check]] += 1
        self._durations[check].observe(seconds)
        if code in _CODE_CAUSES:
            self._failures[check, cause or _CODE_CAUSES[code], "denied"] += 1
        if found := verdict.findings:
            for category in {finding.category for finding in found}:
                self._detections[(category,)] += 1
        if verdict.shadow is not None and verdict.evaluation is not None:
            self._shadow[verdict.evaluation.decision, verdict.shadow.decision] += 1
        risk = None if verdict.inspection is None else verdict.inspection.risk
        if risk is not None and risk.monitored is not None:
            self._monitored[(risk.monitored,)] += 1
        for state in verdict.limits:
            self._limits[state.name, "exceeded" if state.exceeded else "ok"] += 1

    async def tell(self) -> None:
        """Add to what is scraped whatever checks and the audit log counted since the last time, each thing once.

        Nobody scrapes as often as they count. To be called again and again, and once at the end.
        """
        self._inflight.set(self._inside())
        self._queued.set(self._waiting)
        for tally in self._tallies:
            tally.tell()

    def shed(self) -> None:
        """Count one check that was refused because there is too much to do."""
        self._shed.inc()

    def audit_queued(self, depth: int) -> None:
        """Say how many audit records wait to be written."""
        self._waiting = depth

    def audit_written(self, count: int, seconds: float) -> None:
        """Count audit records that were written together, which took `seconds`."""
        self._records[self._sink, "ok"] += count
        self._writes.observe(seconds)

    def audit_failed(self, count: int) -> None:
        """Count audit records that could not be written."""
        self._records[self._sink, "error"] += count

    def unrecorded(self) -> None:
        """Count one check that was denied because its record could not be written."""
        self._unrecorded.inc()

    def store_failed(self, store: str) -> None:
        """Count one call of a store of limits that did not succeed."""
        self._store_errors.labels(store).inc()

    def store_degraded(self, *, lost: bool) -> None:
        """Say whether the store that replicas share is lost."""
        self._degraded.set(int(lost))

    def file_found(self, file: str, *, good: bool) -> None:
        """Say whether what is found in a file now is in force. Counts nothing."""
        for result in ("ok", "error"):
            self._reloads.labels(file, result)
        self._reload_good.labels(file).set(int(good))
        if good:
            self._reload_time.labels(file).set_to_current_time()

    def reloaded(self, file: str, *, good: bool) -> None:
        """Count one attempt to take up a changed file."""
        self.file_found(file, good=good)
        self._reloads.labels(file, "ok" if good else "error").inc()

    def policy_in_force(self, file: str, version: str, digest: str) -> None:
        """Say which document is asked as `file` (policy, policy_shadow), in place of the one named before."""
        if (before := self._policies.pop(file, None)) is not None:
            self._policy.labels(*before).set(0)
        labels = (file, version, digest)
        if labels not in self._told_policies:
            size = len(json.dumps(version)) + _POLICY_ENTRY_BYTES
            if size > self._policy_bytes_left:
                _log.warning("no room for another policy in the metric %s, until the worker is replaced", POLICY_INFO)
                return
            self._policy_bytes_left -= size
            self._told_policies.add(labels)
        self._policies[file] = labels
        self._policy.labels(*labels).set(1)

    def tokens_revoked(self, count: int) -> None:
        """Say how many entries the list of revoked tokens has."""
        self._revoked.set(count)
