"""`kalguard scan`: what the prompt firewall makes of a text, and why.

The one place where what was found is shown beside what it was found in: to the person who has the text anyway.
"""

import sys
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any, BinaryIO

import click
import msgspec

from kalguard._core import CATEGORIES, Scan
from kalguard.cli.options import settings
from kalguard.cli.printing import printable
from kalguard.config import Settings
from kalguard.errors import ConfigError
from kalguard.sidecar.firewall import firewall_now

ROLES = ("user", "assistant", "system", "developer", "tool", "function")
_SHOWN_PLACES = 3
_SHOWN_CHARACTERS = 100
_MEANINGS = dict(CATEGORIES)


class _Evidence(msgspec.Struct, frozen=True):
    """One finding. Places are code points of the text, end exclusive; both 0 for the text as a whole."""

    id: str
    category: str
    start: int
    end: int
    score: int


class _Line(msgspec.Struct, frozen=True):
    """One line of `--jsonl`."""

    id: Any
    text: str
    role: str = "user"


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--role", type=click.Choice(ROLES), default="user", help="Who says it. Default: user.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--jsonl", "as_lines", is_flag=True, help="Read many texts, a JSON object a line; print one for each.")
def scan(*, file: BinaryIO, role: str, as_json: bool, as_lines: bool) -> None:
    """Show what the prompt firewall finds in a text, and why. FILE may be - for standard input.

    Settings and patterns file are those of this environment. Nothing is sent anywhere. Exit 0 if the text may pass,
    1 if it is blocked.

    With --jsonl, lines of {"id", "text", "role"?} give lines of {"id", "score", "blocked", "spans"}, where spans are
    personal data and secrets: {"type", "start", "end"} in code points. Exit 0 once all lines are done.
    """
    if as_json and as_lines:
        raise click.UsageError("--json and --jsonl exclude each other")
    in_force = settings()
    try:
        scanner = firewall_now(in_force).scanner
    except ConfigError as error:
        raise click.UsageError("; ".join(error.problems)) from None

    def judge(text: str, role: str) -> tuple[Scan, list[_Evidence]]:
        answer, evidence = scanner.explain([(0, role, text)])
        found = [_Evidence(name, category, start, end, score) for name, category, _, start, end, score in evidence]
        return answer, sorted(found, key=lambda one: (-one.score, one.start, one.id))

    if as_lines:
        for line in _lines(file):
            answer, found = judge(line.text, line.role)
            click.echo(msgspec.json.encode(_as_line(line, answer, found)))
        return
    text = _text(file.read(), "the text")
    answer, found = judge(text, role)
    if as_json:
        click.echo(msgspec.json.encode(_as_object(answer, found)))
    else:
        for shown in _as_text(file.name, text, answer, found, in_force):
            click.echo(shown)
    raise SystemExit(1 if answer.action == "block" else 0)


def _lines(file: BinaryIO) -> Iterator[_Line]:
    decoder = msgspec.json.Decoder(_Line)
    for number, raw in enumerate(file, start=1):
        if not raw.strip():
            continue
        try:
            line = decoder.decode(raw)
        except (ValueError, RecursionError) as error:
            sys.stdout.flush()
            raise click.UsageError(f"line {number}: {error}") from None
        if line.role not in ROLES:
            raise click.UsageError(f"line {number}: `role` must be one of {', '.join(ROLES)}")
        yield line


def _text(data: bytes, what: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{what} is not UTF-8: byte {error.start}") from None


def _as_line(line: _Line, answer: Scan, found: list[_Evidence]) -> dict[str, Any]:
    spans = [
        {"type": one.category.removeprefix("pii.").upper(), "start": one.start, "end": one.end}
        for one in sorted(found, key=lambda one: one.start)
        if one.category.startswith("pii.")
    ]
    return {"id": line.id, "score": answer.score, "blocked": answer.action == "block", "spans": spans}


def _as_object(answer: Scan, found: list[_Evidence]) -> dict[str, Any]:
    return {
        "action": answer.action,
        "monitored": answer.monitored,
        "score": answer.score,
        "level": answer.level,
        "findings": found,
        "sanitized": answer.texts[0] if answer.texts else None,
    }


def _as_text(name: str, text: str, answer: Scan, found: list[_Evidence], in_force: Settings) -> Iterator[str]:
    thresholds = f"blocks at {in_force.prompt_block_threshold}, sanitizes at {in_force.prompt_sanitize_threshold}"
    yield f"{printable(name)}: {answer.action}, risk {answer.score} ({answer.level}; {thresholds})"
    if answer.monitored is not None:
        yield f"only monitored; it would be: {answer.monitored}"
    by_id: dict[tuple[str, str, int], list[_Evidence]] = {}
    for one in found:
        by_id.setdefault((one.id, one.category, one.score), []).append(one)
    starts = [0, *(at + 1 for at, sign in enumerate(text) if sign == "\n")]
    for (identifier, category, score), places in by_id.items():
        yield ""
        yield f"{score:>4}  {category}: {_MEANINGS.get(category, category)}  [{identifier}]"
        shown = [place for place in places if place.end > place.start]
        for place in shown[:_SHOWN_PLACES]:
            yield f"      {_place(starts, place)}  {_excerpt(text[place.start : place.end])}"
        if len(shown) > _SHOWN_PLACES:
            yield f"      and {len(shown) - _SHOWN_PLACES} more places"
    if answer.action == "sanitize":
        yield ""
        yield "What passes on:"
        yield from (f"      {printable(line)}" for line in (answer.texts[0] or "").splitlines())


def _place(starts: list[int], place: _Evidence) -> str:
    """Line:column of the first and the last character, both from 1."""

    def at(offset: int) -> str:
        line = bisect_right(starts, offset)
        return f"{line}:{offset - starts[line - 1] + 1}"

    return f"{at(place.start)}-{at(place.end - 1)}"


def _excerpt(text: str) -> str:
    """In quotes, on one line, cut in the middle."""
    half = _SHOWN_CHARACTERS // 2
    cut = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:half]}...{text[-half:]}"
    return f'"{printable(cut)}"'
