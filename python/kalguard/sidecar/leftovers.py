"""The service's own folder for temporary files, and those that earlier ones had to leave.

A process that is killed clears nothing up, and where the folder for temporary files outlives it, as a volume of a
container does, each one leaves some 20 MB. So each holds a lock in its folder for as long as it lives, and takes away
the folders whose locks nobody holds. The main process calls this, before anything else is in the folder.
"""

import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path

PREFIX = "kalguard-"
_LOCK = "alive"


def claim(folder: Path) -> None:
    """Hold a lock in our own folder until this process ends. Raises `OSError`."""
    lock = os.open(folder / f"{_LOCK}.new", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    (folder / f"{_LOCK}.new").rename(folder / _LOCK)  # by this name it is found, and it is held by then


def clear_leftovers(beside: Path) -> None:
    """Take away the folders of processes that are gone, in the folder that `beside`, our own, lies in.

    What is not ours, or has no lock, is left alone; so is what cannot be taken away.
    """
    for folder in beside.parent.glob(f"{PREFIX}*"):
        if folder == beside or folder.is_symlink():
            continue
        with suppress(OSError):  # somebody else's, or just gone
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                if folder.stat().st_uid == os.geteuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder)
            finally:
                os.close(lock)
