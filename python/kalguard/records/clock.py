"""How times are written in everything that is kept."""

from datetime import datetime


def rfc3339(at: datetime) -> str:
    """Aware UTC as RFC 3339 with milliseconds and `Z`."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"
