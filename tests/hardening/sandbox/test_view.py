"""What a tool can see, change and reach: nothing that it was not given."""

import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import kalguard
from kalguard import Protection, SandboxError
from tests.hardening.sandbox.tools import BWRAP, IS_ROOT, PREFIX, box, everything_but, python
from tests.support import ROOT, free_port

# Prints what each of the statements in its arguments gives: its value, or the name of its error.
TRIES = """
import os, socket, sys
for statement in sys.argv[1:]:
    try:
        print(repr(eval(statement)))
    except Exception as error:
        print(type(error).__name__)
"""


def tried(folder: Path, *statements: str, **changes: object) -> list[str]:
    """What a tool gets when it tries this."""
    result = box(folder, **changes).run(python(TRIES, *statements))
    assert result.exit_code == 0, result.stderr
    return result.stdout.decode().splitlines()


def test_nothing_outside_can_be_written(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("as it was")
    places = [
        "new",
        "/usr/new",
        "/etc/new",
        "/new",
        "/dev/new",
        "/proc/sys/kernel/hostname",
        "/proc/self/oom_score_adj",
    ]
    _, *answers = tried(tmp_path, *(f"open({place!r}, 'w').write('x')" for place in (str(outside), *places)))
    # The first one may be written to the /tmp of the sandbox, where nobody sees it.
    assert outside.read_text() == "as it was"
    assert set(answers) <= {"FileNotFoundError", "PermissionError", "OSError"}
    assert list((tmp_path / "work").iterdir()) == []


def test_the_working_folder_is_written_to_only_when_that_is_asked_for(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "given").write_text("data")
    changes = ["open('made', 'w').write('x')", "os.rename('given', 'moved')", "os.mkdir('folder')", "os.unlink('made')"]
    read, *changed = tried(tmp_path, "open('given').read()", *changes)
    assert read == "'data'"
    assert set(changed) <= {"OSError", "PermissionError", "FileNotFoundError"}
    assert [path.name for path in work.iterdir()] == ["given"]
    moved = "os.rename('moved', 'folder/moved')"
    assert tried(tmp_path, *changes, moved, write=[work]) == ["1", "None", "None", "None", "None"]
    assert (work / "folder/moved").read_text() == "data"


def test_a_folder_inside_one_that_may_be_written_can_be_kept_as_it_is(tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "kept").mkdir(parents=True)
    answers = tried(
        tmp_path, "open('a', 'w').write('x')", "open('kept/a', 'w')", write=[work], read=[PREFIX, work / "kept"]
    )
    assert answers[0] == "1"
    assert answers[1] in ("OSError", "PermissionError")


def test_a_working_folder_inside_one_that_may_be_written_may_be_written(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    assert tried(tmp_path, "open('a', 'w').write('x')", write=[tmp_path]) == ["1"]


def test_files_that_were_not_named_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    places = [
        str(tmp_path / "secret"),
        str(ROOT / "README.md"),
        "/etc/passwd",
        "/etc/shadow",
        "/var",
        "/home",
        "/run",
        "/sys",
    ]
    assert set(tried(tmp_path, *(f"os.stat({place!r})" for place in places))) == {"FileNotFoundError"}


def test_tmp_is_its_own(tmp_path: Path) -> None:
    seen = Path("/tmp/kalguard-seen-by-tools")
    assert tried(
        tmp_path,
        "open('/tmp/kalguard-seen-by-tools', 'w').write('x')",
        "'kalguard-seen-by-tools' in os.listdir('/tmp')",
    ) == [
        "1",
        "True",
    ]
    assert not seen.exists()


def test_it_has_no_environment_but_what_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_AGENT", "s3cr3t-of-the-agent")
    everything = "b''.join(open(f'/proc/{p}/environ', 'rb').read() for p in os.listdir('/proc') if p.isdigit())"
    (environ,) = tried(tmp_path, everything)
    assert "s3cr3t" not in environ
    assert box(tmp_path, env={"LANG": "C", "GIVEN": "a=b"}).run(["env"]).stdout == b"LANG=C\nGIVEN=a=b\n"


def test_proc_shows_its_own_processes_only(tmp_path: Path) -> None:
    count, parent, memory, root = tried(
        tmp_path,
        "len([p for p in os.listdir('/proc') if p.isdigit()])",
        f"open('/proc/{os.getpid()}/environ').read()",
        "open('/proc/1/mem', 'rb+')",
        "os.listdir('/proc/1/root/')",
    )
    assert int(count) <= 2
    assert parent == "FileNotFoundError"
    assert memory == "PermissionError"
    assert "home" not in root


def test_there_is_no_network_not_even_the_loopback_of_the_machine(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as listener:
        connect = f"socket.create_connection({listener.getsockname()!r}, 2)"
        assert tried(tmp_path, connect, "socket.getaddrinfo('localhost', 1)[0][4][0]")[0] == "ConnectionRefusedError"


def test_with_network_there_is(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as listener:
        connect = f"socket.create_connection({listener.getsockname()!r}, 2).close()"
        assert tried(tmp_path, connect, network=True, require=everything_but("no-host-peers")) == ["None"]


@pytest.mark.parametrize("network", [False, True])
def test_abstract_sockets_of_the_machine_cannot_be_reached(tmp_path: Path, *, network: bool) -> None:
    name = f"\0kalguard-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen()
        (answer,) = tried(tmp_path, f"socket.socket(socket.AF_UNIX).connect({name!r})", network=network)
    assert answer == ("PermissionError" if network else "ConnectionRefusedError")


def test_sockets_that_no_namespace_holds_cannot_be_made(tmp_path: Path) -> None:
    families = [17, 38, 40]  # packets, the kernel's cryptography, vsock: the host of a virtual machine
    for network in (False, True):
        answers = tried(tmp_path, *(f"socket.socket({family}, 3)" for family in families), network=network)
        assert answers == ["PermissionError"] * 3


def test_no_descriptor_of_the_agent_is_inherited(tmp_path: Path) -> None:
    secret = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(secret, True)
    try:
        (found,) = tried(tmp_path, "sorted(map(int, os.listdir('/proc/self/fd')))")
    finally:
        os.close(secret)
    assert found == "[0, 1, 2, 3]"  # the last is of the listing itself


@pytest.mark.skipif(not IS_ROOT, reason="only root can give a file away")
def test_set_user_id_programs_give_nothing(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    program = tmp_path / "work/id"
    shutil.copy("/usr/bin/id", program)
    os.chown(program, 12345, 12345)
    program.chmod(0o6755)
    plain = box(tmp_path).run(["/usr/bin/id", "-u"])
    raised = box(tmp_path).run([str(program), "-u"])
    assert stat.S_ISUID & program.stat().st_mode
    assert (raised.exit_code, raised.stdout) == (0, plain.stdout)
    assert plain.stdout != b"0\n"


def test_it_has_no_capabilities_and_cannot_get_any(tmp_path: Path) -> None:
    (status,) = tried(tmp_path, "open('/proc/self/status').read()")
    lines = dict(line.split(":\\t", 1) for line in status.strip("'").split("\\n") if ":\\t" in line)
    assert {lines[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (lines["NoNewPrivs"], lines["Seccomp"]) == ("1", "2")


def test_no_file_can_be_left_that_gives_others_its_rights(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work/given").touch()
    tries = [
        *(f"os.chmod('given', 0o{bits}755)" for bits in (4, 2)),
        *(f"os.fchmod(os.open('given', os.O_RDONLY), 0o{bits}755)" for bits in (4, 2)),
        *(f"os.chmod('given', 0o{bits}755, dir_fd=os.open('.', os.O_RDONLY))" for bits in (4, 2)),
        *(f"os.open('made', os.O_CREAT | os.O_WRONLY, 0o{bits}755)" for bits in (4, 2)),
        "os.open('.', os.O_TMPFILE | os.O_WRONLY, 0o4755)",
        "os.mknod('made', 0o104755)",
    ]
    assert tried(tmp_path, *tries, write=[tmp_path / "work"]) == ["PermissionError"] * len(tries)
    assert tried(tmp_path, "os.chmod('given', 0o755)", write=[tmp_path / "work"]) == ["None"]
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["given"]


def test_modes_of_what_it_shares_with_the_machine_stay(tmp_path: Path) -> None:
    paths = ["/dev/null", "/dev/urandom", "/dev/tty", "/usr/bin/id", PREFIX]
    before = [os.stat(path) for path in paths]
    # As they are, so that nothing is broken where it succeeds: then the time of the change tells.
    tries = [
        f"os.chmod({path!r}, {stat.S_IMODE(one.st_mode) & 0o777})" for path, one in zip(paths, before, strict=True)
    ]
    writes = ["open('/dev/null', 'w').write('x')", "open('/dev/zero', 'rb').read(1)[0]", "len(os.urandom(9))"]
    answers = tried(tmp_path, *tries, "os.fchmod(0, 0)", *writes)
    assert [os.stat(path).st_ctime_ns for path in paths] == [one.st_ctime_ns for one in before]
    assert set(answers[3:5]) <= {"OSError", "PermissionError"}
    assert answers[-3:] == ["1", "0", "9"]
    assert list(Path("/dev").glob("kalguard-*")) == []


def test_memory_that_no_limit_of_a_process_counts_cannot_be_had(tmp_path: Path) -> None:
    assert tried(tmp_path, "os.memfd_create('x')") == ["PermissionError"]


def test_what_keeps_it_in_the_sandbox_cannot_be_given_to_it_for_writing(tmp_path: Path) -> None:
    package, link = Path(kalguard.__file__).parent, tmp_path / "linked/bwrap"
    link.parent.mkdir()
    link.symlink_to(BWRAP)
    kept = [package, package.parent, package / "hardening", BWRAP, BWRAP.parent]
    for path in [*kept, Path(PREFIX), Path(os.__file__), Path(os.__file__).parent]:
        with pytest.raises(SandboxError, match="keeps it in the sandbox"):
            box(tmp_path, write=[path]).run(["true"])
    for path in (link.parent, BWRAP.parent):
        with pytest.raises(SandboxError, match="keeps it in the sandbox"):
            box(tmp_path, bwrap=link, write=[path]).run(["true"])


CALLS = """
import ctypes, errno, sys
libc = ctypes.CDLL(None, use_errno=True)
for name, number, *arguments in eval(sys.argv[1]):
    ctypes.set_errno(0)
    answer = libc.syscall(number, *arguments)
    print(name, errno.errorcode.get(ctypes.get_errno(), answer))
"""
# Numbers of x86-64. With these arguments each would succeed, or fail in another way.
X86_CALLS = [
    ("ptrace", 101, 0, 0, 0, 0),
    ("keyctl", 250, 0, -3, 0),
    ("bpf", 321, 0, 0, 0),
    ("userfaultfd", 323, 1),
    ("unshare", 272, 0x10000000),
    ("clone", 56, 0x10000000 | 17, 0, 0, 0, 0),
    ("mount", 165, 0, 0, 0, 0, 0),
    ("io_uring_setup", 425, 1, 0),
    ("perf_event_open", 298, 0, 0, -1, -1, 0),
    ("process_vm_writev", 311, 1, 0, 0, 0, 0, 0),
    ("TIOCSTI", 16, 0, 0x5412, 0),
    ("TIOCSTI with high bits", 16, 0, 0x100005412, 0),
]


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86-64")
def test_system_calls_that_no_tool_needs_are_refused(tmp_path: Path) -> None:
    result = box(tmp_path).run(python(CALLS, repr(X86_CALLS)))
    answers = result.stdout.decode().splitlines()
    assert answers == [f"{name} EPERM" for name, *_ in X86_CALLS]
    assert box(tmp_path).run(python(CALLS, repr([("clone3", 435, 0, 0)]))).stdout == b"clone3 ENOSYS\n"
    # The same call by its number for x32 is not another one.
    assert box(tmp_path).run(python(CALLS, repr([("x32", 0x40000000 | 101, 0, 0, 0, 0)]))).signal is not None


def test_landlock_hides_what_the_launcher_needs(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    shown = box(tmp_path, read=[], env={"PATH": "/usr/bin"}).run(["ls", "/.kalguard", PREFIX])
    assert shown.exit_code != 0
    assert b"/.kalguard" in shown.stderr
    assert b"Permission denied" in shown.stderr


def test_a_link_as_working_folder_leads_to_where_it_points(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert tried(tmp_path, "os.getcwd()", "os.listdir()", cwd=tmp_path / "link") == [
        repr(str(tmp_path / "real")),
        "['file']",
    ]


def test_a_link_in_the_working_folder_leads_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "secret").write_text("x")
    (tmp_path / "work/link").symlink_to("../secret")
    assert tried(tmp_path, "open('link').read()", write=[tmp_path / "work"]) == ["FileNotFoundError"]


@pytest.mark.parametrize("path", ["/", "/proc", "/proc/self", "/dev", "/sys/fs", "missing"])
def test_what_would_open_the_sandbox_is_refused(tmp_path: Path, path: str) -> None:
    for changes in ({"read": [path]}, {"write": [path]}, {"cwd": path}):
        with pytest.raises(SandboxError, match=path):
            box(tmp_path, **changes).run(["true"])


def test_the_agent_s_own_closed_streams_do_no_harm(tmp_path: Path) -> None:
    sandbox = box(tmp_path)
    code = f"""
import os, sys
from kalguard import Sandbox
for descriptor in (0, 1, 2):
    os.close(descriptor)
sandbox = Sandbox(cwd={str(sandbox.cwd)!r}, bwrap={str(sandbox.bwrap)!r})
result = sandbox.run(["sh", "-c", "cat; echo out; echo err >&2"], stdin=b"in ")
os._exit(0 if (result.stdout, result.stderr) == (b"in out\\n", b"err\\n") else 1)
"""
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environ, timeout=30, check=False).returncode == 0


def test_what_was_in_force_is_said(tmp_path: Path) -> None:
    offline = box(tmp_path).run(["true"]).protections
    assert offline >= frozenset(Protection) - {Protection.MEMORY_TOTAL}
    online = box(tmp_path, network=True).run(["true"]).protections
    assert Protection.NO_NETWORK not in online
    assert online | {Protection.NO_NETWORK} == offline
