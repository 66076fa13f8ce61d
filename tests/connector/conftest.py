"""A client that does not wait long."""

import pytest

from kalguard.connector import client


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds takes tenths, and pauses between tries next to nothing."""
    monkeypatch.setattr(client, "TRY_SECONDS", 0.5)
    monkeypatch.setattr(client, "PAUSE_SECONDS", 0.01)
