"""What KalGuard costs as a ratio to each yardstick of the same run, and whether that is more than it may be.

`python -m benches.ratios FILE`, where the file is pytest-benchmark's JSON. Exits with 1 if a ratio is above its bound
in `bounds.json`: by group and yardstick, half as much again as the highest of three runs when the bound was set, since
what one run finds differs from what the next one does. A yardstick without a bound is an error too, and so is a bound
without one.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

BOUNDS = Path(__file__).with_name("bounds.json")
_Groups = dict[str, list[dict[str, Any]]]


class Ratio(NamedTuple):
    """Our least time to that of a yardstick: of all figures the one that other work on the machine changes least."""

    group: str
    yardstick: str
    value: float


def main(path: Path) -> int:
    """Print the ratios of a run, and what is wrong with them. Gives the exit status."""
    groups = _groups(path)
    found = list(ratios(groups))
    _show(groups, {(ratio.group, ratio.yardstick): ratio.value for ratio in found})
    bounds = msgspec.json.decode(BOUNDS.read_bytes(), type=dict[str, dict[str, float]])
    problems = list(exceeded(found, bounds))
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def ratios(groups: _Groups) -> Iterator[Ratio]:
    """Of each group with yardsticks, our first benchmark's to each of them."""
    for group, benchmarks in groups.items():
        ours = [benchmark for benchmark in benchmarks if not _is_yardstick(benchmark)]
        for benchmark in benchmarks:
            if ours and _is_yardstick(benchmark):
                yield Ratio(group, _name(benchmark), _least(ours[0]) / _least(benchmark))


def exceeded(found: list[Ratio], bounds: dict[str, dict[str, float]]) -> Iterator[str]:
    """What is above its bound, has none, or was not measured."""
    measured = {(ratio.group, ratio.yardstick) for ratio in found}
    for group, yardstick, value in found:
        bound = bounds.get(group, {}).get(yardstick)
        if bound is None:
            yield f"{group}, {yardstick}: there is no bound in {BOUNDS.name}"
        elif value > bound:
            yield f"{group}, {yardstick}: the ratio is {value:.2f}, more than {bound}"
    for group, by_yardstick in bounds.items():
        for yardstick in by_yardstick:
            if (group, yardstick) not in measured:
                yield f"{group}, {yardstick}: has a bound and was not measured"


def _show(groups: _Groups, by_place: dict[tuple[str, str], float]) -> None:
    print("\nLeast times, and KalGuard's as a ratio to the yardsticks':")
    for group, benchmarks in groups.items():
        print(f"  {group}")
        for benchmark in benchmarks:
            ratio = by_place.get((group, _name(benchmark))) if _is_yardstick(benchmark) else None
            told = "" if ratio is None else f"   ratio {ratio:.2f}"
            print(f"    {_name(benchmark):44} {_least(benchmark) * 1e6:10,.1f} us{told}")


def _groups(path: Path) -> _Groups:
    groups: _Groups = {}
    for benchmark in json.loads(path.read_text())["benchmarks"]:
        groups.setdefault(benchmark["group"], []).append(benchmark)
    return groups


def _is_yardstick(benchmark: dict[str, Any]) -> bool:
    return "yardstick" in str(benchmark["name"])


def _name(benchmark: dict[str, Any]) -> str:
    """The test, and for a yardstick its engine."""
    engine = (benchmark["params"] or {}).get("engine")
    return str(engine or benchmark["name"].split("[")[0].removeprefix("test_"))


def _least(benchmark: dict[str, Any]) -> float:
    return float(benchmark["stats"]["min"])


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
