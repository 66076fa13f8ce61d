"""The processes of one run, from the start to the end of the last of them; what they write is read and bounded here.

INVARIANT: after `Process` was left, all that it started has ended.
"""

import json
import math
import os
import select
import selectors
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from kalguard.errors import SandboxError

_BLOCK = 64 * 1024
_SETTING_UP_SECONDS = _ENDING_SECONDS = 10
_SHELL_SIGNALS = range(129, 193)  # exit codes by which bubblewrap says which signal ended a command


class NotSetUp(Exception):
    """The sandbox was not set up; nothing was run in it. The text says what was in the way."""


class Ended(msgspec.Struct, frozen=True):
    """How a command ended: its exit code, or the negative number of a signal."""

    status: int
    stdout: bytes
    stderr: bytes
    timed_out: bool
    truncated: bool


class Pipes:
    """Pipes between the agent and what it starts, none of them with the number of a standard stream.

    `config` and `status` are the launcher's. On `report` the supervisor says how the command ended; it ends all when
    something comes on `life`, or nobody holds it any more. Raises `OSError`, and then none is open.
    """

    def __init__(self) -> None:
        try:
            self.config_read, self.config_write = _pipe()
            self.status_read, self.status_write = _pipe()
            self.report_read, self.report_write = _pipe()
            self.life_read, self.life_write = _pipe()
        except OSError:
            self.close()
            raise

    @property
    def inherited(self) -> tuple[int, ...]:
        """Those that the other side has."""
        return self.config_read, self.status_write, self.report_write, self.life_read

    def close(self, *names: str) -> None:
        """Close those with these names, or all."""
        for name in names or tuple(vars(self)):
            descriptor = getattr(self, name)
            if descriptor >= 0:
                os.close(descriptor)
                setattr(self, name, -1)


class Process:
    """What `command` gives for the pipes, started. Bubblewrap tells signals by exit codes, as shells do.

    Raises `OSError` where the supervisor cannot be started.
    """

    def __init__(self, command: Callable[[Pipes], list[str]], *, by_bwrap: bool) -> None:
        self._pipes = Pipes()
        self._by_bwrap, self._signal_codes = by_bwrap, _SHELL_SIGNALS if by_bwrap else range(0)
        try:
            self._popen = subprocess.Popen(  # noqa: S603 the command is what the sandbox is made of
                command(self._pipes),
                stdin=subprocess.PIPE,  # also for no input: a tool of root's could change the modes of /dev/null
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=self._pipes.inherited,
                env={},  # what a tool could read of its ancestors
                cwd="/",
                start_new_session=True,
            )
        except BaseException:
            self._pipes.close()
            raise
        self._pipes.close("config_read", "status_write", "report_write", "life_read")

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._end()
        finally:
            for stream in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
                if stream is not None:
                    with suppress(OSError):  # input that was not wanted
                        stream.close()
            self._pipes.close()

    def configure(self, config: dict[str, Any], cancel_fd: int) -> dict[str, Any]:
        """Hand the launcher its configuration when it is there, and give its answer. Raises `NotSetUp`."""
        deadline = time.monotonic() + _SETTING_UP_SECONDS
        status = _Lines(self._pipes.status_read, cancel_fd, deadline)
        if status.next() != b"ready":
            complaint = self._complaint()
            if self._was_killed():
                raise SandboxError("killed while the sandbox was set up: the memory limit may be too low for that")
            raise NotSetUp(complaint)
        try:
            with open(self._pipes.config_write, "wb", closefd=False) as stream:
                stream.write(json.dumps(config).encode() + b"\n")
        except BrokenPipeError:
            raise SandboxError(f"the launcher failed: {self._complaint()}") from None
        self._pipes.close("config_write")
        answer: dict[str, Any] = {}
        while line := status.next():
            answer |= json.loads(line)
        if not answer:
            raise SandboxError(f"the launcher failed: {self._complaint()}")
        return answer

    def wait(self, stdin: bytes, most_bytes: int, cancel_fd: int, deadline: float) -> Ended:
        """Feed and read the command until it ends, is late, or has written too much. Raises `InterruptedError`."""
        streams = _Streams(self._popen, stdin, most_bytes)
        report, status = b"", None
        with streams.selector as selector:
            selector.register(cancel_fd, selectors.EVENT_READ, "cancel")
            selector.register(self._pipes.report_read, selectors.EVENT_READ, "report")
            while status is None and not streams.truncated and (left := deadline - time.monotonic()) > 0:
                for key, _ in selector.select(left):
                    if key.data == "cancel":
                        raise InterruptedError
                    if key.data != "report":
                        streams.move(key)
                    elif block := os.read(self._pipes.report_read, _BLOCK):
                        report += block
                        status = self._status(report)
                    else:
                        status = -signal.SIGKILL  # the supervisor has been killed
            if status is not None:
                streams.take_the_rest()
        return Ended(
            -signal.SIGKILL if status is None else status,
            bytes(streams.found["stdout"]),
            bytes(streams.found["stderr"]),
            timed_out=status is None and not streams.truncated,
            truncated=streams.truncated,
        )

    def _status(self, report: bytes) -> int | None:
        """What the report says so far."""
        if not report.endswith(b"\n"):
            return None
        code = int(json.loads(report)["exitCode"])
        return 128 - code if code in self._signal_codes else code

    def _was_killed(self) -> bool:
        """Whether what the supervisor started was killed, as by the kernel for want of memory; once it has ended."""
        report, deadline = b"", time.monotonic() + 1
        while not report.endswith(b"\n") and _readable([self._pipes.report_read], deadline):
            if not (block := os.read(self._pipes.report_read, _BLOCK)):
                return False
            report += block
        return report.endswith(b"\n") and self._status(report) == -signal.SIGKILL

    def _complaint(self) -> str:
        """What was said before anything of the tool's could be started."""
        assert self._popen.stderr is not None  # noqa: S101 a pipe was asked for
        said, deadline = b"", time.monotonic() + 1
        while _readable([self._popen.stderr.fileno()], deadline):
            if not (block := os.read(self._popen.stderr.fileno(), _BLOCK)) or len(said) > _BLOCK:
                break
            said += block
        text = " ".join(said.decode(errors="replace").split())
        return text.removeprefix("bwrap: ")[-500:] or "it ended at once"

    def _end(self) -> None:
        """Have the supervisor kill all, and wait for it. Raises `SandboxError` if that takes too long."""
        # Said, since a copy of the agent's process may hold this end too; it may have ended by itself.
        with suppress(BrokenPipeError):
            os.write(self._pipes.life_write, b"x")
        self._pipes.close("life_write", "config_write")
        try:
            self._popen.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            if self._by_bwrap:  # which dies with the supervisor; else it is the only one that can still end all
                self._popen.kill()
                with suppress(subprocess.TimeoutExpired):
                    self._popen.wait(_ENDING_SECONDS)
            raise SandboxError("the tool was killed and has not ended") from None


class _Lines:
    """Lines from a pipe, as long as there is time."""

    def __init__(self, descriptor: int, cancel_fd: int, deadline: float) -> None:
        self._descriptor, self._cancel_fd, self._deadline = descriptor, cancel_fd, deadline
        self._begun = b""

    def next(self) -> bytes:
        """The next line; nothing at the end. Raises `SandboxError`, `InterruptedError`."""
        while b"\n" not in self._begun:
            ready = _readable([self._descriptor, self._cancel_fd], self._deadline)
            if self._cancel_fd in ready:
                raise InterruptedError
            if not ready:
                raise SandboxError("the sandbox was not set up in time")
            block = os.read(self._descriptor, _BLOCK)
            if not block:
                return b""
            self._begun += block
        line, _, self._begun = self._begun.partition(b"\n")
        return line


class _Streams:
    """The standard streams of a command, its outputs kept up to a bound."""

    def __init__(self, popen: subprocess.Popen[bytes], stdin: bytes, most_bytes: int) -> None:
        self.selector = selectors.DefaultSelector()
        self.found = {"stdout": bytearray(), "stderr": bytearray()}
        self.truncated = False
        self._left, self._most_bytes = memoryview(stdin), most_bytes
        for name, stream in (("stdin", popen.stdin), ("stdout", popen.stdout), ("stderr", popen.stderr)):
            if stream is not None:
                os.set_blocking(stream.fileno(), False)
                event = selectors.EVENT_WRITE if name == "stdin" else selectors.EVENT_READ
                self.selector.register(stream, event, name)

        if not stdin and popen.stdin is not None:
            self._close(self.selector.get_key(popen.stdin))

    def move(self, key: selectors.SelectorKey) -> None:
        """Write or read some bytes."""
        if key.data == "stdin":
            with suppress(BrokenPipeError):
                self._left = self._left[os.write(key.fd, self._left[:_BLOCK]) :]
                if self._left:
                    return
            self._close(key)
        elif not self._read(key):
            self._close(key)

    def take_the_rest(self) -> None:
        """Read what is there by now, and no more."""
        for key in list(self.selector.get_map().values()):
            if key.data in self.found:
                with suppress(BlockingIOError):
                    while not self.truncated and self._read(key):
                        pass

    def _read(self, key: selectors.SelectorKey) -> int:
        """How many bytes were read; 0 at the end."""
        found = self.found[key.data]
        room = self._most_bytes - len(found)
        block = os.read(key.fd, min(_BLOCK, room + 1))
        self.truncated = self.truncated or len(block) > room
        found += block[:room]
        return len(block)

    def _close(self, key: selectors.SelectorKey) -> None:
        self.selector.unregister(key.fileobj)
        if key.data == "stdin":
            key.fileobj.close()  # type: ignore[union-attr]


def _readable(descriptors: list[int], deadline: float) -> list[int]:
    """Which of these can be read from, or are at their end; none when it is too late. They may have any number."""
    waiting = select.poll()
    for descriptor in descriptors:
        waiting.register(descriptor, select.POLLIN)
    left = max(0.0, deadline - time.monotonic())
    return [descriptor for descriptor, _ in waiting.poll(math.ceil(left * 1000))]


def _pipe() -> tuple[int, int]:
    """Both ends under numbers from 3, which the standard streams of a child cannot take."""
    read, write = os.pipe()
    if read >= 3 and write >= 3:
        return read, write
    import fcntl  # not on Windows, where runs are refused before

    found: list[int] = []
    try:
        found.extend(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 3) for end in (read, write))
    except OSError:
        for descriptor in found:
            os.close(descriptor)
        raise
    finally:
        os.close(read)
        os.close(write)
    return found[0], found[1]
