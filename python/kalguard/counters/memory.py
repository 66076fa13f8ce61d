"""Counts in the memory of one process: for an app that runs in a process of its own, without the real server.

Windows in which nothing was counted for a whole span are dropped, so that agents which come and go leave nothing
behind. More than `MAX_WINDOWS` at once are refused rather than forgotten. The arithmetic is the core's.
"""

from collections.abc import Callable, Sequence
from threading import Lock

from kalguard._core import Window
from kalguard.counters.answer import taken
from kalguard.decision.limits import Limit, Taken
from kalguard.errors import Unavailable

MAX_WINDOWS = 65_536
_FIRST_SWEEP = 1024


class MemoryCounters:
    """Counts in a dictionary of windows. `clock` gives seconds that never jump back."""

    name = "memory"

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._windows: dict[tuple[str, ...], Window] = {}
        self._sweep_at = _FIRST_SWEEP
        self._swept_at = -1.0
        self._lock = Lock()

    async def take(self, limits: Sequence[Limit]) -> Taken:
        """See `decision.limits.Counters.take`."""
        with self._lock:
            now = self._clock()
            return taken(Window.take([(self._window(limit.key, now), limit.allowed) for limit in limits], now))

    async def count(self, limits: Sequence[Limit]) -> None:
        """Count a call that was allowed elsewhere. Raises `Unavailable`."""
        with self._lock:
            now = self._clock()
            for window in [self._window(limit.key, now) for limit in limits]:
                window.add()

    def __len__(self) -> int:
        """How many windows are kept."""
        return len(self._windows)

    def _window(self, key: tuple[str, ...], now: float) -> Window:
        """The window of a key, at this second: not idle, so that none is dropped for the next one of the same call."""
        found = self._windows.get(key)
        if found is None:
            self._make_room(now)
            found = self._windows[key] = Window()
        found.advance(now)
        return found

    def _make_room(self, now: float) -> None:
        if len(self._windows) < self._sweep_at:
            return
        if now >= self._swept_at + 1:  # nothing is idle before another second has passed
            self._swept_at = now
            for key in [key for key, kept in self._windows.items() if kept.is_idle(now)]:
                del self._windows[key]
        if len(self._windows) >= MAX_WINDOWS:
            raise Unavailable("limits cannot be counted: too many agents at once")
        self._sweep_at = min(MAX_WINDOWS, max(_FIRST_SWEEP, 2 * len(self._windows)))
