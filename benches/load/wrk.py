"""The client of the throughput: wrk, with one thread and for a bounded time. Reads what `post.lua` prints."""

import os
import subprocess
from pathlib import Path

import msgspec
from tests.support import ROOT

from benches.load.bodies import DIGITS, WORDS, Body
from benches.load.errors import Wrong

WRK = ROOT / ".services" / "wrk"
_SCRIPT = Path(__file__).with_name("post.lua")
_MARK = "LOAD "
_TIMEOUT = "10s"  # a machine that stands still for a moment is no error


class Outcome(msgspec.Struct, forbid_unknown_fields=True):
    """What wrk saw. `bytes` are those of whole replies, heads included; `errors` is how many, by kind."""

    requests: int
    bytes: int
    seconds: float
    errors: dict[str, int]
    p50_ms: float
    p99_ms: float
    p999_ms: float


def send(
    url: str, *, body: Body, file: Path, tokens: Path, connections: int, seconds: int, first: int, number: int
) -> Outcome:
    """Post a body, whose content is in `file`, as often as answers come, numbered from `number`. Raises `Wrong`."""
    command = [str(WRK), "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", _TIMEOUT, "-s", str(_SCRIPT), url]
    variables = {
        "LOAD_BODY": str(file),
        "LOAD_TOKENS": str(tokens),
        "LOAD_FIRST": str(first),
        "LOAD_NEW_AT": ",".join(map(str, body.new_at)),
        "LOAD_WORDS": " ".join(WORDS),
        "LOAD_DIGITS": str(DIGITS),
        "LOAD_NUMBER": str(number),
    }
    ended = subprocess.run(
        command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=seconds + 60, check=False
    )
    if ended.returncode != 0:
        raise Wrong(f"wrk ended with {ended.returncode}: {ended.stderr.strip() or ended.stdout.strip()}")
    return read(ended.stdout)


def read(output: str) -> Outcome:
    """Find the outcome in what wrk printed. Raises `Wrong` where there is none or nothing was answered."""
    lines = [line.removeprefix(_MARK) for line in output.splitlines() if line.startswith(_MARK)]
    if len(lines) != 1:
        raise Wrong(f"wrk told of no outcome: {output.strip()}")
    outcome = msgspec.json.decode(lines[0], type=Outcome)
    if outcome.requests == 0:
        raise Wrong("nothing was answered")
    return outcome


def problems(outcome: Outcome, sizes: range | None) -> list[str]:
    """What should not be. `sizes` are those that a reply may have, in bytes, head included; `None` if they vary."""
    found = [f"{count} errors of kind `{kind}`" for kind, count in outcome.errors.items() if count]
    if sizes is not None:
        least, most = outcome.requests * sizes.start, outcome.requests * (sizes.stop - 1)
        if not least <= outcome.bytes <= most:
            found.append(
                f"{outcome.bytes} bytes in {outcome.requests} replies, not {sizes.start} to {sizes.stop - 1} each"
            )
    return found
