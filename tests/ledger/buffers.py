"""Buffers of usage events for the tests, and what goes into them."""

import asyncio
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kalguard.ledger.file import Entries, LedgerFile, make_ledger
from kalguard.ledger.usage import UsageBuffer
from kalguard.wire.cloud import UsageEvent

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
DAY = int(NOON.timestamp() // 86_400)


def event(name: object, at: datetime = NOON) -> UsageEvent:
    """One event; `name` is its request id."""
    return UsageEvent("prompt_check", "agent-1", "allow", at.strftime("%Y-%m-%dT%H:%M:%S.000Z"), str(name))


EVENT_BYTES = len(b'{"eventType":"prompt_check","agentId":"agent-1","decision":"allow",') + len(
    b'"timestamp":"2026-03-14T12:00:00.000Z","requestId":"000"}\n'
)


class Buffer(UsageBuffer):
    """A buffer that is looked at after every step: what was made is accepted, waits or was dropped."""

    def __init__(self, path: Path) -> None:
        self.ledger = LedgerFile(path)
        super().__init__(self.ledger)

    def entries(self) -> Entries:
        entries = super().entries()
        assert entries.made == entries.accepted + entries.waiting + entries.dropped
        return entries

    def adds(self, *names: object, at: datetime = NOON) -> None:
        """Add events one after another."""

        async def run() -> None:
            for name in names:
                await self.add(event(name, at), at.timestamp())
                self.entries()

        asyncio.run(run())

    def takes(self, count: int = 100, *, now: datetime = NOON, remaining: int | None = None) -> list[str]:
        """What is the oldest, accepted."""
        batch = self.oldest(count)
        self.accept(batch, now=now, remaining=remaining)
        self.entries()
        return [one.request_id for one in batch.events]

    def drained(self, count: int = 100) -> list[str]:
        """All that comes out until nothing waits, which has to be soon."""
        out: list[str] = []
        for _ in range(1000):
            if not self.entries().waiting:
                return out
            out += self.takes(count)
        raise AssertionError("events wait for ever")

    def is_consistent(self) -> bool:
        """Whether nothing is left in the ring where nothing waits."""
        entries = self.entries()
        return (entries.begin == entries.end) is (entries.waiting == 0)


def buffer(folder: Path, ring_bytes: int = 64 * 1024) -> Buffer:
    """A new one, in a file of its own."""
    path = folder / f"ledger-{len(list(folder.iterdir()))}"
    make_ledger(path, ring_bytes)
    return Buffer(path)


@contextmanager
def lock_held(ledger: LedgerFile) -> Iterator[None]:
    """As if another process held the lock: it is another opening of the file that has it."""
    with Path(f"/proc/self/fd/{ledger.file.fd}").open("rb") as other:
        fcntl.flock(other.fileno(), fcntl.LOCK_EX)
        yield


def tomorrow(days: int = 1) -> datetime:
    return NOON + timedelta(days=days)
