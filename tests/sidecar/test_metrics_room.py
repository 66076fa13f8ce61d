"""The files that worker processes count into have all their blocks, whatever is counted."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from kalguard.sidecar.metrics import FILE_BYTES
from kalguard.sidecar.worker import reserve
from tests.support import environment, running, until, wait_until_up, workers_of

FULL = """
import asyncio, itertools, json, sys
from prometheus_client import REGISTRY
from kalguard.decision.model import Check
from kalguard.sidecar.metrics import CAUSES, Metrics
from kalguard.sidecar.worker import reserve
from kalguard.wire.codes import ErrorCode
from pathlib import Path
import os
reserve(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
metrics = Metrics()
metrics.describe(monitors=False, sink="stdout")
for check in Check:
    decisions = ["allow", "sanitize", "require_approval", *["deny"] * len(ErrorCode)]
    for decision, code in zip(decisions, ["", "", "", *ErrorCode], strict=True):
        for mode in ("monitor", "enforce"):
            metrics._checks[check, decision, code, mode] += 1
for number in range(64):
    metrics._detections[(f"harmful.a_category_of_some_length_{number}",)] += 1
for live, shadow in itertools.product(("allow", "deny", "require_approval"), repeat=2):
    metrics._shadow[live, shadow] += 1
for name, result in itertools.product(("agent", "tool", "daily"), ("ok", "exceeded")):
    metrics._limits[name, result] += 1
for file in ("policy", "policy_shadow", "tools", "patterns", "revocation"):
    metrics.reloaded(file, good=True)
for store in ("redis", "workers"):
    metrics.store_failed(store)
for action in ("sanitize", "block"):
    metrics._monitored[(action,)] += 1
asyncio.run(metrics.tell())
for number in range(2000):
    metrics.policy_in_force("policy_shadow", chr(0x1F512) * (number % 50) + str(number), "f" * 64)
metrics.policy_in_force("policy", "x" * 1_000_000, "f" * 64)
"""


def test_no_series_makes_a_file_grow(tmp_path: Path) -> None:
    variables = {**environment(), "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", FULL], env=variables, capture_output=True, text=True, check=True)
    assert "no room for another policy" in done.stderr
    sizes = {path.name.rpartition("_")[0]: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes == FILE_BYTES
    used = {path.name: int.from_bytes(path.read_bytes()[:4], sys.byteorder) for path in tmp_path.iterdir()}
    assert max(used.values()) > 150_000


def test_what_is_reserved_has_no_holes(tmp_path: Path) -> None:
    reserve(tmp_path)
    for path in tmp_path.iterdir():
        assert path.stat().st_blocks * 512 >= path.stat().st_size > 0


def test_a_worker_without_room_for_its_metrics_does_not_start(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from kalguard.sidecar.worker import create; create()"],
        env={**environment(), "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "worker process cannot start: no room for its metrics in" in done.stderr


def test_a_worker_that_is_to_be_confined_and_has_no_folder_does_not_start() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from kalguard.sidecar.worker import create; create()"],
        env=environment(harden="true"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "worker process cannot start: it cannot be confined" in done.stderr


def test_what_a_dead_worker_counted_stays_but_not_its_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    with running(tmp_path) as server:
        (dead,) = workers_of(server)
        os.kill(dead, 9)
        until(lambda: workers_of(server) not in ([], [dead]))
        wait_until_up(server)
        assert "kalguard_worker_starts_total 2.0" in httpx.get(f"{server.metrics_url}/metrics").text
        assert "kalguard_worker_starts_total 2.0" in httpx.get(f"{server.metrics_url}/metrics").text
        kept = {path.name: path.stat().st_size for path in tmp_path.glob(f"temporary/kalguard-*/*_{dead}.db")}
        assert set(kept) == {f"{kind}_{dead}.db" for kind in ("counter", "histogram", "gauge_max")}
        assert max(kept.values()) < 32768, json.dumps(kept)
