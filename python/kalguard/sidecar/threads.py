"""Where large bodies are judged: in threads, so that small ones need not wait for them."""

import asyncio
import os
import sys
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from kalguard.decision.running import Run
from kalguard.sidecar.logs import in_this_context

# From this size on judging can take long enough (milliseconds, for what is encoded several times) for others to notice.
FROM_BYTES = 8 * 1024
# From this size on one at a time is judged: that takes many times the memory of what is judged.
ALONE_FROM_BYTES = 1024 * 1024
THREADS = 2
_NICENESS = 10  # of the thread for the largest


class BodyThreads:
    """Threads for large bodies, and one for the largest, which gives way to all others."""

    def __init__(self) -> None:
        self._large = ThreadPoolExecutor(THREADS, "large-body")
        self._largest = ThreadPoolExecutor(1, "largest-body", initializer=_give_way)

    def for_body(self, size: int, from_bytes: int = FROM_BYTES) -> Run | None:
        """What calls a function that is about a body of this size; `None`: whoever asks may call it where he is."""
        if size < from_bytes:
            return None
        executor: Executor = self._large if size < ALONE_FROM_BYTES else self._largest

        async def run(step: Callable[[], Any]) -> Any:
            return await asyncio.get_running_loop().run_in_executor(executor, in_this_context(step))

        return run

    def close(self) -> None:
        """Take nothing more on."""
        self._large.shutdown(wait=False)
        self._largest.shutdown(wait=False)


def _give_way() -> None:
    """Let this thread wait where the processors are wanted by others: judging takes it up to seconds."""
    if sys.platform == "linux":  # elsewhere it would be the whole process
        with suppress(OSError):  # where it may not, all wait alike
            os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
