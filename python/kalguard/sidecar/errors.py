"""Replies for requests that never became a check: unknown paths, wrong methods, whatever fails in the framework."""

import logging
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap

from kalguard.sidecar.endpoint import METHODS
from kalguard.sidecar.requests import read_head
from kalguard.sidecar.respond import Answer, refuse
from kalguard.wire.codes import ErrorCode

_log = logging.getLogger(__name__)
_CODES = {
    400: ErrorCode.BAD_REQUEST,
    404: ErrorCode.NOT_FOUND,
    405: ErrorCode.METHOD_NOT_ALLOWED,
    413: ErrorCode.PAYLOAD_TOO_LARGE,
}
_MESSAGES = {
    ErrorCode.BAD_REQUEST: "bad request",
    ErrorCode.NOT_FOUND: "no such endpoint",
    ErrorCode.METHOD_NOT_ALLOWED: "method not allowed",
    ErrorCode.PAYLOAD_TOO_LARGE: "body is too large",
    ErrorCode.INTERNAL: "internal error",
}


def exception_handlers() -> ExceptionHandlersMap:
    """What the app does with exceptions that reach it."""
    return {HTTPException: _on_http_error, Exception: _on_error}


def _on_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    code = _CODES.get(error.status_code, ErrorCode.INTERNAL)
    if code is ErrorCode.INTERNAL:
        return _on_error(request, error)
    # The routes of checks refuse other methods themselves; what comes here was meant for one that only tells something.
    extra = [(b"allow", ", ".join(METHODS).encode())] if code is ErrorCode.METHOD_NOT_ALLOWED else []
    return _respond(refuse(code, _MESSAGES[code], read_head(request.scope["headers"]).request_id, *extra))


def _on_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    request_id = read_head(request.scope["headers"]).request_id
    _log.error("request failed", exc_info=error, extra={"request_id": request_id})
    return _respond(refuse(ErrorCode.INTERNAL, _MESSAGES[ErrorCode.INTERNAL], request_id))


def _respond(reply: Answer) -> Response[bytes]:
    headers = {name.decode(): value.decode() for name, value in reply.headers if name != b"content-type"}
    return Response(reply.body, status_code=reply.status, media_type="application/json", headers=headers)
