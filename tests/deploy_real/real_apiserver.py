"""A real API server takes the manifests, and its Pod Security admission judges the pods. No node: no pod runs here."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.deploy.manifests import EXAMPLES, FOLDERS, K8S, SIDECAR, built, one, pod_of
from tests.deploy_real.machine import attempt, daemon, run, wait_for
from tests.support import ROOT, free_ports

BIN = ROOT / ".services/apiserver/bin"
CRDS = ("monitoring.coreos.com/v1",)
Kubectl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def kubectl() -> Iterator[Kubectl]:
    """kubectl for etcd and a kube-apiserver of our own."""
    if not all((BIN / name).exists() for name in ("etcd", "kube-apiserver")):
        if shutil.which("go") is None:
            pytest.skip("there is no Go to compile kube-apiserver with")
        built_ = attempt("sh", "tests/deploy_real/build_apiserver.sh", seconds=5400)
        if built_.returncode != 0:
            pytest.skip(f"kube-apiserver cannot be compiled here: {built_.stderr[-500:]}")
    client, peer, port = free_ports(3)
    with tempfile.TemporaryDirectory(prefix="kgd-") as name, ExitStack() as stack:
        folder = Path(name)
        run("openssl", "genrsa", "-out", f"{name}/key.pem", "2048")
        (folder / "tokens.csv").write_text("admin-token,admin,1,system:masters\n")
        store = f"http://127.0.0.1:{client}"
        etcd = [str(BIN / "etcd"), "--data-dir", f"{name}/etcd", "--unsafe-no-fsync"]
        etcd += ["--listen-client-urls", store, "--advertise-client-urls", store]
        etcd += ["--listen-peer-urls", f"http://127.0.0.1:{peer}"]
        stack.enter_context(daemon(folder / "etcd.log", *etcd))
        server = [str(BIN / "kube-apiserver"), "--etcd-servers", store, "--bind-address", "127.0.0.1"]
        server += ["--secure-port", str(port), "--cert-dir", name, "--service-cluster-ip-range", "10.0.0.0/24"]
        server += ["--authorization-mode", "RBAC", "--token-auth-file", f"{name}/tokens.csv"]
        server += ["--service-account-issuer", "https://kubernetes.default.svc"]
        server += ["--service-account-key-file", f"{name}/key.pem"]
        server += ["--service-account-signing-key-file", f"{name}/key.pem"]
        server += ["--disable-admission-plugins", "ServiceAccount"]  # nobody makes the accounts here
        stack.enter_context(daemon(folder / "apiserver.log", *server))

        def command(*arguments: str, input_: str | None = None) -> subprocess.CompletedProcess[str]:
            access = [f"--server=https://127.0.0.1:{port}", "--token=admin-token", "--insecure-skip-tls-verify"]
            return attempt("kubectl", *access, *arguments, input_=input_, variables={"KUBECONFIG": f"{name}/none"})

        wait_for(lambda: command("get", "--raw", "/readyz").returncode == 0, "the API server is ready", 180)
        yield command


def test_the_four_files_can_be_applied_one_by_one_and_twice(kubectl: Kubectl) -> None:
    for _ in range(2):
        for name in ("configmap", "secret.example", "deployment", "service"):
            ended = kubectl("apply", "-f", str(K8S / f"{name}.yaml"))
            assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_folder_is_taken_by_the_server(kubectl: Kubectl, folder: Path, tmp_path: Path) -> None:
    manifests = [it for it in built(folder) if it["apiVersion"] not in CRDS]  # the operator's own kinds are not there
    (tmp_path / "manifests.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}))
    ended = kubectl("apply", "--server-side", "--force-conflicts", "-f", str(tmp_path / "manifests.json"))
    assert ended.returncode == 0, ended.stderr
    assert "Warning" not in ended.stderr


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_so_are_the_examples_of_secrets(kubectl: Kubectl, path: Path) -> None:
    kubectl("apply", "-f", str(path.parent / "configmap.yaml"))
    assert kubectl("apply", "-f", str(path)).returncode == 0


@pytest.mark.parametrize("folder", [K8S, SIDECAR], ids=lambda folder: folder.name)
def test_pod_security_lets_the_pod_in_and_no_weaker_one(kubectl: Kubectl, folder: Path) -> None:
    manifests = built(folder)
    kubectl("apply", "-f", str(folder / "configmap.yaml"))
    namespace = one(manifests, "Namespace")["metadata"]["name"]
    pod = json.loads(json.dumps(pod_of(manifests)))
    metadata = {**pod["metadata"], "name": "judged", "namespace": namespace}
    whole = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod["spec"]}
    let_in = kubectl("create", "--dry-run=server", "-f", "-", input_=json.dumps(whole))
    assert let_in.returncode == 0, let_in.stderr
    weaker = {"allowPrivilegeEscalation": True, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    whole["spec"]["containers"][0]["securityContext"] = weaker
    refused = kubectl("create", "--dry-run=server", "-f", "-", input_=json.dumps(whole))
    assert refused.returncode != 0
    assert 'violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false' in refused.stderr
