"""The snapshot of the licence, sealed on disk: the main process writes it, the workers read it, the next start too."""

import logging
import os
from pathlib import Path

import msgspec

from kalguard.connector.license import Snapshot, resumed
from kalguard.connector.sealed import SealedFile, Unreadable

_log = logging.getLogger(__name__)


class SnapshotFile:
    """The snapshot at `path`, of the licence of `api_key` with the Cloud at `url`."""

    def __init__(self, path: Path, *, url: str, api_key: str) -> None:
        self._file = SealedFile(path, secret=api_key, purpose=f"licence of {url}")

    def read(self) -> Snapshot:
        """What was written last. Raises `OSError` and `Unreadable`."""
        try:
            return msgspec.msgpack.decode(self._file.read(), type=Snapshot)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Unreadable(f"`{self._file.path}` is of another version") from None

    def write(self, snapshot: Snapshot) -> None:
        """Make a snapshot known. Raises `OSError`, and then the one before stays."""
        self._file.write(msgspec.msgpack.encode(snapshot))

    def resume(self, *, now: float, overlap: float) -> Snapshot:
        """Take up what was known before a start, and make it known. Raises `OSError` if that cannot be written.

        `overlap` is as for `resumed`.
        """
        found = Snapshot(since=now)
        try:
            found = self.read()
        except FileNotFoundError:
            pass
        except (Unreadable, OSError) as error:
            _log.error("licence that was kept cannot be used: %s", error)
        snapshot = resumed(found, now=now, overlap=overlap)
        self.write(snapshot)
        return snapshot

    def mark(self) -> tuple[int, int, int]:
        """What changes with every write. Raises `OSError`."""
        found = os.stat(self._file.path)
        return found.st_ino, found.st_mtime_ns, found.st_size
