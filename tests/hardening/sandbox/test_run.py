"""What is run and how, and what is refused before anything runs."""

import json
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from kalguard import FULL_PROTECTION, Protection, Sandbox, SandboxError
from kalguard.errors import ConfigError
from kalguard.hardening.sandbox.calls import programs
from tests.hardening.sandbox.tools import BWRAP, box, marker, python


@pytest.mark.parametrize("name", ["-c", "--help", "--bind", "--"])
def test_arguments_that_begin_with_a_dash_are_the_tool_s(tmp_path: Path, name: str) -> None:
    result = box(tmp_path).run(python("import sys; print(sys.argv[1:])", name, "--", "--ro-bind", "/", "/"))
    assert result.stdout.decode() == f"{[name, '--', '--ro-bind', '/', '/']}\n"


def test_a_command_that_begins_with_a_dash_is_a_command(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    program = tmp_path / "work/--help"
    program.write_text("#!/bin/sh\necho mine\n")
    program.chmod(0o755)
    assert box(tmp_path, env={"PATH": str(tmp_path / "work")}).run(["--help"]).stdout == b"mine\n"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (["no-such-command"], "`no-such-command` cannot be started: No such file"),
        (["./missing"], "No such file"),
        (["/usr"], "Permission denied"),
        (["./not-executable"], "Permission denied"),
    ],
)
def test_a_command_that_cannot_be_started_is_an_error(tmp_path: Path, command: list[str], reason: str) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work/not-executable").touch(stat.S_IRUSR)
    with pytest.raises(SandboxError, match=reason) as caught:
        box(tmp_path).run(command)
    assert caught.value.missing == ()


def test_without_input_its_standard_input_is_at_its_end(tmp_path: Path) -> None:
    assert box(tmp_path).run(python("import sys; print(repr(sys.stdin.read()))")).stdout == b"''\n"


def test_it_reads_what_it_is_given_while_it_writes(tmp_path: Path) -> None:
    data = os.urandom(3 * 1024**2)
    result = box(tmp_path, output_bytes=4 * 1024**2).run(["cat"], stdin=data)
    assert (result.exit_code, result.stdout) == (0, data)


def test_input_that_is_not_wanted_is_no_error(tmp_path: Path) -> None:
    assert box(tmp_path).run(["true"], stdin=b"x" * 1024**2).succeeded


def test_output_that_is_no_text_is_as_it_was_written(tmp_path: Path) -> None:
    result = box(tmp_path).run(python("import os; os.write(1, bytes(range(256))); os.write(2, b'\\xff\\x00')"))
    assert (result.stdout, result.stderr) == (bytes(range(256)), b"\xff\x00")


def test_names_that_are_no_text_are_handed_on(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9")
    result = box(tmp_path, env={"ODD": odd}).run(
        python("import os, sys; os.write(1, os.fsencode(sys.argv[1]) + os.environb[b'ODD'])", odd)
    )
    assert result.stdout == b"caf\xe9caf\xe9"


def test_many_and_long_arguments_are_handed_on_and_too_many_are_an_error(tmp_path: Path) -> None:
    arguments = [f"{number:0100}" for number in range(10_000)]
    result = box(tmp_path).run(python("import sys; print(len(''.join(sys.argv[1:])))", *arguments))
    assert result.stdout == b"1000000\n"
    with pytest.raises(SandboxError, match="Argument list too long"):
        box(tmp_path).run(python("", "x" * 10_000_000))


@pytest.mark.parametrize(
    ("code", "expected"), [("exit 0", (0, None)), ("exit 7", (7, None)), ("kill -9 $$", (None, 9))]
)
def test_how_it_ended_is_said(tmp_path: Path, code: str, expected: tuple[int | None, int | None]) -> None:
    result = box(tmp_path).run(["sh", "-c", code])
    assert (result.exit_code, result.signal) == expected
    assert result.succeeded == (expected == (0, None))
    assert not (result.timed_out or result.truncated)


def test_broken_pipes_end_programs_as_they_are_used_to(tmp_path: Path) -> None:
    assert box(tmp_path).run(["sh", "-c", "yes | head -n 1"]).stdout == b"y\n"


def test_without_bubblewrap_nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    trace = tmp_path / "work/trace"
    with pytest.raises(SandboxError, match="namespaces") as caught:
        box(tmp_path, bwrap=None, write=[tmp_path / "work"]).run(["/usr/bin/touch", str(trace)])
    assert caught.value.missing == (Protection.NAMESPACES,)
    assert not trace.exists()


def test_with_a_bubblewrap_that_fails_nothing_runs_and_its_reason_is_told(tmp_path: Path) -> None:
    failing = tmp_path / "bwrap"
    failing.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    failing.chmod(0o755)
    with pytest.raises(SandboxError, match="No permissions to create new namespace"):
        box(tmp_path, bwrap=failing).run(["true"])


def test_a_protection_that_cannot_be_had_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kalguard.hardening.sandbox.cgroup._parents", lambda: iter(()))
    with pytest.raises(SandboxError, match="memory-total") as caught:
        box(tmp_path, require=FULL_PROTECTION | {"memory-total"}).run(["true"])
    assert Protection.MEMORY_TOTAL in caught.value.missing


def test_system_calls_that_cannot_be_denied_are_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(**_: Any) -> None:
        raise NotImplementedError("not on this system")

    monkeypatch.setattr("kalguard.hardening.sandbox.supervise.programs", unavailable)
    with pytest.raises(SandboxError, match=r"seccomp \(not on this system\)") as caught:
        box(tmp_path).run(["true"])
    assert caught.value.missing == (Protection.SECCOMP,)
    fewer = box(tmp_path, require=FULL_PROTECTION - {Protection.SECCOMP}).run(["true"])
    assert Protection.SECCOMP not in fewer.protections


def test_a_system_that_has_no_sandbox_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SandboxError, match="Windows"):
        box(tmp_path, require=()).run(["true"])


def test_bad_rules_are_told_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        Sandbox(cwd=tmp_path, timeout_seconds=0, memory_bytes=-1, processes=True, env={"A=B": "x"}, require=["made-up"])
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "memory_bytes",
        "processes",
        "timeout_seconds",
        "env",
        "require",
    ]


@pytest.mark.parametrize("command", [[], [""], "ls -l", ["ls", "a\0b"], ["ls", 1], ["ls", "\ud800"]])
def test_a_command_that_is_none_is_told(tmp_path: Path, command: Any) -> None:
    with pytest.raises(ConfigError, match="command"):
        box(tmp_path).run(command)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_async_call_gives_the_same(tmp_path: Path, backend: str) -> None:
    pytest.importorskip(backend)

    async def call() -> bytes:
        with anyio.fail_after(20):
            return (await box(tmp_path).run_async(["cat"], stdin=b"read")).stdout

    assert anyio.run(call, backend=backend) == b"read"


def test_an_async_call_that_is_refused_raises_as_the_other(tmp_path: Path) -> None:
    async def call() -> None:
        await box(tmp_path).run_async([marker()])

    with pytest.raises(SandboxError, match="No such file"):
        anyio.run(call)


IGNORING_AGENT = """
import json, signal, sys
from kalguard import Sandbox
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print(Sandbox(**json.loads(sys.argv[1])).run(["sh", "-c", "exit 3"]).exit_code)
"""


def agent(program: str, folder: Path) -> str:
    """What a process of its own prints that is given the rules of a sandbox as JSON."""
    ended = subprocess.run(
        [sys.executable, "-c", program, json.dumps({"cwd": str(folder), "bwrap": str(BWRAP)})],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_an_agent_that_ignores_ends_of_children_is_told_the_exit_code(tmp_path: Path) -> None:
    assert agent(IGNORING_AGENT, tmp_path) == "3\n"


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """All numbers below 1100 are taken."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2048:
        pytest.skip("this process may not have so many open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    opened = [os.open("/dev/null", os.O_RDONLY)]
    while opened[-1] < 1100:
        opened.append(os.open("/dev/null", os.O_RDONLY))
    yield
    for descriptor in opened:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_descriptors")
def test_an_agent_with_more_than_a_thousand_open_files_runs_tools(tmp_path: Path) -> None:
    assert box(tmp_path).run(["echo", "ran"]).stdout == b"ran\n"
    with pytest.raises(SandboxError, match="no-such-bwrap"):
        box(tmp_path, bwrap=tmp_path / "no-such-bwrap").run(["true"])


# In a process of its own: in that of the tests, what earlier tests left is closed whenever garbage is collected.
AGENT_WITHOUT_DESCRIPTORS = """
import json, os, resource, sys, tempfile
from kalguard import Sandbox, SandboxError

made, make = [], tempfile.mkdtemp  # folders of device nodes
def recorded(**how):
    made.append(make(**how))
    return made[-1]
tempfile.mkdtemp = recorded

sandbox, (soft, hard) = Sandbox(**json.loads(sys.argv[1])), resource.getrlimit(resource.RLIMIT_NOFILE)
sandbox.run(["true"])  # what is loaded once is loaded
before, errors = os.listdir("/proc/self/fd"), 0
for left in range(25):
    highest = max(map(int, before)) + 1
    filling = [os.open("/dev/null", os.O_RDONLY) for number in range(highest) if str(number) not in before]
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + left, hard))
    try:
        sandbox.run(["true"])
    except SandboxError:
        errors += 1
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in filling:
            os.close(descriptor)
    assert os.listdir("/proc/self/fd") == before, f"with {left} left"
    assert not any(map(os.path.exists, made)), f"with {left} left"
print(len(made), errors)
"""


def test_without_descriptors_it_is_an_error_and_nothing_is_left(tmp_path: Path) -> None:
    """With 0 to 24 descriptors left, so that each step meets its end once."""
    made, errors = map(int, agent(AGENT_WITHOUT_DESCRIPTORS, tmp_path).split())
    assert made > 3
    assert errors > 3


def test_memory_that_is_too_little_to_set_up_is_told_as_that(tmp_path: Path) -> None:
    killed = tmp_path / "bwrap"  # as the kernel does in a control group
    killed.write_text("#!/bin/sh\nkill -9 $$\n")
    killed.chmod(0o755)
    with pytest.raises(SandboxError, match="memory limit may be too low") as caught:
        box(tmp_path, bwrap=killed).run(["true"])
    assert caught.value.missing == ()


def test_a_machine_without_a_list_of_system_calls_is_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs.cache_clear()
    monkeypatch.setattr("platform.machine", lambda: "i686")
    with pytest.raises(SandboxError, match=r"no list of system calls for `i686`") as caught:
        box(tmp_path).run(["true"])
    assert caught.value.missing == (Protection.SECCOMP,)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cwd", None),
        ("env", None),
        ("env", {"A": 1}),
        ("env", {1: "A"}),
        ("env", {"A": "\ud800"}),
        ("read", "/etc"),
        ("write", [1]),
        ("bwrap", 7),
        ("network", "no"),
        ("require", ""),
        ("require", "seccomp"),
        ("require", [[]]),
        ("memory_bytes", 2**63),
    ],
)
def test_a_value_that_cannot_be_is_told_with_its_field(tmp_path: Path, name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        box(tmp_path, **{name: value})
    assert [problem.split(":")[0] for problem in caught.value.problems] == [name]


def test_input_that_is_no_bytes_is_told(tmp_path: Path) -> None:
    text: Any = "text"
    with pytest.raises(ConfigError, match="stdin"):
        box(tmp_path).run(["cat"], stdin=text)
