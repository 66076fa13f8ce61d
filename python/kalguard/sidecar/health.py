"""Is the service fit to decide: `/health`, `/health/live`, `/health/ready`.

Probes send no token. Live says that this process answers and nothing more: a broken policy file is no reason to be
killed. Ready and the summary say whether policy engine, tool mediator, revocation list and audit sink work.
"""

from collections.abc import Callable, Mapping

import msgspec
from litestar.handlers import HTTPRouteHandler

from kalguard.sidecar.endpoint import endpoint


class PolicyInForce(msgspec.Struct, frozen=True, rename="camel"):
    """Which document is asked. `digest` is the SHA-256 of the file, in hex."""

    version: str
    digest: str


class HealthReply(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """`failing` names the parts that do not work; `insecure` names the safeguards that were switched off on purpose."""

    status: str
    request_id: str
    failing: list[str] = []
    insecure: list[str] = []
    policy: PolicyInForce | None = None
    shadow_policy: PolicyInForce | None = None


def health_handlers(
    parts: Mapping[str, Callable[[], bool]],
    *,
    policies: Callable[[], Mapping[str, PolicyInForce]],
    insecure: list[str],
    is_draining: Callable[[], bool],
) -> list[HTTPRouteHandler]:
    """The three endpoints. Each of `parts` says whether that part works; `policies` are those in force, by field."""

    def summary(request_id: str) -> tuple[int, bytes]:
        failing = [name for name, works in parts.items() if not works()]
        return _told(HealthReply("degraded" if failing else "ok", request_id, failing, insecure, **policies()))

    def live(request_id: str) -> tuple[int, bytes]:
        return _told(HealthReply("ok", request_id))

    def ready(request_id: str) -> tuple[int, bytes]:
        return _told(HealthReply("draining", request_id)) if is_draining() else summary(request_id)

    return [endpoint("/health", summary), endpoint("/health/live", live), endpoint("/health/ready", ready)]


def _told(reply: HealthReply) -> tuple[int, bytes]:
    return 200 if reply.status == "ok" else 503, msgspec.json.encode(reply)
