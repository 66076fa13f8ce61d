"""The way of a check, in order; each step can end it.

    admit:  authenticate -> revocation -> capability
    decide: token still good -> parse and validate the body -> policy -> prompt firewall | tool mediation and limits

`admit` needs no body, so that nobody without a token makes us read one. Both end in a `Verdict` and never raise:
whatever goes wrong in a step is a denial, made in one place (`_refused`). The caller writes the audit record and then
replies.
"""

import logging
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from kalguard._core import Arguments, Evaluation, PanicException
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
    LimitReached,
    Principal,
    PromptRequest,
    ShadowRuling,
    ToolCall,
    Verdict,
)
from kalguard.decision.policy import Policy, attributes_of
from kalguard.errors import Refusal
from kalguard.wire.codes import ErrorCode

_log = logging.getLogger(__name__)
UNFORESEEN = (Exception, PanicException)  # what a guard has to catch so that nothing gets past it
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
    """A check that may go on: somebody we know, who may ask for this."""

    check: Check
    request_id: str
    principal: Principal


class Pipeline:
    """Carries out checks. `policy`, `tools` and `firewall` give what is in force now; `clock` gives unix seconds.

    `shadow` gives a policy that is only asked what it would decide, if there is one.
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
        clock: Callable[[], float],
    ) -> None:
        self._identity = identity
        self._policy = policy
        self._shadow = shadow
        self._tools = tools
        self._firewall = firewall
        self._limits = limits
        self._clock = clock

    def admit(self, check: Check, request_id: str, token: Callable[[], str | None]) -> Admission | Verdict:
        """Find out who asks, and whether the token permits this kind of check. `token` may raise `Refusal`."""
        principal = None
        try:
            principal = self._identity.verify_token(token())
            self._identity.confirm(principal)
        except UNFORESEEN as error:
            return self._refused(error, check=check, request_id=request_id, principal=principal)
        needed = NEEDS[check]
        if needed in principal.capabilities:
            return Admission(check, request_id, principal)
        return Verdict(
            check=check,
            request_id=request_id,
            at=self._now(),
            code=ErrorCode.CAPABILITY_DENIED,
            reason=f"token lacks capability {needed}",
            principal=principal,
        )

    def check_prompt(self, admission: Admission, parse: Callable[[], PromptRequest]) -> Verdict:
        """Judge a conversation. `parse` reads the body and may raise `Refusal`."""
        return self._guarded(admission, lambda: self._prompt(admission, parse()))

    def check_tool(self, admission: Admission, parse: Callable[[], ToolCall]) -> Verdict:
        """Judge a tool call. `parse` reads the body and may raise `Refusal`."""
        return self._guarded(admission, lambda: self._tool(admission, parse()))

    def _prompt(self, admission: Admission, request: PromptRequest) -> Verdict:
        count = len(request.messages)
        access = AccessRequest(
            action=Action.PROMPT_CHECK,
            agent_id=admission.principal.agent_id,
            attributes=attributes_of(request.metadata, admission.principal.metadata, messageCount=str(count)),
            message_count=count,
        )
        ruling = self._ask_policy(access)
        if ruling.code is not None:
            return self._verdict(admission, ruling.code, ruling.evaluation.reason, ruling=ruling)
        inspection = self._firewall().inspect(request)
        code = None if inspection.passed else ErrorCode.PROMPT_BLOCKED
        reason = inspection.objection or ruling.evaluation.reason
        return self._verdict(admission, code, reason, ruling=ruling, inspection=inspection)

    def _tool(self, admission: Admission, call: ToolCall) -> Verdict:
        principal, arguments = admission.principal, Arguments(call.arguments)
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
        tools = self._tools()
        inspection = tools.inspect(call.name, arguments)
        if not inspection.passed:
            return self._verdict(
                admission, ErrorCode.TOOL_DENIED, inspection.objection, ruling=ruling, inspection=inspection
            )
        limit = self._limits.take(principal.agent_id, call.name, tools.registry.rate_limit_per_minute(call.name))
        if limit is not None:
            reason = "tool rate limit exceeded"
            return self._verdict(
                admission, ErrorCode.RATE_LIMIT_EXCEEDED, reason, ruling=ruling, inspection=inspection, limit=limit
            )
        return self._verdict(admission, None, ruling.evaluation.reason, ruling=ruling, inspection=inspection)

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

    def _guarded(self, admission: Admission, step: Callable[[], Verdict]) -> Verdict:
        try:
            self._identity.confirm(admission.principal)  # the body may have been long in coming
            return step()
        except UNFORESEEN as error:
            return self._refused(
                error, check=admission.check, request_id=admission.request_id, principal=admission.principal
            )

    def _refused(
        self, error: BaseException, *, check: Check, request_id: str, principal: Principal | None = None
    ) -> Verdict:
        """INVARIANT: every exception of a check comes here and becomes a denial."""
        if isinstance(error, Refusal):
            code, reason = error.code, str(error)
        else:
            _log.error("check failed", exc_info=error, extra={"request_id": request_id})
            code, reason = ErrorCode.INTERNAL, "internal error"
        return Verdict(
            check=check, request_id=request_id, at=self._now(), code=code, reason=reason, principal=principal
        )

    def _verdict(
        self,
        admission: Admission,
        code: ErrorCode | None,
        reason: str,
        *,
        ruling: _Ruling,
        inspection: Inspection | None = None,
        limit: LimitReached | None = None,
    ) -> Verdict:
        return Verdict(
            check=admission.check,
            request_id=admission.request_id,
            at=self._now(),
            code=code,
            reason=reason,
            principal=admission.principal,
            access=ruling.access,
            evaluation=ruling.evaluation,
            policy_version=ruling.policy.version,
            policy_digest=ruling.policy.digest,
            shadow=ruling.shadow,
            inspection=inspection,
            limit=limit,
        )

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)
