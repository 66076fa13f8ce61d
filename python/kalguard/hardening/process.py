"""Confines the running process, and whatever it starts, to rules: `no_new_privs`, Landlock, seccomp.

Whatever the kernel has is applied, and what came of it is told; what it refuses although it has it is an error, so that
nobody believes to be confined who is not. There is no way back.
"""

import os
import platform
import threading
from collections.abc import Sequence
from typing import Literal

import msgspec

from kalguard._core import install_seccomp, landlock_abi, restrict_access, seccomp_available, set_no_new_privs
from kalguard.hardening.syscalls import ARCHITECTURES, Role, filters

Right = Literal["read", "list", "write", "execute", "remove_dirs", "ioctl"]
Extent = Literal["full", "partial", "none"]

PROTECTIONS = ("no_new_privs", "seccomp", "files", "tcp_bind", "tcp_connect", "abstract_sockets", "signals")
"""What there can be, by the names under which it is told."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a process may do. `files` are paths with what may be done beneath them; those not there are left out.

    `bind` and `connect` are TCP ports. `network`, `unix`: whether a worker has anybody to call, over a network or on
    the same machine.
    """

    role: Role
    files: Sequence[tuple[str, Sequence[Right]]]
    bind: Sequence[int]
    connect: Sequence[int]
    network: bool = False
    unix: bool = False


def confine(rules: Rules) -> dict[str, Extent]:
    """Confine this process. Gives how far each of `PROTECTIONS` is in force.

    Raises `OSError` where the kernel refuses, and `RuntimeError` where there are threads that Landlock would not reach.
    """
    if landlock_abi() and _threads() > 1:
        raise RuntimeError("there are threads already, which would not be confined")
    set_no_new_privs()
    in_force: dict[str, Extent] = dict.fromkeys(PROTECTIONS, "none")
    in_force["no_new_privs"] = "full"
    if landlock_abi():
        there = [(path, rights) for path, rights in rules.files if os.path.exists(path)]
        scopes: tuple[Literal["abstract_sockets", "signals"], ...] = ("abstract_sockets", "signals")
        in_force |= restrict_access(there, bind=rules.bind, connect=rules.connect, scopes=scopes)
    arch = platform.machine()
    if arch in ARCHITECTURES and seccomp_available():
        for program in filters(rules.role, arch, network=rules.network, unix=rules.unix):
            install_seccomp(program)
        in_force["seccomp"] = "full"
    return in_force


def _threads() -> int:
    """Threads of this process, those that Python knows nothing of included where the system tells."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return threading.active_count()
