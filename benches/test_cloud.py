"""What a plan costs a check: counting it, keeping its usage event, looking its token up among those withdrawn.

A hundred checks a time, each answer asserted. The yardstick is the verification of one token's signature.
"""

import asyncio
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support import SECRET, token

from kalguard.decision.identity import SecretKeyring
from kalguard.decision.quota import PlanLimits, PlanQuota
from kalguard.decision.revocation import Digests
from kalguard.ledger.day import DayAccount
from kalguard.ledger.file import SPOOL_BYTES, LedgerFile, make_ledger
from kalguard.ledger.usage import UsageBuffer
from kalguard.wire.cloud import UsageEvent

GROUP = "100 checks under a plan"
CHECKS = 100
EVENT = UsageEvent("prompt_check", "agent-1", "allow", "2026-01-02T03:04:05.678Z", f"req_{'0' * 24}")


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with asyncio.Runner() as runner:
        yield runner.get_loop()


@pytest.fixture
def ledger(tmp_path: Path) -> LedgerFile:
    make_ledger(tmp_path / "ledger", SPOOL_BYTES)
    return LedgerFile(tmp_path / "ledger")


@pytest.mark.parametrize("agents", [None, 100], ids=["checks a day", "checks and agents a day"])
def test_counting(benchmark: Any, loop: asyncio.AbstractEventLoop, ledger: LedgerFile, agents: int | None) -> None:
    benchmark.group = GROUP
    limits = PlanLimits(10**12, agents)
    quota = PlanQuota(DayAccount(ledger), limits=lambda: limits, shared=None, clock=lambda: 1.7e9)

    async def take() -> int:
        taken = [await quota.take("agent-1") for _ in range(CHECKS)]
        return sum(one.admitted and one.daily is not None and not one.daily.exceeded for one in taken)

    assert benchmark(lambda: loop.run_until_complete(take())) == CHECKS


def test_keeping_usage_events(benchmark: Any, loop: asyncio.AbstractEventLoop, ledger: LedgerFile) -> None:
    benchmark.group = GROUP
    usage, at = UsageBuffer(ledger), datetime.now(UTC)

    async def add() -> int:
        for _ in range(CHECKS):
            await usage.add(EVENT, at.timestamp())
        batch = usage.oldest(CHECKS)
        usage.accept(batch, now=at, remaining=None)
        return len(batch.events)

    assert benchmark(lambda: loop.run_until_complete(add())) == CHECKS


@pytest.mark.parametrize("count", [10, 100_000])
def test_looking_up_a_token(benchmark: Any, count: int) -> None:
    benchmark.group = GROUP
    digests = [hashlib.sha256(str(number).encode()) for number in range(count)]
    revoked = Digests(b"".join(digest.digest() for digest in digests))
    known, other = digests[5].hexdigest(), hashlib.sha256(b"other").hexdigest()
    assert revoked(known)
    assert benchmark(lambda: sum([revoked(other) for _ in range(CHECKS)])) == 0


def test_yardstick_signature(benchmark: Any) -> None:
    """Verifying the signature of a token anew, which is done once for each token."""
    benchmark.group = GROUP
    keyring, text = SecretKeyring(SECRET), token()
    assert len(benchmark(lambda: [keyring.open(text) for _ in range(CHECKS)])) == CHECKS
