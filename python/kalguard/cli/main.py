"""`kalguard`: serve, health, tokens, policies, tools, patterns, scan, audit log, sandbox, configuration, profiles.

Secrets are read from the environment or from files, never from arguments, which other users of a machine can see.
"""

import os
from typing import Any

import click
import msgspec

from kalguard import config
from kalguard.cli.audit import audit
from kalguard.cli.health import health
from kalguard.cli.patterns import patterns
from kalguard.cli.policy import policy
from kalguard.cli.profile import os_profile, seccomp_profile
from kalguard.cli.sandbox import sandbox
from kalguard.cli.scan import scan
from kalguard.cli.sidecar import start
from kalguard.cli.token import token
from kalguard.cli.tools import tools
from kalguard.errors import ConfigError
from kalguard.version import VERSION


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def cli() -> None:
    """Runtime security for AI agents.

    Settings come from KALGUARD_* variables; `kalguard config` shows those in force. Exit codes: 0 for yes, 1 for no
    (a policy that denies, a text that is blocked, a file that is not valid), 2 for a question that cannot be answered.
    """


@cli.command("serve")
def serve() -> None:
    """Start the KalGuard server, as kalguard-sidecar does."""
    start()


@cli.command("config")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show_config(as_json: bool) -> None:
    """Print the settings in force, secrets masked. Exit 1 if the service would not start with them."""
    from kalguard.sidecar.main import check

    try:
        loaded = config.load(os.environ)
        check(loaded.settings)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        raise SystemExit(1) from None
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    values = config.shown(loaded.settings)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(values)).decode())
        return
    width = max(len(name) for name in values)
    for name, value in values.items():
        click.echo(f"{name:{width}}  {_as_written(value)}")


@cli.command()
def version() -> None:
    """Print the version."""
    click.echo(VERSION)


def _as_written(value: Any) -> str:
    """A value as the variable would have to be set."""
    if value is None:
        return "(unset)"
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(value) if isinstance(value, tuple) else str(value)


cli.add_command(health)
cli.add_command(seccomp_profile)
cli.add_command(os_profile)
cli.add_command(token)
cli.add_command(policy)
cli.add_command(tools)
cli.add_command(patterns)
cli.add_command(scan)
cli.add_command(audit)
cli.add_command(sandbox)
