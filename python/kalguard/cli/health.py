"""`kalguard health`: is the service that these settings start fit to decide? What a container's health check runs.

Asks over the loopback, or the address that the service listens on, without proxy and without a look at the
certificate: the answer is about the service on this machine, not about the way to it.
"""

import http.client
import json
import ssl
from typing import Any
from urllib.parse import urlsplit

import click

from kalguard.cli.options import settings
from kalguard.cli.printing import printable

_TIMEOUT_SECONDS = 4.0
_MOST_BYTES = 64 * 1024  # of an answer that is shown
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # an address that listens everywhere -> one to ask


@click.command()
@click.option("--url", help="Where to ask. Default: /health of the service that the settings in force start.")
def health(url: str | None) -> None:
    """Say whether the service is healthy. Exit 0 if it is, 1 if not or if nobody answers."""
    asked = own_url() if url is None else url
    try:
        status, body = _get(asked)
    except ValueError as error:
        raise click.UsageError(f"`{printable(asked)}` is not an http or https URL: {error}") from None
    except (OSError, http.client.HTTPException) as error:
        click.echo(f"{printable(asked)}: no answer: {printable(str(error) or type(error).__name__)}", err=True)
        raise SystemExit(1) from None
    click.echo(f"{status} {_shown(body)}")
    raise SystemExit(0 if status == 200 else 1)


def own_url() -> str:
    """`/health` of the service of this environment. Raises a usage error that names the variables."""
    own = settings()
    host = _ANY.get(own.host, own.host)
    scheme = "http" if own.tls_cert_path is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{own.port}/health"


def _get(url: str) -> tuple[int, bytes]:
    """Status and body. Raises `ValueError` for what is no URL, `OSError` or `HTTPException` for no answer."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("scheme or host is missing")
    connection = _connection(parts.scheme, parts.hostname, parts.port)
    try:
        connection.request("GET", (parts.path or "/health") + (f"?{parts.query}" if parts.query else ""))
        reply = connection.getresponse()
        return reply.status, reply.read(_MOST_BYTES)
    finally:
        connection.close()


def _connection(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    if scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_SECONDS, context=context)


def _shown(body: bytes) -> str:
    """The answer on one line, whatever it is."""
    try:
        reply: Any = json.loads(body)
    except ValueError:
        return printable(body.decode(errors="replace"))
    return printable(json.dumps(reply))
