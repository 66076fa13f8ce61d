"""A Docker engine of our own, and base images under their official names where no registry can be asked.

With its own network namespace it has networks, names and published ports without touching the machine's firewall. What
is built needs the machine's network instead, so there are two, one after the other, with one store.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.deploy_real.machine import CACHE, attempt, daemon, namespace, run, wait_for

DOCKER = "/usr/bin/docker"  # Debian's own, which has BuildKit; another on the PATH may not
_LIBRARIES = "ca-certificates,libssl3,libffi8,libsqlite3-0,libbz2-1.0,liblzma5,zlib1g,libuuid1"
_FROM_OUTSIDE = ("--iptables=false", "--ip6tables=false", "--bridge=none", "--ip-forward=false")
PYTHON_BASE = "python:3.12-slim"
REDIS = "redis:7"


class Engine:
    """A running dockerd. `inside` is what to put before a command for it to see published ports."""

    def __init__(self, socket: Path, inside: list[str]) -> None:
        self._host = f"unix://{socket}"
        self.inside = inside

    @property
    def variables(self) -> dict[str, str]:
        """For a client, compose included: whom to ask, and which client to use to build."""
        path = "/usr/bin:/bin:/usr/sbin:/sbin"
        return {"DOCKER_HOST": self._host, "DOCKER_BUILDKIT": "1", "COMPOSE_DOCKER_CLI_BUILD": "1", "PATH": path}

    def __call__(self, *arguments: str, input_: str | None = None) -> str:
        """A docker command that has to succeed: what it printed."""
        return run(DOCKER, *arguments, input_=input_, variables=self.variables).strip()

    def attempt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One that may fail."""
        return attempt(DOCKER, *arguments, variables=self.variables)

    def has(self, image: str) -> bool:
        """Whether an image is there."""
        return self.attempt("image", "inspect", image).returncode == 0


@contextmanager
def engine(*, builds: bool) -> Iterator[Engine]:
    """An engine that builds, with the machine's network, or one that runs, with its own."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kgd-") as folder:  # a socket's path must be short
        socket = Path(folder, "docker.sock")
        common = ["dockerd", "--data-root", str(CACHE / "docker"), "--exec-root", f"{folder}/exec"]
        common += ["-H", f"unix://{socket}", "-p", f"{folder}/pid", "--storage-driver", "overlay2", "--containerd", ""]
        if builds:
            with daemon(CACHE / "dockerd.log", *common, *_FROM_OUTSIDE):
                yield _ready(Engine(socket, []))
        else:
            with namespace("kgd-docker") as inside, daemon(CACHE / "dockerd.log", *inside, *common):
                yield _ready(Engine(socket, inside))


def _ready(made: Engine) -> Engine:
    wait_for(lambda: made.attempt("version").returncode == 0, "dockerd answers", 60)
    return made


def make_bases(made: Engine) -> None:
    """Import what is not there yet."""
    if not made.has(PYTHON_BASE):
        _import_python(made)
    if not made.has(REDIS):
        _import_redis(made)


def _bootstrap(folder: Path, packages: str) -> None:
    attempt("umount", str(folder / "proc"))  # where the last one was interrupted
    shutil.rmtree(folder, ignore_errors=True)
    mirror, *_ = run("apt-get", "indextargets", "--format", "$(REPO_URI)", "Origin: Debian", "Label: Debian").split()
    run("debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", str(folder), mirror)
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", folder / "etc/ssl/certs/ca-certificates.crt")


def _import_python(made: Engine) -> None:
    """Debian with the CPython 3.12 of this machine under /usr/local, less its tests, as the official image has it."""
    folder = CACHE / "python"
    _bootstrap(folder, _LIBRARIES)
    without = ("__pycache__", "test", "*.a", "lib/python3.12/site-packages/[!p]*")
    options = " ".join(f"--exclude='{pattern}'" for pattern in without)
    copied = f"tar -C {_python_3_12()} {options} -c . | tar -C {folder}/usr/local -x"
    run("sh", "-c", copied)
    for script in (folder / "usr/local/bin").glob("pip*"):
        script.write_text("\n".join(["#!/usr/local/bin/python3.12", *script.read_text().splitlines()[1:]]) + "\n")
    run("chroot", str(folder), "/sbin/ldconfig")
    variables = ("PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8")
    _import(made, folder, PYTHON_BASE, *variables, "PIP_CERT=/etc/ssl/certs/ca-certificates.crt")


def _python_3_12() -> str:
    """Where a CPython 3.12 with a prefix of its own is: on the PATH, or pyenv's."""
    named = shutil.which("python3.12")
    candidates = [named] if named else []
    candidates += [str(path) for path in Path.home().glob(".pyenv/versions/3.12.*/bin/python3.12")]
    for candidate in candidates:
        ended = attempt(candidate, "-c", "import sys; print(sys.base_prefix)")
        if ended.returncode == 0 and ended.stdout.strip() != "/usr":
            return ended.stdout.strip()
    raise AssertionError("this needs a python3.12 that was built with a prefix of its own, for the base image")


def _import_redis(made: Engine) -> None:
    folder = CACHE / "redis"
    _bootstrap(folder, "redis-server,ca-certificates")
    _import(made, folder, REDIS, "PATH=/usr/bin:/bin")


def _import(made: Engine, folder: Path, name: str, *variables: str) -> None:
    changes = [part for variable in variables for part in ("--change", f"ENV {variable}")]
    piped = f'tar -C "{folder}" --one-file-system -c . | {DOCKER} import "$@"'
    command = ["sh", "-c", piped, "sh", *changes, "-", name]
    run(*command, variables=made.variables)
    shutil.rmtree(folder)
    print(f"made {name}", file=sys.stderr)
