"""What of the machine a tool sees: as arguments of bubblewrap, and as rules of Landlock on the same files."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

import kalguard
from kalguard.errors import SandboxError
from kalguard.hardening.sandbox.devices import DEVICES

# Programs and libraries.
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
# Of /etc what programs need to start, to tell the time and to check certificates; no users, keys or other settings.
_ETC = [
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "alternatives",
    "localtime",
    "timezone",
    "mime.types",
    "nsswitch.conf",
]
_ETC += ["ssl/certs", "ssl/openssl.cnf", "ca-certificates", "pki/tls/certs", "pki/ca-trust"]
_ETC_NETWORK = ["resolv.conf", "hosts", "services", "protocols", "gai.conf", "host.conf"]
# Where our own files are, inside: no folder of the machine is called so.
_OWN = "/.kalguard"
# Folders that the sandbox has of its own, or that would open what it closes.
_RESERVED = ("/proc", "/dev", "/sys", _OWN)
_ID = "1000"  # of user and group inside: neither root nor the one that stands for all others
_LOOK, _CHANGE = ("read", "execute"), ("read", "write", "execute", "remove_dirs")


class Folders(msgspec.Struct, frozen=True):
    """Files and folders as they are called without links. `shown` is whether each can be written to, parents first."""

    cwd: str
    shown: tuple[tuple[str, bool], ...]


def folders(cwd: str, read: list[str], write: list[str], bwrap: str | None) -> Folders:
    """Look up what the rules name. Raises `SandboxError`."""
    found: dict[str, bool] = {}
    for path in read:
        found[_real(path)] = False
    for path in write:
        found[_real(path)] = True
    around = max((path for path in found if _is_within(_real(cwd), path)), key=len, default=None)
    found.setdefault(_real(cwd), around is not None and found[around])
    for own in _keepers(bwrap):
        if any(writable and (_is_within(own, path) or _is_within(path, own)) for path, writable in found.items()):
            raise SandboxError(f"write: a tool could change `{own}`, or what is in it, which keeps it in the sandbox")
    if not os.path.isdir(cwd):
        raise SandboxError(f"cwd: `{cwd}` is not a folder")
    return Folders(_real(cwd), tuple(sorted(found.items(), key=lambda item: item[0].count("/"))))


def refuse_read_only_within(seen: Folders) -> None:
    """Landlock alone cannot keep a path as it is in a folder that may be written to. Raises `SandboxError`."""
    for path, writable in seen.shown:
        if not writable and any(_is_within(path, other) for other, can_write in seen.shown if can_write):
            raise SandboxError(
                f"read: `{path}` is in a folder of `write`, and without bubblewrap it could not be kept as it is"
            )


def _keepers(bwrap: str | None) -> set[str]:
    """What the sandbox is made of, by its names without links; bubblewrap also by the link that leads to it."""
    found = {str(_package()), _python(), os.path.realpath(sys.base_prefix), os.path.realpath(sys.base_exec_prefix)}
    if bwrap is not None:
        folder, name = os.path.split(os.path.abspath(bwrap))
        found |= {os.path.realpath(bwrap), os.path.join(os.path.realpath(folder), name)}
    return found - {"/"}


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def _real(path: str) -> str:
    try:
        real = os.path.realpath(path, strict=True)
    except (OSError, ValueError) as error:
        raise SandboxError(f"`{path}` cannot be shown to a tool: {getattr(error, 'strerror', error)}") from None
    if real == "/" or any(_is_within(real, one) for one in _RESERVED):
        raise SandboxError(f"`{path}` cannot be shown to a tool: it would open what the sandbox closes")
    return real


def mounts(seen: Folders, devices: list[str], room_bytes: int, *, network: bool) -> list[str]:
    """Arguments of bubblewrap: namespaces of its own, and of files only what is named here."""
    arguments = ["--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"]
    arguments += [] if network else ["--unshare-net"]
    arguments += ["--disable-userns", "--uid", _ID, "--gid", _ID, "--hostname", "sandbox"]
    arguments += ["--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv"]
    for path in _SYSTEM:
        if os.path.islink(path):
            arguments += ["--symlink", os.readlink(path), path]
        else:
            arguments += ["--ro-bind-try", path, path]
    for path in _etc(network=network):
        arguments += ["--ro-bind-try", path, path]
    arguments += ["--proc", "/proc", "--dev", "/dev", *devices]
    for path in ("/tmp", "/dev/shm"):  # noqa: S108 its own
        arguments += ["--perms", "1777", "--size", str(room_bytes), "--tmpfs", path]
    for path in _interpreter():
        arguments += ["--ro-bind", path, path]
    arguments += ["--ro-bind", str(_package()), f"{_OWN}/kalguard"]
    for path, writable in seen.shown:
        arguments += ["--bind" if writable else "--ro-bind", path, path]
    return [*arguments, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/"]


def access(seen: Folders, *, network: bool, own_tmp: bool) -> list[tuple[str, tuple[str, ...]]]:
    """Rules of Landlock: each path with what may be done beneath it. Our own files are not among them.

    With `own_tmp` /tmp, /dev and /proc are the sandbox's own. Some paths may not be there.
    """
    rules: list[tuple[str, tuple[str, ...]]] = [(path, _LOOK) for path in (*_SYSTEM, *_etc(network=network))]
    rules += [(path, ("read", "write")) for path in (f"/dev/{name}" for name in DEVICES)]
    if own_tmp:
        rules += [("/tmp", _CHANGE), ("/dev/shm", _CHANGE), ("/proc", ("read",)), ("/dev", ("read",))]  # noqa: S108
        rules += [("/dev/pts", ("read", "write", "ioctl"))]
    rules += [(path, _CHANGE if writable else _LOOK) for path, writable in seen.shown]
    return rules


def launcher(*, inside: bool) -> tuple[list[str], str]:
    """The command of the launcher without its arguments, and the folder that holds our packages."""
    packages = Path(_OWN) if inside else _package().parent
    script = packages / "kalguard/hardening/sandbox/launch.py"
    return [_python(), "-I", "-S", "-B", str(script)], str(packages)


def _etc(*, network: bool) -> Iterator[str]:
    return (f"/etc/{name}" for name in [*_ETC, *(_ETC_NETWORK if network else [])])


def _package() -> Path:
    return Path(kalguard.__file__).resolve().parent


def _python() -> str:
    """The interpreter itself, without the environment that it may have been started from."""
    return os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)


def _interpreter() -> list[str]:
    """What the interpreter consists of, where the system's folders do not hold it. Landlock hides it from the tool."""
    parts = {os.path.realpath(sys.base_prefix), os.path.realpath(sys.base_exec_prefix), _python()}
    return sorted(part for part in parts if not any(_is_within(part, one) for one in _SYSTEM))
