"""`kalguard audit`: whether the audit log is as it was written, what is at its end, what it says of an incident."""

import gzip
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import click
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from kalguard.cli.audit_follow import follow, last_lines
from kalguard.cli.audit_lines import Lines, Wanted
from kalguard.cli.options import FILE, Moment, settings
from kalguard.cli.printing import printable
from kalguard.decision.model import Decision
from kalguard.records.reader import STDIN, open_log, read_lines
from kalguard.records.verification import Note, Report, verify
from kalguard.wire.audit import EventType
from kalguard.wire.codes import ErrorCode

_LOG = click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True)
_MIB = 1024 * 1024
_as_json = click.option("--json", "as_json", is_flag=True, help="Print the lines as they are in the log.")


@click.group()
def audit() -> None:
    """Verify, follow and search the audit log.

    FILE may be compressed with gzip, or - for standard input. Without one, it is that of KALGUARD_AUDIT_LOG_PATH.
    """


@audit.command("verify")
@click.argument("files", metavar="[FILE]...", nargs=-1, type=_LOG)
@click.option("--key", "keys", multiple=True, type=FILE, help="Public key (PEM) of the signatures; may be given again.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def verify_files(*, files: tuple[str, ...], keys: tuple[Path, ...], as_json: bool) -> None:
    """Say whether the log is as it was written: no line changed, dropped, moved or put in. Oldest FILE first.

    Exit 0 if it is, 1 with the first bad line if it is not. What happens without anybody's doing is a remark: a writer
    that was killed or is still running, a line that it left broken off, an older file that was not given.

    With --key, all that the service signs must be signed with one of the keys: give only files that were written since
    it has one.
    """
    public = [_public_key(path) for path in keys]
    with _reading(), _Progress(files or (_own_log(),)) as progress:
        report = verify(progress.files, public, progress=progress.tell)
    if as_json:
        click.echo(msgspec.json.encode(_as_object(report)))
    else:
        _print_report(report)
    raise SystemExit(0 if report.bad is None else 1)


@audit.command()
@click.argument("file", required=False, type=_LOG)
@click.option("-n", "--lines", "count", type=click.IntRange(0, 1_000_000), default=10, show_default=True)
@click.option("-f", "--follow", "following", is_flag=True, help="Go on with what is written later, until Ctrl-C.")
@_as_json
def tail(*, file: str | None, count: int, following: bool, as_json: bool) -> None:
    """Print the last records of the log. Follows the log over its rotation."""
    name = file or _own_log()
    if following and name == STDIN:
        raise click.UsageError("--follow needs a file; `kalguard audit search -` prints standard input as it comes")
    lines = Lines(as_json=as_json)
    with _reading(), suppress(KeyboardInterrupt):
        _print(lines, follow(name, count) if following else last_lines(name, count))
    _tell_passed_over(lines)


@audit.command()
@click.argument("files", metavar="[FILE]...", nargs=-1, type=_LOG)
@click.option("--agent", "agents", multiple=True, help="The agent's id.")
@click.option("--type", "types", multiple=True, type=click.Choice(get_args(EventType)), help="The type of record.")
@click.option("--decision", "decisions", multiple=True, type=click.Choice([str(one) for one in Decision]))
@click.option("--since", type=Moment(), help="From then on: RFC 3339, or a time span before now, such as 2h.")
@click.option("--until", type=Moment(), help="Up to then.")
@click.option("--request-id", "request_ids", multiple=True, help="The request's id, as in its reply.")
@click.option("--tool", "tools", multiple=True, help="The tool's name.")
@click.option("--code", "codes", multiple=True, type=click.Choice([str(one) for one in ErrorCode]))
@_as_json
def search(
    *, files: tuple[str, ...], since: datetime | None, until: datetime | None, as_json: bool, **asked: tuple[str, ...]
) -> None:
    """Print the records that all options are true of. One that is given several times means any of its values.

    Exit 0 if there are any, 1 if there are none.
    """
    lines = Lines(Wanted(since=since, until=until, **asked), as_json=as_json)
    with _reading():
        for name in files or (_own_log(),):
            with open_log(name) as stream:
                _print(lines, read_lines(stream))
    _tell_passed_over(lines)
    raise SystemExit(0 if lines.shown else 1)


def _print(lines: Lines, raw: Iterable[bytes]) -> None:
    for text in lines.show(raw):
        click.echo(text)


def _tell_passed_over(lines: Lines) -> None:
    if lines.passed_over:
        click.echo(f"{_count(lines.passed_over, 'line')} passed over: no audit records", err=True)


def _own_log() -> str:
    """The file that the service writes in this environment."""
    path = settings().audit_log_path
    if path is None or path == STDIN:
        raise click.UsageError("name a file: KALGUARD_AUDIT_LOG_PATH names none")
    if not Path(path).is_file():
        raise click.UsageError(f"KALGUARD_AUDIT_LOG_PATH: `{printable(path)}` is not a file")
    return path


def _public_key(path: Path) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(path.read_bytes())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise click.UsageError(f"{printable(str(path))}: not a public Ed25519 key in PEM")
    return key


@contextmanager
def _reading() -> Iterator[None]:
    """Turns what cannot be read into a usage error."""
    try:
        yield
    except BrokenPipeError:
        raise
    except (OSError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise click.UsageError(f"cannot be read: {printable(str(error))}") from None


class _Progress:
    """Says on a terminal how far the reading has come, on a line that is gone in the end."""

    def __init__(self, files: Iterable[str]) -> None:
        self.files = list(files)
        self._is_shown = sys.stderr.isatty()
        self._width = 0

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._show("")

    def tell(self, name: str, size: int) -> None:
        """So many bytes of the file have been read."""
        self._show(f"{printable(name)}: {size / _MIB:,.0f} MiB")

    def _show(self, text: str) -> None:
        if self._is_shown and (text or self._width):
            click.echo(f"\r{text:{self._width}}" + ("" if text else "\r"), err=True, nl=False)
            self._width = len(text)


def _print_report(report: Report) -> None:
    for note in report.remarks:
        click.echo(_line("remark: ", note), err=True)
    if report.remarks_left_out:
        click.echo(f"and {_count(report.remarks_left_out, 'more remark')}", err=True)
    if report.bad is not None:
        click.echo(_line("", report.bad), err=True)
        return
    read = f"{_count(report.records, 'record')} of {_count(report.chains, 'chain')} in {_count(report.files, 'file')}"
    click.echo(f"good; {read}; {_signatures(report)}")


def _signatures(report: Report) -> str:
    if report.unchecked:
        return f"{_count(report.unchecked, 'signature')} not looked at, for want of --key"
    return f"{_count(report.signed, 'signature')} verified" if report.signed else "no signatures"


def _line(kind: str, note: Note) -> str:
    return printable(f"{note.place}: {kind}{note.text}")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _as_object(report: Report) -> dict[str, Any]:
    def shown(note: Note) -> dict[str, Any]:
        return {"file": printable(note.place.file), "line": note.place.line, "text": note.text}

    return {
        "valid": report.bad is None,
        "files": report.files,
        "records": report.records,
        "chains": report.chains,
        "signatures": {"verified": report.signed, "notLookedAt": report.unchecked},
        "bad": None if report.bad is None else shown(report.bad),
        "remarks": [shown(note) for note in report.remarks],
        "remarksLeftOut": report.remarks_left_out,
    }
