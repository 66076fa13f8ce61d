"""The audit log, shipped by the real rsyslog with the configuration in deploy/rsyslog, arrives as it was written."""

import gzip
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.deploy.rotation import Rotation, asking
from tests.support import ROOT, SIDECAR, free_port, running, stop, until

RSYSLOGD = ROOT / ".services/rsyslogd"
SENDER = ROOT / "deploy/rsyslog/kalguard.conf"
COLLECTOR = ROOT / "deploy/rsyslog/collector.conf"


class Syslog:
    """One rsyslogd, with a file of `deploy/rsyslog` in which `changes` were made."""

    def __init__(self, folder: Path, config: Path, **changes: str) -> None:
        text = config.read_text()
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        folder.mkdir()
        (folder / "work").mkdir()
        self.config = folder / "rsyslog.conf"
        self.config.write_text(f'global(workDirectory="{folder}/work")\n{text}')
        self._folder = folder

    def check(self) -> subprocess.CompletedProcess[str]:
        """Whether rsyslogd understands it."""
        return subprocess.run(
            [str(RSYSLOGD), "-N1", "-f", str(self.config)], capture_output=True, text=True, check=False
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        command = [str(RSYSLOGD), "-n", "-f", str(self.config), "-i", str(self._folder / "pid")]
        with (self._folder / "log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            assert stop(process) == 0, (self._folder / "log").read_text()


def pair(folder: Path, audit_path: Path) -> tuple[Syslog, Syslog]:
    """A sender and a collector that fit together."""
    port = str(free_port())
    address = {"6514": port, "/var/log/kalguard-collected/": f"{folder}/collected/"}
    sender = Syslog(
        folder / "sender",
        SENDER,
        **{"/var/log/kalguard/audit.jsonl": str(audit_path), "collector.example": "127.0.0.1", "6514": port},
    )
    return sender, Syslog(folder / "collector", COLLECTOR, **address)


@pytest.mark.parametrize("which", [0, 1])
def test_rsyslog_understands_the_configuration(tmp_path: Path, which: int) -> None:
    checked = pair(tmp_path, tmp_path / "audit.jsonl")[which].check()
    assert checked.returncode == 0, checked.stderr


def written(rotation: Rotation) -> bytes:
    contents = [(file, file.read_bytes()) for file in rotation.files()]
    return b"".join(gzip.decompress(content) if file.suffix == ".gz" else content for file, content in contents)


def test_what_arrives_is_what_was_written_over_rotations_and_an_outage_of_the_collector(tmp_path: Path) -> None:
    with running(tmp_path, policy_default_deny="false", workers="2") as server:
        rotation = Rotation(tmp_path, server.audit_path)
        sender, collector = pair(tmp_path, server.audit_path)
        with sender.running():
            with asking(server) as answered:
                with collector.running():
                    rotation.rotate_under_load(answered, 2)
                rotation.rotate_under_load(answered, 2)  # there is nobody to send to
            with collector.running():
                assert stop(server.process) == 0
                until(lambda: arrived(tmp_path).count(b"\n") >= written(rotation).count(b"\n"))
    assert len(answered) > 80
    assert arrived(tmp_path) == written(rotation)
    verified = verify_as_documented(arrived(tmp_path))
    assert (verified.returncode, b"closing record" in verified.stdout) == (0, False), verified.stdout
    assert verify_as_documented(arrived(tmp_path).replace(b"agent-1", b"agent-2", 1)).returncode == 1


def verify_as_documented(collected: bytes) -> subprocess.CompletedProcess[bytes]:
    """`kalguard audit verify - <FILE`: several files of the service in one stream."""
    command = [str(Path(SIDECAR).with_name("kalguard")), "audit", "verify", "-"]
    return subprocess.run(command, input=collected, capture_output=True, check=False)


def arrived(folder: Path) -> bytes:
    collected = folder / "collected"
    return b"".join(file.read_bytes() for file in collected.iterdir()) if collected.exists() else b""
