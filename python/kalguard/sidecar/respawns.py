"""How many dead workers are replaced before it is called a crash loop.

The server ends when a worker that it has just put in another's place dies within seconds. A worker that is killed twice
is no crash loop: only one that dies again and again is.
"""

import time
from collections import deque
from collections.abc import Callable

REPLACED = 40  # workers in `WINDOW_SECONDS`, reloads included
WINDOW_SECONDS = 60.0


class Respawns(dict[int, float]):
    """Takes the place of the server's `respawned_wrks`: worker -> when it was last put in another's place.

    The server asks `get` for that when a worker has died; it is told only if too many were replaced.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._times: deque[float] = deque(maxlen=REPLACED)

    def __setitem__(self, worker: int, at: float) -> None:
        self._times.append(at)
        super().__setitem__(worker, at)

    def get(self, worker: int, default: float = 0) -> float:  # type: ignore[override]
        """When the worker was put in another's place, or `default` if that is no reason to stop."""
        is_loop = len(self._times) == REPLACED and self._clock() - self._times[0] < WINDOW_SECONDS
        return super().get(worker, default) if is_loop else default
