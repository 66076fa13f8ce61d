"""Alert rules, dashboard and documents say what the service measures, and nothing else; promtool agrees with them."""

import json
import re
import subprocess
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from prometheus_client import CollectorRegistry

from kalguard.connector.license import Snapshot
from kalguard.connector.sync import Told
from kalguard.ledger.file import temporary_ledger
from kalguard.ledger.usage import UsageBuffer
from kalguard.sidecar.cloud_metrics import CloudMetrics
from kalguard.sidecar.connection import Connection
from kalguard.sidecar.metrics import Metrics
from tests.cloud import API_KEY, SIGNING_SECRET, cloud
from tests.support import ATTACK, GOOD_PROMPT, ROOT, Server, bearer, running, token, until

PROMTOOL = ROOT / ".services" / "promtool"
ALERTS = ROOT / "deploy/prometheus/alerts.yaml"
ALERT_TESTS = ROOT / "deploy/prometheus/alerts.test.yaml"
DASHBOARD = ROOT / "deploy/grafana/kalguard.json"
BEHAVIOUR = (ROOT / "docs/behaviour.md").read_text()
RUNBOOK = (ROOT / "docs/alerts.md").read_text()
ADDED_BY_PROMETHEUS = {"instance", "job", "le"}
_SUFFIXES = re.compile(r"_(bucket|sum|count)$")


def promtool(*arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    assert PROMTOOL.exists(), "there is no promtool for the tests: run `make services`"
    return subprocess.run([str(PROMTOOL), *arguments], input=given, capture_output=True, text=True, check=False)


class _Noted(CollectorRegistry):
    """Keeps what is registered."""

    def __init__(self) -> None:
        super().__init__()
        self.metrics: list[Any] = []

    def register(self, collector: Any) -> None:
        self.metrics.append(collector)


class _Idle:
    """A connection that never asked anything."""

    def __init__(self) -> None:
        self.lasts = True
        self.snapshot = Snapshot()
        self.usage = UsageBuffer(temporary_ledger())
        self.connector = SimpleNamespace(told=Told())


@cache
def measured() -> dict[str, set[str]]:
    """Every metric as it is scraped, without the suffixes of histograms, with its labels."""
    return {**measured_of_checks(), **measured_of_cloud(), "kalguard_hardening": {"protection"}}


def measured_of_cloud() -> dict[str, set[str]]:
    """Those that are there where there is a Cloud."""
    families = list(CloudMetrics(cast("Connection", _Idle())).collect())
    return {
        family.name + ("_total" if family.type == "counter" else ""): set(family.samples[0].labels)
        for family in families
    }


def measured_of_checks() -> dict[str, set[str]]:
    """Those that are there anyhow."""
    registry = _Noted()
    Metrics(registry)
    families = {metric: metric.describe()[0] for metric in registry.metrics}
    return {
        family.name + ("_total" if family.type == "counter" else ""): set(metric._labelnames)
        for metric, family in families.items()
    }


def expressions() -> list[str]:
    """Every expression of the rules and the dashboard."""
    rules = re.findall(r"^        expr: (?:>-\n)?(.*?)^        \w", ALERTS.read_text(), re.MULTILINE | re.DOTALL)
    assert len(rules) == len(names_of_alerts())
    return [*rules, *(target["expr"] for panel in panels() for target in panel.get("targets", []))]


def names_of_alerts() -> list[str]:
    return re.findall(r"- alert: (\w+)", ALERTS.read_text())


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def asked_for(expression: str) -> dict[str, set[str]]:
    """The metrics that an expression asks for, without the suffixes of histograms, with the labels it selects by."""
    return {
        _SUFFIXES.sub("", name): set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", selector))
        for name, selector in re.findall(r"(kalguard_\w+)(?:\{([^}]*)\})?", expression)
    }


def test_the_document_lists_every_metric_with_its_labels() -> None:
    section = BEHAVIOUR.split("\n## Metrics\n", 1)[1].split("\n## ", 1)[0]
    listed = {}
    for name, told in re.findall(r"^\| `(kalguard_\w+)` \| (.*) \|$", section, re.MULTILINE):
        listed[name] = set(re.findall(r"`([a-z_]+)`", told))
    assert listed == measured()


def test_rules_and_dashboard_ask_for_what_there_is() -> None:
    known = measured()
    for expression in expressions():
        for name, labels in asked_for(expression).items():
            assert name in known, expression
            assert labels <= known[name] | ADDED_BY_PROMETHEUS, expression
        grouped = {label for labels in re.findall(r"by \(([^)]*)\)", expression) for label in labels.split(", ")}
        there = set[str]().union(*(known[name] for name in asked_for(expression)))
        assert grouped <= there | ADDED_BY_PROMETHEUS, expression


def test_everything_that_is_measured_is_looked_at() -> None:
    assert set().union(*map(asked_for, expressions())) == set(measured())


def test_no_label_is_what_an_agent_chooses() -> None:
    labels = set[str]().union(*measured().values())
    assert labels == {
        *("check", "decision", "code", "mode", "cause", "effect", "category", "live", "shadow", "action", "sink"),
        *("result", "limit", "store", "file", "version", "digest", "core_version", "python", "state", "place"),
        "protection",
    }


def test_the_rules_hold_what_their_tests_say() -> None:
    checked = promtool("check", "rules", str(ALERTS))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tested = promtool("test", "rules", str(ALERT_TESTS))
    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.parametrize("alert", names_of_alerts())
def test_an_alert_is_seen_firing_and_has_its_page_in_the_runbook(alert: str) -> None:
    fired = re.findall(r"alertname: (\w+)\n\s+eval_time: \w+\n\s+exp_alerts:\n\s+- exp_labels", ALERT_TESTS.read_text())
    assert alert in fired
    assert f"\n## {alert}\n" in RUNBOOK
    assert f"runbook: docs/alerts.md#{alert.lower()}\n" in ALERTS.read_text()


def test_the_runbook_is_about_alerts_that_there_are() -> None:
    assert re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE) == names_of_alerts()


def test_the_dashboard_has_panels_of_its_own_places() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    assert len({panel["id"] for panel in panels()}) == len(panels())
    taken = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels()]
    assert len(set(taken)) == len(taken)
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", DASHBOARD.read_text())) <= variables | {"__rate_interval"}


def test_promtool_finds_nothing_to_say_about_a_scrape(server: Server) -> None:
    for body in (GOOD_PROMPT, ATTACK):
        server.post("/v1/prompt/check", body)
    server.post("/v1/tool/check", {"toolName": "get_weather", "arguments": {"location": "Oslo"}})
    until(lambda: "kalguard_detections_total{" in httpx.get(f"{server.metrics_url}/metrics").text)
    text = httpx.get(f"{server.metrics_url}/metrics").text
    checked = promtool("check", "metrics", given=text)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    scraped = {_SUFFIXES.sub("", name) for name in re.findall(r"^(kalguard_\w+)", text, re.MULTILINE)}
    assert scraped <= set(measured())
    assert {"kalguard_policy_info", "kalguard_checks_total", "kalguard_revoked_tokens", "kalguard_hardening"} <= scraped


def test_promtool_finds_nothing_to_say_about_a_scrape_with_a_cloud(tmp_path: Path) -> None:
    of_cloud = bearer(token(SIGNING_SECRET))
    with cloud() as stand_in, running(tmp_path, api_key=API_KEY, cloud_url=stand_in.url) as server:
        until(lambda: server.post("/v1/prompt/check", GOOD_PROMPT, of_cloud).status_code == 403)
        text = httpx.get(f"{server.metrics_url}/metrics").text
    checked = promtool("check", "metrics", given=text)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    scraped = set(re.findall(r"^(kalguard_\w+)", text, re.MULTILINE))
    assert scraped >= set(measured_of_cloud())
    assert 'kalguard_license_state{state="connected"} 1.0' in text
    assert 'kalguard_usage_events_total{result="made"} 1.0' in text
