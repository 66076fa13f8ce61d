"""Work beside the requests: looking at files, forcing the audit log to disk."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from kalguard.decision.unforeseen import UNFORESEEN

AFTER_ERROR_SECONDS = 0.5
_log = logging.getLogger(__name__)


class Repeated:
    """Calls `step` again and again, each time after `pause`. An error ends one time, not the repeating."""

    def __init__(self, name: str, pause: Callable[[], Awaitable[None]], step: Callable[[], Awaitable[None]]) -> None:
        self.name = name
        self._pause = pause
        self._step = step
        self._working = True

    def is_working(self) -> bool:
        """Whether the last time went well."""
        return self._working

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            try:
                await self._pause()
                await self._step()
                self._working = True
            except UNFORESEEN as error:
                if self._working:
                    _log.error("%s failed", self.name, exc_info=error)
                self._working = False
                await asyncio.sleep(AFTER_ERROR_SECONDS)
