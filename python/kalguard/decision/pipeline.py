"""The way of a check, in order; each step can end it.

    admit:  authenticate -> revocation -> plan quota -> capability
    decide: token still good -> parse and validate the body -> policy -> prompt firewall | tool mediation -> limits |
            registration of a tool

`admit` needs no body, so that nobody without a token makes us read one. Both end in a `Verdict` and never raise:
whatever goes wrong in a step is a denial, made in one place (`refuse`). The caller writes the audit record and then
replies.

What takes computing goes through a `Run`, if the caller chooses one, so that it need not be done where others wait;
only counting may wait for somebody else.
"""

import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import msgspec

from kalguard._core import Conversation, Evaluation, ToolCall
from kalguard.decision.firewall import Firewall
from kalguard.decision.identity import Identity
from kalguard.decision.limits import ToolLimits
from kalguard.decision.mediator import Tools
from kalguard.decision.model import (
    NEEDS,
    AccessRequest,
    Action,
    Check,
    Inspection,
    LimitState,
    Principal,
    ShadowRuling,
    Verdict,
)
from kalguard.decision.policy import Policy, attributes_of
from kalguard.decision.quota import Quota, Taken
from kalguard.decision.registration import Definition, RegisteredTools, Registration
from kalguard.decision.running import Run, run_in
from kalguard.decision.unforeseen import UNFORESEEN
from kalguard.errors import Refusal
from kalguard.wire.codes import ErrorCode

_log = logging.getLogger(__name__)
Body = Callable[[], bytes]  # gives the body of a request, or raises the `Refusal` that it is
Judging = Coroutine[Any, Any, Verdict]
_POLICY_CODES = {"require_approval": ErrorCode.REQUIRE_APPROVAL}


class _Ruling(msgspec.Struct, frozen=True):
    """What was asked of which policy, and its answer."""

    policy: Policy
    access: AccessRequest
    evaluation: Evaluation
    shadow: ShadowRuling | None

    @property
    def code(self) -> ErrorCode | None:
        """`None` for the one answer that permits; whatever else a policy may say does not."""
        if self.evaluation.decision == "allow":
            return None
        return _POLICY_CODES.get(self.evaluation.decision, ErrorCode.POLICY_DENY)


class Admission(msgspec.Struct, frozen=True):
    """A check that may go on: somebody we know, who may ask for this. `limits` are those it was counted under."""

    check: Check
    request_id: str
    principal: Principal
    limits: tuple[LimitState, ...] = ()


class _Passed(msgspec.Struct, frozen=True):
    """A tool call that only its limits can still stop."""

    call: ToolCall
    ruling: _Ruling
    inspection: Inspection
    rate_limit_per_minute: int | None


class _Unready(msgspec.Struct, frozen=True):
    """A call of a tool that others may have registered, or that is not compiled yet."""

    call: ToolCall
    ruling: _Ruling


class _Defined(msgspec.Struct, frozen=True):
    """A tool that may be registered, unless it was before."""

    registration: Registration
    ruling: _Ruling


_Outcome = Verdict | _Passed | _Unready | _Defined


class Pipeline:
    """Carries out checks. `policy`, `tools` and `firewall` give what is in force now; `clock` gives unix seconds.

    `shadow` gives a policy that is only asked what it would decide, if there is one. `quota` is `None` without a plan.
    """

    def __init__(
        self,
        *,
        identity: Identity,
        policy: Callable[[], Policy],
        shadow: Callable[[], Policy | None],
        tools: Callable[[], Tools],
        firewall: Callable[[], Firewall],
        limits: ToolLimits,
        quota: Quota | None,
        registered: RegisteredTools,
        clock: Callable[[], float],
    ) -> None:
        self._identity = identity
        self._policy = policy
        self._shadow = shadow
        self._tools = tools
        self._firewall = firewall
        self._limits = limits
        self._quota = quota
        self._registered = registered
        self._clock = clock

    async def admit(self, check: Check, request_id: str, token: Callable[[], str | None]) -> Admission | Verdict:
        """Find out who asks, and whether the token permits this kind of check. `token` may raise `Refusal`."""
        principal = None
        try:
            principal = self._identity.verify_token(token())
            self._identity.confirm(principal)
            taken = Taken() if self._quota is None else await self._quota.take(principal.agent_id)
        except UNFORESEEN as error:
            return self.refuse(error, check=check, request_id=request_id, principal=principal)
        limits = () if taken.daily is None else (taken.daily,)
        needed = NEEDS[check]
        if not taken.admitted:
            code, reason = ErrorCode.AGENT_LIMIT_EXCEEDED, "agent limit of the plan exceeded"
        elif taken.daily is not None and taken.daily.exceeded:
            code, reason = ErrorCode.RATE_LIMIT_EXCEEDED, "daily limit of the plan exceeded"
        elif needed not in principal.capabilities:
            code, reason = ErrorCode.CAPABILITY_DENIED, f"token lacks capability {needed}"
        else:
            return Admission(check, request_id, principal, limits)
        return Verdict(
            check=check,
            request_id=request_id,
            at=self._clock(),
            code=code,
            reason=reason,
            principal=principal,
            limits=limits,
        )

    def check_prompt(self, admission: Admission, body: Body, run: Run | None = None) -> Judging:
        """Judge a conversation. `run` calls what takes computing."""
        return self._guarded(admission, lambda: self._prompt(admission, Conversation(body())), run)

    def check_tool(self, admission: Admission, body: Body, run: Run | None = None) -> Judging:
        """Judge a tool call. `run` calls what takes computing."""
        return self._guarded(admission, lambda: self._tool(admission, ToolCall(body())), run)

    def register_tool(self, admission: Admission, body: Body, run: Run | None = None) -> Judging:
        """Take up a tool that an agent defines. `run` is as for a check."""
        return self._guarded(admission, lambda: self._register(admission, Definition.read(body())), run)

    def refuse(
        self, error: BaseException, *, check: Check, request_id: str, principal: Principal | None = None
    ) -> Verdict:
        """The denial that an exception ends in.

        INVARIANT: every exception of a check comes here.
        """
        if isinstance(error, Refusal):
            code, reason = error.code, str(error)
        else:
            _log.error("check failed", exc_info=error, extra={"request_id": request_id})
            code, reason = ErrorCode.INTERNAL, "internal error"
        return Verdict(
            check=check, request_id=request_id, at=self._clock(), code=code, reason=reason, principal=principal
        )

    def _prompt(self, admission: Admission, conversation: Conversation) -> Verdict:
        count = conversation.message_count
        access = AccessRequest(
            action=Action.PROMPT_CHECK,
            agent_id=admission.principal.agent_id,
            attributes=attributes_of(conversation.metadata, admission.principal.metadata, messageCount=str(count)),
            message_count=count,
        )
        ruling = self._ask_policy(access)
        if ruling.code is not None:
            return self._verdict(admission, ruling.code, ruling.evaluation.reason, ruling=ruling)
        inspection = self._firewall().inspect(conversation, access.agent_id)
        code = None if inspection.passed else ErrorCode.PROMPT_BLOCKED
        reason = inspection.objection or ruling.evaluation.reason
        return self._verdict(admission, code, reason, ruling=ruling, inspection=inspection)

    def _tool(self, admission: Admission, call: ToolCall) -> Verdict | _Passed | _Unready:
        principal, arguments = admission.principal, call.arguments
        access = AccessRequest(
            action=Action.TOOL_EXECUTE,
            agent_id=principal.agent_id,
            attributes=attributes_of(call.metadata, principal.metadata, toolName=call.name),
            tool=call.name,
            argument_count=call.argument_count,
            arguments=arguments,
            findings=self._firewall().find_in_arguments(arguments),
        )
        ruling = self._ask_policy(access)
        if ruling.code is not None:
            return self._verdict(admission, ruling.code, ruling.evaluation.reason, ruling=ruling)
        if not self._registered.is_ready(self._tools().registry, call.name):
            return _Unready(call, ruling)
        return self._mediate(admission, call, ruling)

    def _mediate(self, admission: Admission, call: ToolCall, ruling: _Ruling) -> Verdict | _Passed:
        tools = self._tools()
        inspection = tools.inspect(call.name, call.arguments, self._registered)
        if not inspection.passed:
            return self._verdict(
                admission, ErrorCode.TOOL_DENIED, inspection.objection, ruling=ruling, inspection=inspection
            )
        return _Passed(call, ruling, inspection, tools.registry.rate_limit_per_minute(call.name))

    async def _count(self, admission: Admission, passed: _Passed) -> Verdict:
        agent_id, tool = admission.principal.agent_id, passed.call.name
        limits = await self._limits.take(agent_id, tool, passed.rate_limit_per_minute)
        refused = any(state.exceeded for state in limits)
        return self._verdict(
            admission,
            ErrorCode.RATE_LIMIT_EXCEEDED if refused else None,
            "tool rate limit exceeded" if refused else passed.ruling.evaluation.reason,
            ruling=passed.ruling,
            inspection=passed.inspection,
            limits=limits,
        )

    def _register(self, admission: Admission, definition: Definition) -> Verdict | _Defined:
        principal = admission.principal
        access = AccessRequest(
            action=Action.TOOL_REGISTER,
            agent_id=principal.agent_id,
            attributes=attributes_of({}, principal.metadata, toolName=definition.tool),
            tool=definition.tool,
        )
        ruling = self._ask_policy(access)
        if ruling.code is not None:
            return self._verdict(admission, ruling.code, ruling.evaluation.reason, ruling=ruling)
        registration = definition.by(principal.agent_id)
        inspection = self._tools().inspect_definition(registration, self._registered)
        if not inspection.passed:
            return self._verdict(
                admission, ErrorCode.TOOL_DENIED, inspection.objection, ruling=ruling, inspection=inspection
            )
        return _Defined(registration, ruling)

    async def _keep(self, admission: Admission, defined: _Defined) -> Verdict:
        is_new, inspection = await self._registered.keep(self._tools().registry, defined.registration)
        code = None if inspection.passed else ErrorCode.TOOL_DENIED
        reason = inspection.objection or ("tool registered" if is_new else "tool is registered already")
        return self._verdict(admission, code, reason, ruling=defined.ruling, inspection=inspection)

    def _ask_policy(self, access: AccessRequest) -> _Ruling:
        policy = self._policy()
        return _Ruling(policy, access, policy.evaluate(access), self._ask_shadow(access))

    def _ask_shadow(self, access: AccessRequest) -> ShadowRuling | None:
        """INVARIANT: whatever becomes of this, the answer is the same."""
        try:
            policy = self._shadow()
            if policy is None:
                return None
            answer = policy.evaluate(access)
            return ShadowRuling(answer.decision, answer.rule_id, policy.version, policy.digest)
        except UNFORESEEN as error:
            _log.error("shadow policy failed", exc_info=error)
            return None

    async def _guarded(
        self,
        admission: Admission,
        judge: Callable[[], _Outcome],
        run: Run | None,
    ) -> Verdict:
        try:
            self._identity.confirm(admission.principal)  # the body may have been long in coming
            outcome = judge() if run is None else await run_in(run, judge)
            if isinstance(outcome, _Unready):
                tools = self._tools()
                await self._registered.prepare(tools.registry, outcome.call.name, is_open=tools.is_open)
                mediate = partial(self._mediate, admission, outcome.call, outcome.ruling)
                outcome = mediate() if run is None else await run_in(run, mediate)
            if isinstance(outcome, _Passed):
                return await self._count(admission, outcome)
            return await self._keep(admission, outcome) if isinstance(outcome, _Defined) else outcome
        except UNFORESEEN as error:
            return self.refuse(
                error, check=admission.check, request_id=admission.request_id, principal=admission.principal
            )

    def _verdict(
        self,
        admission: Admission,
        code: ErrorCode | None,
        reason: str,
        *,
        ruling: _Ruling,
        inspection: Inspection | None = None,
        limits: tuple[LimitState, ...] = (),
    ) -> Verdict:
        return Verdict(
            check=admission.check,
            request_id=admission.request_id,
            at=self._clock(),
            code=code,
            reason=reason,
            principal=admission.principal,
            access=ruling.access,
            evaluation=ruling.evaluation,
            policy_version=ruling.policy.version,
            policy_digest=ruling.policy.digest,
            shadow=ruling.shadow,
            inspection=inspection,
            limits=(*admission.limits, *limits),
        )
