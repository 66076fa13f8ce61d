"""Is the prompt an attack, or leaking personal data: the prompt firewall as the pipeline sees it.

All judgement is the core's. Where the operator adds patterns, google-re2 has to accept each expression as well: what it
accepts, it matches in linear time, and so does the core, whose engine is of the same kind.
"""

import hashlib
import secrets
from typing import Any, Protocol

import msgspec
import re2

from kalguard._core import Arguments, Conversation, Scanner
from kalguard.decision.documents import decode, encode, validate
from kalguard.decision.model import Finding, Inspection, RiskAssessment
from kalguard.errors import PatternError, Unavailable

_MAX_EXPRESSION_BYTES = 1 << 20  # of memory, for google-re2
_SECRET_BYTES = 16


class FirewallOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator can set; see `kalguard._core.Scanner`."""

    block_threshold: int = 70
    sanitize_threshold: int = 50
    injection_weight: float = 1.0
    harmful_weight: float = 1.0
    pii_weight: float = 1.0
    abnormality_weight: float = 1.0
    check_injection: bool = True
    check_content: bool = True
    check_pii: bool = True
    check_system: bool = False
    blocked_phrases: tuple[str, ...] = ()
    monitor: bool = False


class Firewall(Protocol):
    """Judges conversations, and finds personal data and secrets in the arguments of tool calls."""

    def inspect(self, conversation: Conversation, agent_id: str) -> Inspection:
        """Judge an agent's conversation; where it may pass only changed, say how."""

    def find_in_arguments(self, arguments: Arguments) -> tuple[Finding, ...]:
        """Personal data and secrets in arguments, each category once. Raises `Unavailable`."""


class PromptFirewall:
    """Inspects conversations with one compiled scanner.

    `pattern_count` and `digest` (SHA-256, hex) are those of the patterns file; 0 and empty without one.
    """

    def __init__(self, options: FirewallOptions, patterns: bytes | None = None) -> None:
        """Compile the scanner, with a patterns file if there is one. Raises `PatternError` naming pattern and field."""
        self.pattern_count = 0
        self.digest = ""
        document = None
        if patterns is not None:
            value = decode(patterns, PatternError)
            document = encode(value, PatternError)
            _check_expressions(value)
        self.scanner = Scanner(
            **msgspec.structs.asdict(options), patterns=document, secret=secrets.token_bytes(_SECRET_BYTES)
        )
        if patterns is not None:
            validate(value, "patterns", PatternError)
            self.pattern_count = len(value.get("patterns", ()))
            self.digest = hashlib.sha256(patterns).hexdigest()

    def inspect(self, conversation: Conversation, agent_id: str) -> Inspection:
        """Judge an agent's conversation; where it may pass only changed, say how."""
        scan = self.scanner.scan(conversation, agent_id)
        findings = tuple([Finding(*finding) for finding in scan.findings])
        cause = findings[0].category if findings else "risk score"
        return Inspection(
            objection=f"prompt blocked: {cause}" if scan.action == "block" else "",
            risk=RiskAssessment(score=scan.score, level=scan.level, findings=findings, monitored=scan.monitored),
            sanitized_messages=scan.sanitized_messages,
        )

    def find_in_arguments(self, arguments: Arguments) -> tuple[Finding, ...]:
        """Personal data and secrets in arguments, each category once; what is to be done about it is the policy's."""
        return tuple(Finding(category, None, score) for category, score in self.scanner.find_in_arguments(arguments))


class ClosedFirewall:
    """What is in force when the patterns file cannot be used: nothing passes."""

    def inspect(self, conversation: Conversation, agent_id: str) -> Inspection:
        """Object."""
        return Inspection(objection="patterns file cannot be loaded")

    def find_in_arguments(self, arguments: Arguments) -> tuple[Finding, ...]:
        """Refuse: a policy that denies what would be found must not be passed by. Raises `Unavailable`."""
        raise Unavailable("patterns file cannot be loaded")


def _check_expressions(document: Any) -> None:
    """Raises `PatternError` for an expression that google-re2 refuses. Other mistakes are told elsewhere."""
    patterns = document.get("patterns") if isinstance(document, dict) else None
    for pattern in patterns if isinstance(patterns, list) else ():
        expression = pattern.get("regex") if isinstance(pattern, dict) else None
        if not isinstance(expression, str):
            continue
        try:
            compile_expression(expression)
        except re2.error as error:
            told = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
            raise PatternError(f"pattern `{pattern.get('id')}`: `regex` cannot be compiled: {told}") from None


def compile_expression(expression: str) -> Any:
    """An operator's expression as google-re2 reads it: over bytes, in any case. Raises `re2.error`."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.case_sensitive = False
    options.log_errors = False
    options.max_mem = _MAX_EXPRESSION_BYTES
    return re2.compile(expression.encode(), options)
