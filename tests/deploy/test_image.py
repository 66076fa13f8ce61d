"""Dockerfile and compose file agree with the code: variables, ports, paths, user, packages.

That they work is for `make test-deploy` to see.
"""

import ast
import json
import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from kalguard import config
from kalguard.cli.main import cli
from tests.deploy.manifests import BODIES_OF_MEMORY, K8S, built, bytes_of, environment_of, pod_of
from tests.support import ROOT, SECRET

DOCKER = ROOT / "deploy" / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text().replace("\\\n", " ")
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "docker-compose.yml").read_text())
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LAST_STAGE = DOCKERFILE.split("FROM scratch AS sidecar\n")[1]
DEFAULTS = config.load({}).settings


def instruction(name: str) -> str:
    """What an instruction of the last stage says; there is one of it."""
    (found,) = re.findall(rf"^{name} (.*)$", LAST_STAGE, re.MULTILINE)
    return str(found)


def variables() -> dict[str, str]:
    """The variables that the image sets."""
    return dict(pair.split("=", 1) for pair in instruction("ENV").split())


def constant(name: str) -> Any:
    """A constant of the program that puts the image together."""
    tree = ast.parse((DOCKER / "rootfs.py").read_text())
    (value,) = (
        node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
    )
    source = ast.unparse(value).replace("USER", str(10001))
    return ast.literal_eval(source)


def locked(path: Path) -> dict[str, str]:
    """Package -> version."""
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+) \\$", path.read_text(), re.MULTILINE))


def test_the_image_starts_the_command_that_there_is() -> None:
    assert PYPROJECT["project"]["scripts"]["kalguard"] == "kalguard.cli.entry:cli"
    assert json.loads(instruction("ENTRYPOINT")) == ["kalguard"]
    assert json.loads(instruction("CMD")) == ["serve"]
    check = json.loads(instruction("HEALTHCHECK").split(" CMD ")[1])
    assert check[0] == "kalguard"
    for name in ("serve", check[1]):
        assert name in cli.commands
    assert set(PYPROJECT["project"]["scripts"]) <= constant("SCRIPTS")


def test_the_ports_are_those_of_the_service() -> None:
    assert instruction("EXPOSE") == f"{DEFAULTS.port} {DEFAULTS.metrics_port}"


def test_the_image_s_variables_are_taken_and_none_is_a_secret() -> None:
    own = {name: value for name, value in variables().items() if name.startswith("KALGUARD_")}
    assert config.load(own).warnings == []
    assert not any(variable.secret and variable.name in DOCKERFILE for variable in config.VARIABLES)
    assert not re.findall(r"^ARG .*(SECRET|KEY|PASSWORD|TOKEN)", DOCKERFILE, re.MULTILINE)


def test_the_user_is_nobody_else_and_owns_what_it_writes() -> None:
    user = constant("USER")
    assert instruction("USER") == f"{user}:{user}"
    assert pod_of(built(K8S))["spec"]["securityContext"]["runAsUser"] == user
    owned = {f"/{name}" for name, (_, owner) in constant("FOLDERS").items() if owner == user}
    volumes = instruction("VOLUME").split()
    assert volumes == ["/tmp", str(Path(variables()["KALGUARD_AUDIT_LOG_PATH"]).parent)]
    assert volumes[1] in owned
    assert str(Path(variables()["KALGUARD_POLICY_PATH"]).parent).lstrip("/") in constant("FOLDERS")


def test_the_image_has_the_versions_that_are_tested_and_no_tool() -> None:
    in_image, tested = locked(DOCKER / "requirements.lock"), locked(ROOT / "requirements.lock")
    assert in_image.items() <= tested.items()
    extras = PYPROJECT["project"]["optional-dependencies"]
    wanted = [*PYPROJECT["project"]["dependencies"], *extras["sidecar"], *extras["otel"]]
    assert {re.split(r"[^a-z0-9-]", name)[0] for name in wanted} <= set(in_image)
    for tool in ("pytest", "mypy", "maturin", "pip", "setuptools", "langchain", "openai"):
        assert tool not in in_image
    assert {"maturin", "cyclonedx-bom"} <= set(locked(DOCKER / "build.lock"))


def test_the_label_is_this_version() -> None:
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    assert re.findall(r"^ARG VERSION=(.*)$", DOCKERFILE, re.MULTILINE) == [version]


def test_the_list_of_packages_is_without_those_that_are_cut() -> None:
    rootfs = runpy.run_path(str(DOCKER / "rootfs.py"))
    cut = ["Pygments", "faker", "markdown-it-py", "mdurl", "polyfactory", "rich", "rich-click"]
    listed: dict[str, Any] = {
        "components": [{"bom-ref": f"{name}==1", "name": name} for name in (*cut, "litestar", "sniffio")],
        "dependencies": [
            {"ref": "litestar==1", "dependsOn": ["polyfactory==1", "sniffio==1"]},
            {"ref": "polyfactory==1", "dependsOn": ["faker==1"]},
            {"ref": "sniffio==1"},
        ],
    }
    left = rootfs["without_what_is_cut"](listed)
    assert [it["name"] for it in left["components"]] == ["litestar", "sniffio"]
    assert left["dependencies"] == [{"ref": "litestar==1", "dependsOn": ["sniffio==1"]}, {"ref": "sniffio==1"}]
    with pytest.raises(SystemExit, match="only this is in the list"):
        rootfs["without_what_is_cut"](left)


def test_nothing_gets_to_the_builder_that_is_not_named() -> None:
    for name in ("Dockerfile", "agent.Dockerfile"):
        rules = [
            line for line in (DOCKER / f"{name}.dockerignore").read_text().splitlines() if line[:1] not in ("", "#")
        ]
        assert rules[0] == "*"
        let_in = [rule[1:] for rule in rules if rule.startswith("!")]
        assert not any(path.startswith(("var", ".", "deploy/docker/secrets")) for path in let_in)
        copied = re.findall(r"^COPY (?!--from)(.*) \S+$", (DOCKER / name).read_text(), re.MULTILINE)
        for path in " ".join(copied).split():
            assert any(Path(path).match(rule) or path == rule for rule in let_in), path


def test_every_package_of_python_is_pinned_by_hash() -> None:
    installs = re.findall(r"pip (?:--python \S+ )?install (.*)", DOCKERFILE)
    assert len(installs) == 3
    assert all("--require-hashes" in line or "--no-index" in line for line in installs)


def kalguard_service() -> dict[str, Any]:
    service: dict[str, Any] = COMPOSE["services"]["kalguard"]
    return service


def test_compose_starts_the_service_without_a_warning(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    environment = {
        name: re.sub(r"^\$\{.*:-\}$", "", value) for name, value in kalguard_service()["environment"].items()
    }
    assert environment["KALGUARD_TOKEN_SECRET_FILE"] == f"/run/secrets/{kalguard_service()['secrets'][0]}"
    environment["KALGUARD_TOKEN_SECRET_FILE"] = str(tmp_path / "secret")
    loaded = config.load(environment)
    assert loaded.warnings == []
    assert loaded.settings.policy_watch
    assert kalguard_service()["ports"] == [f"127.0.0.1:{DEFAULTS.port}:{DEFAULTS.port}"]
    assert int(kalguard_service()["stop_grace_period"].removesuffix("s")) >= DEFAULTS.drain_seconds + 2


def test_compose_mounts_the_files_that_are_named() -> None:
    environment = kalguard_service()["environment"]
    mounts = {
        target.split(":")[0]: source for source, target in (it.split(":", 1) for it in kalguard_service()["volumes"])
    }
    assert mounts == {"/policy": "./policy", "/var/log/kalguard": "audit-data"}
    assert str(Path(environment["KALGUARD_AUDIT_LOG_PATH"]).parent) in mounts
    for variable in ("KALGUARD_POLICY_PATH", "KALGUARD_TOOLS_PATH"):
        name = Path(environment[variable]).name
        own = (DOCKER / "policy" / name).read_text()
        assert own == (ROOT / "deploy" / name.replace(".json", ".example.json")).read_text()


def test_compose_gives_away_nothing_that_it_need_not() -> None:
    for service in COMPOSE["services"].values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert COMPOSE["services"]["redis"]["profiles"] == ["redis"]


def test_the_agent_of_compose_does_not_reach_redis_which_has_a_password() -> None:
    services = COMPOSE["services"]
    networks = {name: set(service["networks"]) for name, service in services.items()}
    assert networks == {"kalguard": {"agents", "store"}, "your-agent": {"agents"}, "redis": {"store"}}
    assert set(COMPOSE["networks"]) == {"agents", "store"}
    (password,) = services["redis"]["secrets"]
    assert services["redis"]["command"][:2] == ["redis-server", f"/run/secrets/{password}"]
    assert "--protected-mode" not in services["redis"]["command"]
    assert "ports" not in services["redis"]


def test_compose_bounds_bodies_by_the_memory_and_the_service_confines_itself() -> None:
    environment = kalguard_service()["environment"]
    buffered = int(environment["KALGUARD_MAX_BUFFERED_BYTES"])
    assert BODIES_OF_MEMORY * buffered <= bytes_of(kalguard_service()["mem_limit"])
    assert environment["KALGUARD_HARDEN"] == "true"


def test_the_agent_of_compose_waits_for_the_service_and_has_no_secret() -> None:
    agent = COMPOSE["services"]["your-agent"]
    assert agent["depends_on"] == {"kalguard": {"condition": "service_healthy"}}
    assert agent["environment"]["KALGUARD_SIDECAR_URL"] == f"http://kalguard:{DEFAULTS.port}"
    assert set(agent["environment"]) == {"KALGUARD_SIDECAR_URL", "KALGUARD_AGENT_TOKEN"}
    assert not {"secrets", "volumes"} & set(agent)
    assert (DOCKER / agent["build"]["context"] / agent["build"]["dockerfile"]).exists()


def test_compose_and_kubernetes_agree() -> None:
    shared = {"KALGUARD_POLICY_PATH", "KALGUARD_TOOLS_PATH", "KALGUARD_POLICY_WATCH"}
    of_pod = environment_of(built(K8S))
    assert {name: of_pod[name] for name in shared} == {name: kalguard_service()["environment"][name] for name in shared}
