"""Says when it is time to look at the operator's files again.

Folders are watched and not files: an editor and Kubernetes both put another file in the place of the old one. What is
told is only that something happened; what there is now is for `files` to find out.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from watchfiles import awatch

from kalguard.sidecar.files import LiveFile

POLL_SECONDS = 30.0  # not every file system tells what happens on it
_GATHER_MS = 50  # what happens within this time is told once
_log = logging.getLogger(__name__)


class FolderWatch:
    """Waits until it is time to look at `files`.

    That is when something happened in one of their folders, `settle_seconds` after a look that found a change, and
    after `POLL_SECONDS` at the latest. Where the folders cannot be watched it is every `settle_seconds`.
    """

    def __init__(self, files: Sequence[LiveFile[Any]], settle_seconds: float) -> None:
        self._files = files
        self._settle = settle_seconds
        self._folders: frozenset[str] = frozenset()
        self._happenings: AsyncGenerator[object, None] | None = None
        self._next: asyncio.Task[object] | None = None
        self._stop = threading.Event()
        self._told = False

    async def wait(self) -> None:
        """Return when it is time. Cancelled, it lets go of the folders."""
        try:
            await self._wait()
        except asyncio.CancelledError:
            await self._let_go()
            raise

    async def _wait(self) -> None:
        folders = frozenset[str]().union(*(file.folders for file in self._files))
        if self._next is None or folders != self._folders:
            await self._let_go()
            self._folders, self._stop = folders, threading.Event()
            self._happenings = awatch(
                *folders,
                watch_filter=None,
                debounce=_GATHER_MS,
                step=_GATHER_MS,
                stop_event=self._stop,
                recursive=False,
            )
            self._next = self._expect(self._happenings)
            await asyncio.sleep(self._settle)  # what happened before the watch began is not told
        elif not all(file.is_settled for file in self._files):
            await asyncio.sleep(self._settle)
        else:
            await asyncio.wait({self._next}, timeout=POLL_SECONDS)
        if self._next.done():
            self._take_note(self._next)

    @staticmethod
    def _expect(happenings: AsyncGenerator[object, None]) -> asyncio.Task[object]:
        async def happening() -> object:
            return await anext(happenings)

        return asyncio.create_task(happening())

    def _take_note(self, happened: asyncio.Task[object]) -> None:
        error = happened.exception()
        if error is None and self._happenings is not None:
            self._next = self._expect(self._happenings)
            return
        self._next = None
        if not self._told:
            _log.warning("folders cannot be watched, files are looked at every %s s: %s", self._settle, error)
        self._told = True

    async def _let_go(self) -> None:
        self._stop.set()
        if self._next is not None:
            await asyncio.wait({self._next})
            self._next.exception()  # the end of the watch is one
        self._next = None
