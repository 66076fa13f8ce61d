"""Builds the object graph of the sidecar: the one place where settings meet the parts.

`create` is what the server calls in each worker process. Nothing is kept between processes but the audit file, the
metrics folder, the table of counts, the file of registered tools and the marker that says that the service is draining.
"""

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from litestar import Litestar
from litestar.types import Receive, Send
from litestar.utils import normalize_path

from kalguard import config
from kalguard.config import Settings
from kalguard.counters.memory import MemoryCounters
from kalguard.counters.workers import WorkerCounters, uptime
from kalguard.decision.entitlements import KeysInForce
from kalguard.decision.identity import Identity, Keyring
from kalguard.decision.limits import ToolLimits
from kalguard.decision.pipeline import Pipeline
from kalguard.decision.quota import PlanQuota
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
from kalguard.sidecar.instance import COUNTERS, DRAIN_MARKER, LEDGER, LICENSE, MAIN_PID, SERVING, TOOLS_FILE
from kalguard.sidecar.keys import keyring_for
from kalguard.sidecar.load import Load
from kalguard.sidecar.metrics import Metrics
from kalguard.sidecar.openapi import openapi_handler
from kalguard.sidecar.operator import OperatorFiles
from kalguard.sidecar.routes import CheckRoute, check_routes
from kalguard.sidecar.serving import say_when_serving
from kalguard.sidecar.threads import BodyThreads
from kalguard.sidecar.traces import Traces
from kalguard.sidecar.traces import start as start_traces
from kalguard.sidecar.unwanted import without
from kalguard.toolstore.memory import MemoryRegistrations
from kalguard.toolstore.workers import SharedRegistrations

if TYPE_CHECKING:
    from kalguard.counters.replicas import ReplicaCounters
    from kalguard.toolstore.redis import RedisRegistrations

PARENT_SECONDS = 0.5
DRAIN_LOOK_SECONDS = 0.1  # how old may be what is known of the end
TELL_SECONDS = 0.1  # how old what the metrics say of checks may be, and what of it a worker that is killed takes along
USAGE_SECONDS = 1.0  # how often events that could not be put into the ledger are tried again
GARBAGE = 20_000  # objects that may be made and not gone before it is looked whether any of them are circles
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
        is_draining=_looking_now_and_then(Path(marker)) if marker else lambda: False,
        registrations=SharedRegistrations(os.environ[TOOLS_FILE]) if TOOLS_FILE in os.environ else None,
        work=[
            Repeated(
                "parent",
                partial(asyncio.sleep, PARENT_SECONDS),
                partial(_end_without_parent, parent, settings.drain_seconds),
            )
        ],
        plan=_plan_of(settings, os.environ) if LEDGER in os.environ else None,
        on_start=[partial(say_when_serving, Path(os.environ[SERVING]))] if SERVING in os.environ else [],
        traces=start_traces(os.environ),
    )
    gc.collect()
    gc.freeze()  # what is here now stays; no collection need look at it again
    gc.set_threshold(GARBAGE)  # a check leaves no circles behind: what looks for them need not do so every few checks
    return app


def _looking_now_and_then(marker: Path) -> Callable[[], bool]:
    """Whether a file is there. To look for every request takes longer than reading its head."""
    looked_at, is_there = float("-inf"), False

    def look() -> bool:
        nonlocal looked_at, is_there
        now = time.monotonic()
        if now >= looked_at + DRAIN_LOOK_SECONDS:
            looked_at, is_there = now, marker.exists()
        return is_there

    return look


class Plan(NamedTuple):
    """What a worker process shares with the main one that talks to Cloud."""

    view: CloudView
    ledger: LedgerFile


def _plan_of(settings: Settings, environ: Mapping[str, str]) -> Plan:
    """Exits with 1 if the ledger cannot be used."""
    view = CloudView(snapshot_file(settings, Path(environ[LICENSE])))
    try:
        return Plan(view, LedgerFile(Path(environ[LEDGER])))
    except (OSError, ValueError) as error:  # its folder is gone: the service ends after ten of these
        _log.critical("worker process cannot start: the ledger cannot be used: %s", error)
        sys.exit(1)


@without("attr", "attrs", "pydantic")  # for which the framework has plugins that are of no use here
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
    on_start: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
    traces: Traces | None = None,
) -> Litestar:
    """The app for `settings`. `sink` takes the place of the audit sink that the settings name.

    `own` is what this instance counts with for itself, by default in memory. `registrations` are shared with other
    processes; without them and without Redis, registered tools are known to this one only. `work` is done in the
    background beside what the settings ask for. `plan` is there where there is a Cloud. `on_start` is done once beside
    it, when all is ready. `traces`, if there are any, are closed with the app.
    """
    sink = sink or sink_for(settings, metrics)
    audit = audit_log(settings, sink)
    metrics.describe(
        monitors=settings.firewall_mode == "monitor", sink="stdout" if settings.audit_log_path == "-" else "file"
    )
    files = OperatorFiles(settings, audit=audit, metrics=metrics)
    threads = BodyThreads()
    work = [*work, *audit_work(settings, sink, audit)]
    if files.followed:
        watch = FolderWatch(files.followed, settings.policy_watch_interval_ms / 1000)
        work.append(Repeated("watch", watch.wait, files.refresh))
    own = own or MemoryCounters(uptime)
    shared = _shared_counters(settings, own, metrics)
    replicated = _shared_registrations(settings)
    accounted = None if plan is None else _accounted(plan, shared)
    work += [] if plan is None or accounted is None else accounted.work(plan)
    pipeline = Pipeline(
        identity=_identity(settings, files, plan),
        policy=files.policy,
        shadow=files.shadow,
        tools=files.tools,
        firewall=files.firewall,
        limits=ToolLimits(shared or own, per_agent=settings.tool_rate_limit, clock=time.time),
        quota=None if accounted is None else accounted.quota,
        registered=RegisteredTools(replicated or registrations or MemoryRegistrations()),
        clock=time.time,
    )
    load = Load(checks=settings.max_concurrent_checks, body_bytes=settings.max_buffered_bytes, watcher=metrics)
    metrics.follow(lambda: load.inside)
    # Half of the time in which it has to end is for what has been sent already.
    hurry = partial(_hurry_at_the_end, load, settings.drain_seconds / 2, is_draining)
    work.append(Repeated("drain", partial(asyncio.sleep, DRAIN_LOOK_SECONDS), hurry))
    work.append(Repeated("metrics", partial(asyncio.sleep, TELL_SECONDS), metrics.tell))
    told = partial(plan_headers, plan.view, accounted.quota) if plan is not None and accounted is not None else list
    prompt, tool, register = check_routes(
        pipeline,
        audit=audit,
        metrics=metrics,
        threads=threads,
        load=load,
        is_draining=is_draining,
        usage=None if accounted is None else accounted.usage,
        traces=traces,
        plan=told,
    )
    parts = {**files.parts, "audit": audit.is_working, **{item.name: item.is_working for item in work}}
    tasks = [item.run for item in work]
    tasks += on_start
    if shared is not None:
        parts["limits"] = shared.is_working
        tasks.append(shared.run)
    if replicated is not None:
        tasks.append(replicated.run)
    return Service(
        {
            "/v1/prompt/check": prompt,
            "/v1/llm/check": prompt,
            "/v1/tool/check": tool,
            "/v1/tool/register": register,
        },
        route_handlers=[
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
            lambda _: _counted(metrics),
            lambda _: _traced(traces),
            lambda _: _running(
                files.report_found, tasks, partial(_let_go, accounted, [shared, replicated], threads, audit)
            ),
        ],
        before_send=[partial(_tell, told)],
        openapi_config=None,
        logging_config=None,
    )


class Service(Litestar):
    """The app: checks, and beside them what a Litestar app does."""

    def __init__(self, checks: Mapping[str, CheckRoute], **options: Any) -> None:
        """`checks` by their path; `options` are the app's."""
        super().__init__(**options)
        self._checks = checks

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:  # type: ignore[override]
        """Serve one request, or the events of the app's life."""
        check = None
        if scope["type"] == "http":
            check = self._checks.get(scope["path"]) or self._checks.get(normalize_path(scope["path"]))
        await (super().__call__ if check is None else check)(scope, receive, send)


async def _tell(headers: Callable[[], list[tuple[bytes, bytes]]], message: Any, _: Any) -> None:
    """Put headers into the head of a reply that is about to be sent."""
    if message["type"] == "http.response.start" and (told := headers()):
        message["headers"] = [*message["headers"], *told]


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


def _accounted(plan: Plan, shared: "ReplicaCounters | None") -> _Accounted:
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
) -> "ReplicaCounters | None":
    if settings.redis_url is None:
        return None
    # Imported only where it is needed: it takes a fifth of the time of a start, and memory.
    from kalguard.counters.replicas import ReplicaCounters
    from kalguard.sidecar.store import shared_store

    closed = settings.limits_on_store_loss == "closed"
    return ReplicaCounters(shared_store(settings.redis_url), own, closed=closed, watcher=metrics)


def _shared_registrations(settings: Settings) -> "RedisRegistrations | None":
    if settings.redis_url is None:
        return None
    from kalguard.toolstore.redis import RedisRegistrations

    return RedisRegistrations(settings.redis_url)


@asynccontextmanager
async def _running(
    first: Callable[[], Awaitable[None]],
    work: Sequence[Callable[[], Coroutine[Any, Any, None]]],
    let_go: Callable[[], Awaitable[None]],
) -> AsyncIterator[None]:
    """Something is done first; while the app serves, its background work; at the end everything is let go of."""
    await first()
    tasks = [asyncio.create_task(run()) for run in work]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await let_go()


@asynccontextmanager
async def _counted(metrics: Metrics) -> AsyncIterator[None]:
    """While the app serves, checks are counted; at the end what was counted last is told."""
    try:
        yield
    finally:
        await metrics.tell()


@asynccontextmanager
async def _traced(traces: Traces | None) -> AsyncIterator[None]:
    """While the app serves, checks are traced; at the end what waits is sent."""
    yield
    if traces is not None:
        await traces.close()


async def _let_go(
    accounted: _Accounted | None,
    stores: "Sequence[ReplicaCounters | RedisRegistrations | None]",
    threads: BodyThreads,
    audit: AuditLog,
) -> None:
    threads.close()
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
