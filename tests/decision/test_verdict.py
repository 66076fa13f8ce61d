"""A verdict that allows cannot be made of less than all the steps."""

from typing import Any

import msgspec
import pytest

from kalguard._core import PolicySet
from kalguard.decision.model import Check, Decision, Inspection, LimitName, LimitState, Principal, Verdict
from kalguard.wire.codes import ErrorCode

PRINCIPAL = Principal(
    agent_id="a", capabilities=frozenset(), metadata={}, not_before=0.0, expires_at=1.0, token_hashes=("0",)
)


def evaluation(decision: str) -> Any:
    document = {"rules": [], "defaultDecision": decision}
    return PolicySet(msgspec.json.encode(document)).evaluate("a", "prompt:check", None, {}, None)


COMPLETE: dict[str, Any] = {
    "check": Check.PROMPT,
    "request_id": "r",
    "at": 1_767_225_600.0,
    "reason": "allowed",
    "principal": PRINCIPAL,
    "evaluation": evaluation("allow"),
    "inspection": Inspection(),
}


def test_with_every_step_it_allows() -> None:
    assert Verdict(**COMPLETE).decision is Decision.ALLOW


@pytest.mark.parametrize(
    "change",
    [
        {"principal": None},
        {"evaluation": None},
        {"evaluation": evaluation("deny")},
        {"evaluation": evaluation("require_approval")},
        {"inspection": None},
        {"inspection": Inspection(objection="no")},
        {"limits": (LimitState(LimitName.AGENT, 1, 60, 0, 1, 1, exceeded=True),)},
    ],
)
def test_without_any_one_step_it_cannot_be_made(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="an allowance needs"):
        Verdict(**{**COMPLETE, **change})


@pytest.mark.parametrize("code", list(ErrorCode))
def test_every_code_is_a_refusal(code: ErrorCode) -> None:
    verdict = Verdict(**{**COMPLETE, "code": code})
    assert not verdict.allowed
    assert verdict.decision is (Decision.REQUIRE_APPROVAL if code is ErrorCode.REQUIRE_APPROVAL else Decision.DENY)
    assert verdict.sanitized_messages is None
