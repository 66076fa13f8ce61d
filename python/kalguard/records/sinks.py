"""Where audit lines go: a file, standard output, or memory.

`FileSink` appends each line with one `write`, under a lock that all worker processes take, so that their lines never
mix and a killed process leaves whole ones. A line cut short (a full disk) is closed off by whoever writes next. When
the file was renamed away, as rotation does, it is made anew. A sink that failed tries again with the next line.
`write` reaches the system, so that a kill loses nothing; what a power loss may take is the `fsync` setting's business.
"""

import fcntl
import os
import select
import stat
from collections import deque
from contextlib import suppress
from errno import ENOSPC

from kalguard.errors import AuditUnavailable

MEMORY_RECORDS = 10_000
STDOUT_WAIT_SECONDS = 1.0
# Not blocking: what is no ordinary file must not hold up the service; an ordinary one knows no difference.
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK


class FileSink:
    """Appends to a file, which is created with mode 0600.

    `fsync` is `always` (a line is on disk before `write` ends), `interval` (when `sync` is called, and at the end) or
    `off`.
    """

    def __init__(self, path: str, *, fsync: str = "off") -> None:
        """Open nothing yet: a path that cannot be opened is a sink that does not work, not an error at start."""
        self._path = path
        self._fsync = fsync
        self._fd: int | None = None
        self._working = True

    def write(self, line: bytes) -> None:
        try:
            fd = self._current()
            _append(fd, line)
            if self._fsync == "always":
                os.fdatasync(fd)
        except OSError as error:
            self._working = False
            raise AuditUnavailable(f"audit log cannot be written: {error.strerror}") from error
        self._working = True

    def is_working(self) -> bool:
        """Whether the file can be opened now, and the last line was taken or there is room again.

        The second part matters: a service that is taken out of rotation gets no line to try again with.
        """
        try:
            fd = self._current()
            return self._working or _has_room(fd)
        except OSError:
            return False

    def descriptor(self) -> int | None:
        """A descriptor of its own for whoever forces the file to disk, to be closed there; `None` if none is open."""
        return None if self._fd is None else os.dup(self._fd)

    def close(self) -> None:
        if self._fd is None:
            return
        if self._fsync == "interval":
            with suppress(OSError):
                os.fdatasync(self._fd)
        os.close(self._fd)
        self._fd = None

    def _current(self) -> int:
        """The descriptor of the file that has the path now."""
        if self._fd is not None:
            if self._is_current(self._fd):
                return self._fd
            self.close()
        self._fd = os.open(self._path, _FLAGS, 0o600)
        return self._fd

    def _is_current(self, fd: int) -> bool:
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            return False
        ours = os.fstat(fd)
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def _append(fd: int, line: bytes) -> None:
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        data = (b"\n" if _ends_mid_line(fd) else b"") + line + b"\n"
        if os.write(fd, data) != len(data):
            raise OSError(ENOSPC, os.strerror(ENOSPC))
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)


def _ends_mid_line(fd: int) -> bool:
    """Whether somebody's last line was cut short."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
        return False
    return os.pread(fd, 1, status.st_size - 1) != b"\n"


def _has_room(fd: int) -> bool:
    return stat.S_ISREG(os.fstat(fd).st_mode) and os.fstatvfs(fd).f_bavail > 0


class StdoutSink:
    """Writes to standard output, for a collector that reads it. One that stops reading is an error after a second."""

    def __init__(self, fd: int = 1) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._torn = False
        self._working = True

    def write(self, line: bytes) -> None:
        data = memoryview((b"\n" if self._torn else b"") + line + b"\n")
        try:
            while data:
                if not self._poll.poll(STDOUT_WAIT_SECONDS * 1000):
                    raise TimeoutError(0, "nobody reads it")
                data = data[os.write(self._fd, data[: select.PIPE_BUF]) :]  # what surely does not block
                self._torn = bool(data)
        except OSError as error:
            self._working = False
            raise AuditUnavailable(f"standard output cannot be written: {error.strerror}") from error
        self._working = True

    def is_working(self) -> bool:
        """Whether the last line was taken, or could be now."""
        return self._working or bool(self._poll.poll(0) == [(self._fd, select.POLLOUT)])

    def close(self) -> None:
        """Leave standard output open: it is not ours."""


class MemorySink:
    """Keeps the last `MEMORY_RECORDS` lines. They are gone with the process."""

    def __init__(self) -> None:
        self.lines: deque[bytes] = deque(maxlen=MEMORY_RECORDS)

    def write(self, line: bytes) -> None:
        self.lines.append(line)

    def is_working(self) -> bool:
        """Always."""
        return True

    def close(self) -> None:
        """There is nothing to let go of."""
