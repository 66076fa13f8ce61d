"""The rule for logrotate that is shipped, run by the real logrotate on the log of a server that is at work."""

import grp
import os
import pwd
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.support import GOOD_PROMPT, ROOT, Server, bearer, until

RULE = ROOT / "deploy/systemd/kalguard.logrotate"
LOGROTATE = ROOT / ".services/logrotate"


class Rotation:
    """The rule, for a log that lies elsewhere and belongs to whoever runs the tests."""

    def __init__(self, folder: Path, audit_path: Path) -> None:
        user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
        text = RULE.read_text().replace("/var/log/kalguard/audit.jsonl /var/log/kalguard/audit.log", str(audit_path))
        assert str(audit_path) in text
        self._rule = folder / "kalguard.logrotate"
        self._rule.write_text(text.replace("su kalguard kalguard", f"su {user} {group}"))
        self._rule.chmod(0o644)  # it ignores rules that others may write
        self._state = folder / "logrotate.state"
        self._audit_path = audit_path

    def rotate(self) -> None:
        """What the system's timer does once a day."""
        command = [str(LOGROTATE), "--force", "--state", str(self._state), str(self._rule)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")

    def rotate_under_load(self, answered: list[str], times: int) -> None:
        """Rotate so often, each time after twenty more of these answers, so that there is something to rotate."""
        for _ in range(times):
            enough = len(answered) + 20
            until(lambda enough=enough: len(answered) > enough)  # type: ignore[misc]
            self.rotate()

    def files(self) -> list[Path]:
        """All that is left of the log, the oldest first."""
        rotated = self._audit_path.parent.glob(f"{self._audit_path.name}.*")
        numbered = sorted(rotated, key=lambda path: int(path.name.split(".")[2]), reverse=True)
        return [*numbered, self._audit_path]


@contextmanager
def asking(server: Server) -> Iterator[list[str]]:
    """Two agents that ask all the time. The ids of the requests that were answered."""
    answered: list[str] = []
    over = threading.Event()

    def agent() -> None:
        with httpx.Client(base_url=server.url, headers=bearer(), timeout=60) as client:
            while not over.is_set():
                answered.append(client.post("/v1/prompt/check", json=GOOD_PROMPT).json()["requestId"])
                time.sleep(0.002)

    agents = [threading.Thread(target=agent) for _ in range(2)]
    for started in agents:
        started.start()
    try:
        yield answered
    finally:
        over.set()
        for started in agents:
            started.join()
