"""Is the service fit to decide: `/health`, `/health/live`, `/health/ready`.

Probes send no token. Live says that this process answers and nothing more: a broken policy file is no reason to be
killed. Ready and the summary say whether policy engine, tool mediator, revocation list and audit sink work.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec
from litestar.handlers import HTTPRouteHandler

from kalguard.sidecar.cloud import CloudReply
from kalguard.sidecar.endpoint import endpoint


class PolicyInForce(msgspec.Struct, frozen=True, rename="camel"):
    """Which document is asked. `digest` is the SHA-256 of the file, in hex."""

    version: str
    digest: str


class LimitsReply(msgspec.Struct, frozen=True):
    """Where calls are counted. `degraded`: the store is lost, and each instance counts alone or not at all."""

    store: Literal["redis"]
    state: Literal["ok", "degraded"]


class HealthReply(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """`failing` names the parts that do not work; `insecure` names the safeguards that were switched off on purpose.

    `limits` is there where replicas share a store, `cloud` where there is an API key.
    """

    status: str
    request_id: str
    failing: list[str] = []
    insecure: list[str] = []
    policy: PolicyInForce | None = None
    shadow_policy: PolicyInForce | None = None
    limits: LimitsReply | None = None
    cloud: CloudReply | None = None


def health_handlers(
    parts: Mapping[str, Callable[[], bool]],
    *,
    policies: Callable[[], Mapping[str, PolicyInForce]],
    insecure: list[str],
    is_draining: Callable[[], bool],
    is_degraded: Callable[[], bool] | None = None,
    cloud: Callable[[], CloudReply | None] = lambda: None,
) -> list[HTTPRouteHandler]:
    """The three endpoints. Each of `parts` says whether that part works; `policies` are those in force, by field.

    `is_degraded` says whether the store that replicas share is lost; `None` where they share none. `cloud` says where
    things stand with Cloud, if there is anything to say: it is no part that has to work.
    """

    def summary(request_id: str) -> tuple[int, bytes]:
        failing = [name for name, works in parts.items() if not works()]
        limits = None if is_degraded is None else LimitsReply("redis", "degraded" if is_degraded() else "ok")
        status = "degraded" if failing else "ok"
        return _told(HealthReply(status, request_id, failing, insecure, **policies(), limits=limits, cloud=cloud()))

    def live(request_id: str) -> tuple[int, bytes]:
        return _told(HealthReply("ok", request_id))

    def ready(request_id: str) -> tuple[int, bytes]:
        return _told(HealthReply("draining", request_id)) if is_draining() else summary(request_id)

    return [endpoint("/health", summary), endpoint("/health/live", live), endpoint("/health/ready", ready)]


def _told(reply: HealthReply) -> tuple[int, bytes]:
    return 200 if reply.status == "ok" else 503, msgspec.json.encode(reply)
