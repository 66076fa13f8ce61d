"""The commands' entry points: where a package that was not built, or was built for another machine, is told apart."""

import sys
from typing import NoReturn


def sidecar() -> None:
    """`kalguard-sidecar`."""
    try:
        from kalguard.cli.sidecar import sidecar as command
    except ImportError as error:
        _explain(error)
    command()


def cli() -> None:
    """`kalguard`."""
    try:
        from kalguard.cli.main import cli as command
    except ImportError as error:
        _explain(error)
    command()


def _explain(error: ImportError) -> NoReturn:
    if "_core" in str(error):
        print(f"kalguard: the compiled extension kalguard._core cannot be loaded: {error}", file=sys.stderr)
    elif isinstance(error, ModuleNotFoundError) and not (error.name or "kalguard").startswith("kalguard"):
        print(f"kalguard: this needs the server's packages ({error}): pip install 'kalguard[sidecar]'", file=sys.stderr)
    else:
        raise error
    sys.exit(1)
