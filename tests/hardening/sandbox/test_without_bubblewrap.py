"""Where there is no bubblewrap and it is not demanded: a supervisor, Landlock, seccomp and resource limits."""

import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from kalguard import Protection, Sandbox, SandboxError
from tests.hardening.sandbox.test_limits import FLOOD, FORK_BOMB
from tests.hardening.sandbox.test_tree import IGNORES_ALL, ORPHANS, agent
from tests.hardening.sandbox.test_view import TRIES
from tests.hardening.sandbox.tools import (
    IS_ROOT,
    PREFIX,
    alive,
    box,
    everything_but,
    marker,
    python,
    wait_until_alive,
    wait_until_gone,
)
from tests.support import ROOT, free_port

# Its number of processes is held by a control group alone, which is not everywhere.
REQUIRED = everything_but("namespaces", "process-limit")


def plain(folder: Path, **changes: Any) -> Sandbox:
    """A sandbox that has no bubblewrap."""
    return box(folder, **{"bwrap": folder / "no-bwrap", "require": REQUIRED, **changes})


def test_what_is_in_force_is_said(tmp_path: Path) -> None:
    result = plain(tmp_path).run(["true"])
    assert result.succeeded
    assert result.protections >= REQUIRED
    assert Protection.NAMESPACES not in result.protections


def test_what_cannot_be_had_without_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kalguard.hardening.sandbox.cgroup._parents", lambda: iter(()))
    with pytest.raises(SandboxError, match="process-limit") as caught:
        plain(tmp_path, require=everything_but("namespaces")).run(["true"])
    assert caught.value.missing == (Protection.PROCESS_LIMIT,)


def test_files_and_environment_are_as_closed_as_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_AGENT", "s3cr3t-of-the-agent")
    secret = tmp_path / "secret"
    secret.write_text("x")
    tries = [
        f"open({str(secret)!r}).read()",
        f"open({str(secret)!r}, 'w')",
        f"os.truncate({str(secret)!r}, 0)",
        f"os.unlink({str(secret)!r})",
        "open('new', 'w')",
        f"open({str(ROOT / 'README.md')!r})",
        "open('/tmp/new', 'w')",
        f"open('/proc/{os.getpid()}/environ').read()",
        "open('/proc/self/environ').read()",
        f"os.kill({os.getpid()}, 0)",
        "os.kill(os.getppid(), 9)",
    ]
    result = plain(tmp_path).run(python(TRIES, *tries))
    assert result.stdout.decode().split() == ["PermissionError"] * len(tries)
    assert secret.read_text() == "x"
    written = plain(tmp_path, write=[tmp_path / "work"]).run(python(TRIES, "open('new', 'w').write('x')"))
    assert written.stdout == b"1\n"


def test_owners_and_modes_cannot_be_changed_since_landlock_does_not_guard_them(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.touch(0o600)
    (tmp_path / "work").mkdir()
    tries = [
        f"os.chmod({str(secret)!r}, 0o644)",
        "os.fchmod(os.open('.', os.O_RDONLY), 0o755)",
        f"os.chown({str(secret)!r}, -1, -1)",
        f"os.setxattr({str(secret)!r}, 'user.x', b'x')",
    ]
    result = plain(tmp_path, write=[tmp_path / "work"]).run(python(TRIES, *tries))
    assert result.stdout.decode().split() == ["PermissionError"] * len(tries)
    assert secret.stat().st_mode & 0o777 == 0o600


def test_root_s_capabilities_are_gone(tmp_path: Path) -> None:
    code = "import os; print(os.access('/etc/shadow', os.R_OK)); os.setuid(1)"
    assert plain(tmp_path).run(python(code)).exit_code == 1
    tries = ["os.nice(-1)", "os.chroot('.')", "os.setgroups([])", "os.mknod('node', 0o20600, 259)"]
    result = plain(tmp_path, write=[tmp_path / "work"]).run(python(TRIES, *tries))
    assert result.stdout.decode().split() == ["PermissionError"] * len(tries)


def test_there_is_no_network_of_any_kind(tmp_path: Path) -> None:
    tries = [f"socket.socket({family}, {kind})" for family in (1, 2, 10, 16, 17, 40) for kind in (1, 2)]
    assert set(plain(tmp_path).run(python(TRIES, *tries)).stdout.decode().split()) == {"PermissionError"}
    with socket.create_server(("127.0.0.1", free_port())) as listener:
        tries = [f"socket.create_connection({listener.getsockname()!r}, 2).close()", "socket.socketpair()[0].close()"]
        online = plain(tmp_path, network=True).run(python(TRIES, *tries)).stdout.decode().split()
    assert online == ["None", "None"]


@pytest.mark.parametrize("network", [False, True])
def test_sockets_that_have_a_path_cannot_be_reached(tmp_path: Path, *, network: bool) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        connect = f"socket.socket(socket.AF_UNIX).connect({str(tmp_path / 'socket')!r})"
        result = plain(tmp_path, network=network).run(python(TRIES, connect))
    assert result.stdout == b"PermissionError\n"


def test_limits_and_priorities_of_the_agent_stay(tmp_path: Path) -> None:
    tries = [
        f"__import__('resource').prlimit({os.getpid()}, 7, (9, 9))",
        f"os.sched_setaffinity({os.getpid()}, [0])",
        f"os.setpriority(os.PRIO_PROCESS, {os.getpid()}, 5)",
        f"os.setpriority(os.PRIO_USER, {os.getuid()}, 5)",
    ]
    assert plain(tmp_path).run(python(TRIES, *tries)).stdout.decode().split() == ["PermissionError"] * len(tries)
    own = plain(tmp_path).run(python(TRIES, "os.nice(1)", "__import__('resource').getrlimit(7)[0]"))
    assert own.stdout == f"{os.getpriority(os.PRIO_PROCESS, 0) + 1}\n256\n".encode()


def test_signals_time_and_orphans(tmp_path: Path) -> None:
    mark = marker()
    late = plain(tmp_path, timeout_seconds=1).run(python(IGNORES_ALL, mark))
    assert (late.timed_out, late.stdout, late.signal) == (True, b"started\n", signal.SIGKILL)
    # It cannot see whether they have started, since it has no /proc.
    left = plain(tmp_path, timeout_seconds=2).run(python(ORPHANS.split("deadline")[0] + "time.sleep(0.3)", mark))
    assert left.exit_code == 0, left.stderr
    assert alive(mark) == []


def test_a_flood_of_output_and_of_processes(tmp_path: Path) -> None:
    flood = plain(tmp_path, output_bytes=1000).run(python(FLOOD, "both"))
    assert flood.truncated and len(flood.stdout) <= 1000 and len(flood.stderr) <= 1000
    mark = marker()
    if Protection.PROCESS_LIMIT in flood.protections:
        bomb = plain(tmp_path, timeout_seconds=1, processes=20).run(python(FORK_BOMB, mark))
        assert bomb.timed_out
        assert alive(mark) == []


@pytest.mark.parametrize("code", [0, 7, -9])
def test_how_it_ended_is_said(tmp_path: Path, code: int) -> None:
    result = plain(tmp_path).run(["sh", "-c", f"exit {code}" if code >= 0 else "kill -9 $$"])
    assert (result.exit_code, result.signal) == ((code, None) if code >= 0 else (None, -code))


def test_a_missing_command_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="No such file"):
        plain(tmp_path).run(["no-such-command"])


def test_an_agent_that_is_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    mark = marker()
    tool = python(ORPHANS.split("deadline")[0] + "time.sleep(600)", mark)
    process = agent(tmp_path, tool, bwrap="/no-bwrap", require=sorted(REQUIRED))
    wait_until_alive(mark, 5)
    process.kill()
    process.wait(10)
    wait_until_gone(mark)


@pytest.mark.skipif(not IS_ROOT, reason="only root can give a file away")
def test_set_user_id_programs_give_nothing(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    program = tmp_path / "work/id"
    program.write_bytes(Path("/usr/bin/id").read_bytes())
    os.chown(program, 12345, 12345)
    program.chmod(0o6755)
    assert plain(tmp_path).run([str(program), "-u"]).stdout == b"0\n"


NEWER = """
import ctypes, errno, sys
libc = ctypes.CDLL(None, use_errno=True)
for number in range(463, 475):
    assert libc.syscall(number, -100, sys.argv[1].encode(), 0, 0, 0, 0) == -1
    print(errno.errorcode[ctypes.get_errno()])
"""


def test_system_calls_that_are_newer_than_their_names_are_as_if_absent(tmp_path: Path) -> None:
    """Such as setxattrat (463), removexattrat (466), file_setattr (469): Landlock does not guard what they change."""
    result = plain(tmp_path).run(python(NEWER, str(tmp_path)))
    assert result.stdout.decode().split() == ["ENOSYS"] * 12


def test_a_path_that_landlock_cannot_keep_as_it_is_is_refused(tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "kept").mkdir(parents=True)
    with pytest.raises(SandboxError, match="without bubblewrap it could not be kept as it is"):
        plain(tmp_path, read=[PREFIX, work / "kept"], write=[work]).run(["true"])
    inside = plain(tmp_path, cwd=work / "kept", write=[work]).run(["touch", "new"])
    assert inside.succeeded and (work / "kept/new").exists()


def test_an_exit_code_that_looks_like_a_signal_is_told_as_it_is(tmp_path: Path) -> None:
    assert plain(tmp_path).run(["sh", "-c", "exit 150"]).exit_code == 150
