"""One measurement with wrk, and rounds of them: what is compared is measured in turn."""

from collections.abc import Iterable, Sequence
from statistics import median

import msgspec

from benches.load import wrk
from benches.load.bodies import Body
from benches.load.errors import Wrong
from benches.load.targets import Target

_WARM_SECONDS = 1
# With many tokens: in runs of so many seconds, at most so many, until each was seen.
_SEEN_SECONDS, _SEEN_RUNS = 10, 60


class Sample(msgspec.Struct):
    """One measurement. CPU seconds and memory are those of the server's processes; `None` where we may not look.

    `largest_mib` is the memory of the one process that has most: with one worker, the worker.
    """

    requests: int
    seconds: float
    cpu_seconds: float | None
    p50_ms: float
    p99_ms: float
    p999_ms: float
    memory_mib: float | None
    largest_mib: float | None

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds

    @property
    def per_cpu_second(self) -> float | None:
        """Requests a second of CPU."""
        return self.requests / self.cpu_seconds if self.cpu_seconds else None


class Cell(msgspec.Struct, frozen=True):
    """What is measured: a server under a name, with a body, over so many connections."""

    name: str
    target: Target
    body: Body
    connections: int


class Row(msgspec.Struct):
    """All measurements of a cell. `case` says with what; the rows of one case are compared."""

    case: str
    name: str
    samples: list[Sample]

    def median(self, field: str) -> float | None:
        """The median of a figure over the rounds."""
        values = [getattr(sample, field) for sample in self.samples]
        return None if not values or None in values else float(median(values))

    @property
    def spread(self) -> float:
        """Between the highest and the lowest rate, as a share of the median."""
        rates = [sample.rate for sample in self.samples]
        return (max(rates) - min(rates)) / median(rates)


def say(text: str) -> None:
    """Tell whoever waits."""
    print(text, flush=True)


def warm(target: Target, body: Body) -> None:
    """Load a server for a moment before it is measured; with many tokens, until it has seen each."""
    end = target.first + target.token_count
    target.verify(body)
    _run(target, body, 16, _WARM_SECONDS)
    for _ in range(_SEEN_RUNS):
        if target.first >= end:
            return
        _run(target, body, 16, _SEEN_SECONDS if end - target.first > 10_000 else _WARM_SECONDS)
    raise Wrong(f"{target.name} has not seen {target.token_count} tokens")


def rounds(cells: Sequence[Cell], case: str, *, count: int, seconds: int) -> list[Row]:
    """Measure each cell once a round, each round beginning with another one. Raises `Wrong`."""
    rows = [Row(case, cell.name, []) for cell in cells]
    for number in range(count):
        order = [(number + place) % len(cells) for place in range(len(cells))]
        for place in order:
            rows[place].samples.append(measure(cells[place], seconds))
    for row in rows:
        say(f"  {row.name}: {row.median('rate'):,.0f} requests/s")
    return rows


def measure(cell: Cell, seconds: int) -> Sample:
    """One measurement, with a verified reply before and after it. Raises `Wrong`."""
    target, body = cell.target, cell.body
    sizes = target.verify(body)
    before = target.cpu_seconds()
    outcome = _run(target, body, cell.connections, seconds)
    after, memory = target.cpu_seconds(), target.memory_mib()
    recorded = target.new_ids()
    found = wrk.problems(outcome, sizes)
    # A reply that was on its way when the time was over is on record, and not among what wrk counts.
    if recorded is not None and not outcome.requests <= len(recorded) <= outcome.requests + cell.connections:
        found.append(f"{len(recorded)} records of {outcome.requests} requests")
    if target.verify(body) != sizes and sizes is not None:
        found.append("the size of replies has changed")
    if found:
        raise Wrong(f"{target.name}, {body.title}, {cell.connections} connections: {'; '.join(found)}")
    return Sample(
        requests=outcome.requests,
        seconds=outcome.seconds,
        cpu_seconds=None if before is None or after is None else after - before,
        p50_ms=outcome.p50_ms,
        p99_ms=outcome.p99_ms,
        p999_ms=outcome.p999_ms,
        memory_mib=None if memory is None else sum(memory),
        largest_mib=None if memory is None else max(memory),
    )


def _run(target: Target, body: Body, connections: int, seconds: int) -> wrk.Outcome:
    outcome = wrk.send(
        target.url + target.path(body),
        body=body,
        file=target.file_of(body),
        tokens=target.tokens_path,
        connections=connections,
        seconds=seconds,
        first=target.first,
        number=target.numbers(0),
    )
    target.first += outcome.requests
    target.numbers(outcome.requests + connections)  # some were on their way when the time was over
    return outcome


def case_of(body: Body, connections: int) -> str:
    """What a table says above rows that are compared."""
    return f"{body.title}, {connections} connection{'s' if connections > 1 else ''}"


def by_case(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows that are compared, together."""
    cases: dict[str, list[Row]] = {}
    for row in rows:
        cases.setdefault(row.case, []).append(row)
    return cases
