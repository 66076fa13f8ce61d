"""`kalguard tools`: validate a tools file."""

from pathlib import Path

import click
import msgspec

from kalguard.cli.options import FILE
from kalguard.decision.mediator import load_tools
from kalguard.errors import ToolsError


@click.group()
def tools() -> None:
    """Validate tools files."""


@tools.command()
@click.argument("file", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(file: Path, as_json: bool) -> None:
    """Validate a tools file. Exit 0 if the service would take it up, 1 if not."""
    try:
        loaded = load_tools(file.read_bytes())
    except ToolsError as error:
        if as_json:
            click.echo(msgspec.json.encode({"valid": False, "problem": str(error)}))
        else:
            click.echo(f"{file}: {error}", err=True)
        raise SystemExit(1) from None
    count = loaded.registry.tool_count
    if as_json:
        click.echo(msgspec.json.encode({"valid": True, "tools": count, "digest": loaded.digest}))
    else:
        click.echo(f"{file}: good; {count} tool{'' if count == 1 else 's'}, sha256 {loaded.digest}")
