"""The Kubernetes manifests as kustomize builds them and as they lie there, and what to ask of them."""

import os
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.support import ROOT

KUSTOMIZE = ROOT / ".services" / "kustomize"
DEPLOY = ROOT / "deploy"
K8S = DEPLOY / "k8s"
OVERLAYS = sorted(path.parent for path in (DEPLOY / "overlays").glob("*/kustomization.yaml"))
COMPONENTS = sorted(path.parent for path in (K8S / "components").glob("*/kustomization.yaml"))
SIDECAR = K8S / "sidecar"
FOLDERS = [K8S, SIDECAR, *OVERLAYS]  # each can be applied
BODIES_OF_MEMORY = 8  # one part of so many may be bodies that are being read
EXAMPLES = (K8S / "secret.example.yaml", SIDECAR / "secret.example.yaml")

Manifest = dict[str, Any]


def read(path: Path) -> list[Manifest]:
    """The documents of a file."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document is not None]


@cache
def _built(folder: Path) -> str:
    assert KUSTOMIZE.exists(), "there is no kustomize for the tests: run `make services`"
    ended = subprocess.run([str(KUSTOMIZE), str(folder)], capture_output=True, text=True, check=False, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def built(folder: Path) -> list[Manifest]:
    """What `kubectl apply -k` of a folder sends."""
    return list(yaml.safe_load_all(_built(folder)))


def with_components(folder: Path, *names: str) -> list[Manifest]:
    """The shared service with these components. `folder` is an empty one to write in."""
    base = os.path.relpath(K8S, folder)  # kustomize takes no absolute path
    components = ", ".join(f"{base}/components/{name}" for name in names)
    (folder / "kustomization.yaml").write_text(f"resources: [{base}]\ncomponents: [{components}]\n")
    return built(folder)


def one(manifests: list[Manifest], kind: str, name: str | None = None) -> Manifest:
    """The one of this kind, or of this kind and name."""
    (found,) = (it for it in manifests if it["kind"] == kind and name in (None, it["metadata"]["name"]))
    return found


def pod_of(manifests: list[Manifest]) -> Manifest:
    """The template of the Deployment's pods: `metadata` and `spec`."""
    template: Manifest = one(manifests, "Deployment")["spec"]["template"]
    return template


def containers(spec: Manifest) -> Iterator[Manifest]:
    """All containers of a pod."""
    yield from spec.get("initContainers", [])
    yield from spec["containers"]


def kalguard_in(spec: Manifest) -> Manifest:
    """KalGuard's own container."""
    (found,) = (container for container in containers(spec) if container["name"] == "kalguard")
    return found


def environment_of(manifests: list[Manifest]) -> dict[str, str]:
    """What KalGuard's container is started with."""
    container = kalguard_in(pod_of(manifests)["spec"])
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= one(manifests, "ConfigMap", source["configMapRef"]["name"])["data"]
    return found | {entry["name"]: entry["value"] for entry in container.get("env", [])}


def bytes_of(quantity: str) -> int:
    """Memory as Kubernetes ("256Mi") or Compose ("256m") says it."""
    return int(quantity.rstrip("Mim")) * 1024 * 1024


def restricted(pod: Manifest) -> list[str]:
    """What the Pod Security Standard "restricted" forbids in this pod, as far as our manifests touch on it."""
    spec = pod["spec"]
    of_pod = spec.get("securityContext", {})
    problems = [name for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    problems += [f"volume {volume['name']}" for volume in spec.get("volumes", []) if not allowed & set(volume)]
    for container in containers(spec):
        own = container.get("securityContext", {})
        in_force = {**of_pod, **own}
        capabilities = own.get("capabilities", {})
        wrong = {
            "privileged": own.get("privileged", False),
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is not False,
            "runAsNonRoot": in_force.get("runAsNonRoot") is not True,
            "runAsUser": in_force.get("runAsUser") == 0,
            "seccompProfile": in_force.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"),
            "drop": "ALL" not in capabilities.get("drop", []),
            "add": not set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"},
            "procMount": own.get("procMount", "Default") != "Default",
            "hostPort": any("hostPort" in port for port in container.get("ports", [])),
        }
        problems += [f"{container['name']}: {name}" for name, is_wrong in wrong.items() if is_wrong]
    return problems
