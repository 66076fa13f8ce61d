"""Where large bodies are judged: beside one another, and the largest one after the other."""

import asyncio
import os
import sys
import time
from threading import Lock

import pytest

from kalguard.sidecar.threads import ALONE_FROM_BYTES, FROM_BYTES, THREADS, BodyThreads


def most_at_once(size: int, count: int) -> int:
    """How many of so many steps about bodies of a size were ever done at the same time."""
    threads, lock = BodyThreads(), Lock()
    now = most = 0

    def step() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.05)
        with lock:
            now -= 1

    async def all_of_them() -> None:
        run = threads.for_body(size)
        assert run is not None
        await asyncio.gather(*(run(step) for _ in range(count)))

    asyncio.run(all_of_them())
    threads.close()
    return most


def test_the_thread_for_the_largest_gives_way_and_no_other_does() -> None:
    """But where a thread has no priority of its own: there all of them keep that of the process."""
    threads = BodyThreads()

    async def priority(size: int) -> int:
        run = threads.for_body(size)
        assert run is not None
        return int(await run(lambda: os.getpriority(os.PRIO_PROCESS, 0)))

    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert asyncio.run(priority(ALONE_FROM_BYTES)) == (10 if sys.platform == "linux" else own)
    assert asyncio.run(priority(FROM_BYTES)) == os.getpriority(os.PRIO_PROCESS, 0) == own
    threads.close()


@pytest.mark.parametrize(
    ("size", "most"), [(FROM_BYTES, THREADS), (ALONE_FROM_BYTES - 1, THREADS), (ALONE_FROM_BYTES, 1)]
)
def test_the_largest_are_judged_alone(size: int, most: int) -> None:
    assert most_at_once(size, 4) == most


def test_small_ones_need_no_thread_unless_that_is_asked_for() -> None:
    threads = BodyThreads()
    assert threads.for_body(FROM_BYTES - 1) is None
    assert threads.for_body(0, from_bytes=0) is not None
    threads.close()
