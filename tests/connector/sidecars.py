"""Connectors as a main process has them, against the stand-in for Cloud."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from kalguard.connector.client import CloudClient
from kalguard.connector.snapshot import SnapshotFile
from kalguard.connector.sync import Connector
from kalguard.ledger.file import LedgerFile, make_ledger
from kalguard.ledger.usage import UsageBuffer
from kalguard.wire.cloud import UsageEvent
from tests.cloud import API_KEY


class Sidecar:
    """One, in a folder of its own. `url` is that of its Cloud."""

    def __init__(self, folder: Path, url: str, *, interval: float = 300.0, obeys_remaining: bool = True) -> None:
        folder.mkdir(exist_ok=True)
        if not (folder / "ledger").exists():
            make_ledger(folder / "ledger", 256 * 1024)
        self.ledger = LedgerFile(folder / "ledger")
        self.usage = UsageBuffer(self.ledger)
        self.store = SnapshotFile(folder / "licence", url=url, api_key=API_KEY)
        self.now = datetime.now(UTC).timestamp()
        self.connector = Connector(
            CloudClient(url, API_KEY),
            store=self.store,
            snapshot=self.store.resume(now=self.now, overlap=3600),
            usage=self.usage,
            interval_seconds=interval,
            overlap_seconds=60.0,
            obeys_remaining=obeys_remaining,
            clock=lambda: self.now,
        )
        self._numbers = itertools.count()

    async def checks(self, count: int, agent_id: str = "agent-1") -> None:
        """So many checks are answered."""
        at = datetime.fromtimestamp(self.now, UTC)
        for _ in range(count):
            name = f"{id(self)}-{next(self._numbers)}"
            await self.usage.add(UsageEvent("prompt_check", agent_id, "allow", at.isoformat(), name), self.now)

    def counts(self) -> tuple[int, int, int, int]:
        """Events made, accepted, that wait and that were dropped."""
        entries = self.usage.entries()
        assert entries.made == entries.accepted + entries.waiting + entries.dropped
        return entries.made, entries.accepted, entries.waiting, entries.dropped

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While it is in step with Cloud."""
        work = asyncio.create_task(self.connector.run())
        try:
            yield
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
