"""`kalguard-sidecar`. A module of its own, since a start is waited for: it imports none of the other commands."""

import click

from kalguard.cli.profile import seccomp_profile
from kalguard.version import VERSION


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION)
@click.pass_context
def sidecar(context: click.Context) -> None:
    """Start the KalGuard server, in the foreground, until SIGTERM or Ctrl-C.

    All settings come from KALGUARD_* variables; `kalguard config` shows those in force. Exit codes: 0 after a stop
    that was asked for, 1 if the server failed (a port in use), 2 if the configuration is bad.
    """
    if context.invoked_subcommand is None:
        start()


def start() -> None:
    """Serve until told to stop."""
    from kalguard.sidecar.main import main

    main()


sidecar.add_command(seccomp_profile)
