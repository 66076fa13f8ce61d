"""The network policies for Kubernetes: who reaches whom."""

from pathlib import Path

import pytest

from kalguard import config
from tests.deploy.manifests import K8S, built, one, with_components

DEFAULTS = config.load({}).settings


def test_agents_reach_the_api_and_monitoring_the_metrics_and_nobody_anything_else() -> None:
    spec = one(built(K8S), "NetworkPolicy", "kalguard")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    opened = [(it["from"], [port["port"] for port in it["ports"]]) for it in spec["ingress"]]
    agents = {"namespaceSelector": {"matchLabels": {"kalguard.dev/agents": "true"}}}
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    assert opened == [([agents], [DEFAULTS.port]), ([monitoring], [DEFAULTS.metrics_port])]
    (names,) = spec["egress"]
    assert {port["port"] for port in names["ports"]} == {53}


@pytest.mark.parametrize(("name", "port"), [("redis", 6379), ("cloud", 443), ("tracing", 4318)])
def test_a_component_opens_the_way_that_it_needs(name: str, port: int, tmp_path: Path) -> None:
    spec = one(with_components(tmp_path, name), "NetworkPolicy", f"kalguard-{name}")["spec"]
    assert spec["policyTypes"] == ["Egress"]
    (way,) = spec["egress"]
    assert [it["port"] for it in way["ports"]] == [port]
    assert way["to"]


def test_nobody_but_kalguard_reaches_redis(tmp_path: Path) -> None:
    manifests = with_components(tmp_path, "redis")
    (way,) = one(manifests, "NetworkPolicy", "kalguard-redis")["spec"]["egress"]
    spec = one(manifests, "NetworkPolicy", "redis")["spec"]
    assert (spec["podSelector"], spec["policyTypes"]) == (way["to"][0]["podSelector"], ["Ingress"])
    own = one(manifests, "Deployment")["spec"]["selector"]
    assert spec["ingress"] == [{"from": [{"podSelector": own}], "ports": way["ports"]}]


def test_no_way_to_cloud_leads_to_the_node_s_metadata(tmp_path: Path) -> None:
    (way,) = one(with_components(tmp_path, "cloud"), "NetworkPolicy", "kalguard-cloud")["spec"]["egress"]
    assert "169.254.0.0/16" in way["to"][0]["ipBlock"]["except"]
