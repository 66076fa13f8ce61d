"""What a check is about and how it ends, in the words of the product.

INVARIANT: a `Verdict` that allows cannot be built without a verified agent, a policy evaluation that allows and an
inspection that passed, nor with a limit that is exceeded. Reply, audit record and usage event are each derived from
the `Verdict` and from nothing else.
"""

from enum import StrEnum
from typing import Any, Literal

import msgspec

from kalguard import _core
from kalguard._core import Arguments, Evaluation
from kalguard.wire.codes import ErrorCode

CORE_VERSION = _core.__version__
MAX_METADATA = _core.MAX_METADATA
MAX_TOOL_NAME_LENGTH = _core.MAX_TOOL_NAME_LENGTH


class Check(StrEnum):
    """What can be asked for."""

    PROMPT = "prompt"
    TOOL = "tool"
    REGISTER = "register"


class Action(StrEnum):
    """What a policy rule can be about."""

    PROMPT_CHECK = "prompt:check"
    TOOL_EXECUTE = "tool:execute"
    TOOL_REGISTER = "tool:register"


class Capability(StrEnum):
    """What a token can permit. Others in a token are ignored."""

    PROMPT_SEND = "prompt:send"
    PROMPT_RECEIVE = "prompt:receive"
    TOOL_EXECUTE = "tool:execute"
    TOOL_READ = "tool:read"
    TOOL_WRITE = "tool:write"
    LLM_CALL = "llm:call"
    NETWORK_OUTBOUND = "network:outbound"


NEEDS = {
    Check.PROMPT: Capability.PROMPT_SEND,
    Check.TOOL: Capability.TOOL_EXECUTE,
    Check.REGISTER: Capability.TOOL_WRITE,
}


class Decision(StrEnum):
    """The answer."""

    ALLOW = "allow"
    DENY = "deny"
    REQUIRE_APPROVAL = "require_approval"


class Principal(msgspec.Struct, frozen=True):
    """A verified agent. Times are unix seconds.

    `token_hashes` are the SHA-256, in hex, of its token and of any other token that is as good as that.
    """

    agent_id: str
    capabilities: frozenset[str]
    metadata: dict[str, Any]
    not_before: float
    expires_at: float
    token_hashes: tuple[str, ...]


class Finding(msgspec.Struct, frozen=True):
    """Something found: never the text itself. `message` is the index of its message; a tool call has none."""

    category: str
    message: int | None
    score: int


class RiskAssessment(msgspec.Struct, frozen=True):
    """What the prompt firewall found. `score` is 0 to 100, `level` its band; the gravest finding comes first.

    `monitored` is what would have followed if nothing were only monitored, where that is more than what did.
    """

    score: int
    level: str
    findings: tuple[Finding, ...]
    monitored: Literal["sanitize", "block"] | None = None


class AccessRequest(msgspec.Struct, frozen=True):
    """What the policy is asked about.

    `tool`, `arguments`, `argument_count` and `findings` (what was found in the arguments) are there for a tool call,
    `message_count` for a prompt.
    """

    action: Action
    agent_id: str
    attributes: dict[str, str]
    tool: str | None = None
    argument_count: int | None = None
    message_count: int | None = None
    arguments: Arguments | None = None
    findings: tuple[Finding, ...] = ()


class ShadowRuling(msgspec.Struct, frozen=True):
    """What the shadow policy would have decided, and by which rule; `None` is its default."""

    decision: str
    rule_id: str | None
    policy_version: str
    policy_digest: str


class Inspection(msgspec.Struct, frozen=True):
    """The content was looked at. `objection` says why it may not pass, and is empty when it may.

    `risk` and `sanitized_messages` are there for a prompt, the latter, a JSON list, exactly when a message was changed;
    `failed_check` names the check of the tool mediator that objects. `definition_digest` is that of the definition of a
    registered tool that this is about, and `agreed_digest` that of the one in force where the two differ.
    """

    objection: str = ""
    risk: RiskAssessment | None = None
    sanitized_messages: bytes | None = None
    failed_check: str | None = None
    definition_digest: str | None = None
    agreed_digest: str | None = None

    @property
    def passed(self) -> bool:
        """Nothing in the content speaks against the request."""
        return not self.objection


class LimitName(StrEnum):
    """The limits there are, as replies, records and metrics call them."""

    AGENT = "agent"
    TOOL = "tool"
    DAILY = "daily"


class LimitState(msgspec.Struct, frozen=True):
    """How a limit of `quota` calls in `window_seconds` stands after a check.

    `reset_seconds` and `reset_at` (unix seconds) say when more will remain than now; 0 seconds where nothing counts.
    One that is `exceeded` is why the check was refused, and resets when there is room again.
    """

    name: LimitName
    quota: int
    window_seconds: int
    remaining: int
    reset_seconds: int
    reset_at: int
    exceeded: bool = False


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """How one check ended.

    `code` says why the answer is not `allow`, and only then is there one. `at` is unix seconds. `principal` is `None`
    until a token has been verified, `access` and `evaluation` until the policy was asked, `inspection` until the
    content was looked at. `policy_version` and `policy_digest` name the document that was asked. `shadow` is there
    where a shadow policy was asked too; nothing follows from it. `limits` are those that the check was counted under.
    """

    check: Check
    request_id: str
    at: float
    reason: str
    code: ErrorCode | None = None
    principal: Principal | None = None
    access: AccessRequest | None = None
    evaluation: Evaluation | None = None
    policy_version: str | None = None
    policy_digest: str | None = None
    shadow: ShadowRuling | None = None
    inspection: Inspection | None = None
    limits: tuple[LimitState, ...] = ()

    def __post_init__(self) -> None:
        if self.code is None and not self._is_cleared():
            raise ValueError("an allowance needs an agent, a policy that allows, an inspection that passed and room")

    @property
    def allowed(self) -> bool:
        """Whether the agent may go ahead."""
        return self.code is None

    @property
    def decision(self) -> Decision:
        """The answer."""
        if self.code is None:
            return Decision.ALLOW
        return Decision.REQUIRE_APPROVAL if self.code is ErrorCode.REQUIRE_APPROVAL else Decision.DENY

    @property
    def exceeded(self) -> tuple[LimitState, ...]:
        """The limits that have no room for this check."""
        if self.code is None or not self.limits:  # nothing is allowed that a limit has no room for
            return ()
        return tuple([state for state in self.limits if state.exceeded])

    @property
    def agent_id(self) -> str | None:
        """The verified agent, if there is one."""
        return None if self.principal is None else self.principal.agent_id

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found in the messages or the arguments, as far as they were looked at."""
        if self.inspection is not None and self.inspection.risk is not None:
            return self.inspection.risk.findings
        return () if self.access is None else self.access.findings

    @property
    def shadow_differs(self) -> bool:
        """Whether the shadow policy would have decided otherwise than the policy did."""
        if self.shadow is None or self.evaluation is None:
            return False
        return self.shadow.decision != self.evaluation.decision

    @property
    def sanitized_messages(self) -> bytes | None:
        """The messages to use instead of those sent, a JSON list, if the check allows and changed any."""
        return None if self.code is not None or self.inspection is None else self.inspection.sanitized_messages

    def _is_cleared(self) -> bool:
        return (
            self.principal is not None
            and self.evaluation is not None
            and self.evaluation.decision == "allow"
            and self.inspection is not None
            and not self.inspection.objection
            and not any(state.exceeded for state in self.limits)
        )
