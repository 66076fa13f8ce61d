"""Reading an audit log back: lines of bounded length from files, compressed ones too, and the records on them.

For the commands. Nothing here is trusted: a line may be anything, of any length.
"""

import gzip
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from typing import BinaryIO, cast

import msgspec

from kalguard.records.ocsf import native_record
from kalguard.wire.audit import AuditRecord

MAX_LINE_BYTES = 1024 * 1024
STDIN = "-"
_GZIP = b"\x1f\x8b"
_NATIVE = msgspec.json.Decoder(AuditRecord)


@contextmanager
def open_log(name: str) -> Iterator[BinaryIO]:
    """The bytes of a log, decompressed where they are gzip's; `-` is standard input. Raises `OSError`.

    Reading what is compressed may raise `EOFError`, `zlib.error` and `gzip.BadGzipFile`.
    """
    with _open(name) as raw:
        if raw.peek(len(_GZIP)).startswith(_GZIP):
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield cast("BinaryIO", unpacked)
        else:
            yield raw


@contextmanager
def _open(name: str) -> Iterator[BufferedReader]:
    if name == STDIN:
        yield cast("BufferedReader", sys.stdin.buffer)
        return
    with open(name, "rb") as file:
        yield file


def read_lines(stream: BinaryIO) -> Iterator[bytes]:
    """Each line with its line feed; the last one may have none.

    Of a line longer than `MAX_LINE_BYTES` come the first bytes, one more than that, and no line feed.
    """
    while line := stream.readline(MAX_LINE_BYTES + 1):
        yield line
        if len(line) > MAX_LINE_BYTES:
            while (rest := stream.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass


def read_record(line: bytes) -> AuditRecord | None:
    """The record on a line of either format; `None` where there is none."""
    for read in (_NATIVE.decode, native_record):
        try:
            return read(line)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            continue
    return None
