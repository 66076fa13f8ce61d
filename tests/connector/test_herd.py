"""A thousand sidecars that start at once do not ask at once."""

import asyncio
import os
import time
from pathlib import Path

import httpx
import msgspec
import pytest

from kalguard.connector import client, sync
from kalguard.connector.client import CloudClient
from kalguard.connector.license import LicenseState
from kalguard.connector.snapshot import SnapshotFile
from kalguard.connector.sync import SPREAD_SECONDS, Connector
from kalguard.ledger.file import temporary_ledger
from kalguard.ledger.usage import UsageBuffer
from kalguard.wire.cloud import VALIDATE_PATH
from tests.cloud import API_KEY, PRO
from tests.support import until_in_loop

SIDECARS = 1000


class Counting:
    """Cloud's side of it: a good answer for everybody, and when each asked."""

    def __init__(self) -> None:
        self.asked_at: list[float] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked_at.append(time.monotonic())
        assert head.startswith(f"POST {VALIDATE_PATH} ".encode())
        body = msgspec.json.encode(PRO)
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()


def busiest(times: list[float], seconds: float) -> int:
    """The most that fall into any span of so many seconds."""
    times = sorted(times)
    return max(sum(first <= at < first + seconds for at in times) for first in times)


def spread(times: list[float]) -> str:
    first, last = min(times), max(times)
    most = f"{busiest(times, 1.0)} in the busiest second, {busiest(times, 0.1)} in the busiest tenth"
    return f"from {first:.2f} s to {last:.2f} s, {most}"


def test_first_calls_of_a_thousand_sidecars_are_spread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They know no licence yet, and so hurry: over `SPREAD_SECONDS`. With one it is a tenth of the interval."""
    # They are all in one event loop here, and on one disk.
    monkeypatch.setattr(client, "TRY_SECONDS", 170.0)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(sync, "LOOK_SECONDS", 60.0)
    planned: list[float] = []
    asleep = Connector._asleep

    async def noted(connector: Connector, seconds: float) -> None:
        if connector.told.last_success == 0.0:
            planned.append(seconds)
        await asleep(connector, seconds)

    monkeypatch.setattr(Connector, "_asleep", noted)
    cloud, usage = Counting(), UsageBuffer(temporary_ledger())

    async def run() -> float:
        async with await asyncio.start_server(cloud, "127.0.0.1", 0, backlog=SIDECARS) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            connectors = []
            for number in range(SIDECARS):
                store = SnapshotFile(tmp_path / str(number), url=url, api_key=API_KEY)
                connector = Connector(
                    CloudClient(url, API_KEY, transport=httpx.AsyncHTTPTransport(verify=False)),
                    store=store,
                    snapshot=store.resume(now=time.time(), overlap=0),
                    usage=usage,
                    interval_seconds=300,
                    overlap_seconds=0,
                    obeys_remaining=True,
                )
                connectors.append(connector)
            began_at = time.monotonic()
            works = [asyncio.create_task(connector.run()) for connector in connectors]
            await until_in_loop(lambda: len(cloud.asked_at) >= SIDECARS)
            await until_in_loop(lambda: all(one.snapshot.state is LicenseState.CONNECTED for one in connectors))
            for work in works:
                work.cancel()
            await asyncio.gather(*works, return_exceptions=True)
            for connector in connectors:
                await connector._client.close()
            return began_at

    began_at = asyncio.run(run())
    times = [at - began_at for at in cloud.asked_at]
    print(f"\nfirst calls of {SIDECARS} sidecars: planned {spread(planned)}; came {spread(times)}")
    assert len(times) == len(planned) == SIDECARS  # one each
    assert min(times) >= min(planned)
    assert max(times) >= max(planned) >= 0.9 * SPREAD_SECONDS
    # The bound is on what is planned: one event loop that has all of them holds some up until others come.
    assert busiest(planned, 1.0) <= 300
