"""Builds the object graph of the sidecar: the one place where settings meet the parts.

`create` is what the server calls in each worker process. Nothing is kept between processes but the audit file, the
metrics folder, the table of counts, the file of registered tools and the marker that says that the service is draining.
"""

import asyncio
import gc
import logging
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from litestar import Litestar, asgi
from litestar.handlers import ASGIRouteHandler
from litestar.types import Receive, Scope, Send

from kalguard import config
from kalguard.config import Settings
from kalguard.counters.memory import MemoryCounters
from kalguard.counters.replicas import ReplicaCounters
from kalguard.counters.workers import WorkerCounters, uptime
from kalguard.decision.entitlements import KeysInForce
from kalguard.decision.identity import Identity, Keyring
from kalguard.decision.limits import ToolLimits
from kalguard.decision.pipeline import Pipeline
from kalguard.decision.quota import NoQuota, PlanQuota
from kalguard.decision.registration import RegisteredTools, Registrations
from kalguard.decision.revocation import Either
from kalguard.errors import AuditUnavailable, Unavailable
from kalguard.ledger.day import DayAccount
from kalguard.ledger.file import LedgerFile
from kalguard.ledger.usage import UsageBuffer
from kalguard.records.audit import AuditLog, AuditSink
from kalguard.sidecar.audit import audit_log, audit_work, sink_for
from kalguard.sidecar.background import Repeated
from kalguard.sidecar.cloud import LOOK_SECONDS, CloudView, plan_headers, snapshot_file
from kalguard.sidecar.errors import exception_handlers
from kalguard.sidecar.folders import FolderWatch
from kalguard.sidecar.health import PolicyInForce, health_handlers
from kalguard.sidecar.instance import COUNTERS, DRAIN_MARKER, LEDGER, LICENSE, MAIN_PID, STARTED, TOOLS_FILE
from kalguard.sidecar.keys import keyring_for
from kalguard.sidecar.load import Load
from kalguard.sidecar.metrics import Metrics
from kalguard.sidecar.openapi import openapi_handler
from kalguard.sidecar.operator import OperatorFiles
from kalguard.sidecar.routes import CheckRoute, check_routes
from kalguard.sidecar.store import shared_store
from kalguard.sidecar.traces import Traces
from kalguard.sidecar.traces import start as start_traces
from kalguard.toolstore.memory import MemoryRegistrations
from kalguard.toolstore.redis import RedisRegistrations
from kalguard.toolstore.workers import SharedRegistrations

PARENT_SECONDS = 0.5
DRAIN_LOOK_SECONDS = 0.1
USAGE_SECONDS = 1.0  # how often events that could not be put into the ledger are tried again
LARGE_BODY_THREADS = 2
_log = logging.getLogger(__name__)


def create() -> Litestar:
    """The app for this process's environment."""
    logging.captureWarnings(True)
    marker = os.environ.get(DRAIN_MARKER)
    # Not simply the parent: it may be gone already, and somebody else be that.
    parent = int(os.environ.get(MAIN_PID, os.getppid()))
    table = os.environ.get(COUNTERS)
    metrics = Metrics()
    settings = config.load(os.environ).settings
    app = build(
        settings,
        metrics=metrics,
        own=WorkerCounters(Path(table), on_error=partial(metrics.store_failed, WorkerCounters.name)) if table else None,
        is_draining=Path(marker).exists if marker else lambda: False,
        registrations=SharedRegistrations(os.environ[TOOLS_FILE]) if TOOLS_FILE in os.environ else None,
        work=[
            Repeated(
                "parent",
                partial(asyncio.sleep, PARENT_SECONDS),
                partial(_end_without_parent, parent, settings.drain_seconds),
            )
        ],
        plan=_plan_of(settings, os.environ) if LEDGER in os.environ else None,
        on_start=Path(os.environ[STARTED]).touch if STARTED in os.environ else lambda: None,
        traces=start_traces(os.environ),
    )
    gc.collect()
    gc.freeze()  # what is here now stays; no collection need look at it again
    return app


class Plan(NamedTuple):
    """What a worker process shares with the main one that talks to Cloud."""

    view: CloudView
    ledger: LedgerFile


def _plan_of(settings: Settings, environ: Mapping[str, str]) -> Plan:
    view = CloudView(snapshot_file(settings, Path(environ[LICENSE])))
    return Plan(view, LedgerFile(Path(environ[LEDGER])))


def build(
    settings: Settings,
    *,
    metrics: Metrics,
    is_draining: Callable[[], bool] = lambda: False,
    sink: AuditSink | None = None,
    own: MemoryCounters | WorkerCounters | None = None,
    work: Sequence[Repeated] = (),
    registrations: Registrations | None = None,
    plan: Plan | None = None,
    on_start: Callable[[], None] = lambda: None,
    traces: Traces | None = None,
) -> Litestar:
    """The app for `settings`. `sink` takes the place of the audit sink that the settings name.

    `own` is what this instance counts with for itself, by default in memory. `registrations` are shared with other
    processes; without them and without Redis, registered tools are known to this one only. `work` is done in the
    background beside what the settings ask for. `plan` is there where there is a Cloud. `on_start` is called when all
    is ready. `traces`, if there are any, are closed with the app.
    """
    sink = sink or sink_for(settings, metrics)
    audit = audit_log(settings, sink)
    metrics.describe(
        monitors=settings.firewall_mode == "monitor", sink="stdout" if settings.audit_log_path == "-" else "file"
    )
    files = OperatorFiles(settings, audit=audit, metrics=metrics)
    executor = ThreadPoolExecutor(LARGE_BODY_THREADS, "large-body")
    work = [*work, *audit_work(settings, sink, audit)]
    if files.followed:
        watch = FolderWatch(files.followed, settings.policy_watch_interval_ms / 1000)
        work.append(Repeated("watch", watch.wait, files.refresh))
    own = own or MemoryCounters(uptime)
    shared = _shared_counters(settings, own, metrics)
    replicated = RedisRegistrations(settings.redis_url) if settings.redis_url is not None else None
    accounted = None if plan is None else _accounted(plan, shared)
    work += [] if plan is None or accounted is None else accounted.work(plan)
    pipeline = Pipeline(
        identity=_identity(settings, files, plan),
        policy=files.policy,
        shadow=files.shadow,
        tools=files.tools,
        firewall=files.firewall,
        limits=ToolLimits(shared or own, per_agent=settings.tool_rate_limit, clock=time.time),
        quota=NoQuota() if accounted is None else accounted.quota,
        registered=RegisteredTools(replicated or registrations or MemoryRegistrations()),
        clock=time.time,
    )
    load = Load(checks=settings.max_concurrent_checks, body_bytes=settings.max_buffered_bytes, watcher=metrics)
    # Half of the time in which it has to end is for what has been sent already.
    hurry = partial(_hurry_at_the_end, load, settings.drain_seconds / 2, is_draining)
    work.append(Repeated("drain", partial(asyncio.sleep, DRAIN_LOOK_SECONDS), hurry))
    prompt, tool, register = check_routes(
        pipeline,
        audit=audit,
        metrics=metrics,
        executor=executor,
        load=load,
        is_draining=is_draining,
        usage=None if accounted is None else accounted.usage,
        traces=traces,
    )
    parts = {**files.parts, "audit": audit.is_working, **{item.name: item.is_working for item in work}}
    tasks = [item.run for item in work]
    if shared is not None:
        parts["limits"] = shared.is_working
        tasks.append(shared.run)
    if replicated is not None:
        tasks.append(replicated.run)
    return Litestar(
        route_handlers=[
            _mounted(["/v1/prompt/check", "/v1/llm/check"], prompt),
            _mounted(["/v1/tool/check"], tool),
            _mounted(["/v1/tool/register"], register),
            *health_handlers(
                parts,
                policies=partial(_policies, files),
                insecure=_insecure(settings),
                is_draining=is_draining,
                is_degraded=None if shared is None else lambda: shared.is_lost,
                cloud=plan.view.reply if plan is not None else lambda: None,
            ),
            openapi_handler(),
        ],
        exception_handlers=exception_handlers(),
        lifespan=[
            lambda _: _traced(traces),
            lambda _: _running(
                files.report_found, on_start, tasks, partial(_let_go, accounted, [shared, replicated], executor, audit)
            ),
        ],
        before_send=[] if plan is None or accounted is None else [plan_headers(plan.view, accounted.quota)],
        openapi_config=None,
        logging_config=None,
    )


class _Accounted(NamedTuple):
    """What is counted for a plan."""

    quota: PlanQuota
    usage: UsageBuffer

    def work(self, plan: Plan) -> list[Repeated]:
        """What is done for it in the background."""
        return [
            Repeated("licence", partial(asyncio.sleep, LOOK_SECONDS), plan.view.refresh),
            Repeated("usage", partial(asyncio.sleep, USAGE_SECONDS), self.usage.flush),
        ]


def _accounted(plan: Plan, shared: ReplicaCounters | None) -> _Accounted:
    quota = PlanQuota(DayAccount(plan.ledger), limits=plan.view.limits, shared=shared, clock=time.time)
    return _Accounted(quota, UsageBuffer(plan.ledger))


def _identity(settings: Settings, files: OperatorFiles, plan: Plan | None) -> Identity:
    """Who may come in: by Cloud's keys, if it gives any and the operator named no key set, else by our own."""
    own = keyring_for(settings)
    keyring: Callable[[], Keyring] = lambda: own  # noqa: E731
    revoked: Callable[[], Callable[[str], bool]] = files.revoked
    if plan is not None:
        entitlements = plan.view.entitlements
        revoked = lambda: Either(files.revoked(), entitlements().revoked)  # noqa: E731
        if settings.token_jwks_path is None:
            keyring = KeysInForce(entitlements, own=own, clock=time.time)
    return Identity(keyring, clock=time.time, leeway_seconds=settings.token_leeway_s, revoked=revoked)


def _shared_counters(
    settings: Settings, own: MemoryCounters | WorkerCounters, metrics: Metrics
) -> ReplicaCounters | None:
    store = shared_store(settings)
    closed = settings.limits_on_store_loss == "closed"
    return None if store is None else ReplicaCounters(store, own, closed=closed, watcher=metrics)


@asynccontextmanager
async def _running(
    first: Callable[[], Awaitable[None]],
    on_start: Callable[[], None],
    work: Sequence[Callable[[], Coroutine[Any, Any, None]]],
    let_go: Callable[[], Awaitable[None]],
) -> AsyncIterator[None]:
    """Something is done first; while the app serves, its background work; at the end everything is let go of."""
    await first()
    tasks = [asyncio.create_task(run()) for run in work]
    on_start()
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await let_go()


@asynccontextmanager
async def _traced(traces: Traces | None) -> AsyncIterator[None]:
    """While the app serves, checks are traced; at the end what waits is sent."""
    yield
    if traces is not None:
        await traces.close()


async def _let_go(
    accounted: _Accounted | None,
    stores: Sequence[ReplicaCounters | RedisRegistrations | None],
    executor: Executor,
    audit: AuditLog,
) -> None:
    executor.shutdown(wait=False)
    if accounted is not None:
        await accounted.usage.flush()
        with suppress(Unavailable):  # a lease that is not returned ends at midnight
            await accounted.quota.close()
    for store in stores:
        if store is not None:
            await store.close()
    try:
        await audit.close()
    except AuditUnavailable as error:
        _log.error("audit log is left without its closing record: %s", error)


async def _end_without_parent(parent: int, drain_seconds: int) -> None:
    """End this worker when the main process is gone: nobody would reload it, count for it or stop it.

    It is told once, and there is an end to its finishing what it began: a second signal can find the server's loop
    waiting for the first.
    """
    if os.getppid() == parent:
        return
    last = threading.Timer(drain_seconds + 1, os._exit, (1,))
    last.daemon = True
    last.start()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.Event().wait()


async def _hurry_at_the_end(load: Load, seconds: float, is_draining: Callable[[], bool]) -> None:
    """When the service is to end, wait for those who send no longer than there is time."""
    if is_draining():
        load.hurry(seconds)
        await asyncio.Event().wait()


def _mounted(paths: list[str], route: CheckRoute) -> ASGIRouteHandler:
    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        await route(scope, receive, send)

    return asgi(paths, copy_scope=False)(serve)


def _policies(files: OperatorFiles) -> dict[str, PolicyInForce]:
    """The policies that are asked, by their field in `/health`."""
    asked = {"policy": files.policy(), "shadow_policy": files.shadow()}
    return {name: PolicyInForce(policy.version, policy.digest) for name, policy in asked.items() if policy is not None}


def _insecure(settings: Settings) -> list[str]:
    safeguards = {
        "unsigned tokens are accepted": settings.insecure_unsigned_tokens,
        "everything is allowed": settings.policy_path is None and not settings.policy_default_deny,
        "the prompt firewall only watches": settings.firewall_mode == "monitor",
        "personal data is not looked for": settings.disable_pii_check,
        "injection is not looked for": settings.disable_injection_check,
        "harmful content is not looked for": settings.disable_content_check,
    }
    return [what for what, is_off in safeguards.items() if is_off]
