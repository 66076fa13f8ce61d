"""Draws the throughput in a record: requests a second by case, one bar a server, as multiples of one of them.

`python -m benches.load.plot RECORD` writes the SVG beside the record. Tests run it in a process of its own: pygal hooks
into imports in a way that Python warns of.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pygal

from benches.load.bare import YARDSTICKS

_ONE = YARDSTICKS["litestar"]


def plot(record: Path) -> Path:
    """Write an SVG that needs nothing from elsewhere. Gives its path."""
    document = json.loads(record.read_bytes())
    cases: dict[str, dict[str, float]] = {}
    for row in document["results"]["medians"]:
        if row["part"] == "throughput":
            cases.setdefault(row["case"], {})[row["name"]] = row["rate"]
    path = record.with_suffix(".svg")
    path.write_bytes(_drawn(cases, document["machine"]))
    return path


def _drawn(cases: dict[str, dict[str, float]], machine: dict[str, Any]) -> bytes:
    names = list(dict.fromkeys(name for rates in cases.values() for name in rates))
    chart = pygal.HorizontalBar(
        title=f"Requests per second, as a multiple of {_ONE}'s\n{machine['cpu']}, {machine['cores']} cores",
        js=(),
        no_prefix=True,
        width=1100,
        height=160 + 18 * sum(len(rates) for rates in cases.values()),
        legend_at_bottom=True,
        print_values=True,
        range=(0, max(rate / rates[_ONE] for rates in cases.values() for rate in rates.values())),
        value_formatter=lambda value: f"{value:.2f}",
    )
    chart.x_labels = list(reversed(cases))  # drawn from the bottom up, and the bars of one case from the top down
    for name in names:
        chart.add(name, [cases[case][name] / cases[case][_ONE] for case in reversed(cases)])
    return bytes(chart.render())


if __name__ == "__main__":
    print(plot(Path(sys.argv[1])))
