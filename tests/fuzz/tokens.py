"""Tokens: only `AuthFailed` is raised, and nothing verifies that was not signed as it stands.

The first byte of an input says what the rest is: a token as it comes, changes to a good token, or the header or the
claims of a token that is then rightly signed with HMAC-SHA256.
"""

import json
import time
import warnings
from typing import Any

import atheris

with atheris.instrument_imports(include=["kalguard.decision.identity", "joserfc"]):
    from joserfc import jwt
    from joserfc.errors import SecurityWarning
    from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

    from kalguard.decision.identity import Identity, JwksKeyring, Keyring, SecretKeyring, UnverifiedKeyring
    from kalguard.errors import AuthFailed

from tests.fuzz.engine import fuzz
from tests.support import SECRET, always, claims, signed_with_hmac

DICTIONARY = (
    *('"alg"', '"HS256"', '"none"', '"RS256"', '"ES256"', '"EdDSA"', '"kid"', '"crit"', '"b64"', '"jwk"', '"jku"'),
    *('"sub"', '"iat"', '"exp"', '"nbf"', '"capabilities"', '"metadata"', '"zip":"DEF"', '"typ"', '"enc"', '"x5c"'),
    *("eyJ", "..", "=", "null", "1e400", "NaN", "-1", "true", '"prompt:send"', "\\ud800", "[[[["),
)
HEADER = b'{"alg":"HS256"}'


def _keys() -> list[tuple[Key, str]]:
    return [
        (RSAKey.generate_key(2048), "RS256"),
        (ECKey.generate_key("P-256"), "ES256"),
        (OKPKey.generate_key("Ed25519"), "Ed25519"),
    ]


class Target:
    """The keyrings, and the tokens that are good under one of them."""

    def __init__(self) -> None:
        keys = _keys()
        document = json.dumps({"keys": [key.as_dict(private=False) for key, _ in keys]}).encode()
        self.good = [
            jwt.encode({"alg": name}, claims(), key, algorithms=[name])
            for key, name in [(OctKey.import_key(SECRET), "HS256"), *keys]
        ]
        rings: list[Keyring] = [SecretKeyring(SECRET), JwksKeyring(document), UnverifiedKeyring()]
        self.secret, self.key_set, self.unverified = (
            Identity(always(ring), clock=time.time, revoked=lambda: lambda _: False) for ring in rings
        )

    def __call__(self, data: bytes) -> None:
        """One input."""
        if not data:
            return
        kind, rest = data[0] % 4, data[1:]
        if kind == 0:
            self.refused(rest.decode("latin-1"))
        elif kind == 1:
            self.refused(self.changed(rest))
        elif kind == 2:
            self.header(rest)
        else:
            self.claims(rest)

    def changed(self, edits: bytes) -> str:
        """A good token with letters replaced, put in or taken out, three bytes of the input for each."""
        token = bytearray(self.good[edits[0] % len(self.good)].encode() if edits else b"")
        for at in range(1, len(edits) - 2, 3):
            place, how, letter = (edits[at] * 7 + edits[at + 1]) % (len(token) + 1), edits[at + 1] % 3, edits[at + 2]
            token[place : place + (how != 0)] = bytes([letter]) if how != 2 else b""
        return token.decode("latin-1")

    def refused(self, token: str) -> None:
        """Nothing but the good tokens themselves may pass; who takes any signature must still raise nothing else."""
        for identity in (self.secret, self.key_set):
            try:
                identity.verify_token(token)
            except AuthFailed:
                continue
            assert token in self.good, "a token passes that nobody signed"
        self.passes_unverified(token)

    def passes_unverified(self, token: str) -> None:
        try:
            principal = self.unverified.verify_token(token)
        except AuthFailed:
            return
        assert 0 < len(principal.agent_id.encode()) <= 4 * 256

    def header(self, header: bytes) -> None:
        """Under a right signature only a header passes that asks for HS256, and for nothing that we do not know."""
        token = signed_with_hmac(header, json.dumps(claims()).encode())
        try:
            self.secret.verify_token(token)
        except AuthFailed:
            return
        said = json.loads(header.decode())
        assert said["alg"] == "HS256" and "crit" not in said and "b64" not in said

    def claims(self, payload: bytes) -> None:
        """Under a right signature only claims pass that any other reader of JSON sees alike."""
        try:
            principal = self.secret.verify_token(signed_with_hmac(HEADER, payload))
        except AuthFailed:
            return
        said: dict[str, Any] = json.loads(payload.decode())
        assert principal.agent_id == said["sub"] and principal.expires_at == said["exp"]
        assert principal.capabilities <= set(said.get("capabilities") or [])
        assert principal.not_before >= said["iat"]


def seeds(target: Target) -> list[bytes]:
    """Good tokens, changes, headers and claims."""
    written = json.dumps(claims(nbf=1, metadata={"team": "a"})).encode()
    headers = [HEADER, b'{"alg":"none"}', b'{"alg":"HS256","kid":"a","typ":"JWT"}', b'{"alg":"HS256","crit":["exp"]}']
    return [
        *(b"\x00" + token.encode() for token in target.good),
        *(b"\x01" + bytes([number, 1, 2, 65, 9, 3, 66]) for number in range(4)),
        *(b"\x02" + header for header in headers),
        b"\x03" + written,
    ]


if __name__ == "__main__":
    warnings.simplefilter("ignore", SecurityWarning)
    checked = Target()
    fuzz("tokens", checked, seeds(checked), dictionary=DICTIONARY)
