"""The protections that there are: a result names those that were in force, `require` those to be demanded."""

from enum import StrEnum


class Protection(StrEnum):
    """One thing that keeps a tool from doing harm."""

    TIMEOUT = "timeout"
    """Ended after so many seconds."""
    OUTPUT_LIMIT = "output-limit"
    """Ended when it writes more to its standard output or standard error."""
    ENVIRONMENT = "environment"
    """None of the agent's variables, other than those that are named, and none of its open files."""
    PROCESS_TREE = "process-tree"
    """All that it started ends with it, whatever it did to escape, and also when the agent is killed."""
    NO_NEW_PRIVILEGES = "no-new-privileges"
    """Set-user-ID programs and file capabilities give it nothing."""
    NAMESPACES = "namespaces"
    """By bubblewrap: a system that is read-only, a /tmp, /proc and /dev of its own, and of files only those named."""
    LANDLOCK = "landlock"
    """The rules on files once more, by the kernel's Landlock."""
    SECCOMP = "seccomp"
    """Without the system calls that a tool never needs."""
    NO_NETWORK = "no-network"
    """No network, not even the loopback of the machine."""
    NO_HOST_PEERS = "no-host-peers"
    """No signals to processes outside, and none of their abstract Unix sockets."""
    CPU_LIMIT = "cpu-limit"
    """So many seconds of computing for each process."""
    MEMORY_LIMIT = "memory-limit"
    """So much address space for each process."""
    MEMORY_TOTAL = "memory-total"
    """So much memory for all its processes together, by a control group."""
    PROCESS_LIMIT = "process-limit"
    """So many processes and threads at a time."""
    FILE_SIZE_LIMIT = "file-size-limit"
    """So many bytes for each file that it writes."""


# What a run has to have unless it says otherwise. A control group is there only where one was delegated.
FULL_PROTECTION = frozenset(Protection) - {Protection.MEMORY_TOTAL}
