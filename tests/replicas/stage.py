"""Three machines, a load balancer, a Redis and a Cloud, in namespaces that nobody else sees.

Runs as process 1 of a PID namespace with a network of its own (`test_replicas.py` starts it so): whatever happens,
everything here ends with that process. The addresses are those of `deploy/haproxy/haproxy.cfg`.
"""

import csv
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.cloud import API_KEY, StandIn
from tests.redis import redis_server
from tests.support import PATIENCE_SECONDS, ROOT, SIDECAR, environment, stop, until

SERVICES = ROOT / ".services"
HAPROXY_CONFIG = ROOT / "deploy/haproxy/haproxy.cfg"
BALANCER = "10.77.0.1"
REDIS_PASSWORD = "a password for tests"
ADDRESSES = ("10.77.0.11", "10.77.0.12", "10.77.0.13")


def ip(*arguments: str, inside: int | None = None) -> None:
    """Run `ip`, in the network namespace of the process `inside` if one is named."""
    enter = [] if inside is None else ["nsenter", f"--net=/proc/{inside}/ns/net"]
    subprocess.run([*enter, str(SERVICES / "ip"), *arguments], check=True)


class Replica:
    """A machine with an address of its own, and a service on it that can be stopped and started again."""

    def __init__(self, number: int, folder: Path, **variables: str) -> None:
        self.number = number
        self.address = ADDRESSES[number - 1]
        self.url = f"http://{self.address}:9292"
        self.folder = folder
        self.folder.mkdir()
        self.audit_path = folder / "audit.jsonl"
        self._variables = {**variables, "audit_log_path": str(self.audit_path), "state_dir": str(folder / "state")}
        self._machine = subprocess.Popen(["unshare", "--net", "sleep", "1200"])
        self.process: subprocess.Popen[bytes] | None = None

    def connect(self, bridge: str) -> None:
        """Plug the machine in."""
        own = os.readlink("/proc/self/ns/net")
        until(lambda: os.readlink(f"/proc/{self._machine.pid}/ns/net") != own)
        ip("link", "add", f"v{self.number}", "type", "veth", "peer", "name", "eth0", "netns", str(self._machine.pid))
        ip("link", "set", f"v{self.number}", "master", bridge, "up")
        ip("link", "set", "lo", "up", inside=self._machine.pid)
        ip("addr", "add", f"{self.address}/24", "dev", "eth0", inside=self._machine.pid)
        ip("link", "set", "eth0", "up", inside=self._machine.pid)

    def start(self) -> None:
        """Start the service."""
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["nsenter", f"--net=/proc/{self._machine.pid}/ns/net", SIDECAR],
                env=environment(**self._variables),
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def is_ready(self) -> bool:
        assert self.process is not None and self.process.poll() is None, (self.folder / "server.log").read_text()
        try:
            return httpx.get(f"{self.url}/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    def health(self) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{self.url}/health").json()
        return found

    def stop(self) -> float:
        """Ask it to end. Gives the seconds that it took."""
        assert self.process is not None
        begun = time.monotonic()
        assert stop(self.process) == 0
        return time.monotonic() - begun


class Balancer:
    """HAProxy with the file that is shipped."""

    def __init__(self, folder: Path) -> None:
        self.url = f"http://{BALANCER}:9292"
        self._socket = folder / "haproxy.sock"
        extra = folder / "extra.cfg"
        extra.write_text(f"global\n    stats socket {self._socket}\n")
        with (folder / "haproxy.log").open("wb") as log:
            self.process = subprocess.Popen(
                [str(SERVICES / "haproxy"), "-db", "-f", str(HAPROXY_CONFIG), "-f", str(extra)],
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def rows(self) -> dict[str, dict[str, str]]:
        """What it says of each instance, by its name."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._socket))
            connection.sendall(b"show stat\n")
            text = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
        rows = csv.DictReader(text.removeprefix("# ").splitlines())
        return {row["svname"]: row for row in rows if row["pxname"] == "instances" and row["svname"] != "BACKEND"}

    def up(self) -> list[str]:
        """The instances that requests go to."""
        try:
            return [name for name, row in self.rows().items() if row["status"] == "UP"]
        except OSError:
            return []


class Stage:
    """All of it. `policy` is the file that all replicas read."""

    def __init__(self, folder: Path, cloud: StandIn, replicas: list[Replica], balancer: Balancer) -> None:
        self.policy = folder / "policy.json"
        self.cloud = cloud
        self.replicas = replicas
        self.balancer = balancer

    def write_policy(self, version: str, *denied: str) -> None:
        """A policy that allows everybody but those who are named. Put in place as an operator should."""
        no = {"id": "no", "match": {"agentIds": list(denied)}, "decision": "deny", "reason": "no"}
        yes = {"id": "yes", "decision": "allow", "reason": "yes"}
        new = self.policy.with_suffix(".new")
        new.write_text(json.dumps({"version": version, "rules": [no, yes] if denied else [yes]}))
        new.rename(self.policy)

    def everywhere(self, true: Callable[[Replica], bool], seconds: float = PATIENCE_SECONDS) -> float:
        """Wait until it is true of every replica. Gives the seconds that it took."""
        begun = time.monotonic()
        until(lambda: all(true(replica) for replica in self.replicas), seconds)
        return time.monotonic() - begun


@contextmanager
def stage(folder: Path, checks_per_day: int, **variables: str) -> Iterator[Stage]:
    """Everything up, with a policy that allows and a plan of so many checks. `variables` are those of the replicas."""
    ip("link", "set", "lo", "up")
    ip("link", "add", "kgbr", "type", "bridge")
    ip("addr", "add", f"{BALANCER}/24", "dev", "kgbr")
    ip("link", "set", "kgbr", "up")
    with ExitStack() as cleanup:
        cloud = StandIn(host=BALANCER)
        cloud.limit(checks_per_day=checks_per_day)
        cloud.start()
        cleanup.callback(cloud.stop)
        redis = cleanup.enter_context(
            redis_server(folder, "--bind", BALANCER, "127.0.0.1", "--requirepass", REDIS_PASSWORD)
        )
        (folder / "redis-url").write_text(f"redis://:{REDIS_PASSWORD.replace(' ', '%20')}@{BALANCER}:{redis.port}/0\n")
        common = {
            "policy_path": str(folder / "policy.json"),
            "policy_watch": "true",
            "redis_url_file": str(folder / "redis-url"),
            "api_key": API_KEY,
            "cloud_url": cloud.url,
            "cloud_sync_interval_ms": "10000",
            **variables,
        }
        replicas = [Replica(number, folder / f"replica-{number}", **common) for number in (1, 2, 3)]
        found = Stage(folder, cloud, replicas, Balancer(folder))
        found.write_policy("first")
        for replica in replicas:
            replica.connect("kgbr")
        for replica in replicas:
            replica.start()
        found.everywhere(Replica.is_ready)
        found.everywhere(lambda replica: replica.health()["cloud"]["connected"])
        until(lambda: len(found.balancer.up()) == len(replicas))
        yield found


def is_pid_1() -> bool:
    """Whether everything ends with this process."""
    return os.getpid() == 1
