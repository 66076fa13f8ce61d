"""The audit log, shipped by the real rsyslog with the configuration in deploy/rsyslog, arrives as it was written."""

import gzip
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.deploy.rotation import Rotation, asking
from tests.support import ROOT, SIDECAR, free_port, make_certificate, running, stop, until

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


def pair(folder: Path, audit_path: Path, **changes: str) -> tuple[Syslog, Syslog]:
    """A sender, with more `changes`, and a collector that fit together: over TLS, as they are shipped."""
    certificate, key = map(str, make_certificate(folder))
    both = {"6514": str(free_port()), "/etc/rsyslog.d/ca.pem": certificate}
    sender = {
        **both,
        "/var/log/kalguard/audit.jsonl": str(audit_path),
        "/etc/rsyslog.d/agents.pem": certificate,
        "/etc/rsyslog.d/agents.key": key,
        "collector.example": "localhost",
    }
    collector = {
        **both,
        "10.77.0.20": "127.0.0.1",
        "/etc/rsyslog.d/collector.pem": certificate,
        "/etc/rsyslog.d/collector.key": key,
        "agents-1.example": "localhost",
        "/var/log/kalguard-collected/": f"{folder}/collected/",
    }
    return Syslog(folder / "sender", SENDER, **sender, **changes), Syslog(folder / "collector", COLLECTOR, **collector)


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
                until(lambda: once(arrived(tmp_path)).count(b"\n") >= written(rotation).count(b"\n"))
    assert len(answered) > 80
    assert once(arrived(tmp_path)) == written(rotation)
    verified = verify_as_documented(arrived(tmp_path))
    assert (verified.returncode, b"closing record" in verified.stdout) == (0, False), verified.stdout
    assert verify_as_documented(arrived(tmp_path).replace(b"agent-1", b"agent-2", 1)).returncode == 1


def test_a_sender_cannot_choose_the_file(tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").write_text('{"id":"evt_1"}\n')
    sender, collector = pair(tmp_path, tmp_path / "audit.jsonl", **{"%HOSTNAME%": "../chosen"})
    (tmp_path / "collected").mkdir()
    with collector.running(), sender.running():
        until(lambda: [*tmp_path.rglob("*.jsonl")] != [tmp_path / "audit.jsonl"] and arrived(tmp_path) != b"")
    assert [file.name for file in (tmp_path / "collected").iterdir()] == ["127.0.0.1.jsonl"]
    assert not (tmp_path / "chosen.jsonl").exists()


def test_who_has_no_certificate_of_a_permitted_name_is_not_listened_to(tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").write_text('{"id":"evt_1"}\n')
    sender, collector = pair(tmp_path, tmp_path / "audit.jsonl")
    text = collector.config.read_text()
    collector.config.write_text(text.replace('["localhost", ', '["agents-3.example", '))
    with collector.running(), sender.running():
        until(lambda: "authentication error" in (tmp_path / "collector/log").read_text())
    assert arrived(tmp_path) == b""


def verify_as_documented(collected: bytes) -> subprocess.CompletedProcess[bytes]:
    """As docs/operations.md does: several files of the service in one stream, each line once."""
    guide = (ROOT / "docs/operations.md").read_text()
    (pipe,) = re.findall(
        r"^    (awk .*) /var/log/kalguard-collected/\S+ \| kalguard audit verify -", guide, re.MULTILINE
    )
    command = f"{pipe} | {Path(SIDECAR).with_name('kalguard')} audit verify -"
    return subprocess.run(["sh", "-c", command], input=collected, capture_output=True, check=False)


def once(lines: bytes) -> bytes:
    """Without repetitions: what the collector took and could no longer confirm comes again."""
    return b"".join(dict.fromkeys(lines.splitlines(keepends=True)))


def arrived(folder: Path) -> bytes:
    collected = folder / "collected"
    return b"".join(file.read_bytes() for file in collected.iterdir()) if collected.exists() else b""
