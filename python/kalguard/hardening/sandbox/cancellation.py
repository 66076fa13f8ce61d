"""A wish that another thread end what it does, which it notices while it waits for something else."""

import os
import threading


class Cancellation:
    """Made by who may cancel, begun and finished by who works. `finished` is set when nothing is done any more."""

    def __init__(self) -> None:
        self.finished = threading.Event()
        self._lock = threading.Lock()
        self._read = self._write = -1
        self._is_set = False

    def begin(self) -> int:
        """A descriptor that can be read from once it is cancelled. Raises `InterruptedError` if it is by now."""
        with self._lock:
            if self._is_set:
                raise InterruptedError
            self._read, self._write = os.pipe()
            return self._read

    def set(self) -> None:
        """Cancel it. To be waited for with `finished`."""
        with self._lock:
            self._is_set = True
            if self._write >= 0:
                os.write(self._write, b"x")
            elif self._read < 0:
                self.finished.set()  # not begun, and never will be

    def finish(self) -> None:
        """It is over, however it went."""
        with self._lock:
            for descriptor in {self._read, self._write} - {-1}:
                os.close(descriptor)
            self._read = self._write = -1
            self._is_set = True
            self.finished.set()
