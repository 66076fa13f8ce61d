"""The compose file as it lies there: the service, the example agent, and a Redis by its profile."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.deploy_real.engine import Engine
from tests.deploy_real.machine import get, post, run, wait_for
from tests.support import GOOD_PROMPT, ROOT, SECRET, token

COMPOSE = "/usr/bin/docker-compose"
URL = "http://127.0.0.1:9292"
CALL = {"toolName": "get_weather", "arguments": {"location": "Oslo"}}
PASSWORD = "counts-no-agent-s-calls"
ISSUE = ("--agent", "agent-1", "--ttl", "1h", "--capability", "prompt:send", "--capability", "tool:execute")


@pytest.fixture
def compose(docker: Engine) -> Iterator[Callable[..., str]]:
    """docker-compose for a copy of the folder, with a secret in it. Everything is taken down afterwards."""
    with tempfile.TemporaryDirectory(prefix="kgd-") as name:
        root = Path(name)
        shutil.copytree(ROOT / "deploy", root / "deploy")
        shutil.copytree(ROOT / "examples", root / "examples")
        folder = root / "deploy/docker"
        shutil.rmtree(folder / "secrets", ignore_errors=True)
        (folder / "secrets").mkdir(mode=0o700)
        (folder / "secrets/token-secret").write_text(SECRET + "\n")
        (folder / "secrets/redis.conf").write_text(f"requirepass {PASSWORD}\n")
        for secret in (folder / "secrets").iterdir():
            secret.chmod(0o444)

        def command(*arguments: str, **variables: str) -> str:
            given = ("--project-name", "kgd", "--file", str(folder / "docker-compose.yml"), *arguments)
            return run(COMPOSE, *given, variables={**docker.variables, **variables})

        try:
            yield command
        finally:
            command("--profile", "redis", "down", "--volumes", "--remove-orphans")


def test_the_agent_asks_and_is_answered(docker: Engine, compose: Callable[..., str]) -> None:
    agents = compose("run", "--rm", "-T", "kalguard", "token", "issue", *ISSUE).strip()
    compose("up", "--detach", KALGUARD_AGENT_TOKEN=agents)
    wait_for(lambda: not docker("ps", "--quiet", "--filter", "name=your-agent"), "the agent ends")
    said = compose("logs", "--no-color", "your-agent")
    for line in ("You said: What is the weather", "[EMAIL_REDACTED]", "PROMPT_BLOCKED", "tool:   Sunny in Oslo"):
        assert line in said
    assert "TOOL_DENIED" in said or "POLICY_DENY" in said
    name = docker("ps", "--all", "--quiet", "--filter", "name=kalguard_1").splitlines()[0]
    lines = docker("cp", f"{name}:/var/log/kalguard/audit.log", "-")
    assert lines.count('"type":"prompt_denied"') == 1
    assert docker("inspect", "--format", "{{.Config.Env}}", name).count(SECRET) == 0


def test_a_new_policy_is_taken_up_as_an_editor_writes_it(docker: Engine, compose: Callable[..., str]) -> None:
    compose("up", "--detach", "kalguard")
    wait_for(lambda: get(docker.inside, f"{URL}/health")[0] == 200, "the service answers")
    assert post(docker.inside, f"{URL}/v1/prompt/check", GOOD_PROMPT, token())[0] == 200
    source = docker("inspect", "--format", '{{range .Mounts}}{{if eq .Destination "/policy"}}{{.Source}}{{end}}{{end}}',
                    docker("ps", "--quiet", "--filter", "name=kalguard_1"))  # fmt: skip
    (Path(source) / "new").write_text('{"rules": [], "version": "none"}')
    os.rename(Path(source) / "new", Path(source) / "policy.json")
    asked = (docker.inside, f"{URL}/v1/prompt/check", GOOD_PROMPT, token())
    wait_for(lambda: post(*asked)[0] == 403, "the new policy is in force", 60)


def test_with_its_profile_a_redis_counts(docker: Engine, compose: Callable[..., str]) -> None:
    url = f"redis://:{PASSWORD}@redis:6379/0"
    compose("--profile", "redis", "up", "--detach", "kalguard", "redis", KALGUARD_REDIS_URL=url)
    working = {"store": "redis", "state": "ok"}
    wait_for(lambda: get(docker.inside, f"{URL}/health/ready")[0] == 200, "the service answers")
    wait_for(lambda: get(docker.inside, f"{URL}/health")[1].get("limits") == working, "Redis is found")
    statuses = [post(docker.inside, f"{URL}/v1/tool/check", CALL, token())[0] for _ in range(32)]
    assert (statuses.count(200), statuses.count(429)) == (30, 2)
    redis = docker("ps", "--quiet", "--filter", "name=redis_1")
    assert "NOAUTH" in docker.attempt("exec", redis, "redis-cli", "keys", "*").stdout
    assert "kalguard:" in docker("exec", redis, "redis-cli", "--no-auth-warning", "-a", PASSWORD, "keys", "*")
