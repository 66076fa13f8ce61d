"""The routes of `/v1`, as raw ASGI callables: HTTP -> pipeline -> verdict -> audit -> reply.

They take bytes and give bytes, and the app hands requests to them before its own router and middleware see them: the
ordinary way to a handler costs more than a check. The body is kept only after the token is known to be good; of a
request that is refused before, it is read and thrown away, so that the caller gets to see the reply. Large bodies are
judged in a thread, so that small ones need not wait.

INVARIANT: the audit record is written before the first byte of the reply leaves. If it cannot be, the reply is a
denial.
"""

import logging
from collections.abc import Callable, Iterable
from functools import partial
from time import perf_counter
from typing import Any

import msgspec
from litestar.types import HTTPReceiveMessage, Receive, Scope, Send

from kalguard.decision.model import Check, Verdict
from kalguard.decision.pipeline import Admission, Body, Judging, Pipeline
from kalguard.decision.running import Run
from kalguard.decision.unforeseen import UNFORESEEN
from kalguard.errors import AuditUnavailable, BadRequest, Overloaded, PayloadTooLarge, Refusal
from kalguard.ledger.usage import UsageBuffer
from kalguard.records.audit import AuditLog
from kalguard.records.usage import usage_event
from kalguard.sidecar.load import BodyAllowance, Load
from kalguard.sidecar.logs import serving
from kalguard.sidecar.metrics import Metrics
from kalguard.sidecar.requests import Head, read_head
from kalguard.sidecar.respond import Answer, answer, refuse
from kalguard.sidecar.threads import FROM_BYTES, BodyThreads
from kalguard.sidecar.traces import CheckTrace, Traces
from kalguard.wire.check import MAX_BODY_BYTES
from kalguard.wire.codes import ErrorCode

# Of a body that nobody will look at, this much is taken off the wire before the reply is sent regardless.
MAX_DISCARDED_BYTES = 4 * MAX_BODY_BYTES
DISCARD_SECONDS = 5.0
BODY_SECONDS = 30.0
# Why there is no body, made anew each time: an exception that is kept keeps the frames that it was raised through.
NoBody = Callable[[], Refusal]
_TOO_LARGE: NoBody = partial(PayloadTooLarge, f"body is larger than {MAX_BODY_BYTES} bytes")
_NOT_COMPLETE: NoBody = partial(BadRequest, "body is not complete")
_LATE: NoBody = partial(BadRequest, "body did not arrive in time")
_log = logging.getLogger(__name__)


class CheckRoute:
    """Serves one kind of check. `decide` is the pipeline's method for it.

    `plan` gives what every reply says of a plan.
    """

    def __init__(
        self,
        check: Check,
        *,
        pipeline: Pipeline,
        decide: Callable[[Admission, Body, Run | None], Judging],
        audit: AuditLog,
        metrics: Metrics,
        threads: BodyThreads,
        load: Load,
        is_draining: Callable[[], bool],
        usage: UsageBuffer | None = None,
        thread_from_bytes: int = FROM_BYTES,
        traces: Traces | None = None,
        plan: Callable[[], list[tuple[bytes, bytes]]] = list,
    ) -> None:
        self._plan = plan
        self._thread_from_bytes = thread_from_bytes
        self._threads = threads
        self._load = load
        self._is_draining = is_draining
        self._check = check
        self._pipeline = pipeline
        self._decide = decide
        self._audit = audit
        self._metrics = metrics
        self._traces = traces
        self._usage = usage

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        head = read_head(scope["headers"])
        serving(head.request_id)
        body = _Body(receive, self._load)
        try:
            if scope["method"] == "POST":  # type: ignore[typeddict-item]
                reply = await self._check_request(head, scope["headers"], body)
            else:
                reply = refuse(ErrorCode.METHOD_NOT_ALLOWED, "method not allowed", head.request_id, (b"allow", b"POST"))
        except UNFORESEEN as error:  # past the verdict: what could be put on record was
            _log.error("request failed", exc_info=error)
            reply = refuse(ErrorCode.INTERNAL, "internal error", head.request_id)
        if body.is_coming:
            await body.discard()
        await _send(reply, send, self._plan(), close=self._is_draining())

    async def _check_request(self, head: Head, headers: Iterable[tuple[bytes, bytes]], body: "_Body") -> Answer:
        started = perf_counter()
        trace = None if self._traces is None else self._traces.begin(headers)
        principal = None
        try:
            with self._load.check():
                admission = await self._pipeline.admit(self._check, head.request_id, head.bearer_token)
                if isinstance(admission, Verdict):
                    return await self._conclude(admission, head, started, trace)
            principal = admission.principal
            with self._load.body(min(head.announced or 0, MAX_BODY_BYTES)) as allowance:
                content = await body.read(allowance, head.announced)
                with self._load.check():
                    if trace is not None:
                        trace.judging()
                    verdict = await self._decide(admission, partial(_body, content), self._runner_for(content))
                    return await self._conclude(verdict, head, started, trace)
        except Overloaded as error:
            turned_away = self._pipeline.refuse(
                error, check=self._check, request_id=head.request_id, principal=principal
            )
            return await self._conclude(turned_away, head, started, trace, cause="overload")

    def _runner_for(self, body: bytes | NoBody) -> Run | None:
        return self._threads.for_body(len(body), self._thread_from_bytes) if isinstance(body, bytes) else None

    async def _conclude(
        self,
        verdict: Verdict,
        head: Head,
        started: float,
        trace: CheckTrace | None,
        *,
        cause: str | None = None,
    ) -> Answer:
        """Put a check on record and count it. `cause`: of a failure, where the code does not say it."""
        try:
            await self._audit.record_check(verdict)
        except AuditUnavailable as error:
            cause = "audit"
            _log.error("%s", error)
            self._metrics.unrecorded()
            verdict = msgspec.structs.replace(
                verdict, code=ErrorCode.UNAVAILABLE, reason="audit log cannot be written", limits=()
            )
        if self._usage is not None and (event := usage_event(verdict, head.event_id())):
            await self._usage.add(event, verdict.at)
        self._metrics.checked(verdict, perf_counter() - started, cause=cause)
        reply = answer(verdict)
        if trace is not None:
            trace.ended(verdict, reply.status)
        return reply


def check_routes(
    pipeline: Pipeline,
    *,
    audit: AuditLog,
    metrics: Metrics,
    threads: BodyThreads,
    load: Load,
    is_draining: Callable[[], bool],
    usage: UsageBuffer | None = None,
    traces: Traces | None = None,
    plan: Callable[[], list[tuple[bytes, bytes]]] = list,
) -> tuple[CheckRoute, CheckRoute, CheckRoute]:
    """The routes for prompts, for tool calls and for registering tools.

    `threads` judge large bodies, and compile whatever is registered. `usage` keeps what Cloud is to be told, `plan`
    gives the headers that tell of a plan.
    """
    route = partial(
        CheckRoute,
        pipeline=pipeline,
        audit=audit,
        metrics=metrics,
        threads=threads,
        load=load,
        is_draining=is_draining,
        usage=usage,
        traces=traces,
        plan=plan,
    )
    return (
        route(Check.PROMPT, decide=pipeline.check_prompt),
        route(Check.TOOL, decide=pipeline.check_tool),
        route(Check.REGISTER, decide=pipeline.register_tool, thread_from_bytes=0),
    )


def _body(read: bytes | NoBody) -> bytes:
    """The body; raises why there is none."""
    if isinstance(read, bytes):
        return read
    raise read()


class _Body:
    """The body of a request, as it arrives."""

    def __init__(self, receive: Receive, load: Load) -> None:
        self._receive = receive
        self._load = load
        self.is_coming = True

    async def read(self, allowance: BodyAllowance, announced: int | None) -> bytes | NoBody:
        """All of it, or why there is none. Raises `Overloaded`."""
        if announced is not None and announced > MAX_BODY_BYTES:
            return _TOO_LARGE
        chunks: list[bytes] = []
        size = 0
        try:
            with self._load.waiting(BODY_SECONDS):
                while self.is_coming:
                    chunk = self._part(await self._receive())
                    if chunk is None:
                        return _NOT_COMPLETE
                    size += len(chunk)
                    if size > MAX_BODY_BYTES:
                        return _TOO_LARGE
                    if size == announced:
                        self.is_coming = False  # the server lets no more of it through: to ask again is to wait again
                    allowance.take(len(chunk))
                    chunks.append(chunk)
        except TimeoutError:
            self.is_coming = False  # for all that is waited for it
            return _LATE
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def discard(self) -> None:
        """Take the rest off the wire, so that the caller gets to see the reply. Keeps nothing, and not for ever."""
        size = 0
        try:
            with self._load.waiting(DISCARD_SECONDS):
                while self.is_coming and size <= MAX_DISCARDED_BYTES:
                    size += len(self._part(await self._receive()) or b"")
        except TimeoutError:
            return

    def _part(self, message: HTTPReceiveMessage | Any) -> bytes | None:
        """What has arrived; `None` if there will be no more though it is not complete."""
        is_part = message["type"] == "http.request"
        self.is_coming = is_part and bool(message.get("more_body", False))
        chunk: bytes | None = message.get("body", b"") if is_part else None  # type: ignore[assignment]
        return chunk


async def _send(reply: Answer, send: Send, plan: list[tuple[bytes, bytes]], *, close: bool) -> None:
    """Send a reply. `close`: the next request on this connection had better go elsewhere."""
    headers = [*reply.headers, *plan, (b"content-length", str(len(reply.body)).encode())]
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body, "more_body": False})
