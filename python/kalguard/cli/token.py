"""`kalguard token`: make and look at agent tokens."""

import hashlib
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from kalguard.cli.options import Duration, Pair, settings
from kalguard.decision.identity import Identity
from kalguard.decision.model import Capability
from kalguard.decision.revocation import load_revocations
from kalguard.errors import ConfigError, Refusal


@click.group()
def token() -> None:
    """Make and look at agent tokens."""


@token.command()
@click.option("--agent", required=True, help="The agent's id, the token's `sub`.")
@click.option(
    "--capability",
    "capabilities",
    multiple=True,
    required=True,
    type=click.Choice([str(c) for c in Capability]),
    help="What the token permits; may be given several times.",
)
@click.option("--ttl", type=Duration(), default="1h", show_default=True, help="How long it is good for.")
@click.option("--metadata", multiple=True, type=Pair(), help="An attribute that policies can ask for.")
@click.option("--issuer", default="kalguard", show_default=True, help="The token's `iss`.")
@click.option("--json", "as_json", is_flag=True, help="Print the token with its hash and expiry as JSON.")
def issue(
    *,
    agent: str,
    capabilities: tuple[str, ...],
    ttl: int,
    metadata: tuple[tuple[str, str], ...],
    issuer: str,
    as_json: bool,
) -> None:
    """Sign a token with KALGUARD_TOKEN_SECRET (or KALGUARD_TOKEN_SECRET_FILE) and print it.

    Example: kalguard token issue --agent agent-1 --capability prompt:send --ttl 1h
    """
    now = int(time.time())
    claims: dict[str, Any] = {
        "sub": agent,
        "iss": issuer,
        "iat": now,
        "exp": now + ttl,
        "capabilities": list(dict.fromkeys(capabilities)),
    }
    if metadata:
        claims["metadata"] = dict(metadata)
    signed = jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(_secret().encode()), algorithms=["HS256"])
    if as_json:
        digest = hashlib.sha256(signed.encode()).hexdigest()
        click.echo(json.dumps({"token": signed, "sha256": digest, "expiresAt": now + ttl}))
    else:
        click.echo(signed)


@token.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def inspect(as_json: bool) -> None:
    """Read a token from standard input; say what it claims and whether this environment would accept it.

    Exit 0 if it is accepted, 1 if not. The SHA-256 is what goes into the file of revoked tokens.
    """
    text = sys.stdin.read().strip()
    problem = _problem_with(text)
    report: dict[str, Any] = {
        "accepted": problem is None,
        "problem": problem,
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        **_unverified(text),
    }
    if as_json:
        click.echo(json.dumps(report))
    else:
        for name, value in report.items():
            click.echo(f"{name:9}  {value if isinstance(value, str) else json.dumps(value)}")
        if expiry := _expiry(report.get("claims")):
            click.echo(f"{'expires':9}  {expiry}")
    raise SystemExit(0 if problem is None else 1)


def _secret() -> str:
    secret = settings().token_secret
    if secret is None:
        raise click.UsageError("set KALGUARD_TOKEN_SECRET or KALGUARD_TOKEN_SECRET_FILE: there is nothing to sign with")
    return secret


def _problem_with(text: str) -> str | None:
    """Why the service would refuse a token in this environment; `None` if it would not."""
    from kalguard.sidecar.keys import keyring_for

    in_force = settings()
    try:
        listed = Path(in_force.revoked_tokens_path).read_bytes() if in_force.revoked_tokens_path else b""
        is_revoked = load_revocations(listed)
        keyring = keyring_for(in_force)
        identity = Identity(
            lambda: keyring,
            clock=time.time,
            leeway_seconds=in_force.token_leeway_s,
            revoked=lambda: is_revoked,
        )
    except (ConfigError, OSError) as error:
        raise click.UsageError(str(error)) from None
    try:
        identity.confirm(identity.verify_token(text))
    except Refusal as refusal:
        return str(refusal)
    return None


def _unverified(text: str) -> dict[str, Any]:
    """What a token says of itself, whoever made it."""
    try:
        parts = jws.extract_compact(text.encode())
        return {"header": parts.protected, "claims": json.loads(parts.payload)}
    except (JoseError, ValueError, RecursionError):
        return {}


def _expiry(claims: object) -> str | None:
    """When a token says that it expires, if that is a time at all."""
    value = claims.get("exp") if isinstance(claims, dict) else None
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    try:
        return datetime.fromtimestamp(value, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return None
