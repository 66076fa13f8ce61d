"""The main process's side of the connection to Cloud: a folder, a thread, an end.

`Connection` is made before the workers start, so that they find the licence that was kept; its thread begins its work
when the first of them serves, and imports what it needs only then. At the end it hands over what usage events wait.
"""

import asyncio
import fcntl
import logging
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from kalguard.config import Settings
from kalguard.connector.license import Snapshot
from kalguard.decision.unforeseen import UNFORESEEN
from kalguard.errors import ConfigError
from kalguard.ledger.file import BUFFER_BYTES, SPOOL_BYTES, LedgerFile, make_ledger
from kalguard.ledger.usage import UsageBuffer
from kalguard.sidecar.cloud import snapshot_file
from kalguard.sidecar.serving import anybody_serves

if TYPE_CHECKING:
    from kalguard.connector.sync import Connector

_log = logging.getLogger(__name__)
_READY_SECONDS = 30.0
_LOOK_SECONDS = 0.1
_AGAIN_SECONDS = 5.0
_JOIN_SECONDS = 0.3  # for the thread to end, beyond what it has for its work


class Connection:
    """The connection that `settings` ask for. `folder` is where things lie that need not last."""

    def __init__(self, settings: Settings, folder: Path, serving: Path) -> None:
        """`serving` is where workers say that they serve.

        Raises `ConfigError` naming the variable, and `OSError` if there is no room in `folder`.
        """
        self._settings = settings
        self.lasts = settings.state_dir is not None
        self._serving = serving
        if settings.state_dir is not None:
            folder = Path(settings.state_dir)
            self._lock = _own(folder)
        self.ledger_path, self.snapshot_path = folder / "ledger", folder / "licence"
        try:
            self.ledger = _ledger(self.ledger_path, SPOOL_BYTES if self.lasts else BUFFER_BYTES)
            self._store = snapshot_file(settings, self.snapshot_path)
            self._snapshot: Snapshot = self._store.resume(now=time.time(), overlap=settings.cloud_key_overlap_s)
        except OSError as error:
            if not self.lasts:
                raise
            raise ConfigError([f"KALGUARD_STATE_DIR: `{folder}` cannot be used: {error.strerror}"]) from None
        self.usage = UsageBuffer(self.ledger)
        self.connector: Connector | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._has_ended = threading.Event()
        self._seconds_left = 0.0
        self._thread = threading.Thread(target=self._run, name="cloud", daemon=True)

    @property
    def instance(self) -> str:
        """The name of this instance among replicas."""
        return self.ledger.instance

    @property
    def has_keys(self) -> bool:
        """Whether agents of Cloud can be verified from the start."""
        return bool(self._snapshot.keys)

    @property
    def snapshot(self) -> Snapshot:
        """What is known of the licence."""
        return self._snapshot if self.connector is None else self.connector.snapshot

    def start(self) -> None:
        """Begin to ask Cloud, in a thread."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Hand over what waits, in so many seconds, and end."""
        self._seconds_left = seconds
        self._has_ended.set()
        if self._loop is not None and self._stopping is not None:
            try:
                self._loop.call_soon_threadsafe(self._stopping.set)
            except RuntimeError:  # it has ended by itself
                return
        self._thread.join(seconds + _JOIN_SECONDS)

    def _run(self) -> None:
        """Work until told to stop: without this thread no worker would learn what Cloud withdraws."""
        while not self._has_ended.is_set():
            try:
                asyncio.run(self._work())
            except UNFORESEEN as error:  # nothing is decided here; what was known stays in force meanwhile
                _log.error("connection to KalGuard Cloud failed, and is begun anew", exc_info=error)
                self._has_ended.wait(_AGAIN_SECONDS)

    async def _work(self) -> None:
        from kalguard.connector.client import CloudClient
        from kalguard.connector.sync import Connector

        settings = self._settings
        assert settings.api_key is not None  # noqa: S101 - there is no connection without one
        self._stopping = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        if self._has_ended.is_set():
            self._stopping.set()
        connector = self.connector = Connector(
            CloudClient(settings.cloud_url, settings.api_key),
            store=self._store,
            snapshot=self.snapshot,
            usage=self.usage,
            interval_seconds=settings.cloud_sync_interval_ms / 1000,
            overlap_seconds=settings.cloud_key_overlap_s,
            obeys_remaining=settings.redis_url is None,
        )
        work = asyncio.create_task(self._run_when_ready(connector))
        stopped = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()  # it never ends but by an error
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        left = await connector.finish(self._seconds_left)
        if left and self.lasts:
            _log.info("%d usage events wait in `%s` for the next start", left, self.ledger_path)
        elif left:
            _log.error("%d usage events are lost: KalGuard Cloud did not take them before the end", left)

    async def _run_when_ready(self, connector: "Connector") -> None:
        """Ask nobody anything before a worker serves, unless that takes too long."""
        deadline = time.monotonic() + _READY_SECONDS
        while not anybody_serves(self._serving) and time.monotonic() < deadline:
            await asyncio.sleep(_LOOK_SECONDS)
        await connector.run()


def _own(folder: Path) -> int:
    """Make a folder this instance's own, for as long as the process lives. Raises `ConfigError`."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        problem = "is in use by another instance; each needs one of its own"
        raise ConfigError([f"KALGUARD_STATE_DIR: `{folder}` {problem}"]) from None
    except OSError as error:
        raise ConfigError([f"KALGUARD_STATE_DIR: `{folder}` cannot be used: {error.strerror}"]) from None
    return lock


def _ledger(path: Path, ring_bytes: int) -> LedgerFile:
    """The ledger that is there, or a new one. Raises `OSError`."""
    if not path.exists():
        make_ledger(path, ring_bytes)
    try:
        return LedgerFile(path)
    except ValueError as error:
        aside = path.with_name(f"{path.name}.broken-{time.time_ns()}")
        path.replace(aside)
        _log.error("%s: it is kept as `%s`, and counting begins anew", error, aside)
        make_ledger(path, ring_bytes)
        return LedgerFile(path)
