"""What all `check` commands have in common: a file is good, or one line says what is wrong with it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import click
import msgspec

from kalguard.errors import KalGuardError


class Good(msgspec.Struct, frozen=True):
    """A file that can be used: how much it holds, its SHA-256 in hex, and what in it is likely a mistake."""

    count: int
    digest: str
    warnings: Sequence[str] = ()


def report(file: Path, noun: str, load: Callable[[bytes], Good], *, as_json: bool, strict: bool = False) -> None:
    """Load and report how many `noun`s there are. Exits with 1 for a bad file; if `strict`, for warnings too."""
    try:
        good = load(file.read_bytes())
    except KalGuardError as error:
        if as_json:
            click.echo(msgspec.json.encode({"valid": False, "problem": str(error)}))
        else:
            click.echo(f"{file}: {error}", err=True)
        raise SystemExit(1) from None
    if as_json:
        told = {"valid": True, f"{noun}s": good.count, "digest": good.digest, "warnings": good.warnings}
        click.echo(msgspec.json.encode(told))
    else:
        for warning in good.warnings:
            click.echo(f"{file}: warning: {warning}", err=True)
        click.echo(f"{file}: good; {good.count} {noun}{'' if good.count == 1 else 's'}, sha256 {good.digest}")
    if strict and good.warnings:
        raise SystemExit(1)
