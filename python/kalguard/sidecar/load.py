"""How much one worker process takes on at once: checks, and bytes of bodies.

What is beyond is refused there and then (503, `retry-after`), while somebody can still be told, instead of being let
into a queue that only grows. A check counts while it is worked on, not while its body is awaited, so that who sends
slowly takes no place away. The first bytes of a body are free: large ones, however many, do not keep small ones out.
Probes are not counted. When the service is to end, those who send are waited for no longer than there is time.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Protocol

from kalguard.errors import Overloaded

FREE_BYTES = 32 * 1024  # of each body


class LoadWatcher(Protocol):
    """Is told how much there is to do."""

    def entered(self) -> None:
        """One check more is worked on."""

    def left(self) -> None:
        """One check less is."""

    def shed(self) -> None:
        """One check was refused because there are too many."""


class Load:
    """Bounds on what is done at once: `checks`, and `body_bytes` held for bodies."""

    def __init__(self, *, checks: int, body_bytes: int, watcher: LoadWatcher) -> None:
        self._checks_left = checks
        self._bytes_left = body_bytes
        self._watcher = watcher
        self._patience = float("inf")
        self._awaited: set[asyncio.Timeout] = set()

    @asynccontextmanager
    async def waiting(self, seconds: float) -> AsyncIterator[None]:
        """Wait for what a client sends, for so long at most. Raises `TimeoutError`."""
        async with asyncio.timeout(min(seconds, self._patience)) as timeout:
            self._awaited.add(timeout)
            try:
                yield
            finally:
                self._awaited.discard(timeout)

    def hurry(self, seconds: float) -> None:
        """From now on wait for nobody who sends longer than so many seconds."""
        self._patience = seconds
        latest = asyncio.get_running_loop().time() + seconds
        for timeout in self._awaited:
            timeout.reschedule(min(timeout.when() or latest, latest))

    @contextmanager
    def check(self) -> Iterator[None]:
        """Take a place for a check. Raises `Overloaded`."""
        if self._checks_left <= 0:
            self._watcher.shed()
            raise Overloaded("too many checks at once")
        self._watcher.entered()
        self._checks_left -= 1
        try:
            yield
        finally:
            self._checks_left += 1
            self._watcher.left()

    @contextmanager
    def body(self, announced: int) -> Iterator["BodyAllowance"]:
        """Take room for a body of which so many bytes are announced (0 if that is unknown). Raises `Overloaded`.

        Only what arrives is counted: announcing much takes nothing away from others.
        """
        allowance = BodyAllowance(self)
        if announced - FREE_BYTES > self._bytes_left:
            raise self._no_room()
        try:
            yield allowance
        finally:
            self._bytes_left += allowance.counted

    def take_bytes(self, count: int) -> None:
        """Count bytes that arrived. Raises `Overloaded`."""
        if count > self._bytes_left:
            raise self._no_room()
        self._bytes_left -= count

    def _no_room(self) -> Overloaded:
        self._watcher.shed()
        return Overloaded("too many large bodies at once")


class BodyAllowance:
    """What one body may still take, and what it was counted for."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._free = FREE_BYTES
        self.counted = 0

    def take(self, count: int) -> None:
        """Count so many bytes that arrived. Raises `Overloaded`."""
        free = min(self._free, count)
        self._free -= free
        if count > free:
            self._load.take_bytes(count - free)
            self.counted += count - free
