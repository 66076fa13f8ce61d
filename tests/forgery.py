"""Makes the tokens that `vectors/tokens.json` describes, for one kind of key at a time.

A case is a text of header or claims (`header`, `claimsText`, or `claims`: changes to good ones), how it is signed
(`sign`, by default rightly), and what is done to the token afterwards (`edit`); then the request that carries it:
`authorization` (a list of header values), `headers`, `query`, `body`. In texts `{alg}`, `{kid}` and `{token}` stand for
those of the key, `@+600` for a time in seconds from now, and `@{5000x[}` for 5000 brackets.
"""

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from joserfc.jwk import ECKey, OKPKey, RSAKey

from tests.support import ALL_CAPABILITIES, SECRET

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493
STANDARD_LETTERS = str.maketrans("-_AB", "+/+/")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_REPEATED = re.compile(r"@\{(\d+)x(.)\}")
_TIME = re.compile(r"@([+-]\d+)")
Sign = Callable[[bytes], bytes]
PairOfKeys = RSAKey | ECKey | OKPKey


class Request(NamedTuple):
    """What carries a token: header fields, query, body."""

    headers: list[tuple[str, str]]
    query: str
    body: bytes | None


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unbase64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "==")


def signer(key: PairOfKeys) -> Sign:
    """Signs as the algorithm of a key asks for."""
    private: Any = key.private_key
    if isinstance(private, rsa.RSAPrivateKey):
        return lambda data: private.sign(data, padding.PKCS1v15(), hashes.SHA256())
    if isinstance(private, ec.EllipticCurvePrivateKey):

        def sign(data: bytes) -> bytes:
            r, s = decode_dss_signature(private.sign(data, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32) + s.to_bytes(32)

        return sign
    assert isinstance(private, ed25519.Ed25519PrivateKey)
    return private.sign


def by_hmac(secret: bytes, digest: str = "sha256") -> Sign:
    return lambda data: hmac.digest(secret, data, digest)


RSA, EC, ED = RSAKey.generate_key(2048), ECKey.generate_key("P-256"), OKPKey.generate_key("Ed25519")
KEY_SET = json.dumps(
    {"keys": [{**key.as_dict(private=False), "kid": kid} for key, kid in ((RSA, "rsa"), (EC, "ec"), (ED, "ed"))]}
)


@dataclass(frozen=True)
class Forge:
    """A kind of key, with what signs rightly and what a stranger signs with."""

    alg: str
    kid: str
    public: PairOfKeys  # the key whose public half an attacker knows
    sign: Sign
    stranger: Sign

    def token(self, case: dict[str, Any]) -> str:
        """The token of a case."""
        header = case.get("header", '{"alg":"{alg}","kid":"{kid}"}')
        header = self._written(header if isinstance(header, str) else json.dumps(header))
        claims = case.get("claimsText", _written_out(good_claims(case.get("claims", {}))))
        parts = (
            header.encode(case.get("headerEncoding", "utf-8")),
            self._written(claims).encode(case.get("claimsEncoding", "utf-8")),
        )
        signed = ".".join(base64url(part) for part in parts)
        token = f"{signed}.{base64url(self._sign_for(case.get('sign'))(signed.encode()))}"
        return EDITS[case["edit"]](self, token) if "edit" in case else token

    def request(self, case: dict[str, Any]) -> Request:
        """The request of a case."""
        token = self.token(case)
        headers = [("authorization", value) for value in case.get("authorization", ["Bearer {token}"])]
        headers += case.get("headers", {}).items()
        return Request(
            [(name, value.replace("{token}", token)) for name, value in headers],
            case.get("query", "").replace("{token}", token),
            case["body"].replace("{token}", token).encode() if "body" in case else None,
        )

    def _written(self, text: str) -> str:
        now = int(time.time())
        text = _REPEATED.sub(lambda found: found[2] * int(found[1]), text)
        if "{token}" in text:
            text = text.replace("{token}", self.token({}))
        if "{strange_jwk}" in text:
            text = text.replace("{strange_jwk}", json.dumps(type(self.public).generate_key().as_dict(private=False)))
        text = text.replace("{alg}", self.alg).replace("{kid}", self.kid)
        return _TIME.sub(lambda found: str(now + int(found[1])), text)

    def _sign_for(self, how: str | None) -> Sign:
        if how is None:
            return self.sign
        if how.startswith("HS256 by the public key as "):
            return by_hmac(_public_as(self.public, how.removeprefix("HS256 by the public key as ")))
        rsa_key: Any = RSA.private_key
        if how[:2] in ("RS", "PS"):
            digest = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}[how[2:]]
            pss = padding.PSS(padding.MGF1(digest), digest.digest_size)
            return lambda data: bytes(rsa_key.sign(data, padding.PKCS1v15() if how[0] == "R" else pss, digest))
        return {
            "nothing": lambda _: b"",
            "a stranger": self.stranger,
            "HS256 by nothing": by_hmac(b""),
            "HS256 by a word": by_hmac(b"secret"),
            "HS384": by_hmac(SECRET.encode(), "sha384"),
            "HS512": by_hmac(SECRET.encode(), "sha512"),
            "ES256": signer(EC),
        }[how]


def good_claims(changes: dict[str, Any]) -> dict[str, Any]:
    good = {"sub": "agent-1", "iat": "@-10", "exp": "@+600", "capabilities": ALL_CAPABILITIES}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def _written_out(claims: dict[str, Any]) -> str:
    """As JSON, with times as numbers instead of text."""
    return re.sub(r'"(@[+-]\d+)"', r"\1", json.dumps(claims))


def _public_as(key: PairOfKeys, form: str) -> bytes:
    fields: Any = key.as_dict(private=False)
    return {
        "pem": lambda: key.as_pem(private=False),
        "pem, stripped": lambda: key.as_pem(private=False).strip(),
        "der": lambda: key.as_der(private=False),
        "jwk": lambda: json.dumps(fields).encode(),
        "modulus": lambda: unbase64url(fields.get("n") or fields["x"]),
    }[form]()


def _secret_forge() -> Forge:
    return Forge("HS256", "s", RSA, by_hmac(SECRET.encode()), by_hmac(hashlib.sha256(b"a stranger").digest()))


def _forge(key: PairOfKeys, alg: str, kid: str, stranger: PairOfKeys) -> Forge:
    return Forge(alg, kid, key, signer(key), signer(stranger))


FORGES = {
    "secret": _secret_forge(),
    "rsa": _forge(RSA, "RS256", "rsa", RSAKey.generate_key(2048)),
    "ec": _forge(EC, "ES256", "ec", ECKey.generate_key("P-256")),
    "ed": _forge(ED, "EdDSA", "ed", OKPKey.generate_key("Ed25519")),
    "none": _secret_forge(),
}


def _with_signature(change: Callable[[bytes], bytes]) -> Callable[[Forge, str], str]:
    def edit(_: Forge, token: str) -> str:
        signed, signature = token.rsplit(".", 1)
        return f"{signed}.{base64url(change(unbase64url(signature)))}"

    return edit


def _with_text(change: Callable[[str], str]) -> Callable[[Forge, str], str]:
    return lambda _, token: change(token)


def _with_parts(change: Callable[[str, str, str], str]) -> Callable[[Forge, str], str]:
    return lambda _, token: change(*token.split("."))


def _order_added(forge: Forge, token: str) -> str:
    signed, _, signature = token.rpartition(".")
    raw = unbase64url(signature)
    if forge.alg == "EdDSA":
        raw = raw[:32] + (int.from_bytes(raw[32:], "little") + ED25519_ORDER).to_bytes(32, "little")
    elif forge.alg == "ES256":
        raw = raw[:32] + (int.from_bytes(raw[32:]) + P256_ORDER).to_bytes(33)
    elif forge.alg == "RS256":
        modulus = int.from_bytes(unbase64url(str(RSA.as_dict(private=False)["n"])))
        raw = (int.from_bytes(raw) + modulus).to_bytes(257)
    else:
        raw = raw[:-1] + bytes([raw[-1] ^ 1])
    return f"{signed}.{base64url(raw)}"


def _other_last_letter(token: str) -> str:
    """The same bytes in other letters, where the last letter has bits to spare."""
    at = LETTERS.index(token[-1])
    return token[:-1] + LETTERS[at ^ 1]


def _header_of(claims: dict[str, Any]) -> str:
    return base64url(json.dumps(claims).encode())


_JWE = f"{_header_of({'alg': 'dir', 'enc': 'A256GCM'})}..AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA"
_ADMIN = _header_of({"sub": "admin", "iat": 1, "exp": 99999999999, "capabilities": ALL_CAPABILITIES})
_UNSIGNED = _header_of({"alg": "none"})
EDITS: dict[str, Callable[[Forge, str], str]] = {
    "signature left out": _with_parts(lambda h, c, s: f"{h}.{c}."),
    "signature and its dot left out": _with_parts(lambda h, c, s: f"{h}.{c}"),
    "signature cut by one letter": _with_text(lambda token: token[:-1]),
    "signature cut in half": _with_signature(lambda raw: raw[: len(raw) // 2]),
    "signature twice": _with_signature(lambda raw: raw * 2),
    "signature of zeros": _with_signature(lambda raw: bytes(len(raw))),
    "signature of ones": _with_signature(lambda raw: b"\xff" * len(raw)),
    "signature of one letter": _with_parts(lambda h, c, s: f"{h}.{c}.A"),
    "signature in DER": _with_signature(lambda raw: bytes([0x30, min(len(raw), 255)]) + raw),
    "signature with a letter more": _with_text(lambda token: token + "A"),
    "last letter's spare bits changed": _with_text(_other_last_letter),
    "signature with its order added": _order_added,
    "signature with a zero byte in front": _with_signature(lambda raw: b"\0" + raw),
    "header padded": _with_parts(lambda h, c, s: f"{h}=.{c}.{s}"),
    "claims padded": _with_parts(lambda h, c, s: f"{h}.{c}=.{s}"),
    "signature padded": _with_text(lambda token: token + "="),
    "letters of standard base64": _with_parts(lambda h, c, s: f"{h}.{c}.{s.translate(STANDARD_LETTERS)}+"),
    "claims changed": _with_parts(lambda h, c, s: f"{h}.{_ADMIN}.{s}"),
    "header changed to none": _with_parts(lambda h, c, s: f"{_UNSIGNED}.{c}.{s}"),
    "header changed to none, signature left out": _with_parts(lambda h, c, s: f"{_UNSIGNED}.{c}."),
    "header and claims swapped": _with_parts(lambda h, c, s: f"{c}.{h}.{s}"),
    "parts reversed": _with_parts(lambda h, c, s: f"{s}.{c}.{h}"),
    "case changed": _with_text(str.swapcase),
    "an empty header": _with_parts(lambda h, c, s: f".{c}.{s}"),
    "empty claims": _with_parts(lambda h, c, s: f"{h}..{s}"),
    "only dots": _with_text(lambda _: ".."),
    "eight thousand dots": _with_text(lambda _: "." * 8000),
    "a million letters": _with_text(lambda _: "A" * 1_000_000),
    "ten thousand parts": _with_text(lambda _: "a." * 10_000),
    "a part more": _with_text(lambda token: f"{token}.e30"),
    "a part in front": _with_text(lambda token: f"e30.{token}"),
    "JWE": _with_text(lambda _: _JWE),
    "JSON serialisation, flattened": _with_parts(
        lambda h, c, s: json.dumps({"protected": h, "payload": c, "signature": s})
    ),
    "JSON serialisation, general": _with_parts(
        lambda h, c, s: json.dumps({"payload": c, "signatures": [{"protected": h, "signature": s}]})
    ),
    "unencoded claims": _with_parts(lambda h, c, s: f"{h}.{unbase64url(c).decode()}.{s}"),
    "percent-encoded": _with_text(lambda token: quote(token, safe="").replace(".", "%2E")),
    "a line break inside": _with_parts(lambda h, c, s: f"{h}.\r\n {c}.{s}"),
    "a space inside": _with_parts(lambda h, c, s: f"{h}. {c}.{s}"),
    "a NUL at the end": _with_text(lambda token: token + "\0"),
    "full-width letters": _with_text(lambda token: token.translate({65: 0xFF21, 101: 0xFF45})),
}
