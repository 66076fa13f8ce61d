"""How a worker process says that it serves: by a file with its number, in a folder of the instance.

The main process waits for that before it ends the worker before (`sidecar.takeover`), and before it calls Cloud. A
worker serves once its own socket listens: connections are accepted from then on, or wait.
"""

import asyncio
import logging
import os
import socket
from pathlib import Path

LOOK_SECONDS = 0.02
_MOST_FILES = 256  # that a worker has open when it starts to listen; it has some thirty
_log = logging.getLogger(__name__)


def mark(folder: Path, pid: int) -> Path:
    """The file that is there while this worker process serves."""
    return folder / str(pid)


def anybody_serves(folder: Path) -> bool:
    """Whether any worker process serves, or did before it died."""
    return any(folder.iterdir())


async def say_when_serving(folder: Path) -> None:
    """Wait until this process listens, and say so."""
    while not is_listening():
        await asyncio.sleep(LOOK_SECONDS)
    try:
        mark(folder, os.getpid()).touch(mode=0o600)
    except OSError as error:
        _log.error("worker process serves, but cannot say so in `%s`: %s", folder, error.strerror)


def is_listening() -> bool:
    """Whether a socket of this process listens. The server opens it, and gives it to nobody."""
    return any(_listens(number) for number in range(_MOST_FILES))


def _listens(number: int) -> bool:
    try:
        found = socket.socket(fileno=number)
    except OSError:  # no socket, or nothing
        return False
    try:
        return bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    finally:
        found.detach()
