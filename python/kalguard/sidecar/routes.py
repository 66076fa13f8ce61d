"""The routes of `/v1`, as raw ASGI callables: HTTP -> pipeline -> verdict -> audit -> reply.

They are mounted in the Litestar app, but take bytes and give bytes: the ordinary handler path costs several times as
much as the check itself. The body is kept only after the token is known to be good; of a request that is refused
before, it is read and thrown away, so that the caller gets to see the reply. Large bodies are judged in a thread, so
that small ones need not wait.

INVARIANT: the audit record is written before the first byte of the reply leaves. If it cannot be, the reply is a
denial.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Executor
from functools import partial
from time import perf_counter
from typing import Any

import msgspec
from litestar.types import Receive, Scope, Send

from kalguard.decision.model import Check, Verdict
from kalguard.decision.pipeline import Admission, Pipeline, Run, here
from kalguard.errors import AuditUnavailable, BadRequest, Overloaded, PayloadTooLarge, Refusal
from kalguard.ledger.usage import UsageBuffer
from kalguard.records.audit import AuditLog
from kalguard.records.usage import usage_event
from kalguard.sidecar.load import BodyAllowance, Load
from kalguard.sidecar.logs import in_this_context, serving
from kalguard.sidecar.metrics import Metrics
from kalguard.sidecar.requests import (
    bearer_token_of,
    event_id_of,
    read_prompt,
    read_tool_call,
    read_tool_definition,
    request_id_of,
)
from kalguard.sidecar.respond import Answer, answer, refuse
from kalguard.sidecar.traces import CheckTrace, Traces
from kalguard.wire.check import MAX_BODY_BYTES
from kalguard.wire.codes import ErrorCode

# Of a body that nobody will look at, this much is taken off the wire before the reply is sent regardless.
MAX_DISCARDED_BYTES = 4 * MAX_BODY_BYTES
DISCARD_SECONDS = 5.0
BODY_SECONDS = 30.0
# From this size on judging can take long enough (milliseconds, for what is encoded several times) for others to notice.
THREAD_FROM_BYTES = 8 * 1024
_log = logging.getLogger(__name__)


class CheckRoute:
    """Serves one kind of check. `decide` is the pipeline's method for it, `read` the reader of its body."""

    def __init__(
        self,
        check: Check,
        *,
        pipeline: Pipeline,
        decide: Callable[[Admission, Callable[[], Any], Run], Awaitable[Verdict]],
        read: Callable[[bytes], Any],
        audit: AuditLog,
        metrics: Metrics,
        executor: Executor,
        load: Load,
        is_draining: Callable[[], bool],
        usage: UsageBuffer | None = None,
        thread_from_bytes: int = THREAD_FROM_BYTES,
        traces: Traces | None = None,
    ) -> None:
        self._thread_from_bytes = thread_from_bytes
        self._executor = executor
        self._load = load
        self._is_draining = is_draining
        self._check = check
        self._pipeline = pipeline
        self._decide = decide
        self._read = read
        self._audit = audit
        self._metrics = metrics
        self._traces = traces
        self._usage = usage

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request_id = request_id_of(scope["headers"])
        serving(request_id)
        body = _Body(receive, self._load)
        if scope["method"] == "POST":  # type: ignore[typeddict-item]
            reply = await self._check_request(scope["headers"], body, request_id)
        else:
            reply = refuse(ErrorCode.METHOD_NOT_ALLOWED, "method not allowed", request_id, (b"allow", b"POST"))
        await body.discard()
        await _send(reply, send, close=self._is_draining())

    async def _check_request(self, headers: Iterable[tuple[bytes, bytes]], body: "_Body", request_id: str) -> Answer:
        started = perf_counter()
        trace = None if self._traces is None else self._traces.begin(headers)
        principal = None
        try:
            with self._load.check():
                admission = await self._pipeline.admit(self._check, request_id, partial(bearer_token_of, headers))
                if isinstance(admission, Verdict):
                    return await self._conclude(admission, headers, started, trace)
            principal = admission.principal
            announced = _announced(headers)
            with self._load.body(min(announced, MAX_BODY_BYTES)) as allowance:
                content = await body.read(allowance, announced)
                with self._load.check():
                    if trace is not None:
                        trace.judging()
                    parse, run = partial(self._parse, content), self._runner_for(content)
                    return await self._conclude(await self._decide(admission, parse, run), headers, started, trace)
        except Overloaded as error:
            turned_away = self._pipeline.refuse(error, check=self._check, request_id=request_id, principal=principal)
            return await self._conclude(turned_away, headers, started, trace, cause="overload")

    def _runner_for(self, body: bytes | Refusal) -> Run:
        is_large = isinstance(body, bytes) and len(body) >= self._thread_from_bytes
        return self._in_a_thread if is_large else here

    async def _in_a_thread(self, step: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._executor, in_this_context(step))

    def _parse(self, body: bytes | Refusal) -> Any:
        if isinstance(body, Refusal):
            raise body
        return self._read(body)

    async def _conclude(
        self,
        verdict: Verdict,
        headers: Iterable[tuple[bytes, bytes]],
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
        if self._usage is not None and (event := usage_event(verdict, event_id_of(verdict.request_id, headers))):
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
    executor: Executor,
    load: Load,
    is_draining: Callable[[], bool],
    usage: UsageBuffer | None = None,
    traces: Traces | None = None,
) -> tuple[CheckRoute, CheckRoute, CheckRoute]:
    """The routes for prompts, for tool calls and for registering tools.

    `executor` judges large bodies, and compiles whatever is registered. `usage` keeps what Cloud is to be told.
    """
    route = partial(
        CheckRoute,
        pipeline=pipeline,
        audit=audit,
        metrics=metrics,
        executor=executor,
        load=load,
        is_draining=is_draining,
        usage=usage,
        traces=traces,
    )
    return (
        route(Check.PROMPT, decide=pipeline.check_prompt, read=read_prompt),
        route(Check.TOOL, decide=pipeline.check_tool, read=read_tool_call),
        route(Check.REGISTER, decide=pipeline.register_tool, read=read_tool_definition, thread_from_bytes=0),
    )


def _announced(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """The length that a body is said to have; 0 where that is not said."""
    given = [value for name, value in headers if name == b"content-length"]
    return int(given[0]) if len(given) == 1 and given[0].isdigit() and len(given[0]) < 20 else 0


class _Body:
    """The body of a request, as it arrives."""

    def __init__(self, receive: Receive, load: Load) -> None:
        self._receive = receive
        self._load = load
        self._is_coming = True

    async def read(self, allowance: BodyAllowance, announced: int) -> bytes | Refusal:
        """All of it, or why there is none. Raises `Overloaded`."""
        too_large = PayloadTooLarge(f"body is larger than {MAX_BODY_BYTES} bytes")
        if announced > MAX_BODY_BYTES:
            return too_large
        chunks: list[bytes] = []
        size = 0
        try:
            async with self._load.waiting(BODY_SECONDS):
                while self._is_coming:
                    chunk = await self._next()
                    if chunk is None:
                        return BadRequest("body is not complete")
                    size += len(chunk)
                    if size > MAX_BODY_BYTES:
                        return too_large
                    allowance.take(len(chunk))
                    chunks.append(chunk)
        except TimeoutError:
            self._is_coming = False  # for all that is waited for it
            return BadRequest("body did not arrive in time")
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def discard(self) -> None:
        """Take the rest off the wire, so that the caller gets to see the reply. Keeps nothing, and not for ever."""
        if not self._is_coming:
            return
        size = 0
        try:
            async with self._load.waiting(DISCARD_SECONDS):
                while self._is_coming and size <= MAX_DISCARDED_BYTES:
                    size += len(await self._next() or b"")
        except TimeoutError:
            return

    async def _next(self) -> bytes | None:
        """What has arrived since; `None` if there will be no more though it is not complete."""
        message = await self._receive()
        is_part = message["type"] == "http.request"
        self._is_coming = is_part and bool(message.get("more_body", False))
        chunk: bytes | None = message.get("body", b"") if is_part else None  # type: ignore[assignment]
        return chunk


async def _send(reply: Answer, send: Send, *, close: bool) -> None:
    """Send a reply. `close`: the next request on this connection had better go elsewhere."""
    headers = [*reply.headers, (b"content-length", str(len(reply.body)).encode())]
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body, "more_body": False})
