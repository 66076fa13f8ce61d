"""What a worker process does first: it is confined, and reserves what its metrics need on disk. Then it builds the app.

prometheus-client maps files that have holes: a worker that writes into one when the disk is full is killed by SIGBUS.
So the files are made beforehand, with all their blocks, and are so large that they never have to grow.
"""

import logging
import os
import sys
from pathlib import Path

from litestar import Litestar

from kalguard import config
from kalguard.sidecar import app
from kalguard.sidecar.confinement import confine_worker
from kalguard.sidecar.metrics import FILE_BYTES

_log = logging.getLogger(__name__)


def create() -> Litestar:
    """The app for this process's environment. Exits with 1 if it cannot be confined, or its metrics have no room."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    settings = config.load(os.environ).settings
    if settings.harden:
        _confine(settings, folder)
    if folder:
        try:
            reserve(Path(folder))
        except OSError as error:
            _log.critical("worker process cannot start: no room for its metrics in `%s`: %s", folder, error.strerror)
            sys.exit(1)
    return app.create()


def _confine(settings: config.Settings, folder: str | None) -> None:
    if not folder:
        _log.critical("worker process cannot start: it cannot be confined: PROMETHEUS_MULTIPROC_DIR names no folder")
        sys.exit(1)
    try:
        confine_worker(settings, os.environ, Path(folder))
    except (OSError, RuntimeError) as error:
        _log.critical("worker process cannot start: it cannot be confined: %s", error)
        sys.exit(1)


def reserve(folder: Path) -> None:
    """Make the files that this process counts into, with all their blocks. Raises `OSError`."""
    for kind, size in FILE_BYTES.items():
        file = os.open(folder / f"{kind}_{os.getpid()}.db", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(file, 0, size)
        finally:
            os.close(file)
