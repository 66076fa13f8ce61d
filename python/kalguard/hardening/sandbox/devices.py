"""Device nodes of a run's own, for agents of root.

The nodes in /dev belong to root, so that a tool of root's could take /dev/null from everybody by changing its mode.
Bubblewrap cannot show a node read-only. So a tool of root's gets copies, which go with it.
"""

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")


class DeviceNodes:
    """Copies of the nodes in /dev, where the machine's belong to who we are. `arguments` are bubblewrap's.

    Raises `OSError` where copies are needed and cannot be made.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self.arguments: list[str] = []
        if os.stat("/dev/null").st_uid != os.geteuid():
            return
        # The usual folder may be one without devices; /dev is not.
        for parent in (tempfile.gettempdir(), "/dev"):
            try:
                self._make(Path(tempfile.mkdtemp(prefix="kalguard-", dir=parent)))
                return
            except OSError as error:
                self.remove()
                reason = error
        raise OSError(reason.errno, f"device nodes of its own, which a tool of root's needs: {reason.strerror}")

    def _make(self, folder: Path) -> None:
        self._folder = folder
        for name in DEVICES:
            node = folder / name
            os.mknod(node, stat.S_IFCHR | 0o666, os.stat(f"/dev/{name}").st_rdev)
            node.chmod(0o666)  # whatever the umask is
            self.arguments += ["--dev-bind", str(node), f"/dev/{name}"]
        with open(folder / "null", "wb"):  # fails in a folder without devices
            pass

    @property
    def folders(self) -> list[str]:
        """What is to be removed when the run is over."""
        return [] if self._folder is None else [str(self._folder)]

    def remove(self) -> None:
        """Remove them. Those of a tool that still runs go with it."""
        self.arguments = []
        if self._folder is not None:
            for name in DEVICES:  # by name: to list a folder takes a descriptor, and there may be none left
                with suppress(OSError):
                    (self._folder / name).unlink()
            with suppress(OSError):
                self._folder.rmdir()
