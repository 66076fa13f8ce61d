"""Where audit records go: a file, standard output, or memory.

`WriterSink` hands records to the writer of `kalguard._core`, whose thread seals them into its chain and appends them in
the order in which they came, those that wait together in one write; `write` ends when that has reached the system, so
that a kill loses nothing (what a power loss may take is the `fsync` setting's business). A writer that does not get
on, since the disk hangs, costs those who wait two seconds and those who come after nothing: their records are refused
until it does.
"""

import asyncio
import secrets
from collections import deque
from typing import Protocol

import msgspec

from kalguard._core import AuditChain, AuditWriter
from kalguard.errors import AuditUnavailable

MEMORY_RECORDS = 10_000
WAIT_SECONDS = 2.0
CLOSE_SECONDS = 1.0


class ChainOptions(msgspec.Struct, frozen=True):
    """How lines are chained.

    `key` is the seed of the Ed25519 key that some are signed with. `depth` is 1 where the chain's members are members
    of the record, 2 where they are members of its last member.
    """

    key: bytes | None = None
    depth: int = 1


class WriterWatcher(Protocol):
    """Is told how the writing goes."""

    def audit_written(self, count: int, seconds: float) -> None:
        """`count` records were written together, in so many seconds."""

    def audit_failed(self, count: int) -> None:
        """`count` records could not be written."""

    def audit_queued(self, depth: int) -> None:
        """So many records wait to be written. Told after each write, and when one takes too long."""


class WriterSink:
    """Hands records to a writer, and waits for it in the event loop."""

    def __init__(self, writer: AuditWriter, watcher: WriterWatcher | None = None) -> None:
        self._writer = writer
        self._watcher = watcher
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[tuple[int, float, asyncio.Future[None]]] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self._is_stuck = False
        self._is_to_wake = False

    def write(self, record: bytes, *, sign: bool = False) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._attend(loop)
        written: asyncio.Future[None] = loop.create_future()
        if self._is_stuck:
            written.set_exception(self._failed("it does not get on"))
            return written
        try:
            ticket = self._writer.submit(record, sign)
        except AuditUnavailable as error:
            written.set_exception(self._failed(str(error)))
            return written
        if not self._is_to_wake:
            self._is_to_wake = True
            loop.call_soon(self._wake)  # when all that this turn of the loop has to say is handed over
        self._waiting.append((ticket, loop.time() + WAIT_SECONDS, written))
        if self._watch is None:
            self._watch = loop.call_later(WAIT_SECONDS, self._give_up, loop)
        return written

    def is_working(self) -> bool:
        """Whether the next record can be expected to be taken."""
        return not self._is_stuck and self._writer.is_working()

    @property
    def unsigned(self) -> int:
        """Lines since the last signed one; 0 without a key."""
        return self._writer.unsigned

    def sync(self) -> None:
        """Force what was written to disk. Blocks. Raises `OSError`."""
        self._writer.sync()

    async def close(self) -> None:
        """Write what waits, for a second at most."""
        await asyncio.to_thread(self._writer.close, CLOSE_SECONDS)
        self._settle()
        while self._waiting:
            _give(self._waiting.popleft()[2], self._failed("it does not get on"))
        if self._watch is not None:
            self._watch.cancel()
        if self._loop is not None:
            self._loop.remove_reader(self._writer.fileno())
            self._loop = None

    def _attend(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for the writer in this loop."""
        self._waiting.clear()
        self._watch = None
        self._is_to_wake = False
        self._loop = loop
        loop.add_reader(self._writer.fileno(), self._settle)

    def _wake(self) -> None:
        self._is_to_wake = False
        self._writer.wake()

    def _settle(self) -> None:
        """Tell whoever waits what became of their records."""
        for through, count, problem, seconds in self._writer.outcomes():
            self._is_stuck = False
            if self._watcher is not None and problem is None and count:
                self._watcher.audit_written(count, seconds)
            while self._waiting and self._waiting[0][0] <= through:
                _, _, written = self._waiting.popleft()
                if problem is None:
                    _give(written, None)
                else:
                    _give(written, self._failed(problem))
        self._tell_queued()

    def _give_up(self, loop: asyncio.AbstractEventLoop) -> None:
        """Refuse whoever has waited too long. What is not being written yet will not be."""
        self._settle()  # what was written meanwhile was not too late
        now, self._watch = loop.time(), None
        while self._waiting and self._waiting[0][1] <= now:
            ticket, _, written = self._waiting.popleft()
            self._writer.withdraw(ticket)
            self._is_stuck = True
            _give(written, self._failed("it does not get on"))
        if self._waiting:
            self._watch = loop.call_at(self._waiting[0][1], self._give_up, loop)
        self._tell_queued()

    def _tell_queued(self) -> None:
        if self._watcher is not None:
            self._watcher.audit_queued(self._writer.queued)

    def _failed(self, problem: str) -> AuditUnavailable:
        if self._watcher is not None:
            self._watcher.audit_failed(1)
        return AuditUnavailable(f"audit log cannot be written: {problem}")


def file_sink(
    path: str, options: ChainOptions | None = None, *, fsync: str = "off", watcher: WriterWatcher | None = None
) -> WriterSink:
    """Append to a file, which is created with mode 0600.

    `fsync` is `always` (a record is on disk before `write` ends), `interval` (when `sync` is called) or `off`. A path
    that cannot be opened is a sink that does not work, not an error.
    """
    options = options or ChainOptions()
    writer = AuditWriter.file(path, chain=_chain_id(), key=options.key, depth=options.depth, sync=fsync == "always")
    return WriterSink(writer, watcher)


def stdout_sink(options: ChainOptions | None = None, *, watcher: WriterWatcher | None = None) -> WriterSink:
    """Write to standard output, for a collector that reads it. One that stops reading is an error after a second."""
    options = options or ChainOptions()
    return WriterSink(AuditWriter.stdout(chain=_chain_id(), key=options.key, depth=options.depth), watcher)


class MemorySink:
    """Keeps the last `MEMORY_RECORDS` lines. They are gone with the process."""

    def __init__(self, options: ChainOptions | None = None) -> None:
        options = options or ChainOptions()
        self._chain = AuditChain(chain=_chain_id(), key=options.key, depth=options.depth)
        self.lines: deque[bytes] = deque(maxlen=MEMORY_RECORDS)

    async def write(self, record: bytes, *, sign: bool = False) -> None:
        self.lines.append(self._chain.seal(record, sign))

    def is_working(self) -> bool:
        """Always."""
        return True

    async def close(self) -> None:
        """There is nothing to let go of."""


def _chain_id() -> str:
    return f"wrt_{secrets.token_hex(12)}"


def _give(written: asyncio.Future[None], problem: AuditUnavailable | None) -> None:
    if written.done():  # whoever waited is gone
        return
    if problem is None:
        written.set_result(None)
    else:
        written.set_exception(problem)
