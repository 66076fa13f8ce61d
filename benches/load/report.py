"""Says what was measured: tables for the terminal, and a record as JSON with the machine that it was measured on."""

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from tests.support import ROOT

from benches.load.latency import PacedRow
from benches.load.measuring import Row, by_case
from benches.load.workers import Limit

_PACKAGES = ("granian", "litestar", "msgspec", "uvloop")


class Results(msgspec.Struct):
    """All parts that were run."""

    throughput: list[Row] = []
    paced: list[PacedRow] = []
    mixed: list[PacedRow] = []
    workers: list[Row] = []
    limits: list[Limit] = []
    start_seconds: list[float] = []
    configuration: list[Row] = []


def ratio(one: Row | PacedRow, other: Row | PacedRow, field: str) -> float | None:
    """How a figure of one row stands to that of another: the median of the ratios of each round.

    What was measured in one round was measured shortly one after the other, when the machine was as fast or as slow.
    """
    pairs = [(getattr(a, field), getattr(b, field)) for a, b in zip(one.samples, other.samples, strict=True)]
    return None if any(a is None or not b for a, b in pairs) else median(a / b for a, b in pairs)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of one width, the first to the left, numbers to the right."""
    lines = [list(headings), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _number(value: float | None, form: str = ",.0f") -> str:
    return "-" if value is None else format(value, form)


def text(results: Results) -> str:
    """All tables of the parts that were run."""
    parts = [
        _throughput(results.throughput),
        _latency("Latency at a fixed rate, small prompts", results.paced),
        _latency("Small prompts with huge ones among them", results.mixed),
        _workers(results.workers, results.limits),
        _start(results.start_seconds),
        _configuration(results.configuration),
    ]
    return "\n\n".join(part for part in parts if part)


_HEADINGS = ("", "requests/s", "spread", "per CPU s", "p50 ms", "p99 ms", "p99.9 ms", "MiB", "largest")


def _throughput(rows: Sequence[Row]) -> str:
    headings = (*_HEADINGS, "ours/this: rate", "per CPU s")
    parts = []
    for case, compared in by_case(rows).items():
        lines = [(*_figures(row), *_ratios(compared[0], row)) for row in compared]
        parts.append(f"{case}\n{table(headings, lines)}")
    return "\n\n".join(parts)


def _ratios(one: Row, other: Row) -> tuple[str, str]:
    """How the rates of a row stand to those of another: a second, and a second of CPU."""
    return (
        _number(ratio(one, other, "rate"), ".2f"),
        _number(ratio(one, other, "per_cpu_second"), ".2f"),
    )


def _figures(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        _number(row.median("rate")),
        f"{row.spread:.0%}",
        _number(row.median("per_cpu_second")),
        _number(row.median("p50_ms"), ".2f"),
        _number(row.median("p99_ms"), ".2f"),
        _number(row.median("p999_ms"), ".2f"),
        _number(row.median("memory_mib")),
        _number(row.median("largest_mib")),
    )


def _latency(title: str, rows: Sequence[PacedRow]) -> str:
    """With the ratio of the first server's p99 to that of each, and of each server's last case to its first."""
    if not rows:
        return ""
    headings = (
        "",
        "p50 ms",
        "p99 ms",
        "lowest",
        "highest",
        "p99.9 ms",
        "client late",
        "p99: ours/this",
        "with/without",
    )
    lines = []
    for row in rows:
        ours = next(one for one in rows if one.case == row.case)
        without = next(one for one in rows if one.name == row.name)
        p99 = [sample.p99_ms for sample in row.samples]
        lines.append(
            (
                f"{row.name}, {row.case}",
                f"{row.median('p50_ms'):.2f}",
                f"{row.median('p99_ms'):.2f}",
                f"{min(p99):.2f}",
                f"{max(p99):.2f}",
                f"{row.median('p999_ms'):.2f}",
                f"{row.median('late_p99_ms'):.2f}",
                _number(ratio(ours, row, "p99_ms"), ".2f"),
                "-" if row is without else _number(ratio(row, without, "p99_ms"), ".2f"),
            )
        )
    return f"{title}\n{table(headings, lines)}"


def _workers(rows: Sequence[Row], limits: Sequence[Limit]) -> str:
    headings = (*_HEADINGS, "to one: rate", "per CPU s")
    parts = []
    for case, compared in by_case(rows).items():
        lines, one = [], compared[0]
        for row in compared:
            one = one if row.name.endswith("2 workers") else row  # of the same server
            lines.append((*_figures(row), *_ratios(row, one)))
        parts.append(f"{case} (the client takes its share of {os.cpu_count()} cores)\n{table(headings, lines)}")
    parts += [f"{limit.name}: {limit.allowed} of {limit.calls} calls allowed, exactly the limit" for limit in limits]
    return "\n\n".join(parts)


def _start(seconds: Sequence[float]) -> str:
    if not seconds:
        return ""
    return f"Start until ready: {median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f} of {len(seconds)})"


def microseconds(row: Row) -> float | None:
    """CPU microseconds per request."""
    rate = row.median("per_cpu_second")
    return None if rate is None else 1e6 / rate


def _configuration(rows: Sequence[Row]) -> str:
    headings = ("", "CPU us/request", "to small", "requests/s", "spread", "p99 ms")
    parts = []
    for case, compared in by_case(rows).items():
        small = compared[0]
        lines = [
            (
                row.name,
                _number(microseconds(row)),
                _number(ratio(small, row, "per_cpu_second"), ".2f"),
                _number(row.median("rate")),
                f"{row.spread:.0%}",
                _number(row.median("p99_ms"), ".2f"),
            )
            for row in compared
        ]
        parts.append(f"{case}: cost of a request by configuration\n{table(headings, lines)}")
    return "\n\n".join(parts)


def machine() -> dict[str, Any]:
    """What it was measured on."""
    model = [line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "cpu": model[0] if model else platform.machine(),
        "cores": os.cpu_count(),
        "memory": next((line.split(":", 1)[1].strip() for line in _lines("/proc/meminfo")), None),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def record(results: Results, options: dict[str, Any], folder: Path) -> Path:
    """Write the record. Gives its path: the date and the commit."""
    now, commit = datetime.now(UTC), _git("rev-parse", "--short", "HEAD") or "unknown"
    document = {
        "at": now.isoformat(timespec="seconds"),
        "commit": commit,
        "changed": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "machine": machine(),
        "options": options,
        "results": {**msgspec.to_builtins(results), "medians": medians(results)},
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{now:%Y-%m-%d}-{commit}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
    return path


_FIGURES = ("rate", "per_cpu_second", "p50_ms", "p99_ms", "p999_ms", "memory_mib", "largest_mib")


def medians(results: Results) -> list[dict[str, Any]]:
    """The medians of what was measured with wrk, with `ratio` of the case's first row to each."""
    found = []
    for part in ("throughput", "workers", "configuration"):
        for case, rows in by_case(getattr(results, part)).items():
            for row in rows:
                figures = {name: row.median(name) for name in _FIGURES}
                ratios = {f"first_to_this_{name}": ratio(rows[0], row, name) for name in ("rate", "per_cpu_second")}
                found.append({"part": part, "case": case, "name": row.name, "spread": row.spread, **figures, **ratios})
    return found
