"""What is counted in plain numbers and told together scrapes as if it had been told one by one."""

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from kalguard.sidecar.tallies import Durations, Tally
from tests.support import environment

BOUNDS = (0.25, 0.5, 1.0)
# On the bounds, beside them and beyond them. Their sums are exact, in any order.
TIMES = [0.0, 0.125, 0.25, 0.25 + 2**-20, 0.5, 0.75, 1.0, 1.0 + 2**-20, 1024.0]

IN_PROCESSES = f"""
import sys
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from kalguard.sidecar.tallies import Durations

histogram = Histogram("taken", "Time", ["check"], buckets={BOUNDS}, registry=None).labels("prompt")
durations = Durations(histogram)
for seconds in {TIMES}:
    durations.observe(seconds) if sys.argv[1] == "together" else histogram.observe(seconds)
durations.tell()
registry = CollectorRegistry()
MultiProcessCollector(registry)
print(generate_latest(registry).decode())
"""


def test_times_that_are_told_together_scrape_like_times_that_are_told_one_by_one() -> None:
    random = Random(9)
    together, one_by_one = CollectorRegistry(), CollectorRegistry()
    durations = Durations(Histogram("taken", "Time", buckets=BOUNDS, registry=together))
    plain = Histogram("taken", "Time", buckets=BOUNDS, registry=one_by_one)
    for _ in range(50):
        for seconds in random.choices(TIMES, k=random.randrange(20)):
            durations.observe(seconds)
            plain.observe(seconds)
        durations.tell()
        assert without_birth(together) == without_birth(one_by_one)


def test_they_do_in_several_processes_too(tmp_path: Path) -> None:
    shown = {}
    for way in ("together", "one by one"):
        folder = tmp_path / way
        folder.mkdir()
        shown[way] = subprocess.run(
            [sys.executable, "-c", IN_PROCESSES, way],
            env={**environment(), "PROMETHEUS_MULTIPROC_DIR": str(folder)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    assert shown["together"] == shown["one by one"]
    assert f'taken_bucket{{check="prompt",le="+Inf"}} {float(len(TIMES))}' in shown["together"]


def test_a_tally_is_added_once_for_each_set_of_labels() -> None:
    registry = CollectorRegistry()
    tally = Tally(Counter("seen", "Seen", ["what"], registry=registry))
    for _ in range(2):
        tally[("this",)] += 3
        tally[("that",)] += 1
        tally.tell()
        tally.tell()
    assert registry.get_sample_value("seen_total", {"what": "this"}) == 6
    assert registry.get_sample_value("seen_total", {"what": "that"}) == 2


def test_what_cannot_be_told_is_not_told_twice() -> None:
    registry = CollectorRegistry()
    tally = Tally(Counter("seen", "Seen", ["what"], registry=registry))
    tally[("this",)] += 1
    tally["too", "many"] += 1
    with pytest.raises(ValueError, match="label"):
        tally.tell()
    tally.tell()
    assert registry.get_sample_value("seen_total", {"what": "this"}) == 1


def without_birth(registry: CollectorRegistry) -> list[str]:
    """A scrape without the times at which its series were made."""
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]
