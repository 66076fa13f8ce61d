"""How much one worker process takes on at once: checks, and bytes of bodies.

What is beyond is refused there and then (503, `retry-after`), while somebody can still be told, instead of being let
into a queue that only grows. A check counts while it is worked on, not while its body is awaited, so that who sends
slowly takes no place away. The first bytes of a body are free: large ones, however many, do not keep small ones out.
Probes are not counted. When the service is to end, those who send are waited for no longer than there is time.
"""

import asyncio
from types import TracebackType
from typing import Protocol, Self

from kalguard.errors import Overloaded

FREE_BYTES = 32 * 1024  # of each body
LOOK_SECONDS = 0.1  # how often it is seen who has been waited for long enough


class LoadWatcher(Protocol):
    """Is told when there is too much to do."""

    def shed(self) -> None:
        """One check was refused."""


class Load:
    """Bounds on what is done at once: `checks`, and `body_bytes` held for bodies. `inside` is how many checks are."""

    def __init__(self, *, checks: int, body_bytes: int, watcher: LoadWatcher) -> None:
        self.inside = 0
        self.most_inside = checks
        self._bytes_left = body_bytes
        self._watcher = watcher
        self._place = _Place(self)
        self._patience = _Patience()

    def waiting(self, seconds: float) -> "_Wait":
        """`with` it, wait for what a client sends, for about so many seconds at most. Raises `TimeoutError`."""
        return _Wait(self._patience, seconds)

    def hurry(self, seconds: float) -> None:
        """From now on wait for nobody who sends longer than so many seconds."""
        self._patience.limit(seconds)

    def check(self) -> "_Place":
        """`with` it, take a place for a check. Raises `Overloaded`."""
        return self._place

    def body(self, announced: int) -> "BodyAllowance":
        """`with` it, take room for a body of which so many bytes are announced (0 if that is unknown).

        Only what arrives is counted: announcing much takes nothing away from others. Raises `Overloaded`.
        """
        if announced - FREE_BYTES > self._bytes_left:
            raise self._no_room()
        return BodyAllowance(self)

    def no_place(self) -> Overloaded:
        """What a check ends in for which there is no place. Counts it."""
        self._watcher.shed()
        return Overloaded("too many checks at once")

    def take_bytes(self, count: int) -> None:
        """Count bytes that arrived. Raises `Overloaded`."""
        if count > self._bytes_left:
            raise self._no_room()
        self._bytes_left -= count

    def give_back(self, count: int) -> None:
        """Let go of bytes that were counted."""
        self._bytes_left += count

    def _no_room(self) -> Overloaded:
        self._watcher.shed()
        return Overloaded("too many large bodies at once")


class _Place:
    """The place of a check, for whoever enters: all that is known of one is how many there are."""

    __slots__ = ("_load",)

    def __init__(self, load: Load) -> None:
        self._load = load

    def __enter__(self) -> None:
        load = self._load
        if load.inside >= load.most_inside:
            raise load.no_place()
        load.inside += 1

    def __exit__(self, *_: object) -> None:
        self._load.inside -= 1


class BodyAllowance:
    """What one body may still take, and what it was counted for."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._free = FREE_BYTES
        self.counted = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._load.give_back(self.counted)

    def take(self, count: int) -> None:
        """Count so many bytes that arrived. Raises `Overloaded`."""
        free = min(self._free, count)
        self._free -= free
        if count > free:
            self._load.take_bytes(count - free)
            self.counted += count - free


class _Patience:
    """Looks every `LOOK_SECONDS` who has been waited for long enough, while there is anybody who is waited for.

    A timer for each of them, as `asyncio.timeout` has it, is a good part of what a small check costs.
    """

    def __init__(self) -> None:
        self._longest = float("inf")
        self._waits: set[_Wait] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self, wait: "_Wait", seconds: float) -> float:
        """Somebody is waited for. Gives until when, in the time of the event loop."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._waits = loop, set()
            loop.call_later(LOOK_SECONDS, self._look)
        self._waits.add(wait)
        return loop.time() + min(seconds, self._longest)

    def end(self, wait: "_Wait") -> None:
        """Nobody waits there any more."""
        self._waits.discard(wait)

    def limit(self, seconds: float) -> None:
        """Wait no longer than so many seconds from now on, for those who are waited for already too."""
        self._longest = seconds
        latest = asyncio.get_running_loop().time() + seconds
        for wait in self._waits:
            wait.until = min(wait.until, latest)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for wait in [wait for wait in self._waits if wait.until <= now]:
            wait.give_up()
        if self._waits:
            loop.call_later(LOOK_SECONDS, self._look)
        else:
            self._loop = None


class _Wait:
    """One that is waited for: the task that enters is interrupted in time, and sees a `TimeoutError`."""

    __slots__ = ("_is_late", "_patience", "_seconds", "_task", "until")

    def __init__(self, patience: _Patience, seconds: float) -> None:
        self._patience = patience
        self._seconds = seconds
        self._task: asyncio.Task[object] | None = None
        self._is_late = False
        self.until = 0.0

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self.until = self._patience.begin(self, self._seconds)

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self._patience.end(self)
        # Another cancellation that came at the same time has to go on.
        if self._is_late and self._task is not None and not self._task.uncancel() and kind is asyncio.CancelledError:
            raise TimeoutError from None

    def give_up(self) -> None:
        """Interrupt it."""
        if self._task is not None and not self._is_late:
            self._is_late = True
            self._task.cancel()
