"""The end of the service on SIGTERM: first draining, then the workers are stopped, then the main process ends with 0.

The server's own stop would wait until it has replaced the worker that it is just replacing, which takes seconds for
each worker after SIGHUP. So the workers are stopped from here, in a signal handler, wherever the server is in its work.
The kernel's timer wakes it: that needs no thread, which cannot be had at times.
"""

import atexit
import logging
import multiprocessing
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

_log = logging.getLogger(__name__)
_AT_ONCE = 0.001  # seconds; 0 would switch the timer off
_KILLED_SECONDS = 0.2  # for those who were killed to be gone
_LEAST_SECONDS = 0.3
_LAST_SECONDS = 0.8  # for what the main process itself has to put away


class Server(Protocol):
    """The server, of which only its worker processes are of interest."""

    wrks: list[Any]


class Drain:
    """What is left of the time to end in, once SIGTERM has come."""

    def __init__(self) -> None:
        self.deadline: float | None = None  # of `time.monotonic`

    def seconds_left(self, otherwise: float) -> float:
        """Seconds, at least some tenths; `otherwise` if it is not SIGTERM that ends the process."""
        return otherwise if self.deadline is None else max(_LEAST_SECONDS, self.deadline - time.monotonic())


def drain_on_sigterm(server: Server, marker: Path, drain: Drain, *, grace: float, finish: float) -> None:
    """From now on let SIGTERM end the process. To be called in the main thread.

    `marker` then tells the workers that the service is draining. After `grace` seconds they are told to finish what
    they have begun, and have `finish` seconds for it; what they leave of that is for the main process to hand over what
    waits (`drain`). The end comes within another second, whatever happens.
    """

    def on_sigterm(*_: object) -> None:
        # Asking twice ends nothing sooner or later. Not `SIG_IGN`, which workers that are started now would inherit.
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.signal(signal.SIGALRM, on_alarm)
        signal.setitimer(signal.ITIMER_REAL, max(grace, _AT_ONCE))
        with suppress(OSError):  # no room for it: the end comes all the same
            marker.touch()
        _log.info("draining")

    def on_alarm(*_: object) -> None:
        drain.deadline = time.monotonic() + finish
        _stop_workers(server, finish)
        signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
        signal.setitimer(signal.ITIMER_REAL, max(0.0, drain.deadline - time.monotonic()) + _LAST_SECONDS)
        sys.exit(0)

    signal.signal(signal.SIGTERM, on_sigterm)
    # Python lets go of its handlers when it ends: what the timer did then would be a death by SIGALRM.
    atexit.register(signal.setitimer, signal.ITIMER_REAL, 0)


def _stop_workers(server: Server, seconds: float) -> None:
    for known in server.wrks:
        known.interrupt_by_parent = True  # the server need not call it a death
    workers = multiprocessing.active_children()  # one that is just being replaced is only here
    for worker in workers:
        worker.terminate()
    _wait(workers, seconds)
    late = [worker for worker in workers if _is_running(worker)]
    for worker in late:
        _log.warning("worker process %s is killed: it did not finish in time", worker.pid)
        worker.kill()
    _wait(late, _KILLED_SECONDS)


def _is_running(worker: multiprocessing.process.BaseProcess) -> bool:
    """Whether a worker process is there. One that the server has just buried counts as alive for its library."""
    if not worker.is_alive() or worker.pid is None:
        return False
    try:
        os.kill(worker.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _wait(workers: list[multiprocessing.process.BaseProcess], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
