"""What `policy check` and `tools check` have in common: a file is good, or one line says what is wrong with it."""

from collections.abc import Callable
from pathlib import Path

import click
import msgspec

from kalguard.errors import KalGuardError


def report(file: Path, noun: str, load: Callable[[bytes], tuple[int, str]], *, as_json: bool) -> None:
    """Load and report. `load` gives how many `noun`s there are and the digest. Exits with 1 for a bad file."""
    try:
        count, digest = load(file.read_bytes())
    except KalGuardError as error:
        if as_json:
            click.echo(msgspec.json.encode({"valid": False, "problem": str(error)}))
        else:
            click.echo(f"{file}: {error}", err=True)
        raise SystemExit(1) from None
    if as_json:
        click.echo(msgspec.json.encode({"valid": True, f"{noun}s": count, "digest": digest}))
    else:
        click.echo(f"{file}: good; {count} {noun}{'' if count == 1 else 's'}, sha256 {digest}")
