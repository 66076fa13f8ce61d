"""All the time in the world for Redis, in this process. `tests.patient` is the same for a service."""

import pytest

from kalguard.counters import batches, redis
from tests.patient import SECONDS


def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take no answer for lost that is only late: the budget, and the sockets, which end somewhat later."""
    for module in (batches, redis):
        monkeypatch.setattr(module, "BUDGET_SECONDS", SECONDS)
