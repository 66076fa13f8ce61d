"""How long tests of counting wait for Redis."""

import pytest

from tests.counters.patience import patient


@pytest.fixture(autouse=True)
def patience(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is about late answers has the product's patience."""
    if "impatient" not in request.fixturenames:
        patient(monkeypatch)


@pytest.fixture
def impatient() -> None:
    """The budget stays as it is."""
