"""What KalGuard costs as a ratio to each yardstick of the same run.

`python -m benches.ratios FILE`, where the file is pytest-benchmark's JSON.
"""

import json
import sys
from pathlib import Path
from typing import Any


def main(path: Path) -> None:
    groups: dict[str, list[dict[str, Any]]] = {}
    for benchmark in json.loads(path.read_text())["benchmarks"]:
        groups.setdefault(benchmark["group"], []).append(benchmark)
    print("\nMedians, and KalGuard's as a ratio to the yardsticks':")
    for group, benchmarks in groups.items():
        ours = [benchmark for benchmark in benchmarks if not _is_yardstick(benchmark)]
        print(f"  {group}")
        for benchmark in benchmarks:
            ratio = _median(ours[0]) / _median(benchmark) if ours and _is_yardstick(benchmark) else None
            told = "" if ratio is None else f"   ratio {ratio:.2f}"
            print(f"    {_name(benchmark):44} {_median(benchmark) * 1e6:10,.1f} us{told}")


def _is_yardstick(benchmark: dict[str, Any]) -> bool:
    return "yardstick" in str(benchmark["name"])


def _name(benchmark: dict[str, Any]) -> str:
    """The test, and for a yardstick its engine."""
    engine = (benchmark["params"] or {}).get("engine")
    return str(engine or benchmark["name"].split("[")[0].removeprefix("test_"))


def _median(benchmark: dict[str, Any]) -> float:
    return float(benchmark["stats"]["median"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
