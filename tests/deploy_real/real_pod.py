"""The same-pod manifest, played by Podman: the ConfigMap as a folder, both users, the agent asking over the loopback.

Podman knows neither a Secret by reference nor an init container that goes on, and before 4.4 mounts a Secret as it is
encoded, so these three are put otherwise; all else is what kustomize makes of deploy/k8s/sidecar.
"""

import base64
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.manifests import SIDECAR, Manifest, built, kalguard_in, one, pod_of
from tests.deploy_real.engine import Engine
from tests.deploy_real.machine import get, namespace, run, wait_for
from tests.support import SECRET, token

AGENT = "localhost/kgd-agent:latest"  # a host in the name, or Podman asks a registry
OWN = "localhost/kgd-sidecar:latest"
KEPT = "kalguard-secret"
ENCODED = base64.b64encode(SECRET.encode()).decode()
CONF = """[containers]
default_ulimits=["nofile=4096:4096","nproc=4096:4096"]
[engine]
runtime="runc"
cgroup_manager="cgroupfs"
events_logger="file"
"""


def playable() -> list[Manifest]:
    """The pod and what it mounts, as Podman takes them."""
    manifests = built(SIDECAR)
    pod: Any = json.loads(json.dumps(pod_of(manifests)))
    spec = pod["spec"]
    own = kalguard_in(spec)
    del own["restartPolicy"], spec["initContainers"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        del own[probe]  # they would need systemd's timers
    own["image"] = OWN
    (agent,) = spec["containers"]
    agent["image"], agent["imagePullPolicy"] = AGENT, "Never"
    agent["env"] = [{"name": "KALGUARD_SIDECAR_URL", "value": "http://localhost:9292"}]
    agent["env"].append({"name": "KALGUARD_AGENT_TOKEN", "value": token()})
    own["imagePullPolicy"] = "Never"
    spec["containers"] = [own, agent]
    spec["restartPolicy"] = "Never"
    for volume in spec["volumes"]:
        if "secret" in volume:
            volume["secret"]["optional"] = False  # left out, it ends Podman 4.3
    kept = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": KEPT}, "data": {"token-secret": ENCODED}}
    return [
        one(manifests, "ConfigMap", "kalguard-policy"),
        kept,
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "kgd-pod", **pod["metadata"]}, "spec": spec},
    ]


def decode_secret(command: Callable[..., str]) -> None:
    """See that the file that is mounted holds the secret, as Kubernetes has it.

    Podman before 4.4 writes the value of `data` there as the manifest has it, in base64, and nothing for `stringData`.
    """
    folder = command("volume", "inspect", KEPT, "--format", "{{.Mountpoint}}").strip()
    mounted = Path(folder, "token-secret")
    if mounted.read_text() == ENCODED:
        mounted.write_text(SECRET)
    assert mounted.read_text() == SECRET


@pytest.fixture
def podman(docker: Engine) -> Iterator[tuple[Callable[..., str], list[str]]]:
    """Podman with the two images, in a network namespace; what to put before a command for it to be in there too."""
    docker("build", "--file", "deploy/docker/agent.Dockerfile", "--tag", AGENT, "--network", "host", ".")
    with tempfile.TemporaryDirectory(prefix="kgd-") as name, namespace("kgd-podman") as inside:
        (Path(name) / "containers.conf").write_text(CONF)

        def command(*arguments: str) -> str:
            given = [*inside, "podman", "--root", f"{name}/root", "--runroot", f"{name}/run", *arguments]
            return run(*given, variables={"CONTAINERS_CONF": f"{name}/containers.conf"})

        docker("tag", "kalguard/sidecar:latest", OWN)
        for image in (OWN, AGENT):
            docker("save", "--output", f"{name}/image.tar", image)
            command("load", "--input", f"{name}/image.tar")
        try:
            yield command, inside
        finally:
            command("pod", "rm", "--all", "--force", "--time", "5")
            command("system", "reset", "--force")


def test_the_agent_in_the_pod_asks_over_the_loopback(
    podman: tuple[Callable[..., str], list[str]], tmp_path: Path
) -> None:
    command, _ = podman
    (tmp_path / "pod.yaml").write_text(yaml.safe_dump_all(playable()))
    command("kube", "play", "--start=false", str(tmp_path / "pod.yaml"))
    decode_secret(command)
    command("pod", "start", "kgd-pod")
    names = command("ps", "--all", "--format", "{{.Names}}").split()
    (sidecar,) = (name for name in names if name.endswith("-kalguard"))
    (agent,) = (name for name in names if name.endswith("-agent"))
    process = json.loads(command("inspect", sidecar))[0]["State"]["Pid"]
    in_pod = ["nsenter", f"--net=/proc/{process}/ns/net"]
    wait_for(lambda: get(in_pod, "http://127.0.0.1:9292/health/ready")[0] == 200, "the sidecar answers")
    command("start", agent)  # as Kubernetes does once the sidecar has started
    wait_for(lambda: "denied:" in command("logs", agent), "the agent was answered")
    wait_for(lambda: "exited" in command("inspect", agent).lower(), "the agent ends")
    said = command("logs", agent)
    assert "You said: What is the weather in Oslo tomorrow?" in said
    assert "PROMPT_BLOCKED" in said
    status = Path(f"/proc/{process}/status").read_text()
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert '"type":"prompt_denied"' in command("logs", sidecar)  # the audit log, on standard output
