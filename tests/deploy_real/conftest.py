"""One image for all, built once in a session; an engine to run it in."""

from collections.abc import Iterator

import pytest

from tests.deploy_real.engine import Engine, engine, make_bases
from tests.deploy_real.machine import install, run

PACKAGES = ("docker.io", "docker-compose", "debootstrap", "iptables", "podman", "catatonit", "runc", "curl")


@pytest.fixture(scope="session")
def image() -> str:
    """The sidecar's image, from the wheel in dist/, which `make test-deploy` has made. Its name."""
    install(*PACKAGES)
    with engine(builds=True) as builder:
        make_bases(builder)
        run("make", "image", "WHEEL=copy", "DOCKER_OPTIONS=--network host --quiet", variables=builder.variables)
    return "kalguard/sidecar:latest"


@pytest.fixture(scope="session")
def docker(image: str) -> Iterator[Engine]:
    """An engine with networks and published ports, and the image in it."""
    with engine(builds=False) as made:
        assert made.has(image)
        yield made
