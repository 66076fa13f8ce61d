"""What runs on this machine for a while: commands, daemons that end with us, network namespaces, requests from inside.

Everything that is started is ended by its process id, and everything that is made has names that begin with `kgd`.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support import ROOT

CACHE = ROOT / ".services" / "deploy"  # base images and what Docker keeps: rebuilt only when it is gone


def run(
    *command: str, input_: str | None = None, seconds: float = 900, variables: Mapping[str, str] | None = None
) -> str:
    """Run a command and return what it printed. Raises `AssertionError` with that when it fails."""
    ended = attempt(*command, input_=input_, seconds=seconds, variables=variables)
    assert ended.returncode == 0, f"{' '.join(command)}\n{ended.stdout[-4000:]}\n{ended.stderr[-4000:]}"
    return ended.stdout


def attempt(
    *command: str, input_: str | None = None, seconds: float = 900, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The same, whatever comes of it."""
    return subprocess.run(
        list(command),
        input=input_,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
        cwd=ROOT,
        env={**os.environ, **(variables or {})},
    )


@contextmanager
def daemon(log: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is asked to end afterwards, and killed when it does not."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def namespace(name: str) -> Iterator[list[str]]:
    """A network namespace of its own with a loopback; what to put before a command for it to run in there."""
    attempt("ip", "netns", "delete", name)
    run("ip", "netns", "add", name)
    # Not `ip netns exec`, which mounts /sys anew, without the control groups.
    inside = ["nsenter", f"--net=/run/netns/{name}"]
    try:
        run(*inside, "ip", "link", "set", "lo", "up")
        yield inside
    finally:
        run("ip", "netns", "delete", name)


def wait_for(happened: Callable[[], bool], what: str, seconds: float = 90) -> None:
    """Wait until something is so. Raises `AssertionError` when it does not become so."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} seconds"
        time.sleep(0.5)


def post(inside: list[str], url: str, body: object, token: str) -> tuple[int, Any]:
    """Status and body of a check, asked for in a namespace; the status is 0 where nobody answers."""
    head = ["--header", f"Authorization: Bearer {token}", "--data", json.dumps(body)]
    return get(inside, url, *head)


def get(inside: list[str], url: str, *options: str) -> tuple[int, Any]:
    """The same for anything else."""
    curl = ["curl", "--silent", "--insecure", "--max-time", "20", "--write-out", "\n%{http_code}", *options, url]
    text, _, status = attempt(*inside, *curl).stdout.rpartition("\n")
    with suppress(ValueError):
        return int(status), json.loads(text)
    return int(status), text


def install(*packages: str) -> None:
    """Debian packages, where they are missing. Nothing is started: `policy-rc.d` says no."""
    missing = [name for name in packages if attempt("dpkg-query", "--status", name).returncode != 0]
    if not missing:
        return
    assert os.geteuid() == 0 and shutil.which("apt-get"), f"this needs root and Debian, for {', '.join(missing)}"
    says_no = Path("/usr/sbin/policy-rc.d")
    is_ours = not says_no.exists()
    if is_ours:
        says_no.write_text("#!/bin/sh\nexit 101\n")
        says_no.chmod(0o755)
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        run("apt-get", "install", "--yes", "--no-install-recommends", *missing, variables=quiet)
    finally:
        if is_ours:
            says_no.unlink()
