"""What is counted, of checks, of the audit log, of files and of worker processes."""

import hashlib
import json
import os
import re
import signal
import socket
import time
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry

from kalguard.decision.model import Check
from kalguard.records.sinks import MemorySink
from kalguard.sidecar import scrape
from kalguard.sidecar.app import build
from kalguard.sidecar.load import Load
from kalguard.sidecar.metrics import CAUSES, Metrics
from tests.support import (
    ALLOW_ALL,
    ATTACK,
    GOOD_PROMPT,
    Server,
    call,
    free_port,
    running,
    settings,
    start_and_end,
    told,
    until,
    wait_until_up,
    workers_of,
)

MAIL = {"messages": [{"role": "user", "content": "Write to alice@example.com about the meeting."}]}


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


def scraped(server: Server, name: str, *labels: str) -> float | None:
    """The one sample of this name with these labels, written as in a scrape; `None` where there is none."""
    found = [
        float(line.rpartition(" ")[2])
        for line in httpx.get(f"{server.metrics_url}/metrics").text.splitlines()
        if re.match(rf"{name}[{{ ]", line) and all(label in line for label in labels)
    ]
    assert len(found) <= 1
    return found[0] if found else None


def test_failures_are_there_before_they_happen() -> None:
    registry = CollectorRegistry()
    Metrics(registry).describe(monitors=False, sink="file")
    for check in Check:
        for cause in CAUSES:
            labels = {"check": check.value, "cause": cause, "effect": "denied"}
            assert value(registry, "kalguard_check_failures_total", **labels) == 0
    assert value(registry, "kalguard_audit_records_total", sink="file", result="error") == 0


def test_a_changed_prompt_and_one_that_is_only_watched_are_told_apart() -> None:
    counted = {}
    for mode in ("enforce", "monitor"):
        registry = CollectorRegistry()
        metrics = Metrics(registry)
        served = build(settings(policy_default_deny="false", firewall_mode=mode), metrics=metrics, sink=MemorySink())
        for check, path, body in (
            ("prompt", "/v1/prompt/check", GOOD_PROMPT),
            ("prompt", "/v1/prompt/check", MAIL),
            ("prompt", "/v1/prompt/check", ATTACK),
            ("tool", "/v1/tool/check", {"toolName": "t"}),
        ):
            reply = call(served, path, body)
            assert reply.status in (200, 403), check
        told(metrics)
        samples = next(metric for metric in registry.collect() if metric.name == "kalguard_checks").samples
        counted[mode] = {
            (s.labels["check"], s.labels["decision"], s.labels["mode"]): s.value
            for s in samples
            if s.name == "kalguard_checks_total"
        }
    assert counted["enforce"] == {
        ("prompt", "allow", "enforce"): 1,
        ("prompt", "sanitize", "enforce"): 1,
        ("prompt", "deny", "enforce"): 1,
        ("tool", "allow", "enforce"): 1,
    }
    assert counted["monitor"] == {("prompt", "allow", "monitor"): 3, ("tool", "allow", "enforce"): 1}


def test_a_check_that_is_not_on_record_is_a_failure_of_the_audit_log(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    path = tmp_path / "nowhere" / "audit.jsonl"
    served = build(settings(policy_default_deny="false", audit_log_path=str(path)), metrics=metrics)
    assert call(served).status == 503
    told(metrics)
    assert value(registry, "kalguard_check_failures_total", check="prompt", cause="audit", effect="denied") == 1
    assert value(registry, "kalguard_check_failures_total", check="prompt", cause="dependency", effect="denied") == 0
    assert value(registry, "kalguard_audit_records_total", sink="file", result="error") == 1
    assert value(registry, "kalguard_audit_records_dropped_total") == 1


def test_the_audit_log_is_counted_in_records_and_timed_in_writes() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.describe(monitors=False, sink="stdout")
    metrics.audit_queued(7)
    metrics.audit_written(5, 0.002)
    metrics.audit_failed(2)
    told(metrics)
    assert value(registry, "kalguard_audit_queue_depth") == 7
    assert value(registry, "kalguard_audit_records_total", sink="stdout", result="ok") == 5
    assert value(registry, "kalguard_audit_records_total", sink="stdout", result="error") == 2
    assert value(registry, "kalguard_audit_write_duration_seconds_count") == 1
    assert value(registry, "kalguard_audit_write_duration_seconds_bucket", le="0.001") == 0
    assert value(registry, "kalguard_audit_write_duration_seconds_bucket", le="0.005") == 1


def test_records_are_counted_where_they_are_written(tmp_path: Path) -> None:
    with running(tmp_path, workers="2", policy_default_deny="false") as server:
        for _ in range(10):
            assert server.post("/v1/prompt/check", GOOD_PROMPT).status_code == 200
        until(lambda: scraped(server, "kalguard_audit_records_total", 'sink="file"', 'result="ok"') == 10)
        writes = scraped(server, "kalguard_audit_write_duration_seconds_count")
        assert writes is not None and 1 <= writes <= 10
        until(lambda: scraped(server, "kalguard_audit_queue_depth") == 0)


def test_what_was_counted_is_told_once() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    served = build(settings(policy_default_deny="false"), metrics=metrics, sink=MemorySink())
    labels = {"check": "prompt", "decision": "allow", "code": "", "mode": "enforce"}
    for expected in (1, 2):
        call(served)
        for _ in range(2):
            told(metrics)
            assert value(registry, "kalguard_checks_total", **labels) == expected
            assert value(registry, "kalguard_check_duration_seconds_count", check="prompt") == expected


def test_what_was_counted_last_is_told_at_the_end() -> None:
    registry = CollectorRegistry()
    served = build(settings(policy_default_deny="false"), metrics=Metrics(registry), sink=MemorySink())
    call(served)
    labels = {"check": "prompt", "decision": "allow", "code": "", "mode": "enforce"}
    assert value(registry, "kalguard_checks_total", **labels) is None
    start_and_end(served)
    assert value(registry, "kalguard_checks_total", **labels) == 1


def test_whether_prompts_are_only_watched_may_be_said_later() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    served = build(settings(policy_default_deny="false"), metrics=metrics, sink=MemorySink())
    for monitors in (False, True):
        metrics.describe(monitors=monitors, sink="file")
        call(served)
    told(metrics)
    for mode in ("enforce", "monitor"):
        labels = {"check": "prompt", "decision": "allow", "code": "", "mode": mode}
        assert value(registry, "kalguard_checks_total", **labels) == 1


def test_a_worker_that_ends_has_told_all_that_it_counted(tmp_path: Path) -> None:
    with running(tmp_path, policy_default_deny="false") as server:
        for _ in range(10):
            assert server.post("/v1/prompt/check", GOOD_PROMPT).status_code == 200
        server.process.send_signal(signal.SIGHUP)
        until(lambda: scraped(server, "kalguard_worker_starts_total") == 2)
        until(lambda: scraped(server, "kalguard_workers") == 1)
        assert scraped(server, "kalguard_checks_total", 'decision="allow"') == 10
        # Two writers: the second one has written nothing about a check.
        assert scraped(server, "kalguard_audit_records_total", 'result="ok"') == 11


def test_load_is_what_is_inside_when_it_is_told() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    load = Load(checks=3, body_bytes=0, watcher=metrics)
    metrics.follow(lambda: load.inside)
    with load.check(), load.check():
        with load.check():
            pass
        told(metrics)
        assert value(registry, "kalguard_inflight_requests") == 2
    told(metrics)
    assert value(registry, "kalguard_inflight_requests") == 0


def test_files_are_told_as_they_are_in_force(tmp_path: Path) -> None:
    policy, revoked = tmp_path / "policy.json", tmp_path / "revoked"
    policy.write_text(json.dumps({"version": "1", **ALLOW_ALL}))
    revoked.write_text("# nobody\n")
    first = hashlib.sha256(policy.read_bytes()).hexdigest()
    watched = {
        "policy_path": str(policy),
        "policy_watch": "true",
        "policy_watch_interval_ms": "50",
        "revoked_tokens_path": str(revoked),
    }
    with running(tmp_path, workers="2", **watched) as server:
        assert scraped(server, "kalguard_policy_info") == 1
        assert scraped(server, "kalguard_policy_info", 'file="policy"', 'version="1"', f'digest="{first}"') == 1
        assert scraped(server, "kalguard_policy_last_reload_successful", 'file="policy"') == 1
        started = scraped(server, "kalguard_policy_last_reload_timestamp_seconds", 'file="policy"')
        assert scraped(server, "kalguard_revoked_tokens") == 0

        revoked.write_text("00" * 32 + "\n" + "11" * 32 + "\n")
        policy.write_text(json.dumps({"version": "2", **ALLOW_ALL}))
        second = hashlib.sha256(policy.read_bytes()).hexdigest()
        until(lambda: scraped(server, "kalguard_revoked_tokens") == 2)
        until(lambda: f'digest="{first}"' not in httpx.get(f"{server.metrics_url}/metrics").text)
        assert scraped(server, "kalguard_policy_info", 'version="2"', f'digest="{second}"') == 1
        taken_up = scraped(server, "kalguard_policy_last_reload_timestamp_seconds", 'file="policy"')
        assert started is not None and taken_up is not None and taken_up > started

        policy.write_text("{")
        until(lambda: scraped(server, "kalguard_policy_last_reload_successful", 'file="policy"') == 0)
        until(lambda: scraped(server, "kalguard_policy_reloads_total", 'file="policy"', 'result="error"') == 2)
        assert scraped(server, "kalguard_policy_info", 'version="2"') == 1
        assert scraped(server, "kalguard_policy_last_reload_timestamp_seconds", 'file="policy"') == taken_up


def test_a_worker_that_is_replaced_shows_and_is_not_counted_twice(tmp_path: Path) -> None:
    with running(tmp_path, workers="2", policy_default_deny="false") as server:
        until(lambda: scraped(server, "kalguard_workers") == 2)
        assert scraped(server, "kalguard_worker_starts_total") == 2
        os.kill(workers_of(server)[0], signal.SIGKILL)
        wait_until_up(server)
        until(lambda: scraped(server, "kalguard_worker_starts_total") == 3)
        until(lambda: scraped(server, "kalguard_workers") == 2)


def test_who_connects_and_says_nothing_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < scrape.IDLE_SECONDS <= 30
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setattr(scrape._Handler, "timeout", 0.2)
    port = free_port()
    stop = scrape.serve_metrics("127.0.0.1", port)
    try:
        for said in (b"", b"GET /metrics HT"):
            began = time.monotonic()
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                connection.sendall(said)
                assert connection.recv(1) == b""
            assert time.monotonic() - began < 20  # the connection would be given up here after 30
        assert httpx.get(f"http://127.0.0.1:{port}/metrics").status_code == 200
    finally:
        stop()
