"""A file that several processes map into their memory, and a lock on it.

What they share outlives any of them, costs no round trip, and is changed by one of them at a time. The system takes the
lock back from a process that dies. One that is stopped while it holds it must not hold up the others: they give up
after `LOCK_SECONDS`, and then, until they get it again, after less.

INVARIANT: whoever changes something does it so that a death in the middle leaves what the next one can go on with.
"""

import asyncio
import fcntl
import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TypeVar, TypeVarTuple

from kalguard.errors import Unavailable

LOCK_SECONDS = 0.05
_STUCK_SECONDS = 0.002
_SPINS = 10  # tries in a row before others on this event loop get a turn
_PAUSE_SECONDS = 0.001
_TAKE = fcntl.LOCK_EX | fcntl.LOCK_NB
_T = TypeVar("_T")
_Given = TypeVarTuple("_Given")


def make_file(path: Path, size: int, *, begins_with: bytes) -> None:
    """Make a file of `size` bytes.

    All of its space is taken now: a disk that fills up later could not be told from a
    crash. What it begins with is written last. Raises `OSError`.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, size)
        os.pwrite(fd, begins_with, 0)
    finally:
        os.close(fd)


class MappedFile:
    """The file at `path`, as one process sees it. `purpose` is what cannot be done without the lock.

    Of a large file, the first `mapped` bytes can be all that is mapped.
    """

    def __init__(self, path: Path, *, begins_with: bytes, purpose: str, mapped: int = 0) -> None:
        """Map the file. Raises `OSError`, and `ValueError` for one that is of another kind."""
        self._purpose = purpose
        self._lock = Lock()  # the lock on the file is one for the whole process
        self._stuck = False
        self.fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)  # for as long as the process lives
        try:
            self.size = os.fstat(self.fd).st_size
            self.map = mmap.mmap(self.fd, mapped)
        except (OSError, ValueError):
            os.close(self.fd)
            raise
        if self.map[: len(begins_with)] != begins_with:
            self.close()
            raise ValueError(f"`{path}` is of another kind")

    def close(self) -> None:
        """Let go of the file."""
        self.map.close()
        os.close(self.fd)

    async def locked(self, step: Callable[[*_Given], _T], *given: *_Given) -> _T:
        """Do something with the file while no other process does. Raises `Unavailable`."""
        try:
            return self._attempt(step, *given)
        except BlockingIOError:
            return await self._patiently(step, *given)

    async def _patiently(self, step: Callable[[*_Given], _T], *given: *_Given) -> _T:
        patience = _STUCK_SECONDS if self._stuck else LOCK_SECONDS
        started = time.monotonic()
        is_late = False
        while not is_late:
            is_late = time.monotonic() - started > patience  # looked at before the last tries, not after them
            for _ in range(_SPINS):
                try:
                    return self._attempt(step, *given)
                except BlockingIOError:
                    os.sched_yield()
            await asyncio.sleep(_PAUSE_SECONDS)
        self._stuck = True
        raise Unavailable(f"{self._purpose}: the lock is held")

    def locked_here(self, step: Callable[[], _T]) -> _T:
        """The same for a thread that may wait where it is. Raises `Unavailable`."""
        started = time.monotonic()
        while True:
            is_late = time.monotonic() - started > LOCK_SECONDS
            try:
                return self._attempt(step)
            except BlockingIOError:
                if is_late:
                    raise Unavailable(f"{self._purpose}: the lock is held") from None
            time.sleep(_PAUSE_SECONDS)

    def _attempt(self, step: Callable[[*_Given], _T], *given: *_Given) -> _T:
        """Raises `BlockingIOError` while another process has the lock."""
        with self._lock:
            fcntl.flock(self.fd, _TAKE)
            self._stuck = False
            try:
                return step(*given)
            finally:
                fcntl.flock(self.fd, fcntl.LOCK_UN)
