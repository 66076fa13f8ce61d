"""Is the prompt an attack, or leaking personal data: the prompt firewall as the pipeline sees it.

All judgement is the core's. Here a conversation is taken apart into texts, and put together again with the texts
that the core gives back.
"""

from kalguard._core import Scanner
from kalguard.decision.model import Finding, Inspection, PromptRequest, RiskAssessment


class PromptFirewall:
    """Inspects conversations with one compiled scanner."""

    def __init__(self, scanner: Scanner) -> None:
        self._scanner = scanner

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
