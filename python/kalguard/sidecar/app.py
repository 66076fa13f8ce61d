"""Builds the object graph of the sidecar: the one place where settings meet the parts.

`create` is what the server calls in each worker process. Nothing is kept between processes but the audit file, the
metrics folder and the marker that says that the service is draining.
"""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from litestar import Litestar, asgi
from litestar.handlers import ASGIRouteHandler
from litestar.types import Receive, Scope, Send

from kalguard import config
from kalguard.config import Settings
from kalguard.counters.memory import MemoryCounters
from kalguard.decision.firewall import FirewallOptions, PromptFirewall
from kalguard.decision.identity import ClosedKeyring, Identity, JwksKeyring, Keyring, SecretKeyring, UnverifiedKeyring
from kalguard.decision.limits import ToolLimits
from kalguard.decision.mediator import Tools, any_tool, load_tools, no_tool
from kalguard.decision.pipeline import Pipeline
from kalguard.decision.policy import Policy, default_policy, load_policy
from kalguard.decision.revocation import everything_revoked, load_revocations
from kalguard.errors import AuditUnavailable, ConfigError
from kalguard.records.audit import AuditLog, AuditSink
from kalguard.records.sinks import FileSink, MemorySink, StdoutSink
from kalguard.sidecar.errors import exception_handlers
from kalguard.sidecar.files import Change, LiveFile
from kalguard.sidecar.health import health_handlers
from kalguard.sidecar.metrics import Metrics
from kalguard.sidecar.openapi import openapi_handler
from kalguard.sidecar.routes import CheckRoute, check_routes

DRAIN_MARKER = "SIDECAR_DRAIN_MARKER"  # environment variable with the path of a file that exists while draining
_FSYNC_EVERY_SECONDS = 1.0
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


def create() -> Litestar:
    """The app for this process's environment."""
    marker = os.environ.get(DRAIN_MARKER)
    return build(
        config.load(os.environ).settings,
        metrics=Metrics(),
        is_draining=Path(marker).exists if marker else lambda: False,
    )


def build(
    settings: Settings,
    *,
    metrics: Metrics,
    is_draining: Callable[[], bool] = lambda: False,
    sink: AuditSink | None = None,
) -> Litestar:
    """The app for `settings`. `sink` takes the place of the audit sink that the settings name."""
    sink = sink or sink_for(settings)
    audit = AuditLog(sink, clock=time.time)
    files = _Files(settings, audit, metrics)
    pipeline = Pipeline(
        identity=Identity(
            keyring_for(settings),
            clock=time.time,
            leeway_seconds=settings.token_leeway_s,
            revoked=files.revoked,
        ),
        policy=files.policy,
        tools=files.tools,
        firewall=firewall_for(settings),
        limits=ToolLimits(MemoryCounters(time.monotonic), per_agent=settings.tool_rate_limit, clock=time.time),
        clock=time.time,
    )
    prompt, tool = check_routes(pipeline, audit, metrics)
    parts = {**files.parts, "audit": audit.is_working}

    @asynccontextmanager
    async def background(_: Litestar) -> AsyncIterator[None]:
        tasks = []
        if settings.policy_watch:
            tasks.append(asyncio.create_task(files.follow(settings.policy_watch_interval_ms / 1000)))
        if settings.audit_fsync == "interval" and isinstance(sink, FileSink):
            tasks.append(asyncio.create_task(_sync_to_disk(sink)))
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        audit.close()

    return Litestar(
        route_handlers=[
            _mounted(["/v1/prompt/check", "/v1/llm/check"], prompt),
            _mounted(["/v1/tool/check"], tool),
            *health_handlers(parts, insecure=_insecure(settings), is_draining=is_draining),
            openapi_handler(),
        ],
        exception_handlers=exception_handlers(),
        lifespan=[background],
        openapi_config=None,
        logging_config=None,
    )


def keyring_for(settings: Settings) -> Keyring:
    """The keys that tokens are verified with. Raises `ConfigError` naming the variable."""
    if settings.token_secret is not None:
        try:
            return SecretKeyring(settings.token_secret)
        except ConfigError as error:
            raise ConfigError([f"KALGUARD_TOKEN_SECRET: the value given {error}"]) from None
    if settings.token_jwks_path is not None:
        variable = "KALGUARD_TOKEN_JWKS_PATH"
        try:
            return JwksKeyring(Path(settings.token_jwks_path).read_bytes())
        except OSError as error:
            raise ConfigError([f"{variable}: `{settings.token_jwks_path}` cannot be read: {error.strerror}"]) from None
        except ConfigError as error:
            raise ConfigError([f"{variable}: `{settings.token_jwks_path}` {error}"]) from None
    return UnverifiedKeyring() if settings.insecure_unsigned_tokens else ClosedKeyring()


def firewall_for(settings: Settings) -> PromptFirewall:
    """The prompt firewall that the settings ask for. Raises `PatternError`."""
    options = FirewallOptions(
        block_threshold=settings.prompt_block_threshold,
        sanitize_threshold=settings.prompt_sanitize_threshold,
        injection_weight=settings.risk_weight_injection,
        harmful_weight=settings.risk_weight_harmful,
        pii_weight=settings.risk_weight_pii,
        abnormality_weight=settings.risk_weight_abnormality,
        check_injection=not settings.disable_injection_check,
        check_content=not settings.disable_content_check,
        check_pii=not settings.disable_pii_check,
        check_system=settings.check_system_messages,
        blocked_phrases=settings.blocked_phrases,
    )
    return PromptFirewall(options)


def sink_for(settings: Settings) -> AuditSink:
    """Where audit records go."""
    if settings.audit_log_path is None:
        return MemorySink()
    if settings.audit_log_path == "-":
        return StdoutSink()
    return FileSink(settings.audit_log_path, fsync_each=settings.audit_fsync == "always")


class _Files:
    """The files that can change while the service runs, or what stands in where a variable is unset."""

    def __init__(self, settings: Settings, audit: AuditLog, metrics: Metrics) -> None:
        self._audit = audit
        self._metrics = metrics
        self._live: list[LiveFile[Any]] = []
        may_allow_all = not settings.policy_default_deny
        self.policy: Callable[[], Policy] = self._follow(
            "policy",
            "KALGUARD_POLICY_PATH",
            settings.policy_path,
            load=lambda document: load_policy(document, may_allow_all=may_allow_all),
            fallback=default_policy(deny=True, reason="policy cannot be loaded"),
            unset=default_policy(deny=settings.policy_default_deny),
        )
        self.tools: Callable[[], Tools] = self._follow(
            "tools", "KALGUARD_TOOLS_PATH", settings.tools_path, load=load_tools, fallback=no_tool(), unset=any_tool()
        )
        self.revoked: Callable[[], Callable[[str], bool]] = self._follow(
            "revocation",
            "KALGUARD_REVOKED_TOKENS_PATH",
            settings.revoked_tokens_path,
            load=load_revocations,
            fallback=everything_revoked,
            unset=lambda _: False,
        )

    @property
    def parts(self) -> dict[str, Callable[[], bool]]:
        """What `/health` asks: whether each file could be taken up."""
        return {live.name: live.is_usable for live in self._live}

    async def follow(self, interval_seconds: float) -> None:
        """Take up changes until cancelled."""
        while True:
            await asyncio.sleep(interval_seconds)
            for live in self._live:
                change = await live.refresh()
                if change is not None:
                    self._report(change)

    def _follow(
        self, name: str, variable: str, path: str | None, *, load: Callable[[bytes], _T], fallback: _T, unset: _T
    ) -> Callable[[], _T]:
        if path is None:
            return lambda: unset
        live = LiveFile(name, variable, path, load=load, fallback=fallback)
        self._live.append(live)
        return live

    def _report(self, change: Change) -> None:
        self._metrics.reloaded(change.file, good=change.problem is None)
        good = change.problem is None
        try:
            self._audit.record_event(
                "policy_reload" if good else "policy_error",
                decision="allow" if good else "deny",
                reason=f"{change.file} file taken up" if good else f"{change.file} file refused",
                metadata={"file": change.file, "digest": change.digest, "problem": change.problem},
            )
        except AuditUnavailable as error:
            _log.error("%s", error)


async def _sync_to_disk(sink: FileSink) -> None:
    """Force the audit file to disk once a second until cancelled."""
    while True:
        await asyncio.sleep(_FSYNC_EVERY_SECONDS)
        try:
            await asyncio.to_thread(sink.sync)
        except OSError as error:
            _log.error("audit log cannot be forced to disk: %s", error.strerror)


def _mounted(paths: list[str], route: CheckRoute) -> ASGIRouteHandler:
    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        await route(scope, receive, send)

    return asgi(paths, copy_scope=False)(serve)


def _insecure(settings: Settings) -> list[str]:
    return ["unsigned tokens are accepted"] if settings.insecure_unsigned_tokens else []
