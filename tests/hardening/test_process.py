"""A process that is confined by the rules of the service tries what it must not, and what it has to be able to do.

The rules are those that the service makes of its settings; the processes are real ones, which confine themselves and
then run a few lines of Python. What they print is the name of the error, or what came of it.
"""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from kalguard._core import landlock_abi
from kalguard.hardening.process import Rules
from kalguard.sidecar.confinement import main_rules
from tests.support import SECRET, environment, free_port, settings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is neither Landlock nor seccomp elsewhere")

_CONFINED = """
import ctypes, os, pathlib, signal, socket, subprocess, sys, threading
from kalguard import config
from kalguard.hardening.process import confine
from kalguard.sidecar.confinement import main_rules, worker_rules
libc = ctypes.CDLL(None, use_errno=True)
folder = pathlib.Path(sys.argv[1])
settings = config.load(os.environ).settings
confine(main_rules(settings, os.environ, folder / "run"))
if sys.argv[2] == "worker":
    confine(worker_rules(settings, os.environ, folder / "run"))
def tried(attempt):
    try:
        return attempt()
    except OSError as error:
        return type(error).__name__ if type(error) is not OSError else os.strerror(error.errno)
"""
REFUSED = "Function not implemented"


class Service:
    """Settings with a folder for each thing, and processes that are confined by them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.named: dict[str, str] = {}  # variables that are not KalGuard's own
        for name in ("run", "etc", "log", "elsewhere"):
            (folder / name).mkdir()
        (folder / "etc/policy.json").write_text("{}")
        (folder / "elsewhere/secret").write_text("a secret")
        self.variables = {
            "token_secret": SECRET,
            "policy_path": str(folder / "etc/policy.json"),
            "audit_log_path": str(folder / "log/audit.jsonl"),
            "port": str(free_port()),
        }

    def rules(self) -> Rules:
        """What the main process may do."""
        return main_rules(settings(**self.variables), {}, self.folder / "run")

    def ends(self, role: str, code: str) -> subprocess.CompletedProcess[str]:
        """A process in this role that runs the code."""
        return subprocess.run(
            [sys.executable, "-c", _CONFINED + code, str(self.folder), role],
            env=environment(**self.variables) | self.named,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def tries(self, role: str, *attempts: str) -> list[str]:
        """What came of each attempt, all by one process in this role."""
        code = "".join(f"outcomes.append(str(tried(lambda: {attempt})))\n" for attempt in attempts)
        ended = self.ends(role, f"outcomes = []\n{code}print(*outcomes, sep='\\n')")
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.splitlines()


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


both = pytest.mark.parametrize("role", ["main", "worker"])
needs_landlock = pytest.mark.skipif(landlock_abi() < 6, reason="this kernel has no Landlock, or an old one")


@both
@needs_landlock
def test_what_the_settings_do_not_name_cannot_be_read_or_changed(service: Service, role: str) -> None:
    outcomes = service.tries(
        role,
        "(folder / 'elsewhere/secret').read_text()",
        "(folder / 'elsewhere/new').write_text('x')",
        "(folder / 'elsewhere/secret').unlink()",
        "(folder / 'elsewhere/secret').rename(folder / 'log/secret')",
        "(folder / 'etc/policy.json').write_text('x')",
        "os.truncate(folder / 'etc/policy.json', 0)",
        "(folder / 'new').mkdir()",
        "os.listdir('/')",
        "os.listdir(os.path.expanduser('~'))",
        "pathlib.Path('/etc/shadow').read_text()",
        "pathlib.Path('/proc/self/mem').read_bytes()",
        f"pathlib.Path('/proc/{os.getpid()}/environ').read_text()",
    )
    assert {outcome for outcome in outcomes if outcome != "Invalid cross-device link"} == {"PermissionError"}
    assert (service.folder / "elsewhere/secret").read_text() == "a secret"
    assert (service.folder / "etc/policy.json").read_text() == "{}"
    assert os.listdir(service.folder / "elsewhere") == ["secret"]


@both
def test_what_the_service_needs_goes_on(service: Service, role: str) -> None:
    expected = {
        "(folder / 'etc/policy.json').read_text()": "{}",
        "(folder / 'log/audit.jsonl').write_text('line')": "4",
        "(folder / 'log/audit.jsonl').rename(folder / 'log/1').name": "1",
        "(folder / 'run/draining').touch()": "None",
        "len(os.urandom(8))": "8",
        "sum([threading.Thread(target=os.getpid).start() or 1, 1])": "2",
        "__import__('zoneinfo').__name__": "zoneinfo",
        "os.kill(os.getpid(), 0)": "None",
        "open(os.devnull, 'w').write('x')": "1",
    }
    assert service.tries(role, *expected) == list(expected.values())


def test_a_file_that_takes_the_place_of_another_can_be_read(service: Service) -> None:
    # As an editor and Kubernetes do it: another file, and another folder behind a link.
    replaced = ["sys.stdin.readline(); print((folder / 'etc/policy.json').read_text())"] * 2
    etc = service.folder / "etc"
    (etc / "..1").mkdir()
    (etc / "..1/policy.json").write_text("first")
    (etc / "..data").symlink_to("..1")
    (etc / "policy.json").unlink()
    (etc / "policy.json").symlink_to("..data/policy.json")
    command = [sys.executable, "-u", "-c", _CONFINED + "print(1);" + ";".join(replaced), str(service.folder), "worker"]
    with subprocess.Popen(
        command, env=environment(**service.variables), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        for name, text in (("..2", "second"), ("..3", "third")):
            (etc / name).mkdir()
            (etc / name / "policy.json").write_text(text)
            (etc / "..new").symlink_to(name)
            (etc / "..new").replace(etc / "..data")
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == f"{text}\n"


@both
def test_a_system_call_outside_the_list_is_refused(service: Service, role: str) -> None:
    attempts = (
        "os.memfd_create('x')",
        "os.mkfifo(folder / 'log/pipe')",
        "os.setpriority(os.PRIO_PROCESS, os.getppid(), 5)",
        "os.setpriority(os.PRIO_USER, 0, 5)",
        "os.chown(folder / 'log', 1, 1)",
        "os.setuid(65534)",
        "os.symlink('a', folder / 'log/b')",
        "os.link(folder / 'etc/policy.json', folder / 'log/b')",
        "os.setxattr(folder / 'log', 'user.x', b'y')",
        "socket.socket(40, socket.SOCK_STREAM)",
        "socket.socket(socket.AF_UNIX)",
        "__import__('resource').prlimit(os.getppid(), 7, (5, 5))",
        "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
        "socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)",
        "__import__('fcntl').ioctl(0, 0x5412, b'x')",
        "__import__('mmap').mmap(-1, 4096, prot=7)",
        "socket.socket(socket.AF_INET, socket.SOCK_RAW, 6)",
        "socket.socket(socket.AF_INET6, socket.SOCK_RAW, 17)",
    )
    assert dict(zip(attempts, service.tries(role, *attempts), strict=True)) == dict.fromkeys(attempts, REFUSED)


@both
def test_what_was_written_in_memory_is_not_executed(service: Service, role: str) -> None:
    code = """
import mmap
memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE)
address = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
for protection in (mmap.PROT_READ, mmap.PROT_READ | mmap.PROT_EXEC, mmap.PROT_EXEC):
    done = libc.mprotect(address, ctypes.c_size_t(4096), protection)
    print(os.strerror(ctypes.get_errno()) if done else "done")
"""
    ended = service.ends(role, code)
    assert ended.stdout.splitlines() == ["done", REFUSED, REFUSED], ended.stderr


@both
def test_no_file_becomes_set_user_id(service: Service, role: str) -> None:
    at_once = "os.close(os.open(folder / 'log/a', os.O_CREAT | os.O_WRONLY, 0o{}755))"
    nameless = "os.close(os.open(folder / 'log', os.O_TMPFILE | os.O_WRONLY, 0o{}755))"
    attempts = [
        *(attempt.format(bits) for attempt in (at_once, nameless) for bits in (4, 2)),
        "os.chmod(folder / 'etc/policy.json', 0o4755)",
        "os.chmod('policy.json', 0o2755, dir_fd=os.open(folder / 'etc', os.O_RDONLY))",
        "os.fchmod(os.open(folder / 'etc/policy.json', os.O_RDONLY), 0o4755)",
    ]
    assert dict(zip(attempts, service.tries(role, *attempts), strict=True)) == dict.fromkeys(attempts, REFUSED)
    usual = [at_once.format(0), nameless.format(0), "os.chmod(folder / 'etc/policy.json', 0o600)"]
    assert service.tries(role, *usual) == ["None", "None", "None" if role == "main" else REFUSED]


@needs_landlock
def test_private_keys_of_the_machine_are_out_of_reach(service: Service) -> None:
    readable = [path for path, _ in service.rules().files]
    assert not {"/etc", "/etc/ssl", "/etc/pki", "/etc/pki/tls"} & set(readable)
    for name in ("own.pem", "elsewhere/ca/root.pem"):
        (service.folder / name).parent.mkdir(exist_ok=True)
        (service.folder / name).write_text("an authority")
    service.named = {
        "SSL_CERT_FILE": str(service.folder / "own.pem"),
        "SSL_CERT_DIR": str(service.folder / "elsewhere/ca"),
    }
    attempts = ("(folder / 'own.pem').read_text()", "(folder / 'elsewhere/ca/root.pem').read_text()")
    assert service.tries("main", *attempts) == ["an authority"] * 2


@pytest.mark.parametrize(("missing", "reached"), [("late", ["log"]), ("late/deep", [])])
def test_a_folder_that_is_not_there_stands_for_one_above_it_and_no_more(
    service: Service, missing: str, reached: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = service.folder / "log" / missing / "audit.jsonl"
    service.variables["audit_log_path"] = str(path)
    written = [folder for folder, rights in service.rules().files if "write" in rights]
    assert written == [str(service.folder / "run"), "/dev/null", *(str(service.folder / name) for name in reached)]
    assert (f"`{path}` is out of reach" in caplog.text) == (not reached)


def test_a_worker_starts_no_programs_and_without_anybody_to_call_calls_nobody(service: Service) -> None:
    attempts = (
        "os.fork()",
        "os.execv('/bin/true', ['true'])",
        "subprocess.run(['/bin/true'])",
        "subprocess.run([sys.executable, '-c', ''])",
        "socket.socket(socket.AF_UNIX)",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "socket.socket().connect(('127.0.0.1', 1))",
        "socket.socket().sendto(b'x', 0x20000000, ('127.0.0.1', 1))",
    )
    assert dict(zip(attempts, service.tries("worker", *attempts), strict=True)) == dict.fromkeys(attempts, REFUSED)


@needs_landlock
def test_the_main_process_starts_this_python_and_nothing_else(service: Service) -> None:
    own, other = "subprocess.run([sys.executable, '-c', '']).returncode", "subprocess.run(['/bin/true'])"
    assert service.tries("main", own, other) == ["0", "PermissionError"]


@both
@pytest.mark.parametrize(
    "call",
    ["ptrace(16, os.getppid(), 0, 0)", "unshare(0x10000000)", "syscall(321, 0, 0, 0)", "mount(0, 0, 0, 0, 0)"],
)
def test_what_is_only_ever_an_attack_ends_the_process(service: Service, role: str, call: str) -> None:
    if "syscall" in call and os.uname().machine != "x86_64":
        pytest.skip("the number is that of bpf on x86-64")
    assert service.ends(role, f"libc.{call}; print('alive')").returncode == -signal.SIGSYS


def test_a_call_by_another_interface_ends_the_process(service: Service) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("x32 is one of x86-64")
    assert service.ends("main", "libc.syscall(0x40000000 + 39); print('alive')").returncode == -signal.SIGSYS


@needs_landlock
def test_only_the_ports_of_the_settings_can_be_used(service: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        own, strange = service.variables["port"], free_port()
        bind = "socket.create_server(('127.0.0.1', {})).close()"
        connect = "socket.create_connection(('127.0.0.1', {})).close()"
        attempts = [bind.format(own), bind.format(strange), connect.format(port)]
        assert service.tries("main", *attempts) == ["None", "PermissionError", "PermissionError"]
        assert service.tries("worker", *attempts[:2]) == ["None", "PermissionError"]
        service.variables["redis_url"] = f"redis://127.0.0.1:{port}"
        for role in ("main", "worker"):
            attempts = [connect.format(port), connect.format(own)]
            assert service.tries(role, *attempts) == ["None", "PermissionError"]


@needs_landlock
def test_processes_outside_cannot_be_signalled_or_reached_by_abstract_sockets(service: Service) -> None:
    signalling = "os.kill(os.getppid(), 0)"
    assert service.tries("main", signalling) == ["PermissionError"]
    service.variables["redis_url"] = f"unix://{service.folder}/socket"  # so that a worker has Unix sockets at all
    name = f"kalguard-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as abstract, socket.socket(socket.AF_UNIX) as named:
        abstract.bind(f"\0{name}")
        named.bind(f"{service.folder}/socket")
        for listener in (abstract, named):
            listener.listen()
        connecting = "socket.socket(socket.AF_UNIX).connect({})"
        attempts = [connecting.format(f"'\\0{name}'"), connecting.format("str(folder / 'socket')"), signalling]
        assert service.tries("worker", *attempts) == ["PermissionError", "None", "PermissionError"]


def test_threads_that_there_are_already_are_not_left_out(service: Service) -> None:
    code = _CONFINED.replace(
        "folder = ", "threading.Thread(target=threading.Event().wait, daemon=True).start()\nfolder = "
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(service.folder), "main"],
        env=environment(**service.variables),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "threads already" in ended.stderr
