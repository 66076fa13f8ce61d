"""What a server and all its processes use, from /proc."""

import os
from pathlib import Path

_TICK = 1 / os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            found += tree(int(child))
    return found


def cpu_seconds(pid: int) -> float:
    """Seconds of CPU, user and system, that the living processes of a tree have used; counted in hundredths."""
    return sum(_cpu_seconds(one) for one in tree(pid))


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * _TICK


def memory_mib(pid: int) -> list[float] | None:
    """Memory of each process of a tree in MiB: proportional set size, so that what they share counts once.

    `None` where we may not see it: processes that are confined show it to root alone.
    """
    try:
        return [_pss_kib(one) / 1024 for one in tree(pid)]
    except PermissionError:
        return None


def _pss_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0
