"""`kalguard sandbox`: run a tool as a command that can do little harm."""

import base64
import os
import re
import sys
from typing import Any

import click
import msgspec

from kalguard.cli.printing import printable
from kalguard.errors import ConfigError, SandboxError
from kalguard.hardening.sandbox import FULL_PROTECTION, Protection, Sandbox, SandboxResult

# As of timeout(1) and of container engines.
_ENDED_BY_US, _NOT_RUN, _SIGNALLED = 124, 125, 128
_SIZE = re.compile(r"([0-9]{1,12})([KMG]?)")
_SIZES = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}
_SPAN = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
_OPTIONS = {"memory_bytes": "--memory", "output_bytes": "--output", "file_size_bytes": "--file-size"}
_OPTIONS |= {"cpu_seconds": "--cpu", "timeout_seconds": "--timeout", "processes": "--processes", "env": "--env"}
_NAMES = click.Choice([str(one) for one in Protection])


class Size(click.ParamType[int]):
    """A number of bytes such as 4096, 64K, 256M, 1G -> bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the text. Fails with a usage error."""
        match = _SIZE.fullmatch(str(value))
        if match is None or int(match[1]) == 0:
            self.fail(f"`{value}` is not a size such as 4096, 64K, 256M or 1G", param, ctx)
        return int(match[1]) * _SIZES[match[2]]


class Span(click.ParamType[float]):
    """A time span such as 500ms, 2.5s, 5m -> seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read the text. Fails with a usage error."""
        match = _SPAN.fullmatch(str(value))
        if match is None or float(match[1]) == 0:
            self.fail(f"`{value}` is not a time span such as 500ms, 2.5s or 5m", param, ctx)
        return float(match[1]) * _SECONDS[match[2]]


@click.group()
def sandbox() -> None:
    """Run tools so that they can do little harm."""


@sandbox.command(context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True)
@click.option("--cwd", default=".", show_default=True, help="Folder that the command runs in and can read.")
@click.option(
    "--env", "variables", multiple=True, metavar="NAME[=VALUE]", help="A variable: with the value here, or that."
)
@click.option("--read", multiple=True, metavar="PATH", help="A further file or folder that it can read.")
@click.option(
    "--write", multiple=True, metavar="PATH", help="A file or folder that it can change; may be that of --cwd."
)
@click.option("--network", is_flag=True, help="Let it use the network of the machine.")
@click.option("--timeout", "timeout_seconds", type=Span(), default="10s", show_default=True)
@click.option(
    "--cpu", "cpu_seconds", type=click.IntRange(1), help="Seconds of computing per process. [default: the timeout]"
)
@click.option("--memory", "memory_bytes", type=Size(), default="512M", show_default=True, help="Per process.")
@click.option(
    "--processes", type=click.IntRange(1), default=64, show_default=True, help="Processes and threads at a time."
)
@click.option(
    "--file-size", "file_size_bytes", type=Size(), default="64M", show_default=True, help="Per file; and of /tmp."
)
@click.option(
    "--output", "output_bytes", type=Size(), default="1M", show_default=True, help="Per output; more ends it."
)
@click.option(
    "--require", "further", multiple=True, type=_NAMES, help="A protection to be demanded beside the usual ones."
)
@click.option("--without", multiple=True, type=_NAMES, help="A usual protection that may be missing.")
@click.option("--bwrap", help="Path of bubblewrap. [default: that of the PATH]")
@click.option("--stdin", "reads_stdin", is_flag=True, help="Give it our standard input, read to its end before.")
@click.option("--output-format", type=click.Choice(["raw", "json"]), default="raw", show_default=True)
def run(
    *,
    command: tuple[str, ...],
    variables: tuple[str, ...],
    further: tuple[str, ...],
    without: tuple[str, ...],
    reads_stdin: bool,
    output_format: str,
    **rules: Any,
) -> None:
    """Run COMMAND with nothing but what the options give it: `kalguard sandbox run --cwd work -- python3 tool.py`.

    It sees the system's programs, the folder it runs in, a /tmp of its own, and no network. When it ends, so does all
    that it started. With `--output-format json` one object says how it ended and which protections were in force.

    Exit code: that of the command, or 128 and the number of the signal that ended it; 124 if it was ended for its time
    or its output; 125 if it was not run, since something that is demanded cannot be had; 2 for bad options.
    """
    _refuse_contradictions(further, without, network=rules["network"])
    required = (FULL_PROTECTION | {*further}) - {*without}
    try:
        result = Sandbox(env=dict(map(_variable, variables)), require=required, **rules).run(
            command, stdin=sys.stdin.buffer.read() if reads_stdin else b""
        )
    except ConfigError as error:
        raise click.UsageError(printable("; ".join(map(_with_option, error.problems)))) from None
    except SandboxError as error:
        _print_refusal(error, as_json=output_format == "json")
        raise SystemExit(_NOT_RUN) from None
    if output_format == "json":
        click.echo(msgspec.json.encode(_as_object(result)))
    else:
        _print_raw(result)
    raise SystemExit(_exit_code(result))


def _refuse_contradictions(further: tuple[str, ...], without: tuple[str, ...], *, network: bool) -> None:
    for name in further:
        if name in without:
            raise click.UsageError(f"--require {name} and --without {name} contradict each other")
    if network and Protection.NO_NETWORK in further:
        raise click.UsageError(f"--network and --require {Protection.NO_NETWORK} contradict each other")


def _with_option(problem: str) -> str:
    """A problem with the option's name instead of the field's."""
    field, colon, text = problem.partition(":")
    return _OPTIONS.get(field, field) + colon + text


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals and name not in os.environ:
        raise click.UsageError(f"--env: there is no variable `{printable(name)}` here to be handed on")
    return name, value if equals else os.environ[name]


def _print_raw(result: SandboxResult) -> None:
    for stream, data in ((sys.stdout, result.stdout), (sys.stderr, result.stderr)):
        # A terminal must not be steered by a tool.
        shown = printable_lines(data).encode() if stream.isatty() else data
        stream.buffer.write(shown)
        stream.flush()
    if result.timed_out:
        click.echo("kalguard: the command was ended after its time", err=True)
    if result.truncated:
        click.echo("kalguard: the command was ended when it had written more than it may", err=True)


def printable_lines(data: bytes) -> str:
    """Text with its line ends, and nothing else that would move a cursor."""
    return "\n".join(map(printable, data.decode(errors="backslashreplace").split("\n")))


def _print_refusal(error: SandboxError, *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode({"error": printable(str(error)), "missing": error.missing}))
    else:
        click.echo(f"kalguard: {printable(str(error))}", err=True)


def _exit_code(result: SandboxResult) -> int:
    if result.timed_out or result.truncated:
        return _ENDED_BY_US
    return _SIGNALLED + (result.signal or 0) if result.exit_code is None else result.exit_code


def _as_object(result: SandboxResult) -> dict[str, Any]:
    return {
        "exitCode": result.exit_code,
        "signal": result.signal,
        "timedOut": result.timed_out,
        "truncated": result.truncated,
        "durationSeconds": round(result.duration_seconds, 3),
        "protections": sorted(result.protections),
        **_as_text("stdout", result.stdout),
        **_as_text("stderr", result.stderr),
    }


def _as_text(name: str, data: bytes) -> dict[str, str]:
    """As text, or where it is none in base64 under another name."""
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}Base64": base64.b64encode(data).decode()}
