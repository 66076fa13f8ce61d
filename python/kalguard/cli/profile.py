"""`kalguard seccomp-profile` and `kalguard os-profile`: what confines the service from outside, written out."""

import os
import tempfile
from pathlib import Path

import click
import msgspec

from kalguard.cli.options import settings
from kalguard.errors import ConfigError
from kalguard.hardening.profiles import macos_profile, windows_steps
from kalguard.hardening.syscalls import oci_profile
from kalguard.sidecar import traces
from kalguard.sidecar.confinement import main_rules

_FILE = click.argument("file", type=click.Path(dir_okay=False, writable=True, path_type=Path), required=False)


@click.command("seccomp-profile")
@_FILE
def seccomp_profile(file: Path | None) -> None:
    """Write the seccomp profile of the service, for Docker, Podman and Kubernetes, to FILE or standard output.

    It lists the system calls that the service makes on x86-64 and arm64, and those of the container runtime before it
    starts the service; any other is answered as by a kernel that does not have it.
    """
    _put(msgspec.json.format(msgspec.json.encode(oci_profile()), indent=2).decode() + "\n", file)


@click.command("os-profile")
@click.argument("system", type=click.Choice(["macos", "windows"]))
@_FILE
def os_profile(system: str, file: Path | None) -> None:
    """Write what confines the service on macOS or Windows, made for the settings in force, to FILE or standard output.

    macos is a profile for sandbox-exec, windows a PowerShell script that starts the service in a job object. Both are
    written from documentation: neither has been run.
    """
    if system == "windows":
        _put(windows_steps(), file)
        return
    in_force = settings()
    try:
        traces.check(os.environ)
    except ConfigError as error:
        raise click.UsageError("; ".join(error.problems)) from None
    # Not the service's own folder, which gets its name when it is made.
    _put(macos_profile(main_rules(in_force, os.environ, Path(tempfile.gettempdir()))), file)


def _put(text: str, file: Path | None) -> None:
    """Print it, or put it in the place of a file as a whole: of that which a link names. A device is written to."""
    if file is None:
        click.echo(text, nl=False)
        return
    try:
        if file.exists() and not file.is_file():
            file.write_text(text)
        else:
            _replace(Path(os.path.realpath(file)), text)
    except OSError as error:
        raise click.ClickException(f"`{file}` cannot be written: {error.strerror}") from None


def _replace(file: Path, text: str) -> None:
    new = tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=f".{file.name}.", delete=False)  # noqa: SIM115
    try:
        with new:
            new.write(text)
        os.chmod(new.name, 0o644)  # container runtimes read it as whoever they are
        os.replace(new.name, file)
    except OSError:
        os.unlink(new.name)
        raise
