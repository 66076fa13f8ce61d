"""The commands' entry points: where a package that was not built, or was built for another machine, is told apart."""

import sys


def sidecar() -> None:
    """`kalguard-sidecar`."""
    _need_the_extension()
    from kalguard.cli.main import sidecar as command

    command()


def cli() -> None:
    """`kalguard`."""
    _need_the_extension()
    from kalguard.cli.main import cli as command

    command()


def _need_the_extension() -> None:
    try:
        import kalguard._core  # noqa: F401
    except ImportError as error:
        print(f"kalguard: the compiled extension kalguard._core cannot be loaded: {error}", file=sys.stderr)
        sys.exit(1)
