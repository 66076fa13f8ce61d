"""`kalguard tools`: validate a tools file, and say what is to be pinned in it."""

from pathlib import Path

import click

from kalguard.cli.options import FILE
from kalguard.cli.validity import Good, report
from kalguard.decision.mediator import any_tool, load_tools
from kalguard.decision.registration import Definition
from kalguard.errors import BadRequest, ToolsError


@click.group()
def tools() -> None:
    """Validate tools files, and say the digests of definitions."""


@tools.command()
@click.argument("file", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(file: Path, as_json: bool) -> None:
    """Validate a tools file. Exit 0 if the service would take it up, 1 if not.

    What the file says without effect, such as formats that are not enforced, is a warning.
    """

    def load(document: bytes) -> Good:
        loaded = load_tools(document)
        return Good(loaded.registry.tool_count, loaded.digest, loaded.registry.warnings)

    report(file, "tool", load, as_json=as_json)


@tools.command()
@click.argument("file", type=FILE)
def digest(file: Path) -> None:
    """Print the digest of a tool's definition, for `pins` in the tools file.

    FILE is what an agent sends to /v1/tool/register. Exit 1 if it would be refused.
    """
    try:
        definition = Definition.read(file.read_bytes())
        any_tool().registry.define(definition.by("").argument_schema)
    except (BadRequest, ToolsError) as error:
        click.echo(f"{file}: {error}", err=True)
        raise SystemExit(1) from None
    click.echo(definition.digest)
