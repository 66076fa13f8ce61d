"""The last program before the command: takes the remaining rights away from itself and becomes the command.

Started as a script by a bare interpreter (`python -I -S`), inside of what bubblewrap has set up, with the numbers of
pipes as arguments. It says `ready` on the status pipe, reads what to do from the configuration pipe, says there in one
line of JSON what is in force or why nothing is run, and is replaced by the command.

The same script is the supervisor, between the agent and all that: it ends everything when the command has ended or the
agent is gone, whatever the moment. Bubblewrap alone leaves a process behind if the agent dies while it sets things up.

It must not start the command with fewer protections than are demanded. It imports nothing of ours but `_core`.
"""

import base64
import ctypes
import json
import os
import resource
import select
import signal
import sys
import time
from contextlib import suppress
from typing import Any, NoReturn

_PR_CAPBSET_DROP, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 24, 36, 38
_CAPABILITIES_3 = 0x20080522  # version of the call: two sets of 32 bits
_OPEN_FILES = 256
_POLL_MILLISECONDS = 100
_LEAVING_SECONDS = 2


def main() -> None:
    """Be the launcher, or the supervisor of one."""
    role, first, second, *rest = sys.argv[1:]
    if role == "supervise":
        agent, removed, command = int(rest[0]), json.loads(rest[1]), rest[2:]
        _supervise(int(first), int(second), agent, removed, command)
    _launch(int(first), int(second))


def _launch(config_fd: int, status_fd: int) -> NoReturn:
    """Become the command; or say why not, and exit."""
    os.set_inheritable(status_fd, False)
    os.write(status_fd, b"ready\n")
    config = json.loads(_line(config_fd))
    if not config:
        os._exit(1)  # the agent is gone
    # Nothing but the standard streams is left for the command; the status pipe closes by itself.
    _close_all_but(0, 1, 2, status_fd)
    try:
        in_force, lacking = _confine(config)
        missing = {name: lacking.get(name, "not available") for name in config["required"] if name not in in_force}
        if missing:
            _answer(status_fd, {"missing": missing})
            os._exit(1)
        _answer(status_fd, {"inForce": sorted(in_force)})
        os.execvpe(config["command"][0], config["command"], config["env"])  # noqa: S606 no shell is what is wanted
    except OSError as error:
        _answer(status_fd, {"error": error.strerror or str(error)})
    os._exit(1)


def _confine(config: dict[str, Any]) -> tuple[set[str], dict[str, str]]:
    """Take away what is to be taken away: what is in force now, and why something is not."""
    core, lacking = _core(config["packages"])
    lacking |= {name: why for name, why in config["lacking"].items() if why}
    os.chdir(config["cwd"])
    _forget_signals()
    in_force = set()
    if _has_no_new_privileges(lacking):
        in_force.add("no-new-privileges")
        _drop_capabilities()
    in_force |= _limit(config, lacking)
    # Files last but one, since what is imported later could not be read; calls last.
    if core is not None:
        in_force |= _restrict(core, config, lacking)
        in_force |= _deny_calls(core, config, lacking)
    return in_force, lacking


def _core(packages: str) -> tuple[Any, dict[str, str]]:
    """The extension, from the folder that holds our packages; `None` and the reason where it cannot be had."""
    sys.path.append(packages)
    try:
        from kalguard import _core
    except ImportError as error:
        reason = f"the compiled extension cannot be loaded: {error}"
        return None, {"landlock": reason, "seccomp": reason, "no-host-peers": reason}
    return _core, {}


def _forget_signals() -> None:
    """As a program expects them: none ignored, which the interpreter does with some, and none blocked."""
    for number in signal.valid_signals():
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _has_no_new_privileges(lacking: dict[str, str]) -> bool:
    if not sys.platform.startswith("linux"):
        lacking["no-new-privileges"] = "Linux only"
        return False
    return _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def _drop_capabilities() -> None:
    """As bubblewrap does. Raises `OSError`."""
    capability = 0
    while _prctl(_PR_CAPBSET_DROP, capability):
        capability += 1
    header, none = (ctypes.c_uint32 * 2)(_CAPABILITIES_3, 0), (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, none) != 0:
        raise OSError(ctypes.get_errno(), "capabilities cannot be dropped")


def _prctl(option: int, value: int) -> bool:
    return bool(ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), *[ctypes.c_ulong(0)] * 3) == 0)


def _limit(config: dict[str, Any], lacking: dict[str, str]) -> set[str]:
    """Resource limits, soft and hard. A limit that is stricter already stays; none is raised."""
    limits = (
        ("cpu-limit", resource.RLIMIT_CPU, config["cpuSeconds"]),
        ("file-size-limit", resource.RLIMIT_FSIZE, config["fileSizeBytes"]),
        ("open files", resource.RLIMIT_NOFILE, _OPEN_FILES),
        ("core dumps", resource.RLIMIT_CORE, 1),  # with 0 a program of the machine's would still be given the dump
    )
    in_force = {name for name, which, value in limits if _set_limit(name, which, value, lacking)}
    if config["processes"] is not None and _processes_are_counted(lacking):
        in_force |= (
            {"process-limit"}
            if _set_limit("process-limit", resource.RLIMIT_NPROC, config["processes"], lacking)
            else set()
        )
    # Memory at last: the interpreter itself may have more.
    if _set_limit("memory-limit", resource.RLIMIT_AS, config["memoryBytes"], lacking):
        in_force.add("memory-limit")
    return in_force


def _set_limit(name: str, which: int, value: int, lacking: dict[str, str]) -> bool:
    _, hard = resource.getrlimit(which)
    lowest = value if hard == resource.RLIM_INFINITY else min(value, hard)
    try:
        resource.setrlimit(which, (lowest, lowest))
    except (OSError, ValueError) as error:
        lacking[name] = str(error)
        return False
    return True


def _processes_are_counted(lacking: dict[str, str]) -> bool:
    """Whether the kernel holds us to a number of processes: it does not do so for root. Tried rather than guessed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    resource.setrlimit(resource.RLIMIT_NPROC, (1, hard))
    try:
        child = os.fork()
    except BlockingIOError:
        return True
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))
    lacking["process-limit"] = "the kernel does not count the processes of root, and there is no control group for it"
    return False


def _restrict(core: Any, config: dict[str, Any], lacking: dict[str, str]) -> set[str]:
    """Landlock: the files once more, and nothing of processes outside."""
    abi = core.landlock_abi()
    if abi < config["leastLandlock"]:
        lacking["landlock"] = f"the kernel has {f'version {abi} of it' if abi else 'none'}"
        lacking |= dict.fromkeys(config["scopesGive"], "it needs a newer Landlock")
        return set()
    rules = [(path, rights) for path, rights in config["access"] if os.path.exists(path)]
    found = core.restrict_access(rules, bind=None, connect=None, scopes=("abstract_sockets", "signals"))
    in_force = {"landlock"} if found["files"] != "none" else set()
    if all(found[scope] == "full" for scope in config["scopes"]):
        in_force |= set(config["scopesGive"])
    else:
        lacking |= dict.fromkeys(config["scopesGive"], f"the kernel's Landlock (version {abi}) cannot do it")
    return in_force


def _deny_calls(core: Any, config: dict[str, Any], lacking: dict[str, str]) -> set[str]:
    """Seccomp: `programs` are for this machine."""
    try:
        for program in config["programs"]:
            core.install_seccomp(base64.b64decode(program))
    except OSError as error:
        lacking["seccomp"] = str(error)
        return set()
    return set(config["programsGive"]) if config["programs"] else set()


def _close_all_but(*kept: int) -> None:
    beyond = [*sorted(kept), max(*kept, os.sysconf("SC_OPEN_MAX"))]
    for first, last in zip([-1, *beyond], beyond, strict=False):
        if first + 1 < last:  # of an empty range from 0 the interpreter makes all
            os.closerange(first + 1, last)


def _answer(status_fd: int, answer: dict[str, Any]) -> None:
    with suppress(OSError):
        os.write(status_fd, json.dumps(answer).encode() + b"\n")


def _line(descriptor: int) -> bytes:
    """The line that comes; `null` in JSON if it does not, or not whole.

    The end of the pipe says nothing: a copy of the agent's process may hold the other side.
    """
    found = b""
    while not found.endswith(b"\n"):
        block = os.read(descriptor, 65536)
        if not block:
            return b"null"
        found += block
    return found


def _supervise(report_fd: int, life_fd: int, agent: int, removed: list[str], command: list[str]) -> NoReturn:
    """Start a command, and end all that came of it when it has ended, `life_fd` says so, or the agent is gone.

    Then removes the folders `removed`, and says on the report pipe how the command ended, when nothing of it is left.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, as the agent may have it, ends would not be told
    if sys.platform.startswith("linux"):
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    for descriptor in (report_fd, life_fd):
        os.set_inheritable(descriptor, False)
    child = os.fork()
    if child == 0:
        os.setsid()
        try:
            os.execv(command[0], command)  # noqa: S606 no shell is what is wanted
        except OSError as error:
            os.write(2, f"`{command[0]}`: {error.strerror}".encode())
            os._exit(1)
    _close_all_but(report_fd, life_fd)
    status = _wait(child, life_fd, agent)
    _end_all(child)
    for folder in removed:
        _remove(folder)
    if status is not None:
        _answer(report_fd, {"exitCode": os.waitstatus_to_exitcode(status)})
    os._exit(0)


def _remove(folder: str) -> None:
    """Remove a control group, which those who have ended may not have left yet, or a folder with files."""
    deadline = time.monotonic() + _LEAVING_SECONDS
    while time.monotonic() < deadline:
        try:
            if not folder.startswith("/sys/"):
                for name in os.listdir(folder):
                    os.unlink(os.path.join(folder, name))
            os.rmdir(folder)
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.002)
        else:
            return


def _wait(child: int, life_fd: int, agent: int) -> int | None:
    """The status of the command when it ends; `None` when it is to be ended. Orphans are laid to rest meanwhile.

    The agent is this process's parent as long as it lives. A copy of it may hold the other end of `life_fd` for longer.
    """
    waiting = select.poll()
    waiting.register(life_fd, select.POLLIN)
    with suppress(AttributeError, OSError):  # else the end is noticed a little later
        waiting.register(os.pidfd_open(child), select.POLLIN)
    while True:
        ready = [descriptor for descriptor, _ in waiting.poll(_POLL_MILLISECONDS)]
        ended = -1
        while ended != 0:
            ended, status = os.waitpid(-1, os.WNOHANG)
            if ended == child:
                return status
        if life_fd in ready or os.getppid() != agent:
            return None


def _end_all(child: int) -> None:
    """Kill until there is nobody left. Whose parent has ended becomes a child of this process, wherever it hid."""
    while True:
        if not sys.platform.startswith("linux"):
            with suppress(OSError):
                os.killpg(child, signal.SIGKILL)
        for process in _descendants():
            with suppress(OSError):
                os.kill(process, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.001)


def _descendants() -> list[int]:
    """Children and theirs, where the system tells."""
    parents: dict[int, list[int]] = {}
    with suppress(OSError):
        for name in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError, ValueError), open(f"/proc/{name}/stat", "rb") as stat:
                parents.setdefault(int(stat.read().rpartition(b")")[2].split()[1]), []).append(int(name))
    found = list(parents.get(os.getpid(), []))
    for process in found:
        found.extend(parents.get(process, []))
    return found


if __name__ == "__main__":
    main()
