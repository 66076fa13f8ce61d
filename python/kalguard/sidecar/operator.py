"""What the operator's files say now: policy, shadow policy, tools, patterns, revoked tokens.

`OperatorFiles` gives the pipeline the version in force of each, or what stands in where a variable is unset, and puts
every version that is taken up or refused on record. All are followed where `KALGUARD_POLICY_WATCH` asks for it; the
list of revoked tokens always is, since a withdrawn token has to stop working.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from kalguard.config import Settings
from kalguard.decision.firewall import ClosedFirewall, Firewall, PromptFirewall
from kalguard.decision.mediator import Tools, any_tool, load_tools, no_tool
from kalguard.decision.policy import Policy, default_policy, load_policy
from kalguard.decision.revocation import Revocations, load_revocations, unknown_revocations
from kalguard.decision.unforeseen import UNFORESEEN
from kalguard.errors import AuditUnavailable
from kalguard.records.audit import AuditLog
from kalguard.sidecar.files import Change, LiveFile
from kalguard.sidecar.firewall import firewall_options
from kalguard.sidecar.metrics import Metrics

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class OperatorFiles:
    """The files of one configuration. `policy`, `tools`, `firewall` and `revoked` each give what is in force.

    `shadow` gives the policy that is only asked what it would decide, and `None` where there is none.
    """

    def __init__(self, settings: Settings, *, audit: AuditLog, metrics: Metrics) -> None:
        self._audit = audit
        self._metrics = metrics
        self._files: list[LiveFile[Any]] = []
        self._followed: list[LiveFile[Any]] = []
        self._found: list[Change] = []
        may_allow_all = not settings.policy_default_deny
        self.policy: Callable[[], Policy] = self._use(
            "policy",
            "KALGUARD_POLICY_PATH",
            settings.policy_path,
            load=lambda document: load_policy(document, may_allow_all=may_allow_all),
            fallback=default_policy(deny=True, reason="policy cannot be loaded"),
            unset=default_policy(deny=settings.policy_default_deny),
            follow=settings.policy_watch,
        )
        self.shadow: Callable[[], Policy | None] = self._use(
            "policy_shadow",
            "KALGUARD_POLICY_SHADOW_PATH",
            settings.policy_shadow_path,
            load=lambda document: load_policy(document, may_allow_all=True),
            fallback=None,
            unset=None,
            follow=settings.policy_watch,
            is_needed=False,
        )
        self.tools: Callable[[], Tools] = self._use(
            "tools",
            "KALGUARD_TOOLS_PATH",
            settings.tools_path,
            load=load_tools,
            fallback=no_tool(),
            unset=any_tool(),
            follow=settings.policy_watch,
        )
        options = firewall_options(settings)
        self.firewall: Callable[[], Firewall] = self._use(
            "patterns",
            "KALGUARD_PATTERNS_PATH",
            settings.patterns_path,
            load=lambda document: PromptFirewall(options, document),
            fallback=ClosedFirewall(),
            unset=PromptFirewall(options) if settings.patterns_path is None else ClosedFirewall(),
            follow=settings.policy_watch,
        )
        self.revoked: Callable[[], Callable[[str], bool]] = self._use(
            "revocation",
            "KALGUARD_REVOKED_TOKENS_PATH",
            settings.revoked_tokens_path,
            load=load_revocations,
            fallback=unknown_revocations,
            unset=Revocations(),
            follow=True,
        )
        self._tell_what_is_in_force()

    @property
    def parts(self) -> dict[str, Callable[[], bool]]:
        """What `/health` asks: whether each file could be taken up."""
        return {file.name: file.is_usable for file in self._files}

    @property
    def followed(self) -> Sequence[LiveFile[Any]]:
        """Those that are to be looked at again."""
        return self._followed

    async def report_found(self) -> None:
        """Put on record which files could not be taken up at the start."""
        while self._found:
            await self._report(self._found.pop(0))

    async def refresh(self) -> None:
        """Look at the followed files once, at all of them even if one goes wrong."""
        failures: list[BaseException] = []
        for file in self._followed:
            try:
                change = await file.refresh()
            except UNFORESEEN as error:
                failures.append(error)
                continue
            if change is not None:
                self._tell_what_is_in_force()
                await self._report(change)
        if failures:
            raise failures[0]

    def _use(
        self,
        name: str,
        variable: str,
        path: str | None,
        *,
        load: Callable[[bytes], _T],
        fallback: _T,
        unset: _T,
        follow: bool,
        is_needed: bool = True,
    ) -> Callable[[], _T]:
        if path is None:
            return lambda: unset
        file = LiveFile(name, variable, path, load=load, fallback=fallback)
        if is_needed:
            self._files.append(file)
        if follow:
            self._followed.append(file)
        if file.problem is not None:
            self._found.append(Change(name, None, file.problem))
        else:
            self._metrics.file_found(name, good=True)
        return file

    def _tell_what_is_in_force(self) -> None:
        for name, policy in (("policy", self.policy()), ("policy_shadow", self.shadow())):
            if policy is not None:
                self._metrics.policy_in_force(name, policy.version, policy.digest)
        revoked = self.revoked()
        self._metrics.tokens_revoked(len(revoked.digests) if isinstance(revoked, Revocations) else 0)

    async def _report(self, change: Change) -> None:
        good = change.problem is None
        self._metrics.reloaded(change.file, good=good)
        if good:
            _log.info("%s file taken up, sha256 %s", change.file, change.digest)
        try:
            await self._audit.record_event(
                "policy_reload" if good else "policy_error",
                decision="allow" if good else "deny",
                reason=f"{change.file} file taken up" if good else f"{change.file} file refused",
                metadata={"file": change.file, "digest": change.digest, "problem": change.problem},
            )
        except AuditUnavailable as error:
            _log.error("%s", error)
