"""A client that waits for an answer as long as it takes, and hardly between tries."""

import pytest

from kalguard.connector import client


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine makes no good answer a late one. Where none comes, `gives_up_soon`."""
    monkeypatch.setattr(client, "TRY_SECONDS", 20.0)
    monkeypatch.setattr(client, "PAUSE_SECONDS", 0.01)


def gives_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds takes tenths."""
    monkeypatch.setattr(client, "TRY_SECONDS", 0.5)
