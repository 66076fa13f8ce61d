"""Sliding windows in the memory of one process. Exact in that process; each worker process has its own.

A window remembers the time of every call it allowed, so it holds at most as many entries as its limit. Windows in
which nothing happened for a whole span are dropped, so that agents which come and go leave nothing behind.
"""

from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock

from kalguard.decision.limits import WINDOW_SECONDS

_SWEEP_EVERY = 1024  # calls between two searches for idle windows


class MemoryCounters:
    """Counts in a dictionary of deques. `clock` gives seconds that never jump back (`time.monotonic`)."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._windows: dict[tuple[str, ...], deque[float]] = {}
        self._calls = 0
        self._lock = Lock()

    def take(self, limits: Sequence[tuple[tuple[str, ...], int]]) -> float:
        """See `decision.limits.Counters.take`."""
        with self._lock:  # two callers must not both take the last place
            return self._take(limits)

    def _take(self, limits: Sequence[tuple[tuple[str, ...], int]]) -> float:
        now = self._clock()
        self._sweep(now)
        windows = [(self._window(key, now), limit) for key, limit in limits]
        wait = max((self._wait(window, limit, now) for window, limit in windows), default=0.0)
        if wait <= 0.0:
            for window, _ in windows:
                window.append(now)
        return wait

    def __len__(self) -> int:
        """How many windows are kept."""
        return len(self._windows)

    def _window(self, key: tuple[str, ...], now: float) -> deque[float]:
        window = self._windows.setdefault(key, deque())
        while window and window[0] <= now - WINDOW_SECONDS:
            window.popleft()
        return window

    @staticmethod
    def _wait(window: deque[float], limit: int, now: float) -> float:
        """Seconds until fewer than `limit` calls lie in the window, even if the limit has been lowered meanwhile."""
        excess = len(window) - limit
        return 0.0 if excess < 0 else window[excess] + WINDOW_SECONDS - now

    def _sweep(self, now: float) -> None:
        self._calls += 1
        if self._calls % _SWEEP_EVERY:
            return
        idle = [key for key, window in self._windows.items() if not window or window[-1] <= now - WINDOW_SECONDS]
        for key in idle:
            del self._windows[key]
