"""The Kubernetes manifests: valid for three versions; and, which no schema knows, they fit the service."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from kalguard import config
from kalguard.decision.mediator import load_tools
from kalguard.decision.policy import load_policy
from kalguard.errors import ConfigError
from tests.deploy.manifests import (
    BODIES_OF_MEMORY,
    COMPONENTS,
    DEPLOY,
    EXAMPLES,
    FOLDERS,
    K8S,
    SIDECAR,
    Manifest,
    built,
    bytes_of,
    containers,
    environment_of,
    kalguard_in,
    one,
    pod_of,
    read,
    restricted,
    with_components,
)
from tests.deploy.test_prometheus import measured
from tests.support import ROOT, app, call

VALIDATOR = ROOT / ".services/kubernetes-validate/packages"
VERSIONS = ("1.30", "1.34", "1.37")
NAMES = [str(folder.relative_to(DEPLOY)) for folder in FOLDERS]
every_folder = pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
every_component = pytest.mark.parametrize("name", [folder.name for folder in COMPONENTS])
DEFAULTS = config.load({}).settings
OF_CONTAINER = ("spec", "template", "spec", "containers", 0)


def validation(manifests: list[Manifest], version: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What strict validation against the schemas of a version says, custom resources left out."""
    assert VALIDATOR.exists(), "there are no schemas of Kubernetes for the tests: run `make services`"
    path = folder / "manifests.yaml"
    ours = [it for it in manifests if not it["apiVersion"].startswith("monitoring.coreos.com/")]
    path.write_text(yaml.safe_dump_all(ours))
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", "--quiet", "-k", version, str(path)]
    environment = {"PYTHONPATH": str(VALIDATOR), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def everything(tmp_path: Path) -> list[Manifest]:
    """All that there is to validate, once each."""
    found = [manifest for folder in FOLDERS for manifest in built(folder)]
    found += [manifest for path in EXAMPLES for manifest in read(path)]
    for component in COMPONENTS:
        folder = tmp_path / component.name
        folder.mkdir()
        found += with_components(folder, component.name)
    distinct = {json.dumps(manifest, sort_keys=True): manifest for manifest in found}
    return list(distinct.values())


@pytest.mark.parametrize("version", VERSIONS)
def test_everything_is_valid(version: str, tmp_path: Path) -> None:
    ended = validation(everything(tmp_path), version, tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        (
            "Deployment",
            ("spec", "template", "spec", "containers", 0, "securityContext", "readonlyRootFilesystem"),
            True,
        ),
        ("HorizontalPodAutoscaler", ("spec", "minReplicas"), "two"),
        ("NetworkPolicy", ("spec", "podselector"), {}),
    ],
)
def test_what_is_not_valid_would_be_noticed(kind: str, path: tuple[Any, ...], value: object, tmp_path: Path) -> None:
    manifest = json.loads(json.dumps(one(built(K8S), kind)))
    place: Any = manifest
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert validation([manifest], VERSIONS[0], tmp_path).returncode != 0


def test_the_files_that_are_applied_one_by_one_are_those_of_the_base_but_for_the_replicas() -> None:
    four = [it for name in ("configmap", "deployment", "service") for it in read(K8S / f"{name}.yaml")]
    base = built(K8S)
    for manifest in four:
        same = one(base, manifest["kind"], manifest["metadata"]["name"])
        if manifest["kind"] == "Deployment":
            assert manifest["spec"].pop("replicas") == 2
        assert same == manifest
    assert four[0]["kind"] == "Namespace"  # of the first file that is applied
    assert "replicas" not in one(base, "Deployment")["spec"]  # the autoscaler's to say


@every_folder
def test_everything_is_in_the_namespace_that_comes_along(folder: Path) -> None:
    manifests = built(folder)
    namespace = one(manifests, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    others = [it["metadata"]["namespace"] for it in manifests if it["kind"] != "Namespace"]
    assert set(others) == {namespace["metadata"]["name"]}
    if folder != SIDECAR:
        assert namespace["metadata"]["name"] == "kalguard"  # kalguard.kalguard.svc.cluster.local


@every_folder
def test_whatever_selects_pods_selects_those_of_the_deployment(folder: Path) -> None:
    manifests = built(folder)
    deployment = one(manifests, "Deployment")
    labels = pod_of(manifests)["metadata"]["labels"].items()
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels
    for manifest in manifests:
        spec = manifest.get("spec", {})
        selector = {
            "Service": spec.get("selector"),
            "NetworkPolicy": spec.get("podSelector", {}).get("matchLabels"),
            "PodDisruptionBudget": spec.get("selector", {}).get("matchLabels"),
        }.get(manifest["kind"])
        if manifest["metadata"]["name"] == "redis":
            continue  # for pods that somebody else brings
        if manifest["kind"] in ("Service", "NetworkPolicy", "PodDisruptionBudget"):
            assert selector
            assert selector.items() <= labels, manifest["metadata"]["name"]
    for spread in pod_of(manifests)["spec"].get("topologySpreadConstraints", []):
        assert spread["labelSelector"]["matchLabels"].items() <= labels


def test_pods_are_spread_over_zones_and_nodes() -> None:
    spreads = pod_of(built(K8S))["spec"]["topologySpreadConstraints"]
    assert [it["topologyKey"] for it in spreads] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]


@every_folder
def test_ports_have_one_name_and_are_those_of_the_service(folder: Path) -> None:
    manifests = built(folder)
    ports = {port["name"]: port["containerPort"] for port in kalguard_in(pod_of(manifests)["spec"])["ports"]}
    assert ports == {"http": DEFAULTS.port, "metrics": DEFAULTS.metrics_port}
    assert not {"KALGUARD_PORT", "KALGUARD_METRICS_PORT", "KALGUARD_HOST"} & set(environment_of(manifests))
    for manifest in manifests:
        if manifest["kind"] == "Service":
            assert {port["targetPort"]: port["port"] for port in manifest["spec"]["ports"]} == ports


@every_folder
def test_the_variables_are_taken_without_a_warning(folder: Path, tmp_path: Path) -> None:
    assert_is_taken(built(folder), tmp_path)


@every_component
def test_those_of_a_component_are(name: str, tmp_path: Path) -> None:
    (tmp_path / "overlay").mkdir()
    assert_is_taken(with_components(tmp_path / "overlay", name), tmp_path)


def assert_is_taken(manifests: list[Manifest], folder: Path) -> None:
    """The service starts with this environment, with good secrets in the place of those that are mounted."""
    good = {"token-secret": "s" * 32, "url": "redis://:password@redis:6379/0", "api-key": "kg_live_key"}
    environment = environment_of(manifests)
    for name, path in environment.items():
        if name.endswith("_FILE"):
            assert path in mounted_secrets(manifests)
            (folder / Path(path).name).write_text(good[Path(path).name])
            environment[name] = str(folder / Path(path).name)
    loaded = config.load(environment)
    assert loaded.warnings == []
    assert loaded.settings.workers == 1
    assert loaded.settings.policy_watch
    others = {name for name in environment if not name.startswith("KALGUARD_")}
    assert others <= {"OTEL_EXPORTER_OTLP_ENDPOINT"}


def volumes_of(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Path in KalGuard's container -> the volume that is mounted there. Every mount has a volume, and is its whole."""
    spec = pod_of(manifests)["spec"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    mounts = kalguard_in(spec)["volumeMounts"]
    assert not any("subPath" in mount for mount in mounts)
    assert {mount["name"] for it in containers(spec) for mount in it["volumeMounts"]} == set(volumes)
    assert all("emptyDir" in volumes[mount["name"]] or mount["readOnly"] for mount in mounts)
    return {mount["mountPath"]: volumes[mount["name"]] for mount in mounts}


def mounted_secrets(manifests: list[Manifest]) -> set[str]:
    """The paths of all secrets in KalGuard's container, each readable for its user's group and nobody else."""
    found = set()
    for folder, volume in volumes_of(manifests).items():
        if "secret" in volume:
            assert volume["secret"]["defaultMode"] == 0o440
            found |= {f"{folder}/{item['path']}" for item in volume["secret"]["items"]}
    return found


@every_folder
def test_the_files_that_are_named_are_mounted(folder: Path) -> None:
    manifests = built(folder)
    volumes = volumes_of(manifests)
    environment = environment_of(manifests)
    for name in ("KALGUARD_POLICY_PATH", "KALGUARD_TOOLS_PATH"):
        if path := environment.get(name):
            config_map = volumes[str(Path(path).parent)]["configMap"]["name"]
            assert Path(path).name in one(manifests, "ConfigMap", config_map)["data"]
    assert environment["KALGUARD_POLICY_PATH"] == "/policy/policy.json"
    assert environment["KALGUARD_AUDIT_LOG_PATH"] == "-"
    if state := environment.get("KALGUARD_STATE_DIR"):
        assert "emptyDir" in volumes[str(Path(state).parent)]  # a folder in it: the mount itself is open to the group
    megabytes = int(volumes["/tmp"]["emptyDir"]["sizeLimit"].removesuffix("Mi"))
    assert megabytes >= 2 * (18 + 6 + 1 + 16)  # docs/behaviour.md, and room
    assert "medium" not in volumes["/tmp"]["emptyDir"]


@every_folder
def test_the_policy_is_one_that_denies_by_default(folder: Path) -> None:
    data = one(built(folder), "ConfigMap", "kalguard-policy")["data"]
    assert json.loads(data["policy.json"])["defaultDecision"] == "deny"
    assert load_policy(data["policy.json"].encode()).rules.lint() == []
    if "tools.json" in data:
        assert load_tools(data["tools.json"].encode()).registry.warnings == []


def test_the_shared_service_has_the_policy_and_tools_of_the_examples() -> None:
    data = one(built(K8S), "ConfigMap", "kalguard-policy")["data"]
    for name in ("policy", "tools"):
        assert data[f"{name}.json"] == (DEPLOY / f"{name}.example.json").read_text()


@every_folder
def test_probes_ask_what_the_service_answers(folder: Path, tmp_path: Path) -> None:
    container = kalguard_in(pod_of(built(folder))["spec"])
    healthy, broken = app(), app(policy_path=str(tmp_path / "missing.json"))
    expected = {"startupProbe": (200, 200), "livenessProbe": (200, 200), "readinessProbe": (200, 503)}
    for name, statuses in expected.items():
        probe = container[name]["httpGet"]
        assert probe["port"] == "http"
        asked = [call(target, probe["path"], method="GET", headers={}) for target in (healthy, broken)]
        assert tuple(reply.status for reply in asked) == statuses, name


@every_folder
def test_a_pod_has_the_time_that_its_end_takes(folder: Path) -> None:
    manifests = built(folder)
    spec = pod_of(manifests)["spec"]
    sleep = kalguard_in(spec).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    drain = int(environment_of(manifests)["KALGUARD_DRAIN_SECONDS"])
    assert spec["terminationGracePeriodSeconds"] >= sleep + drain + 2 + 5
    assert (sleep > 0) == (folder != SIDECAR)  # beside its agent nobody else has to look elsewhere


@every_folder
def test_pods_pass_the_restricted_standard_and_have_no_token(folder: Path) -> None:
    pod = pod_of(built(folder))
    assert restricted(pod) == []
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["enableServiceLinks"] is False
    assert all(container["securityContext"]["readOnlyRootFilesystem"] for container in containers(pod["spec"]))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("hostNetwork", True),
        ("securityContext", {}),
        ("volumes", [{"name": "x", "hostPath": {"path": "/"}}]),
    ],
)
def test_one_that_does_not_pass_would_be_noticed(place: str, value: object) -> None:
    pod = pod_of(built(K8S))
    assert restricted({**pod, "spec": {**pod["spec"], place: value}}) != []


def test_a_capability_that_is_added_would_be_noticed() -> None:
    pod = json.loads(json.dumps(pod_of(built(K8S))))
    kalguard_in(pod["spec"])["securityContext"]["capabilities"]["add"] = ["SYS_ADMIN"]
    assert restricted(pod) == ["kalguard: add"]


def test_the_autoscaler_is_that_of_the_documents() -> None:
    spec = one(built(K8S), "HorizontalPodAutoscaler", "kalguard-hpa")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 10)
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "kalguard"}
    (metric,) = spec["metrics"]
    assert metric["resource"] == {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}
    assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] >= 300


def test_the_other_autoscaler_asks_for_a_metric_that_there_is(tmp_path: Path) -> None:
    spec = one(with_components(tmp_path, "hpa-inflight"), "HorizontalPodAutoscaler", "kalguard-hpa")["spec"]
    (metric,) = spec["metrics"]
    assert metric["pods"]["metric"]["name"] in measured()
    assert int(metric["pods"]["target"]["averageValue"]) < DEFAULTS.max_concurrent_checks


@pytest.mark.parametrize(
    ("overlay", "cpu", "memory"),
    [("minimal", "100m", "128Mi"), ("standard", "500m", "256Mi"), ("high", "1000m", "512Mi")],
)
def test_the_profiles_are_those_of_the_documents(overlay: str, cpu: str, memory: str) -> None:
    manifests = built(DEPLOY / "overlays" / overlay)
    resources = kalguard_in(pod_of(manifests)["spec"])["resources"]
    assert resources == {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}}


@every_folder
def test_large_bodies_get_a_fraction_of_the_memory_and_the_service_confines_itself(folder: Path) -> None:
    manifests = built(folder)
    memory = kalguard_in(pod_of(manifests)["spec"])["resources"]["limits"]["memory"]
    environment = environment_of(manifests)
    # Beside the bytes stands what is made of them.
    assert BODIES_OF_MEMORY * int(environment["KALGUARD_MAX_BUFFERED_BYTES"]) <= bytes_of(memory)
    assert environment["KALGUARD_HARDEN"] == "true"


def test_one_pod_at_a_time_is_taken_away_even_where_it_is_not_ready() -> None:
    spec = one(built(K8S), "PodDisruptionBudget")["spec"]
    assert (spec["maxUnavailable"], spec["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
    rolling = one(built(K8S), "Deployment")["spec"]["strategy"]["rollingUpdate"]
    assert rolling == {"maxSurge": 1, "maxUnavailable": 0}


def test_scrapes_find_the_metrics_under_the_name_that_alerts_ask_for() -> None:
    manifests = built(DEPLOY / "overlays/production")
    monitor = one(manifests, "ServiceMonitor")["spec"]
    service = one(manifests, "Service")
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert service["metadata"]["labels"][monitor["jobLabel"]] == "kalguard"
    assert 'up{job="kalguard"}' in (DEPLOY / "prometheus/alerts.yaml").read_text()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_an_example_of_a_secret_that_nobody_replaced_stops_the_start(path: Path) -> None:
    manifests = built(path.parent)
    secret = one(read(path), "Secret", "kalguard-secret")
    volume = volumes_of(manifests)["/run/secrets/kalguard"]["secret"]
    assert volume["secretName"] == secret["metadata"]["name"]
    assert secret["metadata"]["namespace"] == one(manifests, "Deployment")["metadata"]["namespace"]
    assert [item["key"] for item in volume["items"]] == list(secret["stringData"])
    with pytest.raises(ConfigError, match="at least 32 bytes"):
        config.load({"KALGUARD_TOKEN_SECRET": secret["stringData"]["token-secret"]})


def test_beside_an_agent_it_starts_first_ends_last_and_keeps_the_secret_from_it() -> None:
    spec = pod_of(built(SIDECAR))["spec"]
    (own,) = spec["initContainers"]
    (agent,) = spec["containers"]
    assert (own["name"], own["restartPolicy"]) == ("kalguard", "Always")
    assert not {it["name"] for it in agent["volumeMounts"]} & {it["name"] for it in own["volumeMounts"]}
    assert agent["volumeMounts"] == [{"name": "agent-tmp", "mountPath": "/tmp"}]
    assert agent["securityContext"]["runAsUser"] != spec["securityContext"]["runAsUser"]
    variables = {entry["name"]: entry for entry in agent["env"]}
    assert variables["KALGUARD_SIDECAR_URL"]["value"] == f"http://localhost:{DEFAULTS.port}"
    reference = variables["KALGUARD_AGENT_TOKEN"]["valueFrom"]["secretKeyRef"]
    secret = one(read(EXAMPLES[1]), "Secret", reference["name"])
    assert reference["key"] in secret["stringData"]


@every_folder
def test_the_image_is_that_of_this_version(folder: Path) -> None:
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    assert kalguard_in(pod_of(built(folder))["spec"])["image"] == f"kalguard/sidecar:{version}"
