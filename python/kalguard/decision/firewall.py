"""Is the prompt an attack, or leaking personal data: the prompt firewall as the pipeline sees it.

All judgement is the core's. Here a conversation is taken apart into texts, and put together again with the texts
that the core gives back.
"""

import msgspec

from kalguard._core import Scanner
from kalguard.decision.model import Finding, Inspection, PromptRequest, RiskAssessment


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


class PromptFirewall:
    """Inspects conversations with one compiled scanner."""

    def __init__(self, options: FirewallOptions) -> None:
        """Compile the scanner. Raises `PatternError` for a phrase that cannot be used."""
        self._scanner = Scanner(**msgspec.structs.asdict(options))

    def inspect(self, request: PromptRequest) -> Inspection:
        """Judge a conversation; where it may pass only changed, say how."""
        scan = self._scanner.scan([(slot.message, slot.role, slot.text) for slot in request.slots])
        findings = tuple(Finding(*finding) for finding in scan.findings)
        cause = findings[0].category if findings else "risk score"
        return Inspection(
            objection=f"prompt blocked: {cause}" if scan.action == "block" else "",
            risk=RiskAssessment(score=scan.score, level=scan.level, findings=findings),
            sanitized_messages=request.with_texts(scan.texts) if scan.action == "sanitize" else None,
        )
