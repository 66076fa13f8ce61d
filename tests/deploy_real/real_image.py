"""The image: what is in it, and that it serves with every door closed."""

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.deploy_real.engine import PYTHON_BASE, Engine
from tests.deploy_real.machine import attempt, get, post, run, wait_for
from tests.support import ATTACK, GOOD_PROMPT, ROOT, SECRET, token

MEGABYTE = 1_000_000
HARDENED = (
    *("--read-only", "--cap-drop", "ALL", "--pids-limit", "100"),
    *("--security-opt", "no-new-privileges", "--memory", "256m", "--publish", "9292:9292"),
)
URL = "http://127.0.0.1:9292"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What is mounted: a policy, a secret that the container's user may read, a folder for the audit log."""
    (tmp_path / "policy").mkdir()
    shutil.copy(ROOT / "deploy/policy.example.json", tmp_path / "policy/policy.json")
    (tmp_path / "token-secret").write_text(SECRET)
    (tmp_path / "token-secret").chmod(0o444)
    (tmp_path / "audit").mkdir()
    os.chown(tmp_path / "audit", 10001, 10001)
    return tmp_path


def mounts(folder: Path, *left_out: str) -> list[str]:
    """The options that mount it."""
    options = {
        "policy": ["--volume", f"{folder}/policy:/policy:ro"],
        "audit": ["--volume", f"{folder}/audit:/var/log/kalguard"],
        "secret": [
            *("--volume", f"{folder}/token-secret:/run/secrets/token-secret:ro"),
            *("--env", "KALGUARD_TOKEN_SECRET_FILE=/run/secrets/token-secret"),
        ],
    }
    return [part for name, parts in options.items() if name not in left_out for part in parts]


@contextmanager
def container(docker: Engine, image: str, *options: str) -> Iterator[str]:
    """A running container; gone afterwards, with what it wrote."""
    name = docker("run", "--detach", *HARDENED, *options, image)
    try:
        yield name
    finally:
        docker("rm", "--force", "--volumes", name)


def state(docker: Engine, name: str) -> Any:
    return json.loads(docker("inspect", "--format", "{{json .State}}", name))


def wait_until_it_answers(docker: Engine) -> None:
    wait_for(lambda: get(docker.inside, f"{URL}/health/live")[0] == 200, "the service answers")


def seccomp_profile(folder: Path) -> list[str]:
    """The option for the generated profile."""
    path = folder / "kalguard.json"
    run(str(Path(sys.executable).with_name("kalguard")), "seccomp-profile", str(path))
    return ["--security-opt", f"seccomp={path}"]


def test_it_is_small_and_has_no_shell(docker: Engine, image: str) -> None:
    size = int(docker("image", "inspect", "--format", "{{.Size}}", image))
    base = int(docker("image", "inspect", "--format", "{{.Size}}", PYTHON_BASE))
    print(f"image {size / MEGABYTE:.1f} MB, in one layer; the base that it was made with {base / MEGABYTE:.1f} MB")
    assert size < 150 * MEGABYTE
    for program in ("/bin/sh", "/bin/bash", "/usr/bin/apt-get", "/usr/local/bin/pip"):
        assert docker.attempt("run", "--rm", "--entrypoint", program, image).returncode != 0


def test_no_file_gives_privileges_and_none_but_its_folders_can_be_written(docker: Engine, image: str) -> None:
    looks = (
        "import os, stat\n"
        "for folder, _, names in os.walk('/'):\n"
        "    if folder.startswith(('/proc', '/sys', '/dev')): continue\n"
        "    for name in names:\n"
        "        mode = os.lstat(os.path.join(folder, name)).st_mode\n"
        "        if mode & (stat.S_ISUID | stat.S_ISGID): print('privileged', folder, name)\n"
        "    if os.access(folder, os.W_OK): print('writable', folder)\n"
    )
    found = docker("run", "--rm", "--entrypoint", "python3", image, "-c", looks).splitlines()
    assert set(found) == {f"writable {path}" for path in ("/tmp", "/var/log/kalguard", "/var/lib/kalguard")}


def test_it_says_what_is_in_it(docker: Engine, image: str) -> None:
    lists = {path.name: json.loads(path.read_text()) for path in (ROOT / "dist/sbom").iterdir()}
    python = {it["name"] for it in lists["python.cdx.json"]["components"]}
    rust = {it["name"] for name, found in lists.items() if name.startswith("rust-") for it in found["components"]}
    assert {"kalguard", "granian", "cryptography", "litestar"} <= python
    installed = (
        "import importlib.metadata as it; print(*{found.metadata['Name'] for found in it.distributions()}, sep='\\n')"
    )
    assert python == set(docker("run", "--rm", "--entrypoint", "python3", image, "-c", installed).splitlines())
    assert {"regex", "pyo3", "serde_json", "kalguard-core"} <= rust
    lists_it = "import os; print(os.listdir('/usr/share/sbom'))"
    inside = docker("run", "--rm", "--entrypoint", "python3", image, "-c", lists_it)
    assert all(name in inside for name in lists)


def test_every_command_can_be_run(docker: Engine, image: str, folder: Path) -> None:
    (version,) = re.findall(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    assert docker("run", "--rm", image, "version") == version
    assert "4 rules" in docker("run", "--rm", *mounts(folder), image, "policy", "check", "/policy/policy.json")


def test_it_serves_with_every_door_closed(docker: Engine, image: str, folder: Path) -> None:
    with container(docker, image, *mounts(folder), *seccomp_profile(folder)) as name:
        started = time.monotonic()
        wait_until_it_answers(docker)
        print(f"answers {time.monotonic() - started:.1f} s after its start")
        wait_for(lambda: state(docker, name)["Health"]["Status"] == "healthy", "the container is healthy", 120)
        assert post(docker.inside, f"{URL}/v1/prompt/check", GOOD_PROMPT, token())[0] == 200
        status, body = post(docker.inside, f"{URL}/v1/prompt/check", ATTACK, token())
        assert (status, body["errorCode"]) == (403, "PROMPT_BLOCKED")
        assert_confined(docker, name)
        assert_small(docker, name)
        assert_no_secret(docker, image, name)
        docker("stop", "--time", "30", name)
        assert state(docker, name)["ExitCode"] == 0
    records = [json.loads(line) for line in (folder / "audit/audit.log").read_text().splitlines()]
    assert [it["type"] for it in records if not it["type"].startswith("audit_")] == ["prompt_allowed", "prompt_denied"]
    assert records[-1]["type"] == "audit_closed"
    assert (folder / "audit/audit.log").stat().st_mode & 0o777 == 0o600


def test_it_confines_itself_inside_of_its_profile(docker: Engine, image: str, folder: Path) -> None:
    harden = ["--env", "KALGUARD_HARDEN=true"]
    with container(docker, image, *mounts(folder), *seccomp_profile(folder), *harden) as name:
        wait_until_it_answers(docker)
        assert post(docker.inside, f"{URL}/v1/prompt/check", GOOD_PROMPT, token())[0] == 200
        assert post(docker.inside, f"{URL}/v1/prompt/check", ATTACK, token())[0] == 403
        status = Path(f"/proc/{state(docker, name)['Pid']}/status").read_text()
        assert "\nSeccomp_filters:\t3\n" in status  # the container's, and two of its own
        print(next(line for line in docker.attempt("logs", name).stderr.splitlines() if "hardened" in line))
        issue = ("kalguard", "token", "issue", "--agent", "a", "--ttl", "1h", "--capability", "tool:execute")
        code, body = post(docker.inside, f"{URL}/v1/prompt/check", GOOD_PROMPT, docker("exec", name, *issue).strip())
        assert (code, body["errorCode"]) == (403, "CAPABILITY_DENIED")
        docker("stop", "--time", "30", name)
        assert state(docker, name)["ExitCode"] == 0


def assert_confined(docker: Engine, name: str) -> None:
    """What the kernel says of the main process."""
    status = Path(f"/proc/{state(docker, name)['Pid']}/status").read_text()
    fields = dict(re.findall(r"^(\w+):\t(.*)$", status, re.MULTILINE))
    assert (int(fields["CapEff"], 16), int(fields["CapBnd"], 16)) == (0, 0)
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    assert set(fields["Uid"].split()) == {"10001"}


def assert_small(docker: Engine, name: str) -> None:
    """Memory of an idle service, as the control group counts it without what can be given back."""
    time.sleep(3)
    used = docker("stats", "--no-stream", "--format", "{{.MemUsage}}", name)
    print(f"memory of the container: {used}")
    assert float(re.findall(r"^([\d.]+)MiB", used)[0]) * 1.048576 < 100


def assert_no_secret(docker: Engine, image: str, name: str) -> None:
    """The secret is in no layer, not in the container's description and not in the environment of a process."""
    for told in (docker("history", "--no-trunc", image), docker("inspect", image), docker("inspect", name)):
        assert SECRET not in told
    for process in docker("top", name, "-o", "pid").split()[1:]:
        assert SECRET.encode() not in Path(f"/proc/{process}/environ").read_bytes()


def test_it_confines_itself_in_a_container_too(docker: Engine, image: str, folder: Path) -> None:
    with container(docker, image, *mounts(folder), "--env", "KALGUARD_HARDEN=true") as name:
        wait_until_it_answers(docker)
        assert get(docker.inside, f"{URL}/health")[0] == 200
        assert post(docker.inside, f"{URL}/v1/prompt/check", GOOD_PROMPT, token())[0] == 200
        assert post(docker.inside, f"{URL}/v1/prompt/check", ATTACK, token())[0] == 403
        docker("stop", "--time", "30", name)
        assert state(docker, name)["ExitCode"] == 0


@pytest.mark.parametrize("missing", ["policy", "audit"])
def test_without_policy_or_a_place_for_the_audit_log_it_allows_nothing(
    docker: Engine, image: str, folder: Path, missing: str
) -> None:
    os.chown(folder / "audit", 0, 0)  # as Docker makes it when it is not there
    if missing == "policy":
        os.chown(folder / "audit", 10001, 10001)
    with container(docker, image, *mounts(folder, *({"policy"} & {missing}))):
        wait_until_it_answers(docker)
        status, health = get(docker.inside, f"{URL}/health")
        assert (status, health["failing"]) == (503, [missing])
        assert post(docker.inside, f"{URL}/v1/prompt/check", GOOD_PROMPT, token())[0] in (403, 503)


def test_without_a_secret_every_token_is_refused(docker: Engine, image: str, folder: Path) -> None:
    with container(docker, image, *mounts(folder, "secret")):
        wait_until_it_answers(docker)
        assert post(docker.inside, f"{URL}/v1/prompt/check", GOOD_PROMPT, token())[0] == 401


def test_a_secret_that_nobody_replaced_stops_the_start(docker: Engine, image: str, folder: Path) -> None:
    (folder / "token-secret").write_text("replace-me")
    ended = docker.attempt("run", "--rm", *HARDENED, *mounts(folder), image)
    assert ended.returncode == 2
    assert ended.stderr.strip() == "kalguard-sidecar: KALGUARD_TOKEN_SECRET: the value given is not at least 32 bytes"


def test_the_commands_of_the_seed_work_as_they_are(docker: Engine, image: str, folder: Path) -> None:
    mounted = ["--volume", f"{folder}/policy/policy.json:/policy/policy.json:ro"]
    mounted += ["--volume", f"{folder}/audit:/var/log/kalguard", "--env", "KALGUARD_API_KEY="]
    name = docker("run", "--detach", "--publish", "9292:9292", *mounted, image)
    try:
        wait_until_it_answers(docker)
        assert get(docker.inside, f"{URL}/health")[0] == 200
        assert attempt("kill", "-0", str(state(docker, name)["Pid"])).returncode == 0
    finally:
        docker("rm", "--force", "--volumes", name)
