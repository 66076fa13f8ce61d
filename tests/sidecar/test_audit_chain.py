"""The log that real workers write, under load, over rotation and past a kill: `verify` finds it whole.

What was answered is on it, and a line that is changed or dropped afterwards shows.
"""

import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kalguard.records.reader import read_record
from kalguard.records.verification import Report, verify
from tests.records.written import key
from tests.support import GOOD_PROMPT, Server, bearer, running, stop, wait_until_up, workers_of

CONNECTIONS = 6


def key_path(folder: Path, private: Ed25519PrivateKey) -> str:
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(pem)
    return str(folder / "key.pem")


def load(server: Server, count: int) -> set[str]:
    """Ask so often, over several connections at once; the ids of the requests that were allowed."""

    def ask(_: int) -> set[str]:
        answered = set()
        with httpx.Client(base_url=server.url, headers=bearer(), timeout=60) as client:
            for _ in range(count // CONNECTIONS):
                try:
                    reply = client.post("/v1/prompt/check", json=GOOD_PROMPT).json()
                except httpx.TransportError:
                    continue  # the worker was killed
                if reply["allowed"]:
                    answered.add(str(reply["requestId"]))
        return answered

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return set().union(*pool.map(ask, range(CONNECTIONS)))


def recorded(*files: Path) -> list[str | None]:
    found = [read_record(line) for file in files for line in file.read_bytes().splitlines()]
    return [record.request_id for record in found if record is not None]


def texts(report: Report) -> list[str]:
    return [note.text for note in report.remarks]


@pytest.mark.parametrize("log_format", ["native", "ocsf"])
def test_a_log_of_several_workers_is_whole_over_rotation_and_past_a_kill(tmp_path: Path, log_format: str) -> None:
    signer = key()
    settings = {"policy_default_deny": "false", "workers": "3", "drain_seconds": "10", "audit_format": log_format}
    with running(tmp_path, audit_key_path=key_path(tmp_path, signer), **settings) as server:
        rotated = server.audit_path.with_suffix(".1")
        answered = load(server, 150)
        server.audit_path.rename(rotated)
        answered |= load(server, 150)
        os.kill(workers_of(server)[0], signal.SIGKILL)
        answered |= load(server, 150)
        assert stop(server.process) == 0
        files = [rotated, server.audit_path]
        report = verify([str(file) for file in files], [signer.public_key()])
        assert report.bad is None, report.bad
        assert answered <= set(recorded(*files))
        assert len(answered) > 300
        assert all((b'"class_uid":' in line) == (log_format == "ocsf") for line in rotated.read_bytes().splitlines())
        unclosed = [text for text in texts(report) if "closing record" in text]
        assert len(unclosed) <= 1  # of the killed worker, if it had written anything
        assert report.chains > 1
        assert report.signed >= report.chains - len(unclosed)


def test_what_is_done_to_such_a_log_afterwards_shows(tmp_path: Path) -> None:
    with running(tmp_path, policy_default_deny="false", workers="2", drain_seconds="10") as server:
        load(server, 40)
        stop(server.process)
        lines = server.audit_path.read_bytes().splitlines(keepends=True)
        assert verify([str(server.audit_path)]).bad is None
        for index in range(len(lines) - 1):
            changed = lines[index].replace(b'"agent-1"', b'"agent-2"').replace(b'"audit_closed"', b'"audit_clozed"')
            for damaged in ([*lines[:index], *lines[index + 1 :]], [*lines[:index], changed, *lines[index + 1 :]]):
                server.audit_path.write_bytes(b"".join(damaged))
                bad = verify([str(server.audit_path)]).bad
                assert bad is not None
                assert bad.place.line in (index + 1, index + 2)


def test_twenty_kills_at_random_moments_lose_nothing_that_was_answered(tmp_path: Path) -> None:
    moments = random.Random(20)  # the same each time; what they meet is not
    answered: set[str] = set()
    for _ in range(5):
        with running(tmp_path, policy_default_deny="false", workers="2") as server, ThreadPoolExecutor(1) as pool:
            for killed in ("a worker", "a worker", "a worker", "everything"):
                wait_until_up(server)
                asking = pool.submit(load, server, 300)
                time.sleep(moments.uniform(0.01, 0.3))
                workers = workers_of(server)
                if killed == "a worker":
                    with suppress(ProcessLookupError):
                        os.kill(moments.choice(workers), signal.SIGKILL)
                else:
                    for pid in (server.process.pid, *workers):
                        with suppress(ProcessLookupError):  # killed before, and buried meanwhile
                            os.kill(pid, signal.SIGKILL)
                answered |= asking.result()
    report = verify([str(server.audit_path)])
    assert report.bad is None, report.bad
    on_record = recorded(server.audit_path)
    assert len(answered) > 500
    assert answered <= set(on_record)
    assert len(on_record) == len(set(on_record)), "nothing is on record twice"
