"""Endpoints that only tell something: no body, no token, the request id in the head as everywhere."""

from collections.abc import Callable
from typing import Any

from litestar import Request, Response, route
from litestar.handlers import HTTPRouteHandler

from kalguard.sidecar.logs import serving
from kalguard.sidecar.requests import REQUEST_ID_HEADER, read_head

METHODS = ["GET", "HEAD", "OPTIONS"]


def endpoint(path: str, tell: Callable[[str], tuple[int, bytes]]) -> HTTPRouteHandler:
    """Serve `path`. `tell` takes the request id and gives status and JSON body."""

    @route(path, http_method=METHODS, sync_to_thread=False)  # type: ignore[arg-type]
    def handler(request: Request[Any, Any, Any]) -> Response[bytes]:
        request_id = read_head(request.scope["headers"]).request_id
        serving(request_id)
        headers = {REQUEST_ID_HEADER.decode(): request_id, "cache-control": "no-store"}
        if request.method == "OPTIONS":
            return Response(b"", status_code=204, headers={**headers, "allow": ", ".join(METHODS)})
        status, body = tell(request_id)
        return Response(body, status_code=status, media_type="application/json", headers=headers)

    return handler
