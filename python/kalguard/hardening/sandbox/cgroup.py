"""A control group for one run, where one may be made: memory and processes of all that a tool starts, counted together.

Version 2: beside the group that the agent is in, if the folder of both was delegated to its user (systemd:
`Delegate=memory pids` with `DelegateSubgroup=agent`). Version 1: beneath the agent's own groups, which needs root.
Nothing of the agent's own is moved.
"""

import itertools
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from kalguard.hardening.sandbox.protections import Protection

_ROOT = Path("/sys/fs/cgroup")
_NUMBERS = itertools.count()
_STALE_SECONDS = 60
_LEAVING_SECONDS = 2
# A shell that enters the groups named first, and becomes the rest of its arguments.
_ENTER = 'n=$1; shift; while [ "$n" -gt 0 ]; do echo 0 >"$1" || exit 1; shift; n=$((n-1)); done; exec "$@"'


class ControlGroup:
    """One group, or one for each kind of limit. `protections` says which limits hold."""

    def __init__(self, memory_bytes: int, processes: int) -> None:
        self.protections: set[Protection] = set()
        self._folders: list[Path] = []
        limits: dict[str, dict[str, int]] = {
            "memory": {"memory.max": memory_bytes, "memory.swap.max": 0, "memory.oom.group": 1},
            "pids": {"pids.max": processes},
        }
        limits_1: dict[str, dict[str, int]] = {
            "memory": {"memory.limit_in_bytes": memory_bytes, "memory.memsw.limit_in_bytes": memory_bytes},
            "pids": {"pids.max": processes},
        }
        name = f"kalguard-{os.getpid()}-{next(_NUMBERS)}"
        for parent, controllers, version in _parents():
            _sweep(parent)
            self._make(parent / name, {one: (limits if version == 2 else limits_1)[one] for one in controllers})

    def _make(self, folder: Path, limits: dict[str, dict[str, int]]) -> None:
        """Make a group with these limits. Where that is not allowed there is none."""
        try:
            folder.mkdir()
        except OSError:
            return
        self._folders.append(folder)
        for controller, values in limits.items():
            try:
                first, *further = values.items()
                (folder / first[0]).write_text(str(first[1]))
            except OSError:
                continue
            for file, value in further:  # what not every kernel has
                with suppress(OSError):
                    (folder / file).write_text(str(value))
            found = {"memory": Protection.MEMORY_TOTAL, "pids": Protection.PROCESS_LIMIT}[controller]
            self.protections.add(found)

    @property
    def folders(self) -> list[str]:
        """What is to be removed when the run is over."""
        return [str(folder) for folder in self._folders]

    def entering(self, command: list[str]) -> list[str]:
        """The command, such that it and all that it starts are in the group."""
        if not self._folders:
            return command
        files = [str(folder / "cgroup.procs") for folder in self._folders]
        return ["/bin/sh", "-c", _ENTER, "sh", str(len(files)), *files, *command]

    def remove(self) -> None:
        """Remove it. Those in it have ended, but may not have left it yet."""
        deadline = time.monotonic() + _LEAVING_SECONDS
        for folder in self._folders:
            while not _is_removed(folder) and time.monotonic() < deadline:
                time.sleep(0.002)


def _parents() -> Iterator[tuple[Path, Sequence[str], int]]:
    """Folders that groups may be made in, with what can be limited there and the version."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in ("memory", "pids"):
            yield _ROOT / controllers / path.lstrip("/"), [controllers], 1
        elif not controllers and path != "/":
            parent = (_ROOT / path.lstrip("/")).parent
            with suppress(OSError):
                delegated = (parent / "cgroup.subtree_control").read_text().split()
                found = [one for one in ("memory", "pids") if one in delegated]
                if found and os.access(parent / "cgroup.procs", os.W_OK):
                    yield parent, found, 2


def _sweep(parent: Path) -> None:
    """Remove what runs of agents left that were killed. A group that somebody is in cannot be removed."""
    with suppress(OSError):
        for folder in parent.glob("kalguard-*-*"):
            is_running = Path("/proc", folder.name.split("-")[1]).exists()
            if not is_running and time.time() - folder.stat().st_mtime > _STALE_SECONDS:
                _is_removed(folder)


def _is_removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
