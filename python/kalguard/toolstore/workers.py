"""Registered tools in a file that the worker processes of one service share.

The file is only ever appended to, a JSON line for each registration, by one process at a time (`flock`, which the
system takes back from a process that dies). Everybody reads on from where they were whenever it has grown, so that a
tool is known to all as soon as its line is complete, and to a worker that starts later. A line that was left
half-written is passed over. A process that is stopped while it writes must not hold up the others: whoever waits for
the lock holds neither a thread nor a lock meanwhile, and registers nothing if it takes longer than `LOCK_SECONDS`. The
folder belongs to the main process, which takes it away at the end.
"""

import asyncio
import fcntl
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock

import msgspec

from kalguard.decision.registration import Registration
from kalguard.errors import Unavailable
from kalguard.toolstore.memory import KnownAtOnce

LOCK_SECONDS = 0.25  # many who register at once may need some turns
_PAUSE_SECONDS = 0.005
_CHUNK = 1024 * 1024
_log = logging.getLogger(__name__)
_DECODER = msgspec.json.Decoder(Registration)


class SharedRegistrations(KnownAtOnce):
    """The view of one process. Raises `OSError` if the file is not there."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._position = 0  # up to here the file has been read; a complete line ends there
        self._lock = Lock()  # among the threads of this process, for which `flock` does nothing

    def of(self, tool: str) -> Sequence[Registration]:
        """The registrations of a tool, the first one first."""
        if os.fstat(self._file).st_size > self._position:
            with self._lock:
                self._read_on()
        return super().of(tool)

    async def add(self, registration: Registration, *, pinned: bool) -> Sequence[Registration]:
        """Keep a registration if it is to be kept. Raises `TooManyTools`, and `Unavailable` if it cannot be written."""
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            is_late = time.monotonic() > deadline  # looked at before the last try, not after it
            try:
                return await asyncio.to_thread(self._add, registration, pinned=pinned)
            except BlockingIOError:
                if is_late:
                    raise Unavailable("tool cannot be registered: the lock is held") from None
            except OSError as error:
                raise Unavailable(f"tool cannot be registered: {error.strerror}") from error
            await asyncio.sleep(_PAUSE_SECONDS)

    def _add(self, registration: Registration, *, pinned: bool) -> Sequence[Registration]:
        """Raises `BlockingIOError` while another process has the lock."""
        with self._lock, self._alone():
            self._read_on()
            if self._table.takes(registration, pinned=pinned):
                self._append(msgspec.json.encode(registration))
                self._read_on()
            return self._table.of(registration.tool)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def _append(self, line: bytes) -> None:
        size = os.fstat(self._file).st_size
        # What somebody left half-written ends here, and is no line that could be read.
        broken = size > 0 and os.pread(self._file, 1, size - 1) != b"\n"
        left = memoryview(b"\n" * broken + line + b"\n")
        while left:
            left = left[os.write(self._file, left) :]

    def _read_on(self) -> None:
        """Take up the complete lines that are new."""
        text = b""
        while chunk := os.pread(self._file, _CHUNK, self._position + len(text)):
            text += chunk
        complete = text[: text.rfind(b"\n") + 1]
        for line in complete.split(b"\n")[:-1]:
            try:
                self._table.put(_DECODER.decode(line))
            except (msgspec.DecodeError, UnicodeDecodeError):
                _log.error("a registration that was not written to its end is passed over")
        self._position += len(complete)
