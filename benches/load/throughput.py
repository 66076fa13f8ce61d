"""Requests a second, and a second of CPU, of our service beside the yardsticks and peers."""

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import msgspec

from benches.load.bare import YARDSTICKS
from benches.load.bodies import bodies
from benches.load.measuring import Cell, Row, case_of, rounds, say, warm
from benches.load.servers import ours, yardsticks
from benches.load.targets import Peer, Target


class Options(msgspec.Struct, frozen=True):
    """What the command line asks for. `seconds` are those of one measurement; `bodies` are names."""

    seconds: int
    rounds: int
    connections: list[int]
    bodies: list[str]


def throughput(folder: Path, options: Options, peers: Iterable[Peer]) -> list[Row]:
    """Measure every server with every body over every number of connections. Raises `Wrong`."""
    chosen = [body for name, body in bodies().items() if name in options.bodies]
    rows: list[Row] = []
    with ExitStack() as started:
        first = started.enter_context(ours(folder))
        targets: list[Target] = [first]
        targets += started.enter_context(yardsticks(folder, first, chosen, YARDSTICKS))
        targets += peers
        for body in chosen:
            for target in targets:
                warm(target, body)
            for connections in options.connections:
                case = case_of(body, connections)
                say(case)
                cells = [Cell(target.name, target, body, connections) for target in targets]
                rows += rounds(cells, case, count=options.rounds, seconds=options.seconds)
    return rows
