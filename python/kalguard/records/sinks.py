"""Where audit lines go: a file, standard output, or memory.

`FileSink` writes each line with one `write` on a descriptor opened for appending, so that lines of several worker
processes never mix and a killed process leaves whole lines. A line cut short (a full disk) is closed off before the
next one, which therefore stays readable. When the file was renamed away, as rotation does, it is made anew.
A sink that failed tries again with the next line. `write` reaches the system, so that a kill loses nothing; what a
power loss may take is the `fsync` setting's business.
"""

import os
import stat
from collections import deque
from contextlib import suppress
from errno import ENOSPC

from kalguard.errors import AuditUnavailable

MEMORY_RECORDS = 10_000
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


class FileSink:
    """Appends to a file, which is created with mode 0600. With `fsync_each` a line is on disk before `write` ends."""

    def __init__(self, path: str, *, fsync_each: bool = False) -> None:
        """Open nothing yet: a path that cannot be opened is a sink that does not work, not an error at start."""
        self._path = path
        self._fsync_each = fsync_each
        self._fd: int | None = None
        self._torn = False
        self._working = True

    def write(self, line: bytes) -> None:
        try:
            fd = self._current()
            self._append(fd, line)
            if self._fsync_each:
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

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def sync(self) -> None:
        """Force what was written to disk. Raises `OSError`."""
        if self._fd is not None:
            os.fdatasync(self._fd)

    def _append(self, fd: int, line: bytes) -> None:
        data = (b"\n" if self._torn else b"") + line + b"\n"
        written = os.write(fd, data)
        if written == len(data):
            self._torn = False
            return
        self._torn = self._torn or written > 0
        raise OSError(ENOSPC, os.strerror(ENOSPC))

    def _current(self) -> int:
        """The descriptor of the file that has the path now."""
        if self._fd is not None:
            if self._is_current(self._fd):
                return self._fd
            self.close()
        self._torn = _ends_mid_line(self._path)
        self._fd = os.open(self._path, _FLAGS, 0o600)
        return self._fd

    def _is_current(self, fd: int) -> bool:
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            return False
        ours = os.fstat(fd)
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def _has_room(fd: int) -> bool:
    return stat.S_ISREG(os.fstat(fd).st_mode) and os.fstatvfs(fd).f_bavail > 0


def _ends_mid_line(path: str) -> bool:
    """Whether a process before us left half a line. What cannot be read is taken to be in order."""
    with suppress(OSError), open(path, "rb") as file:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode) and file.seek(0, os.SEEK_END) > 0:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    return False


class StdoutSink:
    """Writes to standard output, for a collector that reads it."""

    def __init__(self, fd: int = 1) -> None:
        self._fd = fd
        self._working = True

    def write(self, line: bytes) -> None:
        data = memoryview(line + b"\n")
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError as error:
            self._working = False
            raise AuditUnavailable(f"standard output cannot be written: {error.strerror}") from error
        self._working = True

    def is_working(self) -> bool:
        """Whether the last line was taken."""
        return self._working

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
