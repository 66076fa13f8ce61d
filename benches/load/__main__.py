"""`make load`: what KalGuard carries, beside yardsticks and peers. Exits with 1 where an answer was not as it must be.

Nothing is asserted of times. Talks to servers on the loopback, which it starts and stops itself, and to a
peer where one is named.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.support import ROOT

from benches.load.bodies import bodies
from benches.load.configuration import configuration
from benches.load.errors import Wrong
from benches.load.latency import mixed, paced
from benches.load.measuring import say
from benches.load.report import Results, machine, record, text
from benches.load.starting import starting
from benches.load.targets import Peer
from benches.load.throughput import Options, throughput
from benches.load.workers import workers
from benches.load.wrk import WRK

PARTS = ("throughput", "paced", "mixed", "workers", "start", "config")
RECORD = ROOT / "benches" / "record"


def main() -> None:
    """Measure, print and record."""
    given = _arguments()
    if not WRK.exists():
        sys.exit("load: no wrk in .services; `make load` fetches it")
    machine_ = machine()
    say(f"{machine_['cpu']}, {machine_['cores']} cores, Granian {machine_['granian']}, Python {machine_['python']}")
    try:
        with tempfile.TemporaryDirectory(prefix="load-") as folder:
            results = _measure(Path(folder), given)
    except Wrong as error:
        sys.exit(f"load: {error}")
    say(f"\n{text(results)}\n")
    if given.record:
        path = record(results, _told(given), Path(given.record))
        say(f"record: {path}")
        if results.throughput:
            from benches.load.plot import plot

            say(f"plot: {plot(path)}")


def _measure(folder: Path, given: argparse.Namespace) -> Results:
    results, count, seconds = Results(), given.rounds, given.seconds
    if "throughput" in given.only:
        peers = _peers(folder, given)
        results.throughput = throughput(folder, Options(seconds, count, given.connections, given.bodies), peers)
    if "paced" in given.only:
        results.paced = paced(_own(folder, "paced"), rounds=count, seconds=2 * seconds)
    if "mixed" in given.only:
        results.mixed = mixed(_own(folder, "mixed"), rounds=count, seconds=5 * seconds)
    if "workers" in given.only:
        results.workers, results.limits = workers(_own(folder, "workers"), count=count, seconds=seconds)
    if "start" in given.only:
        results.start_seconds = starting(folder)
    if "config" in given.only:
        results.configuration = configuration(_own(folder, "config"), count=count, seconds=seconds)
    return results


def _own(folder: Path, name: str) -> Path:
    path = folder / name
    path.mkdir()
    return path


def _peers(folder: Path, given: argparse.Namespace) -> list[Peer]:
    if given.peer is None:
        return []
    name, _, url = given.peer.partition("=")
    return [Peer(name, url.rstrip("/"), folder=folder, token=given.peer_token, pid=given.peer_pid)]


def _told(given: argparse.Namespace) -> dict[str, Any]:
    """The options, without the token."""
    return {name: value for name, value in vars(given).items() if name not in {"peer_token", "record"}}


def _listed(choices: tuple[str, ...]) -> Any:
    def read(written: str) -> list[str]:
        names = written.split(",")
        if unknown := [name for name in names if name not in choices]:
            raise argparse.ArgumentTypeError(f"`{unknown[0]}` is none of {', '.join(choices)}")
        return names

    return read


def _counts(written: str) -> list[int]:
    return [int(number) for number in written.split(",")]


def _peer(written: str) -> str:
    if "=http://" not in written:
        raise argparse.ArgumentTypeError("is not NAME=http://HOST:PORT")
    return written


def _arguments() -> argparse.Namespace:
    known = tuple(bodies())
    parser = argparse.ArgumentParser(prog="benches.load", description=__doc__)
    parser.add_argument("--only", type=_listed(PARTS), default=list(PARTS), help="parts, with commas between them")
    parser.add_argument(
        "--seconds", type=int, default=1, help="of one measurement (paced: twice, mixed: five times that)"
    )
    parser.add_argument("--rounds", type=int, default=7, help="how often each is measured; the median counts")
    parser.add_argument(
        "--bodies", type=_listed(known), default=list(known), help=f"of the throughput: {','.join(known)}"
    )
    parser.add_argument("--connections", type=_counts, default=[1, 16, 64], help="of the throughput")
    parser.add_argument("--peer", type=_peer, help="another server, beside ours: NAME=URL")
    parser.add_argument("--peer-token", default="", help="what the peer takes as a bearer token")
    parser.add_argument("--peer-pid", type=int, help="its first process, to count its CPU and memory")
    parser.add_argument("--record", default=str(RECORD), help="folder for JSON and plot; empty: none")
    return parser.parse_args()


if __name__ == "__main__":
    main()
