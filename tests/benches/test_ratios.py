"""The bounds that `make bench` keeps."""

import json
from pathlib import Path
from typing import Any

import pytest

from benches import ratios


def run(folder: Path, *times: tuple[str, str, float]) -> Path:
    """A run of pytest-benchmark: group, name and least time in seconds of each benchmark."""
    found: list[dict[str, Any]] = [
        {"group": group, "name": f"test_{name}", "params": None, "stats": {"min": least}}
        for group, name, least in times
    ]
    path = folder / "run.json"
    path.write_text(json.dumps({"benchmarks": found}))
    return path


@pytest.fixture(autouse=True)
def bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bounds.json"
    path.write_text(json.dumps({"g": {"yardstick_a": 1.5}}))
    monkeypatch.setattr(ratios, "BOUNDS", path)


def test_a_ratio_within_its_bound_is_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ratios.main(run(tmp_path, ("g", "ours", 0.003), ("g", "yardstick_a", 0.002), ("h", "alone", 1.0))) == 0
    told = capsys.readouterr()
    assert "ratio 1.50" in told.out
    assert told.err == ""


@pytest.mark.parametrize(
    ("times", "problem"),
    [
        ([("g", "ours", 0.0031), ("g", "yardstick_a", 0.002)], "g, yardstick_a: the ratio is 1.55, more than 1.5"),
        ([("g", "ours", 1.0)], "g, yardstick_a: has a bound and was not measured"),
        (
            [("g", "ours", 1.0), ("g", "yardstick_a", 1.0), ("g", "yardstick_b", 1.0)],
            "g, yardstick_b: there is no bound in bounds.json",
        ),
    ],
)
def test_what_is_above_its_bound_or_has_none_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], times: list[tuple[str, str, float]], problem: str
) -> None:
    assert ratios.main(run(tmp_path, *times)) == 1
    assert capsys.readouterr().err == problem + "\n"


def test_the_bounds_that_are_kept_are_numbers_by_group_and_yardstick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for by_yardstick in json.loads(ratios.BOUNDS.read_text()).values():
        assert all(0 < bound < 100 for bound in by_yardstick.values())
