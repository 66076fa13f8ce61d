"""When workers that die again and again are called a crash loop, and the service ends.

Workers that serve may be killed, and often: each is replaced. A crash loop is only what hardly gets to serve: workers
that die soon after their start, one after the other. Then the service ends, for whoever runs it to notice.
"""

import time
from collections import deque
from collections.abc import Callable

SHORT_SECONDS = 3.0  # from the start of a worker; about a second of it goes by until it serves
DEATHS = 10  # in a row, of workers that lived no longer than that, whichever they are
WINDOW_SECONDS = 60.0


class Respawns(dict[int, float]):
    """Takes the place of the server's `respawned_wrks`: worker -> when it was last put in another's place.

    The server asks `get` for that, for each worker that has died, and ends if it was within seconds. It forgets it all
    with every replacement and reload; so the starts are kept here. A worker that is not known was there from the start.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._first_start = clock()
        self._starts: dict[int, float] = {}
        self._deaths: deque[float] = deque(maxlen=DEATHS)

    def __setitem__(self, worker: int, at: float) -> None:
        self._starts[worker] = at
        super().__setitem__(worker, at)

    def get(self, worker: int, default: float = 0) -> float:  # type: ignore[override]
        """Note that a worker has died: now if that makes it a crash loop, `default` if it does not."""
        now = self._clock()
        if now - self._starts.get(worker, self._first_start) > SHORT_SECONDS:
            self._deaths.clear()
            return default
        self._deaths.append(now)
        is_loop = len(self._deaths) == DEATHS and now - self._deaths[0] < WINDOW_SECONDS
        return now if is_loop else default
