"""The system calls that a tool never needs, as a program for the kernel (seccomp).

A deny list, since a tool may be any program: it takes away what reaches other processes, the kernel's own parts, or new
rights, and what few programs use and many exploits did. What is not in it is kept in check by the other protections.
"""

import errno
import platform
from collections.abc import Iterator
from functools import cache

_Condition = tuple[int, int, int]  # argument `index` & mask == value
_Call = tuple[str, list[_Condition]]

# Other processes and keys; parts of the kernel that few programs use and many exploits did.
_DENIED = ["ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd", "keyctl", "add_key", "request_key"]
_DENIED += ["bpf", "userfaultfd", "perf_event_open", "io_uring_setup", "io_uring_enter", "io_uring_register"]
# Memory that no limit of a process counts.
_DENIED += ["memfd_create", "memfd_secret", "shmget"]
_DENIED += ["move_pages", "migrate_pages", "lookup_dcookie"]
# Another view of files, other namespaces.
_DENIED += ["mount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount"]
_DENIED += ["fspick", "mount_setattr", "unshare", "setns", "open_by_handle_at", "fanotify_init"]
# The machine as a whole.
_DENIED += ["init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "syslog"]
_DENIED += ["swapon", "swapoff", "acct", "quotactl", "quotactl_fd", "sethostname", "setdomainname", "vhangup"]
_DENIED += ["settimeofday", "clock_settime", "clock_adjtime", "adjtimex"]
_DENIED += ["iopl", "ioperm", "modify_ldt"]
# Of terminals: putting input into them (TIOCSTI), pasting the selection (TIOCLINUX), line disciplines (TIOCSETD).
_IOCTLS = (0x5412, 0x541C, 0x5423)
# New namespaces: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
_CLONE_FLAGS = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)
# Files that run with the rights of their owner or group, left for others to start: the bits, and what can set them,
# with the place of the mode among the arguments. Of what opens files, only if it makes them (O_CREAT, O_TMPFILE).
_SET_ID_BITS = (0o4000, 0o2000)
_MODES = {"chmod": 1, "fchmod": 1, "fchmodat": 2, "fchmodat2": 2, "mknod": 1, "mknodat": 2, "creat": 1}
_MAKING_MODES = {"open": 2, "openat": 3}
_MAKING_FLAGS = (0o100, 0o20000000)
# What is left to be closed without namespaces, since Landlock does not guard it. Owners and modes of files that cannot
# be opened:
_UNGUARDED = ["chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchown", "fchownat"]
_UNGUARDED += ["setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr"]
# memory and messages by number,
_UNGUARDED += ["shmat", "shmctl", "semget", "semop", "semtimedop", "semctl", "msgget", "msgsnd", "msgrcv", "msgctl"]
_UNGUARDED += ["mq_open", "mq_unlink"]
# limits and priorities of other processes: by who is named, where nobody is oneself.
_UNGUARDED += ["ioprio_set"]
_OF_OTHERS = {"prlimit64": 0, "sched_setaffinity": 0, "sched_setscheduler": 0, "sched_setparam": 0, "sched_setattr": 0}
_OF_OTHERS |= {"setpriority": 1}
_PRIO_USER = 2
_MACHINES = ("x86_64", "aarch64")
_ONLY_X86 = {"chmod", "mknod", "creat", "open", "chown", "lchown", "iopl", "ioperm", "modify_ldt"}
_LOW = 0xFFFFFFFF  # the kernel looks at these bits of the argument alone
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_FAMILIES = range(64)  # of sockets, with room for new ones


@cache
def programs(*, internet: bool, namespaces: bool) -> tuple[bytes, ...]:
    """Programs for the kernel, to be installed one after the other.

    With `internet` there are sockets for it. Sockets of families that no namespace holds (such as vsock, which reaches
    the host of a virtual machine) are never there, and Unix ones only with `namespaces`, where those of the machine
    have no path; `socketpair` is. Calls that are too new to have a name here are as if
    absent. Raises `NotImplementedError` or `OSError` where the programs cannot be had.
    """
    from kalguard._core import seccomp_program

    machine = platform.machine()
    if machine not in _MACHINES:
        raise NotImplementedError(f"there is no list of system calls for `{machine}`")
    denied: list[_Call] = [(name, []) for name in (*_DENIED, *([] if namespaces else _UNGUARDED))]
    families = [_UNIX] if namespaces else []
    denied += [*_conditions(families + ([_INET, _INET6, _NETLINK] if internet else [])), *_modes()]
    denied += [] if namespaces else _naming_others()
    whole = {name for name, conditions in denied if not conditions}
    here = [
        (name, conditions)
        for name, conditions in denied
        if (machine == "x86_64" or name not in _ONLY_X86) and not (conditions and name in whole)
    ]
    # What these are asked for cannot be looked at. As if they were not there: then libraries take clone and openat.
    absent: list[_Call] = [("clone3", []), ("openat2", [])]
    return (
        seccomp_program(here, matched=errno.EPERM, otherwise="allow", arch=machine),
        seccomp_program(absent, matched=errno.ENOSYS, otherwise="allow", arch=machine),
    )


def _conditions(families: list[int]) -> Iterator[_Call]:
    """Calls that are denied for some arguments: terminals, namespaces, sockets of all families but these."""
    yield from (("ioctl", [(1, _LOW, request)]) for request in _IOCTLS)
    yield from (("clone", [(0, flag, flag)]) for flag in _CLONE_FLAGS)
    yield from (("socket", [(0, _LOW, family)]) for family in _FAMILIES if family not in families)


def _modes() -> Iterator[_Call]:
    """Calls that would set the bits of `_SET_ID_BITS`."""
    for bit in _SET_ID_BITS:
        yield from ((name, [(place, bit, bit)]) for name, place in _MODES.items())
        for flag in _MAKING_FLAGS:
            yield from ((name, [(place - 1, flag, flag), (place, bit, bit)]) for name, place in _MAKING_MODES.items())


def _naming_others() -> Iterator[_Call]:
    """Calls that name another process: any bit of the number is set."""
    for name, place in _OF_OTHERS.items():
        yield from ((name, [(place, 1 << bit, 1 << bit)]) for bit in range(32))
    yield "setpriority", [(0, _LOW, _PRIO_USER)]
