"""What Prometheus is told, on a port of its own.

Decision (what KalGuard said) and failure (what went wrong inside) are kept apart. No label is anything that an agent
can choose. Worker processes count into files of one folder (prometheus-client's multiprocess mode); the main process,
which serves no requests, reads them all and answers the scrapes, so that the figures stay right when a worker dies.
"""

import os
import platform
from collections.abc import Callable, Iterable
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from kalguard.decision.model import Verdict
from kalguard.version import VERSION
from kalguard.wire.codes import ErrorCode

_BUCKETS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)
_CAUSES = {
    ErrorCode.AUTH_FAILED: "auth",
    ErrorCode.TOKEN_REVOKED: "auth",
    ErrorCode.INTERNAL: "internal",
    ErrorCode.UNAVAILABLE: "dependency",
}


class Metrics:
    """Counts in one worker process."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._checks = Counter(
            "kalguard_checks", "Checks answered, by decision", ["check", "decision", "code"], registry=registry
        )
        self._duration = Histogram(
            "kalguard_check_duration_seconds",
            "Time from the head of a request to its reply",
            ["check"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._failures = Counter(
            "kalguard_check_failures",
            "Checks that could not be carried out",
            ["check", "cause", "effect"],
            registry=registry,
        )
        self._detections = Counter(
            "kalguard_detections",
            "Prompts and calls in which a category was found",
            ["category"],
            registry=registry,
        )
        self._monitored = Counter(
            "kalguard_monitored",
            "Prompts that passed only because what was found in them is monitored, by what would have followed",
            ["action"],
            registry=registry,
        )
        self._shadow = Counter(
            "kalguard_shadow_decisions",
            "Decisions of the policy beside those of the shadow policy",
            ["live", "shadow"],
            registry=registry,
        )
        self._unrecorded = Counter(
            "kalguard_audit_records_dropped", "Audit records that could not be written", registry=registry
        )
        self._limits = Counter(
            "kalguard_ratelimit_decisions",
            "Limits that a check was counted under or refused by",
            ["limit", "result"],
            registry=registry,
        )
        self._store_errors = Counter(
            "kalguard_ratelimit_backend_errors",
            "Calls of a store of limits that did not succeed",
            ["store"],
            registry=registry,
        )
        self._degraded = Gauge(
            "kalguard_ratelimit_degraded",
            "1 while the store that replicas share is lost to a worker process",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._reloads = Counter(
            "kalguard_policy_reloads", "Attempts to take up a changed file", ["file", "result"], registry=registry
        )
        build = Gauge(
            "kalguard_build_info", "Always 1", ["version", "python"], multiprocess_mode="max", registry=registry
        )
        build.labels(VERSION, platform.python_version()).set(1)

    def checked(self, verdict: Verdict, seconds: float, *, recorded: bool = True) -> None:
        """Count one answered check. `recorded`: whether the audit log has it."""
        self._checks.labels(verdict.check, verdict.decision, verdict.code or "").inc()
        self._duration.labels(verdict.check).observe(seconds)
        if verdict.code in _CAUSES:
            cause = _CAUSES[verdict.code] if recorded else "audit"
            self._failures.labels(verdict.check, cause, "denied").inc()
        for category in {finding.category for finding in verdict.findings}:
            self._detections.labels(category).inc()
        if verdict.shadow is not None and verdict.evaluation is not None:
            self._shadow.labels(verdict.evaluation.decision, verdict.shadow.decision).inc()
        risk = None if verdict.inspection is None else verdict.inspection.risk
        if risk is not None and risk.monitored is not None:
            self._monitored.labels(risk.monitored).inc()

        for state in verdict.limits:
            self._limits.labels(state.name, "exceeded" if state.exceeded else "ok").inc()

    def store_failed(self, store: str) -> None:
        """Count one call of a store of limits that did not succeed."""
        self._store_errors.labels(store).inc()

    def store_degraded(self, *, lost: bool) -> None:
        """Say whether the store that replicas share is lost."""
        self._degraded.set(int(lost))

    def audit_written(self, count: int, seconds: float) -> None:
        pass

    def audit_failed(self, count: int) -> None:
        pass

    def entered(self) -> None:
        pass

    def left(self) -> None:
        pass

    def shed(self) -> None:
        pass

    def unrecorded(self) -> None:
        """Count one audit record that was lost."""
        self._unrecorded.inc()

    def reloaded(self, file: str, *, good: bool) -> None:
        """Count one attempt to take up a changed file."""
        self._reloads.labels(file, "ok" if good else "error").inc()


class _LivingWorkers(MultiProcessCollector):
    """Reads what the worker processes counted. What the dead said of themselves, rather than counted, is forgotten."""

    def collect(self) -> Iterable[Metric]:
        for path in Path(self._path).glob("gauge_live*_*.db"):
            pid = path.stem.rpartition("_")[2]
            if not _is_running(int(pid)):
                mark_process_dead(int(pid), self._path)  # type: ignore[no-untyped-call]
        collected: Iterable[Metric] = super().collect()  # type: ignore[no-untyped-call]
        return collected


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def serve_metrics(host: str, port: int) -> Callable[[], None]:
    """Answer scrapes for all worker processes from a thread of this one. Gives what stops it. Raises `OSError`."""
    from prometheus_client import start_http_server

    registry = CollectorRegistry()
    _LivingWorkers(registry)  # type: ignore[no-untyped-call]
    server, thread = start_http_server(port, addr=host, registry=registry)

    def stop() -> None:
        server.shutdown()
        thread.join()

    return stop
