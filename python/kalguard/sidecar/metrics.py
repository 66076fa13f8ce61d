"""What Prometheus is told, on a port of its own.

Decision (what KalGuard said) and failure (what went wrong inside) are kept apart. No label is anything that an agent
can choose. Worker processes count into files of one folder (prometheus-client's multiprocess mode); the main process,
which serves no requests, reads them all and answers the scrapes, so that the figures stay right when a worker dies.
"""

import platform
from collections.abc import Callable

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from kalguard.decision.model import Verdict
from kalguard.version import VERSION
from kalguard.wire.codes import ErrorCode

_BUCKETS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)
_CAUSES = {
    ErrorCode.AUTH_FAILED: "auth",
    ErrorCode.TOKEN_REVOKED: "auth",
    ErrorCode.INTERNAL: "internal",
    ErrorCode.UNAVAILABLE: "audit",
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
        self._reloads = Counter(
            "kalguard_policy_reloads", "Attempts to take up a changed file", ["file", "result"], registry=registry
        )
        build = Gauge(
            "kalguard_build_info", "Always 1", ["version", "python"], multiprocess_mode="max", registry=registry
        )
        build.labels(VERSION, platform.python_version()).set(1)

    def checked(self, verdict: Verdict, seconds: float) -> None:
        """Count one answered check."""
        self._checks.labels(verdict.check, verdict.decision, verdict.code or "").inc()
        self._duration.labels(verdict.check).observe(seconds)
        if verdict.code in _CAUSES:
            self._failures.labels(verdict.check, _CAUSES[verdict.code], "denied").inc()
        for category in {finding.category for finding in verdict.findings}:
            self._detections.labels(category).inc()
        if verdict.shadow is not None and verdict.evaluation is not None:
            self._shadow.labels(verdict.evaluation.decision, verdict.shadow.decision).inc()
        risk = None if verdict.inspection is None else verdict.inspection.risk
        if risk is not None and risk.monitored is not None:
            self._monitored.labels(risk.monitored).inc()

    def unrecorded(self) -> None:
        """Count one audit record that was lost."""
        self._unrecorded.inc()

    def reloaded(self, file: str, *, good: bool) -> None:
        """Count one attempt to take up a changed file."""
        self._reloads.labels(file, "ok" if good else "error").inc()


def serve_metrics(host: str, port: int) -> Callable[[], None]:
    """Answer scrapes for all worker processes from a thread of this one. Gives what stops it. Raises `OSError`."""
    from prometheus_client import start_http_server
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    server, thread = start_http_server(port, addr=host, registry=registry)

    def stop() -> None:
        server.shutdown()
        thread.join()

    return stop
