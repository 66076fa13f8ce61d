"""The snapshot of the licence, sealed on disk: the main process writes it, the workers read it, the next start too."""

import logging
import os
from contextlib import suppress
from pathlib import Path

import msgspec

from kalguard.connector.license import Snapshot, resumed
from kalguard.connector.sealed import SealedFile, Unreadable

_log = logging.getLogger(__name__)


class SnapshotFile:
    """The snapshot at `path`, of the licence of `api_key` with the Cloud at `url`."""

    def __init__(self, path: Path, *, url: str, api_key: str) -> None:
        purpose = f"licence of {url}"
        self._file = SealedFile(path, secret=api_key, purpose=purpose)
        self._aside = SealedFile(path.with_name(f"{path.name}.aside"), secret=api_key, purpose=purpose)

    def read(self) -> Snapshot:
        """What was written last. Raises `OSError` and `Unreadable`."""
        return _read(self._file)

    def write(self, snapshot: Snapshot) -> None:
        """Make a snapshot known. Raises `OSError`, and then the one before stays."""
        self._file.write(msgspec.msgpack.encode(snapshot))
        if snapshot.license is not None:  # this is the right key
            with suppress(OSError):
                self._aside.path.unlink()

    def resume(self, *, now: float, overlap: float) -> Snapshot:
        """Take up what was known before a start, and make it known. Raises `OSError` if that cannot be written.

        `overlap` is as for `resumed`.
        """
        found = Snapshot(since=now)
        try:
            found = self.read()
        except FileNotFoundError:
            pass
        except Unreadable as error:
            _log.error("licence that was kept cannot be used: %s", error)
            found = self._exchanged() or found
        except OSError as error:
            _log.error("licence that was kept cannot be used: %s", error)
        snapshot = resumed(found, now=now, overlap=overlap)
        self.write(snapshot)
        return snapshot

    def _exchanged(self) -> Snapshot | None:
        """What was put aside, if it is of this key. Else what is here is put there: the key may be the wrong one.

        What is there already stays: since then no key was good, and what is here is worth nothing.
        """
        try:
            return _read(self._aside)
        except FileNotFoundError:
            with suppress(OSError):
                self._file.path.replace(self._aside.path)
        except (Unreadable, OSError) as error:
            _log.debug("licence that was put aside cannot be used: %s", error)
        return None

    def mark(self) -> tuple[int, int, int]:
        """What changes with every write. Raises `OSError`."""
        found = os.stat(self._file.path)
        return found.st_ino, found.st_mtime_ns, found.st_size


def _read(file: SealedFile) -> Snapshot:
    try:
        return msgspec.msgpack.decode(file.read(), type=Snapshot)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Unreadable(f"`{file.path}` is of another version") from None
