"""`kalguard tools`: validate a tools file."""

from pathlib import Path

import click

from kalguard.cli.options import FILE
from kalguard.cli.validity import Good, report
from kalguard.decision.mediator import load_tools


@click.group()
def tools() -> None:
    """Validate tools files."""


@tools.command()
@click.argument("file", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(file: Path, as_json: bool) -> None:
    """Validate a tools file. Exit 0 if the service would take it up, 1 if not."""

    def load(document: bytes) -> Good:
        loaded = load_tools(document)
        return Good(loaded.registry.tool_count, loaded.digest)

    report(file, "tool", load, as_json=as_json)
