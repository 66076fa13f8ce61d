"""The smallest profile, `deploy/overlays/minimal`, as a container with its settings and its memory, under load."""

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from benches.texts import texts

from tests.deploy.manifests import DEPLOY, built, bytes_of, environment_of, kalguard_in, one, pod_of
from tests.deploy_real.engine import Engine
from tests.deploy_real.load import CHECKS, prompt
from tests.deploy_real.machine import get, post, run, wait_for
from tests.support import GOOD_PROMPT, SECRET, token

URL = "http://127.0.0.1:9292"
MEBIBYTE = 1024 * 1024


def state(docker: Engine, name: str) -> Any:
    return json.loads(docker("inspect", "--format", "{{json .State}}", name))


@pytest.fixture
def minimal(docker: Engine, image: str, tmp_path: Path) -> Iterator[str]:
    """The container's name."""
    manifests = built(DEPLOY / "overlays" / "minimal")
    memory = bytes_of(kalguard_in(pod_of(manifests)["spec"])["resources"]["limits"]["memory"])
    (tmp_path / "policy").mkdir()
    for name, content in one(manifests, "ConfigMap", "kalguard-policy")["data"].items():
        (tmp_path / "policy" / name).write_text(content)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/token-secret").write_text(SECRET)
    options = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--publish", "9292:9292"]
    options += ["--publish", "9293:9293", "--memory", str(memory), "--memory-swap", str(memory)]
    options += ["--volume", f"{tmp_path}/policy:/policy:ro", "--volume", f"{tmp_path}/secret:/run/secrets/kalguard:ro"]
    for name, value in environment_of(manifests).items():
        options += ["--env", f"{name}={value}"]
    name = docker("run", "--detach", *options, image)
    try:
        wait_for(lambda: get(docker.inside, f"{URL}/health/ready")[0] == 200, "the service is ready")
        yield name
    finally:
        docker("rm", "--force", "--volumes", name)


def peaks(docker: Engine, name: str) -> dict[str, float]:
    """The most that each process had in memory, in MiB."""
    found = {}
    for process in docker("top", name, "-o", "pid").split()[1:]:
        (most,) = re.findall(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
        found[process] = int(most) / 1024
    return found


def worker_starts(docker: Engine) -> float:
    """Started worker processes: one, and one more for each that was replaced."""
    metrics = str(get(docker.inside, "http://127.0.0.1:9293/metrics")[1])
    (count,) = re.findall(r"^kalguard_worker_starts_total (\S+)$", metrics, re.MULTILINE)
    return float(count)


def test_the_smallest_profile_outlives_a_mixed_load(docker: Engine, minimal: str) -> None:
    idle = docker("stats", "--no-stream", "--format", "{{.MemUsage}}", minimal)
    loaded = run(*docker.inside, sys.executable, "-m", "tests.deploy_real.load", URL, token(), seconds=600)
    said: dict[str, Any] = json.loads(loaded)
    answers = {(kind, status): count for kind, status, count in said["answers"]}
    used = docker("stats", "--no-stream", "--format", "{{.MemUsage}}", minimal)
    print(f"idle {idle}, after the load {used}, peaks {peaks(docker, minimal)} MiB, {answers}, {said['longest']:.2f} s")
    assert sum(answers.values()) == CHECKS
    right = {"short": 200, "attack": 403, "tool": 200, "4 KB": 200, "55 KB": 200}
    assert set(answers) == set(right.items())
    assert worker_starts(docker) == 1, "a worker was killed and replaced"


def test_a_prompt_that_is_too_large_for_it_is_no_more_than_denied(docker: Engine, minimal: str, tmp_path: Path) -> None:
    """128 Mi do not suffice for 4 MiB: the worker is killed, nobody is answered, and another takes its place."""
    process = state(docker, minimal)["Pid"]
    (tmp_path / "prompt.json").write_bytes(prompt(texts(4 * MEBIBYTE, 1)[0]))
    large = ["--header", f"Authorization: Bearer {token()}", "--header", "Expect:"]  # no question before the body
    large += ["--data-binary", f"@{tmp_path}/prompt.json"]
    for _ in range(3):
        began = time.monotonic()
        status = get(docker.inside, f"{URL}/v1/prompt/check", *large)[0]
        wait_for(lambda: post(docker.inside, f"{URL}/v1/prompt/check", GOOD_PROMPT, token())[0] == 200, "it is back")
        print(f"4 MiB: {status or 'no answer'}; a small one is allowed again {time.monotonic() - began:.1f} s after")
        assert status in (0, 200, 503)
    assert (state(docker, minimal)["Running"], state(docker, minimal)["Pid"]) == (True, process)
