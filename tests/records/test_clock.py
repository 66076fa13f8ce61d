"""Times as they are written."""

from datetime import UTC, datetime

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from kalguard.records.clock import rfc3339

LATEST = datetime(2200, 1, 1, tzinfo=UTC)


@given(st.datetimes(datetime(1970, 1, 1), LATEST.replace(tzinfo=None), timezones=st.just(UTC)))
def test_a_time_is_written_to_the_millisecond(at: datetime) -> None:
    cut = at.replace(microsecond=at.microsecond // 1000 * 1000)
    assert msgspec.json.decode(f'"{rfc3339(at.timestamp())}"', type=datetime) == cut


def test_there_are_always_three_digits_and_a_z() -> None:
    assert rfc3339(0.0) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(1.0079) == "1970-01-01T00:00:01.007Z"
    assert rfc3339(0.9999999) == "1970-01-01T00:00:01.000Z"
