"""Nothing that a tool starts outlives it, its time, a cancellation, or the agent."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from kalguard import SandboxError
from tests.hardening.sandbox.tools import (
    BWRAP,
    PREFIX,
    alive,
    box,
    marker,
    python,
    wait_until_alive,
    wait_until_gone,
)
from tests.support import PATIENCE_SECONDS

IGNORES_ALL = """
import signal, sys, time
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    try:
        signal.signal(number, signal.SIG_IGN)
    except OSError:
        pass
print("started", flush=True)
time.sleep(600)
"""
# Twice forked, with a session of its own and its outputs closed, so that nobody waits for it or hears of it.
ORPHANS = """
import os, sys, time
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for descriptor in (0, 1, 2):
                os.close(descriptor)
            os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)", sys.argv[1]])
        os._exit(0)
deadline = time.monotonic() + 5
while sum(sys.argv[1].encode() in open(f"/proc/{name}/cmdline", "rb").read()
          for name in os.listdir("/proc") if name.isdigit()) < 4 and time.monotonic() < deadline:
    time.sleep(0.01)
print("left", flush=True)
"""


def test_a_tool_that_ignores_every_signal_is_ended_after_its_time(tmp_path: Path) -> None:
    mark = marker()
    result = box(tmp_path, timeout_seconds=1).run(python(IGNORES_ALL, mark))
    assert (result.timed_out, result.signal, result.exit_code) == (True, signal.SIGKILL, None)
    assert result.stdout == b"started\n"
    assert 1 <= result.duration_seconds < 60
    assert alive(mark) == []


def test_grandchildren_that_were_orphaned_end_with_the_tool(tmp_path: Path) -> None:
    mark = marker()
    result = box(tmp_path).run(python(ORPHANS, mark))
    assert (result.exit_code, result.stdout) == (0, b"left\n")
    assert alive(mark) == []


def test_orphans_end_after_the_time_too(tmp_path: Path) -> None:
    mark = marker()
    result = box(tmp_path, timeout_seconds=1).run(python(f"{ORPHANS}\ntime.sleep(600)", mark))
    assert result.timed_out
    assert alive(mark) == []


def test_a_tool_that_closes_its_outputs_and_lives_on_is_waited_for(tmp_path: Path) -> None:
    code = "import os, time\nos.write(1, b'said')\nfor d in (0, 1, 2): os.close(d)\ntime.sleep(0.5)\nos._exit(3)"
    result = box(tmp_path).run(python(code))
    assert (result.exit_code, result.stdout) == (3, b"said")
    assert result.duration_seconds > 0.5


@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.6])
def test_a_cancelled_call_ends_the_tool_before_it_returns(tmp_path: Path, seconds: float) -> None:
    mark = marker()

    async def cancel() -> None:
        task = asyncio.create_task(box(tmp_path, timeout_seconds=60).run_async(python(IGNORES_ALL, mark)))
        await asyncio.sleep(seconds)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert alive(mark) == []

    asyncio.run(cancel())


def test_async_calls_run_at_the_same_time_and_do_not_hold_up_the_loop(tmp_path: Path) -> None:
    async def many() -> int:
        sandbox = box(tmp_path)
        tasks = [asyncio.create_task(sandbox.run_async(python("import time; time.sleep(3)"))) for _ in range(4)]
        turns = 0
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0.01)
            turns += 1
        assert [task.result().exit_code for task in tasks] == [0] * 4
        return turns

    begun = time.monotonic()
    assert asyncio.run(many()) > 10
    assert time.monotonic() - begun < 4 * 3


AGENT = """
import json, sys
from kalguard import Sandbox
Sandbox(**json.loads(sys.argv[1])).run(sys.argv[2:])
"""


def agent(folder: Path, tool: list[str], *, name: str = "work", **rules: object) -> subprocess.Popen[bytes]:
    """A process that runs a tool for ten minutes."""
    (folder / name).mkdir(parents=True)
    given = {"cwd": str(folder / name), "read": [PREFIX], "bwrap": str(BWRAP), "timeout_seconds": 600, **rules}
    return subprocess.Popen(
        [sys.executable, "-c", AGENT, json.dumps(given), *tool],
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_an_agent_that_is_killed_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    mark = marker()
    process = agent(tmp_path, python(f"{ORPHANS}\ntime.sleep(600)", mark))
    wait_until_alive(mark, 5)  # the agent, the tool, and three that it left
    process.send_signal(number)
    assert process.wait(PATIENCE_SECONDS) == -number
    wait_until_gone(mark)


def test_an_agent_that_is_killed_while_it_sets_up_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = str(tmp_path / "work")  # among the arguments of all that is started
    for attempt in range(6):
        process = agent(tmp_path, python(IGNORES_ALL), name=f"work/{attempt}")
        deadline = time.monotonic() + 20
        while len(alive(folder)) < 2 and time.monotonic() < deadline:
            pass  # no longer than it takes until there is something besides the agent
        time.sleep(attempt * 0.004)
        process.kill()
        process.wait(PATIENCE_SECONDS)
    wait_until_gone(folder)


# Its standard input says what to run, so that the tool's marker is not among its own arguments. A copy of it, which
# holds all that it held then, lives on.
FORKING_AGENT = """
import json, os, sys, threading, time
from kalguard import Sandbox
def copy():
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
rules, command = json.load(sys.stdin)
threading.Timer(0.5, copy).start()
print(json.dumps(Sandbox(**rules).run(command).timed_out), flush=True)
"""


@contextmanager
def forking_agent(folder: Path, tool: list[str], **rules: object) -> Iterator[subprocess.Popen[bytes]]:
    """An agent in a session of its own, which forks while it runs a tool."""
    (folder / "work").mkdir()
    given = {"cwd": str(folder / "work"), "read": [PREFIX], "bwrap": str(BWRAP), **rules}
    with subprocess.Popen(
        [sys.executable, "-c", FORKING_AGENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stdin is not None
        with process.stdin as stream:
            stream.write(json.dumps([given, tool]).encode())
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def test_a_forked_copy_of_the_agent_does_not_keep_a_tool_alive(tmp_path: Path) -> None:
    mark = marker()
    with forking_agent(tmp_path, python(IGNORES_ALL, mark), timeout_seconds=1) as process:
        assert process.stdout is not None
        begun = time.monotonic()
        assert process.stdout.readline() == b"true\n"
        assert time.monotonic() - begun < 50  # its copy lives for a minute
        assert alive(mark) == []


def test_a_killed_agent_s_copy_does_not_keep_a_tool_alive(tmp_path: Path) -> None:
    mark = marker()
    with forking_agent(tmp_path, python(IGNORES_ALL, mark), timeout_seconds=600) as process:
        wait_until_alive(mark)
        time.sleep(1)  # until there is the copy
        process.kill()
        process.wait(PATIENCE_SECONDS)
        wait_until_gone(mark)


def test_a_supervisor_that_does_nothing_is_killed_and_the_tool_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kalguard.hardening.sandbox.process._ENDING_SECONDS", 0.5)
    mark = marker()
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(box(tmp_path, timeout_seconds=1).run, python(IGNORES_ALL, mark))
        wait_until_alive(mark)
        (supervisor,) = (
            number
            for number in alive(str(tmp_path / "work"))
            if Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1] == str(os.getpid())
        )
        os.kill(supervisor, signal.SIGSTOP)
        with pytest.raises(SandboxError, match="has not ended"):
            running.result()
        wait_until_gone(mark)


def test_a_second_cancel_does_not_return_before_the_tool_has_ended(tmp_path: Path) -> None:
    mark = marker()

    async def cancel() -> None:
        task = asyncio.create_task(box(tmp_path, timeout_seconds=60).run_async(python(IGNORES_ALL, mark)))
        while not alive(mark):
            await asyncio.sleep(0.01)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert alive(mark) == []

    asyncio.run(cancel())
