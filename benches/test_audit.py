"""What putting a hundred records on file costs, beside writing lines without a chain. Every line is counted."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kalguard.records.sinks import WriterSink, file_sink

RECORDS = 100
RECORD = b'{"id":"evt_0123456789abcdef01234567","type":"prompt_allowed","metadata":{' + b'"k":"v",' * 60 + b'"l":1}}'


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with asyncio.Runner() as runner:
        yield runner.get_loop()


def group(fsync: str) -> str:
    return f"100 audit records, forced to disk: {fsync}"


async def one_after_another(sink: WriterSink) -> None:
    for _ in range(RECORDS):
        await sink.write(RECORD)


async def together(sink: WriterSink) -> None:
    await asyncio.gather(*(sink.write(RECORD) for _ in range(RECORDS)))


@pytest.mark.parametrize("fsync", ["always", "off"])
@pytest.mark.parametrize("how", [together, one_after_another], ids=["together", "one after another"])
def test_writer(benchmark: Any, loop: asyncio.AbstractEventLoop, tmp_path: Path, fsync: str, how: Any) -> None:
    benchmark.group = group(fsync)
    path = tmp_path / "audit.jsonl"
    sink = file_sink(str(path), fsync=fsync)
    calls = 0

    def write() -> None:
        nonlocal calls
        calls += 1
        loop.run_until_complete(how(sink))

    benchmark(write)
    loop.run_until_complete(sink.close())
    assert path.read_bytes().count(b"\n") == calls * RECORDS


@pytest.mark.parametrize("fsync", ["always", "off"])
def test_yardstick_plain_lines(benchmark: Any, tmp_path: Path, fsync: str) -> None:
    """A write for each line, in its turn, with nothing that ties them together."""
    benchmark.group = group(fsync)
    path = tmp_path / "audit.jsonl"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    calls = 0

    def write() -> None:
        nonlocal calls
        calls += 1
        for _ in range(RECORDS):
            os.write(fd, RECORD + b"\n")
            if fsync == "always":
                os.fdatasync(fd)

    benchmark(write)
    os.close(fd)
    assert path.read_bytes().count(b"\n") == calls * RECORDS
