"""`kalguard patterns`: validate a patterns file."""

from pathlib import Path

import click

from kalguard.cli.options import FILE, settings
from kalguard.cli.validity import Good, report
from kalguard.decision.firewall import PromptFirewall
from kalguard.sidecar.firewall import firewall_options


@click.group()
def patterns() -> None:
    """Validate patterns files of the prompt firewall."""


@patterns.command()
@click.argument("file", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(file: Path, as_json: bool) -> None:
    """Validate a patterns file. Exit 0 if the service would take it up, 1 if not.

    Every pattern is tried on the examples that it brings.
    """
    options = firewall_options(settings())

    def load(document: bytes) -> Good:
        firewall = PromptFirewall(options, document)
        return Good(firewall.pattern_count, firewall.digest)

    report(file, "pattern", load, as_json=as_json)
