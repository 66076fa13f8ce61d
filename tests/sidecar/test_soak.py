"""A minute of what `make soak` does for half an hour."""

from pathlib import Path

from benches.soak import problems, soak


def test_a_minute_of_mixed_load_loses_nothing_and_needs_no_more_memory(tmp_path: Path) -> None:
    result = soak(60, tmp_path)
    assert problems(result) == []
    assert result.answered > 1000
