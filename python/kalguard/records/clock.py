"""How times are written in everything that is kept."""

from datetime import UTC, datetime
from functools import lru_cache


def rfc3339(at: float) -> str:
    """Unix seconds as RFC 3339: UTC with milliseconds, cut off, and `Z`."""
    second, microsecond = divmod(round(at * 1_000_000), 1_000_000)
    return f"{_written(second)}.{microsecond // 1000:03d}Z"


@lru_cache(maxsize=8)  # many things happen in one second
def _written(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).replace(tzinfo=None).isoformat()
