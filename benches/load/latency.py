"""How long requests take at a rate below what the server can carry: alone, and with a few huge prompts among them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import msgspec

from benches.load.bodies import Body, bodies, huge_prompt
from benches.load.errors import Wrong
from benches.load.measuring import say, warm
from benches.load.paced import Planned, play
from benches.load.servers import ours, yardsticks
from benches.load.targets import Foreseen

RATE = 1_000
MIXED_RATE = 200
HUGE_EVERY = 100  # one request in so many
WITHOUT, WITH = "without 4 MiB prompts", "with 1 % of them"


class PacedSample(msgspec.Struct):
    """One measurement, in milliseconds. `late_p99_ms` is the client's own delay."""

    p50_ms: float
    p99_ms: float
    p999_ms: float
    late_p99_ms: float


class PacedRow(msgspec.Struct):
    """All measurements of one server in one case."""

    case: str
    name: str
    samples: list[PacedSample]

    def median(self, field: str) -> float:
        """The median of a figure over the rounds."""
        return float(median(getattr(sample, field) for sample in self.samples))


_Plan = Callable[[int], Planned]


def paced(folder: Path, *, rounds: int, seconds: float) -> list[PacedRow]:
    """1,000 small prompts a second, to our service and to (b) in turn. Raises `Wrong`."""
    small = bodies()["small"]
    say(f"{RATE:,} requests/s")
    with ours(folder) as first, yardsticks(folder, first, [small], ["litestar"]) as bare:
        targets: list[Foreseen] = [first, *bare]
        for target in targets:
            warm(target, small)
        runs = [(target, f"{RATE:,} requests/s", _only(target, small)) for target in targets]
        return _rounds(runs, rate=RATE, rounds=rounds, seconds=seconds)


def mixed(folder: Path, *, rounds: int, seconds: float) -> list[PacedRow]:
    """Small prompts, with and without huge ones among them. The latencies are those of the small ones. As `paced`."""
    small, huge = bodies()["small"], huge_prompt()
    say(f"{MIXED_RATE} requests/s, with and without prompts of 4 MiB")
    with ours(folder) as first, yardsticks(folder, first, [small, huge], ["litestar"]) as bare:
        runs: list[tuple[Foreseen, str, _Plan]] = []
        for target in (first, *bare):
            warm(target, small)
            target.verify(huge)
            runs += [(target, WITHOUT, _only(target, small)), (target, WITH, _some(target, small, huge))]
        return _rounds(runs, rate=MIXED_RATE, rounds=rounds, seconds=seconds)


def _only(target: Foreseen, body: Body) -> _Plan:
    planned = Planned(target.request(body), target.expected(body))
    return lambda _: planned


def _some(target: Foreseen, small: Body, huge: Body) -> _Plan:
    often = Planned(target.request(small), target.expected(small))
    seldom = Planned(target.request(huge), target.expected(huge), counts=False)
    return lambda number: seldom if number % HUGE_EVERY == HUGE_EVERY // 2 else often


def _rounds(runs: Sequence[tuple[Foreseen, str, _Plan]], *, rate: float, rounds: int, seconds: float) -> list[PacedRow]:
    rows = [PacedRow(case, target.name, []) for target, case, _ in runs]
    for number in range(rounds):
        for step in range(len(runs)):
            place = (number + step) % len(runs)
            target, _, plan = runs[place]
            rows[place].samples.append(_measure(target, plan, rate, seconds))
    for row in rows:
        say(f"  {row.name}, {row.case}: p99 {row.median('p99_ms'):.2f} ms")
    return rows


def _measure(target: Foreseen, plan: _Plan, rate: float, seconds: float) -> PacedSample:
    target.new_ids()
    played = play(target.url, plan, rate=rate, seconds=seconds, first=target.numbers(int(rate * seconds)))
    recorded = target.new_ids()
    if recorded is not None and (recorded != set(played.ids) or len(recorded) != len(played.ids)):
        raise Wrong(f"{target.name}: {len(recorded)} records of {len(played.ids)} replies, or others than theirs")
    return PacedSample(played.percentile(50), played.percentile(99), played.percentile(99.9), played.late_p99_ms)
