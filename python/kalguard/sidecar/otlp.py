"""Traces of checks, sent to a collector by OTLP over HTTP. Imported only where they are wanted (`traces`).

Each check is a server span with the decision as an internal span in it. They are made when the check is over, from the
times that were noted, and handed to a bounded queue that a thread empties: a collector that is slow or gone delays
nothing, and what finds no room is dropped. On spans there is what an operator chose or we did, the ids of request and
trace aside: never a text, an argument, a token or a name that an agent made up. `tracestate` and baggage, which are
words of the caller's, are not carried on.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Iterable, Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from kalguard.decision.model import Check, Verdict
from kalguard.errors import ConfigError
from kalguard.version import VERSION

FLUSH_SECONDS = 1.0
_ROUTES = {Check.PROMPT: "/v1/prompt/check", Check.TOOL: "/v1/tool/check", Check.REGISTER: "/v1/tool/register"}
_PARENT = b"traceparent"
_MAX_PARENT_BYTES = 512
_log = logging.getLogger(__name__)


def check_variables() -> None:
    """See that OpenTelemetry can make something of its variables. Raises `ConfigError`."""
    try:
        traces = OtlpTraces()
    except (ValueError, RuntimeError, ImportError, OSError) as error:
        raise ConfigError([f"OTEL_*: a variable cannot be used: {error}"]) from None
    traces.discard()


class OtlpTraces:
    """Traces as the OTEL_* variables ask for them."""

    def __init__(self) -> None:
        """Start the thread that exports. Raises what OpenTelemetry raises for a variable that it cannot use."""
        named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
        attributes = {"service.version": VERSION, **({} if named else {"service.name": "kalguard"})}
        self._processor = BatchSpanProcessor(_TellingExporter(OTLPSpanExporter()))
        # Not at exit: that would wait for a collector for half a minute.
        provider = TracerProvider(resource=Resource.create(attributes), shutdown_on_exit=False)
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer("kalguard", VERSION)
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, headers: Iterable[tuple[bytes, bytes]]) -> "OtlpCheckTrace":
        """A check begins."""
        return OtlpCheckTrace(self, headers)

    async def close(self) -> None:
        """Send what waits. What has not been taken within `FLUSH_SECONDS` is lost."""
        thread = self.discard()
        await asyncio.to_thread(thread.join, FLUSH_SECONDS)

    def discard(self) -> threading.Thread:
        """Stop, without waiting. Gives the thread that does it; the end of the process need not wait for it."""
        thread = threading.Thread(target=self._processor.shutdown, name="traces-end", daemon=True)
        thread.start()
        return thread

    def add(self, verdict: Verdict, status: int, traceparent: str | None, times: tuple[int, int, int]) -> None:
        """Make the spans of a check. `times`, in unix nanoseconds: its begin, that of the judging, its end."""
        began, judging, ended = times
        context = self._propagator.extract({} if traceparent is None else {"traceparent": traceparent})
        route = _ROUTES[verdict.check]
        server = self._tracer.start_span(
            f"POST {route}",
            context,
            SpanKind.SERVER,
            {"http.request.method": "POST", "http.route": route, "http.response.status_code": status},
            start_time=began,
        )
        inner = self._tracer.start_span(
            "run_guardrail",
            set_span_in_context(server, context),
            SpanKind.INTERNAL,
            _attributes_of(verdict) if server.is_recording() else None,
            start_time=judging,
        )
        if status >= 500 and verdict.code is not None:
            for span in (server, inner):
                _mark_failed(span, verdict.code)
        decided = int(verdict.at * 1_000_000) * 1000
        inner.end(min(max(decided, judging), ended))
        server.end(ended)


class OtlpCheckTrace:
    """One check; notes times, and makes spans at the end."""

    def __init__(self, traces: OtlpTraces, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._traces = traces
        self._headers = headers
        self._began = self._judging = time.time_ns()

    def judging(self) -> None:
        """The decision begins."""
        self._judging = time.time_ns()

    def ended(self, verdict: Verdict, status: int) -> None:
        """The reply is ready. Clocks may have been set back meanwhile; a span never ends before it began."""
        times = (self._began, max(self._judging, self._began), max(time.time_ns(), self._judging, self._began))
        self._traces.add(verdict, status, _traceparent_of(self._headers), times)


def _traceparent_of(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The one header of that name; what is wrong with its value is for OpenTelemetry to see, and to ignore."""
    given = [value for name, value in headers if name == _PARENT]
    if len(given) != 1 or len(given[0]) > _MAX_PARENT_BYTES or not given[0].isascii():
        return None
    return given[0].decode("ascii")


def _attributes_of(verdict: Verdict) -> dict[str, str | int]:
    """What may be known of a verdict outside of the audit log."""
    attributes: dict[str, str | int] = {
        "kalguard.check": verdict.check.value,
        "kalguard.decision": verdict.decision.value,
        "kalguard.request_id": verdict.request_id,
    }
    if verdict.code is not None:
        attributes["kalguard.code"] = verdict.code.value
    if verdict.evaluation is not None:
        if verdict.evaluation.rule_id is not None:
            attributes["security_rule.name"] = verdict.evaluation.rule_id
        if verdict.policy_version:
            attributes["security_rule.version"] = verdict.policy_version
    if verdict.inspection is not None and verdict.inspection.risk is not None:
        attributes["kalguard.risk_score"] = verdict.inspection.risk.score
        attributes["kalguard.risk_level"] = verdict.inspection.risk.level
    return attributes


def _mark_failed(span: Span, code: str) -> None:
    span.set_attribute("error.type", str(code))
    span.set_status(Status(StatusCode.ERROR))


class _TellingExporter(SpanExporter):
    """Says once in the log that exporting fails, and once that it works again.

    OpenTelemetry's own words, which come with each try and name the endpoint, are not listened to (`logs`).
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._works = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export a batch; it is lost if that fails."""
        result = self._exporter.export(spans)
        works = result is SpanExportResult.SUCCESS
        if self._works and not works:
            _log.error("traces cannot be exported: the collector does not take them; they are dropped until it does")
        elif works and not self._works:
            _log.warning("traces are exported again")
        self._works = works
        return result

    def shutdown(self) -> None:
        """Give up what is being tried."""
        self._exporter.shutdown()
