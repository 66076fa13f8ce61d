"""The server, as far as it replaces worker processes: an old one ends when the one after it serves, and not before.

The server's own way would end it a fixed time after the new one was started: where starts take longer, nobody would
listen meanwhile. A new worker that does not come to serve leaves the old one where it is; that is logged, and tried
again. The main process calls this, in its main thread, where SIGTERM finds it (`sidecar.drain`).
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from granian.server.mp import MPServer, WorkerProcess

from kalguard.sidecar.serving import mark

# As long as Kubernetes waits for a start with our manifests. The old worker serves meanwhile, so there is no hurry; but
# a new one that hangs takes memory, and somebody should hear of it.
READY_SECONDS = 120.0
AGAIN_SECONDS = 60.0
_LOOK_SECONDS = 0.05
_SIGNAL_SECONDS = 0.5
_log = logging.getLogger(__name__)


class Interrupt(threading.Event):
    """What the main thread waits for, in steps: whichever thread the system gave a signal to, it is seen to soon.

    Python runs the handler of a signal in the main thread. But where another thread took the signal, nothing ends a
    wait of the main one for a lock.
    """

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, or for so many seconds."""
        if timeout is not None:
            return super().wait(timeout)
        while not super().wait(_SIGNAL_SECONDS):
            pass
        return True


class TakeoverServer(MPServer):
    """The server, with its worker processes replaced as said above. They say in `serving` that they serve."""

    def __init__(self, target: str, *, serving: Path, **options: Any) -> None:
        super().__init__(target, **options)
        self.main_loop_interrupt = Interrupt()
        self._serving = serving
        self._again: threading.Timer | None = None

    def _respawn_workers(self, workers: Sequence[int], spawn_target: Any, target_loader: Any, delay: float = 0) -> None:
        """The server calls this: with a delay for a reload, without for workers that died."""

        def worker_for(idx: int) -> WorkerProcess:
            return self._spawn_worker(idx, spawn_target, target_loader)

        if delay:
            self._reload_workers(workers, worker_for)
            return
        for idx in workers:
            # It serves, if who died was to take its place, or had it before.
            if not self.wrks[idx].is_alive():
                self._replace_dead(idx, worker_for)

    def _replace_dead(self, idx: int, worker_for: Callable[[int], WorkerProcess]) -> None:
        _log.info("Respawning worker-%d", idx + 1)
        self._forget(self.wrks[idx])
        self.respawned_wrks[idx] = time.monotonic()
        self.wrks[idx] = worker_for(idx)
        self.wrks[idx].start()

    def _reload_workers(self, workers: Sequence[int], worker_for: Callable[[int], WorkerProcess]) -> None:
        """Replace one after the other, until one cannot be: it would be the same with the next."""
        if self._again is not None:
            self._again.cancel()
        for idx in workers:
            if not self._replace(idx, worker_for):
                return

    def _replace(self, idx: int, worker_for: Callable[[int], WorkerProcess]) -> bool:
        """Put a new worker in the place of the one before, once it serves. Whether that came about."""
        _log.info("Respawning worker-%d", idx + 1)
        old, new, begun = self.wrks[idx], worker_for(idx), time.monotonic()
        new.interrupt_by_parent = True  # if it dies, we see it here: the server need not replace it
        try:
            new.start()
            problem = self._wait(idx, new)
        except (OSError, RuntimeError) as error:  # no process, or no thread
            problem = f"cannot be started: {error}"
        if problem is None and self._serves(new):
            self.wrks[idx], self.respawned_wrks[idx] = new, begun
            new.interrupt_by_parent = False
            if new.is_alive():
                self._end(old)
                return True
            self.wrks[idx], problem = old, "ended"
        self._end(new)
        if problem is not None:
            _log.error("new worker process %s: those before go on. It is tried again in a minute", problem)
            self._try_again()
        return False

    def _wait(self, idx: int, new: WorkerProcess) -> str | None:
        """Return when a new worker serves, or something else is to be done first. Gives why it never will serve."""
        deadline = time.monotonic() + READY_SECONDS
        while not self._serves(new):
            if not new.is_alive():
                return "ended before it served"
            if time.monotonic() > deadline:
                return f"did not serve within {READY_SECONDS:g} seconds"
            if self.interrupt_signal:
                return None
            if any(not self.wrks[dead].is_alive() for dead in self.interrupt_children if dead != idx):
                self.reload_signal = True  # once that one is replaced
                return None
            time.sleep(_LOOK_SECONDS)
        return None

    def _serves(self, worker: WorkerProcess) -> bool:
        return mark(self._serving, worker.inner.pid).exists()

    def _end(self, worker: WorkerProcess) -> None:
        if worker.is_alive():
            worker.terminate()
            worker.join(self.workers_kill_timeout)
        if worker.is_alive():
            _log.warning("worker process %s is killed: it did not finish in time", worker.inner.pid)
            worker.kill()
            worker.join()
        self._forget(worker)

    def _forget(self, worker: WorkerProcess) -> None:
        """Its number may be another's one day."""
        with suppress(OSError):
            mark(self._serving, worker.inner.pid).unlink()

    def _try_again(self) -> None:
        self._again = threading.Timer(AGAIN_SECONDS, self.signal_handler_reload)
        self._again.daemon = True
        with suppress(RuntimeError):  # no thread can be had: whoever sent SIGHUP has to send it again
            self._again.start()
