"""The two check routes, as raw ASGI callables: HTTP -> pipeline -> verdict -> audit -> reply.

They are mounted in the Litestar app, but take bytes and give bytes: the ordinary handler path costs several times as
much as the check itself. The body is kept only after the token is known to be good; of a request that is refused
before, it is read and thrown away, so that the caller gets to see the reply.

INVARIANT: the audit record is written before the first byte of the reply leaves. If it cannot be, the reply is a
denial.
"""

import logging
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

import msgspec
from litestar.types import Receive, Scope, Send

from kalguard.decision.model import Check, Verdict
from kalguard.decision.pipeline import Admission, Pipeline
from kalguard.errors import AuditUnavailable, PayloadTooLarge
from kalguard.records.audit import AuditLog
from kalguard.sidecar.metrics import Metrics
from kalguard.sidecar.requests import bearer_token_of, read_prompt, read_tool_call, request_id_of
from kalguard.sidecar.respond import Answer, answer, refuse
from kalguard.wire.check import MAX_BODY_BYTES
from kalguard.wire.codes import ErrorCode

# Of a body that nobody will look at, this much is taken off the wire before the reply is sent regardless.
MAX_DISCARDED_BYTES = 4 * MAX_BODY_BYTES
_log = logging.getLogger(__name__)


class CallerGone(Exception):
    """The connection was closed before the whole body had come: there is nobody to answer and nothing to check."""


class CheckRoute:
    """Serves one kind of check. `decide` is the pipeline's method for it, `read` the reader of its body."""

    def __init__(
        self,
        check: Check,
        *,
        pipeline: Pipeline,
        decide: Callable[[Admission, Callable[[], Any]], Verdict],
        read: Callable[[bytes], Any],
        audit: AuditLog,
        metrics: Metrics,
    ) -> None:
        self._check = check
        self._pipeline = pipeline
        self._decide = decide
        self._read = read
        self._audit = audit
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = perf_counter()
        request_id = request_id_of(scope["headers"])
        try:
            if scope["method"] != "POST":  # type: ignore[typeddict-item]
                await _discard_body(receive)
                reply = refuse(ErrorCode.METHOD_NOT_ALLOWED, "method not allowed", request_id, (b"allow", b"POST"))
            else:
                verdict = await self._judge(scope, receive, request_id)
                reply = self._conclude(verdict, perf_counter() - started)
        except CallerGone:
            return
        await _send(reply, send)

    async def _judge(self, scope: Scope, receive: Receive, request_id: str) -> Verdict:
        token = partial(bearer_token_of, scope["headers"])
        admission = self._pipeline.admit(self._check, request_id, token)
        if isinstance(admission, Verdict):
            await _discard_body(receive)
            return admission
        body = await _read_body(receive)
        return self._decide(admission, partial(self._parse, body))

    def _parse(self, body: bytes | None) -> Any:
        if body is None:
            raise PayloadTooLarge(f"body is larger than {MAX_BODY_BYTES} bytes")
        return self._read(body)

    def _conclude(self, verdict: Verdict, seconds: float) -> Answer:
        try:
            self._audit.record_check(verdict)
        except AuditUnavailable as error:
            _log.error("%s", error, extra={"request_id": verdict.request_id})
            self._metrics.unrecorded()
            verdict = msgspec.structs.replace(
                verdict, code=ErrorCode.UNAVAILABLE, reason="audit log cannot be written", limit=None
            )
        self._metrics.checked(verdict, seconds)
        return answer(verdict)


def check_routes(pipeline: Pipeline, audit: AuditLog, metrics: Metrics) -> tuple[CheckRoute, CheckRoute]:
    """The route for prompts and the route for tools."""
    return (
        CheckRoute(
            Check.PROMPT,
            pipeline=pipeline,
            decide=pipeline.check_prompt,
            read=read_prompt,
            audit=audit,
            metrics=metrics,
        ),
        CheckRoute(
            Check.TOOL,
            pipeline=pipeline,
            decide=pipeline.check_tool,
            read=read_tool_call,
            audit=audit,
            metrics=metrics,
        ),
    )


async def _read_body(receive: Receive) -> bytes | None:
    """The whole body; `None` if it is larger than a check takes. Raises `CallerGone`."""
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        chunk, more = await _next_chunk(receive)
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            if more:
                await _discard_body(receive)
            return None
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _discard_body(receive: Receive) -> None:
    """Take the rest of the body off the wire, keeping nothing. Raises `CallerGone`."""
    size, more = 0, True
    while more and size <= MAX_DISCARDED_BYTES:
        chunk, more = await _next_chunk(receive)
        size += len(chunk)


async def _next_chunk(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] != "http.request":
        raise CallerGone
    return message.get("body", b""), message.get("more_body", False)


async def _send(reply: Answer, send: Send) -> None:
    length = (b"content-length", str(len(reply.body)).encode())
    await send({"type": "http.response.start", "status": reply.status, "headers": [*reply.headers, length]})
    await send({"type": "http.response.body", "body": reply.body, "more_body": False})
