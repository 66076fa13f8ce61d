"""Is the service fit to decide: `/health`, `/health/live`, `/health/ready`.

Probes send no token. Live says that this process answers and nothing more: a broken policy file is no reason to be
killed. Ready and the summary say whether policy engine, tool mediator, revocation list and audit sink work.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler

from kalguard.sidecar.requests import REQUEST_ID_HEADER, request_id_of


class HealthReply(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """`failing` names the parts that do not work; `insecure` names the safeguards that were switched off on purpose."""

    status: str
    request_id: str
    failing: list[str] = []
    insecure: list[str] = []


def health_handlers(
    parts: Mapping[str, Callable[[], bool]],
    *,
    insecure: list[str],
    is_draining: Callable[[], bool],
) -> list[HTTPRouteHandler]:
    """The three endpoints. Each of `parts` says whether that part works."""

    def summary(request_id: str) -> HealthReply:
        failing = [name for name, works in parts.items() if not works()]
        return HealthReply("degraded" if failing else "ok", request_id, failing, insecure)

    @get("/health", sync_to_thread=False)
    def health(request: Request[Any, Any, Any]) -> Response[bytes]:
        return _respond(summary(request_id_of(request.scope["headers"])))

    @get("/health/live", sync_to_thread=False)
    def live(request: Request[Any, Any, Any]) -> Response[bytes]:
        return _respond(HealthReply("ok", request_id_of(request.scope["headers"])))

    @get("/health/ready", sync_to_thread=False)
    def ready(request: Request[Any, Any, Any]) -> Response[bytes]:
        request_id = request_id_of(request.scope["headers"])
        return _respond(HealthReply("draining", request_id) if is_draining() else summary(request_id))

    return [health, live, ready]


def _respond(reply: HealthReply) -> Response[bytes]:
    return Response(
        msgspec.json.encode(reply),
        status_code=200 if reply.status == "ok" else 503,
        media_type="application/json",
        headers={REQUEST_ID_HEADER.decode(): reply.request_id, "cache-control": "no-store"},
    )
