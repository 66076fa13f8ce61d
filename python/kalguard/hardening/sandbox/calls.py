"""The system calls that a tool never needs, as a program for the kernel (seccomp).

A deny list, since a tool may be any program: it takes away what reaches other processes, the kernel's own parts, or new
rights, and what few programs use and many exploits did. What is not in it is kept in check by the other protections.
"""

import errno
import platform
from functools import cache

_Condition = tuple[int, int, int]  # argument `index` & mask == value
_Call = tuple[str, list[_Condition]]

# Other processes and keys; parts of the kernel that few programs use and many exploits did.
_DENIED = ["ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd", "keyctl", "add_key", "request_key"]
_DENIED += ["bpf", "userfaultfd", "perf_event_open", "io_uring_setup", "io_uring_enter", "io_uring_register"]
_DENIED += ["memfd_secret", "move_pages", "migrate_pages", "lookup_dcookie"]
# Another view of files, other namespaces.
_DENIED += ["mount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount"]
_DENIED += ["fspick", "mount_setattr", "unshare", "setns", "open_by_handle_at", "fanotify_init"]
# The machine as a whole.
_DENIED += ["init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "syslog"]
_DENIED += ["swapon", "swapoff", "acct", "quotactl", "quotactl_fd", "sethostname", "setdomainname", "vhangup"]
_DENIED += ["settimeofday", "clock_settime", "clock_adjtime", "adjtimex"]
_DENIED_X86 = ["iopl", "ioperm", "modify_ldt"]
# Of terminals: putting input into them (TIOCSTI), pasting the selection (TIOCLINUX), line disciplines (TIOCSETD).
_IOCTLS = (0x5412, 0x541C, 0x5423)
# New namespaces: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
_CLONE_FLAGS = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)
_LOW = 0xFFFFFFFF  # the kernel looks at these bits of the argument alone
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_FAMILIES = range(64)  # of sockets, with room for new ones


@cache
def programs(*, internet: bool) -> tuple[bytes, ...]:
    """Programs for the kernel, to be installed one after the other.

    Without `internet` there are no sockets but Unix ones, with it none of families that no namespace holds (such as
    vsock, which reaches the host of a virtual machine). Raises `NotImplementedError` or `OSError` where they cannot be
    had.
    """
    from kalguard._core import seccomp_program

    machine = platform.machine()
    allowed = (_UNIX, _INET, _INET6, _NETLINK) if internet else (_UNIX,)
    denied: list[_Call] = [(name, []) for name in _DENIED]
    denied += [(name, []) for name in _DENIED_X86 if machine == "x86_64"]
    denied += [("ioctl", [(1, _LOW, request)]) for request in _IOCTLS]
    denied += [("clone", [(0, flag, flag)]) for flag in _CLONE_FLAGS]
    denied += [("socket", [(0, _LOW, family)]) for family in _FAMILIES if family not in allowed]
    # The flags of clone3 cannot be looked at. As if it were not there: then libraries take clone.
    absent: list[_Call] = [("clone3", [])]
    return (
        seccomp_program(denied, matched=errno.EPERM, otherwise="allow", arch=machine),
        seccomp_program(absent, matched=errno.ENOSYS, otherwise="allow", arch=machine),
    )
