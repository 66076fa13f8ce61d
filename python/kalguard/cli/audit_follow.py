"""The end of a log: its last lines and what is written after them, also when the file is renamed and made anew."""

import gzip
import os
import time
from collections import deque
from collections.abc import Iterator
from typing import BinaryIO

from kalguard.records.reader import MAX_LINE_BYTES, open_log, read_lines

POLL_SECONDS = 0.2
_BLOCK = 64 * 1024


def last_lines(name: str, count: int) -> list[bytes]:
    """The last lines of a log. Raises what opening and reading it can raise."""
    with open_log(name) as stream:
        if stream.seekable() and not isinstance(stream, gzip.GzipFile):
            _go_back(stream, count)
        return list(deque(read_lines(stream), maxlen=count))


def follow(path: str, count: int) -> Iterator[bytes]:
    """The last lines of a file, then those that are written later, for ever. Raises `OSError`.

    A file that was renamed away is read once more after the new one is there: a writer may not have noticed yet.
    """
    current = _Growing(open(path, "rb"))  # noqa: SIM115 closed once it was replaced and read to its end
    _go_back(current.stream, count)
    yield from deque(current.lines(), maxlen=count)
    older: _Growing | None = None
    while True:
        if older is not None:
            yield from older.lines()
            older.stream.close()
        yield from current.lines()
        older = None
        if (new := current.replacement(path)) is not None:
            older, current = current, new
        time.sleep(POLL_SECONDS)


class _Growing:
    """A file that is read as far as it goes, again and again."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self._begun = b""

    def lines(self) -> Iterator[bytes]:
        """The whole lines that are there by now. Of one that is too long, the end may be missing."""
        if os.fstat(self.stream.fileno()).st_size < self.stream.tell():
            self.stream.seek(0)  # somebody cut it short
        while block := self.stream.read(_BLOCK):
            *whole, begun = (self._begun + block).split(b"\n")
            self._begun = begun[: MAX_LINE_BYTES + 1]
            for line in whole:
                yield line + b"\n"

    def replacement(self, path: str) -> "_Growing | None":
        """The file that has the path now, if that is another one."""
        try:
            stream = open(path, "rb")  # noqa: SIM115 as above
        except FileNotFoundError:
            return None
        if os.path.samestat(os.fstat(stream.fileno()), os.fstat(self.stream.fileno())):
            stream.close()
            return None
        return _Growing(stream)


def _go_back(stream: BinaryIO, count: int) -> None:
    """Go to a place near the end that has at least so many whole lines after it, or to the beginning."""
    place, missing = stream.seek(0, os.SEEK_END), count + 1
    while place > 0 and missing > 0:
        size = min(_BLOCK, place)
        place -= size
        stream.seek(place)
        missing -= stream.read(size).count(b"\n")
    stream.seek(place)
