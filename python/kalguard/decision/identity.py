"""Who is asking: verifies agent tokens. Raises, never returns a doubtful answer.

The algorithm comes from the keys that the operator configured, never from the token. Keyrings: `SecretKeyring` (HS256),
`JwksKeyring` (RS256, ES256, EdDSA), `AnyKeyring` while keys are exchanged, `UnverifiedKeyring` for the mode without a
secret, which someone has to choose by name, and `ClosedKeyring` where nobody did. JOSE itself is joserfc's work; what
it leaves to the caller (required claims, times, types, no `crit`) is checked here. Verified tokens are remembered by
their BLAKE2b digest, which takes half the time of SHA-256; the latter is what they are revoked by. What changes with
time (`confirm`) is looked at again for every request, and once more when its body has come.
"""

import base64
import json
import re
import warnings
from collections.abc import Callable, Sequence
from hashlib import blake2b, sha256
from typing import Any, Protocol

from joserfc import jws
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, JWKRegistry, Key, OctKey, OKPKey, RSAKey

from kalguard.decision.model import Capability, Principal
from kalguard.decision.remembered import Remembered
from kalguard.errors import AuthFailed, ConfigError, TokenRevoked

MAX_TOKEN_BYTES = 8192
MAX_AGENT_ID_LENGTH = 256
MIN_SECRET_BYTES = 32
CACHED_TOKENS = 262_144  # 450 bytes each, and their metadata
CACHED_SECONDS = 300.0  # a token that nobody presented for twice as long is not kept
_KNOWN_CAPABILITIES = frozenset(Capability)
_CAPABILITY_SETS: dict[frozenset[str], frozenset[str]] = {}  # one for all that have the same: there are few
_NO_METADATA: dict[str, Any] = {}  # the same
_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # FIPS 186-4, D.1.2.3


class Keyring(Protocol):
    """Keys in force."""

    def open(self, token: str) -> bytes:
        """Give the payload of a token whose signature is right. Raises `AuthFailed`."""


class SecretKeyring:
    """One shared secret, HS256."""

    def __init__(self, secret: str) -> None:
        raw = secret.encode()
        if len(raw) < MIN_SECRET_BYTES:
            raise ConfigError([f"is shorter than {MIN_SECRET_BYTES} bytes"])
        try:
            self._key = OctKey.import_key(raw)
        except ValueError:
            raise ConfigError(["is a key for signatures, not a secret"]) from None

    def open(self, token: str) -> bytes:
        return _verified_payload(token, self._key, ["HS256"])


class JwksKeyring:
    """Public keys from a JSON Web Key Set: each key verifies with the one algorithm that belongs to its type."""

    def __init__(self, document: bytes) -> None:
        """Read a JWKS. Keys that are not for verifying with one of our algorithms are passed over.

        Raises `ConfigError` for a set that is malformed or leaves no key.
        """
        try:
            keys = [JWKRegistry.import_key(item) for item in json.loads(document)["keys"]]
        except (ValueError, KeyError, TypeError, RecursionError, JoseError):
            raise ConfigError(["is not a JSON Web Key Set"]) from None
        usable = [(_key_id(key), key, _algorithms_of(key)) for key in keys]
        self._keys = [(key_id, key, algorithms) for key_id, key, algorithms in usable if algorithms]
        if not self._keys:
            raise ConfigError(["holds no key for verifying: RSA of 2048 bits or more, EC P-256 or Ed25519"])

    def open(self, token: str) -> bytes:
        kid = _header(token).get("kid")
        for key_id, key, algorithms in self._keys:
            if kid is not None and key_id is not None and kid != key_id:
                continue
            try:
                return _verified_payload(token, key, algorithms)
            except AuthFailed:
                continue
        raise AuthFailed("token signature does not verify")


class AnyKeyring:
    """Several keys, each of which is good."""

    def __init__(self, keyrings: Sequence[Keyring]) -> None:
        self._keyrings = keyrings

    def open(self, token: str) -> bytes:
        problem = AuthFailed("no token key is configured")
        for keyring in self._keyrings:
            try:
                return keyring.open(token)
            except AuthFailed as error:
                problem = error
        raise problem


class UnverifiedKeyring:
    """No keys: every signature passes. An open door, only ever chosen by name at start."""

    def open(self, token: str) -> bytes:
        _header(token)
        try:
            return jws.extract_compact(token.encode()).payload
        except (JoseError, ValueError):
            raise AuthFailed("token is malformed") from None


class ClosedKeyring:
    """Neither keys nor the wish to do without: no token passes."""

    def open(self, token: str) -> bytes:
        raise AuthFailed("no token key is configured")


class Identity:
    """Verifies tokens against the keys in force and the list of revoked ones.

    `keyring` gives the keys in force; what others verified is forgotten when it gives another one. `revoked` gives the
    list in force: a function that takes the SHA-256 of a token in hex. `clock` gives unix seconds. `leeway_seconds` is
    the clock skew that is forgiven on `exp`, `nbf` and `iat`.
    """

    def __init__(
        self,
        keyring: Callable[[], Keyring],
        *,
        clock: Callable[[], float],
        leeway_seconds: int = 0,
        revoked: Callable[[], Callable[[str], bool]],
    ) -> None:
        self._keyring = keyring
        self._verified_by: Keyring | None = None
        self._clock = clock
        self._leeway = leeway_seconds
        self._revoked = revoked
        self._verified = Remembered[Principal](CACHED_TOKENS, seconds=CACHED_SECONDS, clock=clock)

    def verify_token(self, token: str | None) -> Principal:
        """Give the agent that a rightly signed token names. Raises `AuthFailed`. Whether it is good now: `confirm`."""
        if not token:
            raise AuthFailed("bearer token is missing")
        if len(token) > MAX_TOKEN_BYTES or not token.isascii():
            raise AuthFailed("token is malformed")
        keyring = self._keyring()
        if keyring is not self._verified_by:
            self._verified.clear()
            self._verified_by = keyring
        digest = blake2b(token.encode(), digest_size=32).digest()
        principal = self._verified.get(digest)
        if principal is None:
            if not _FORM.fullmatch(token):
                raise AuthFailed("token is malformed")
            principal = _principal(_claims(keyring.open(token)), (_sha256(token), *_twins(token)))
            self._verified.put(digest, principal)
        return principal

    def confirm(self, principal: Principal) -> None:
        """Check what changes with time: expiry and revocation. Raises `AuthFailed` or `TokenRevoked`."""
        now = self._clock()
        if now >= principal.expires_at + self._leeway:
            raise AuthFailed("token is expired")
        if now < principal.not_before - self._leeway:
            raise AuthFailed("token is not valid yet")
        is_revoked = self._revoked()
        for token_hash in principal.token_hashes:
            if is_revoked(token_hash):
                raise TokenRevoked("token is revoked")


def _verified_payload(token: str, key: Key, algorithms: list[str]) -> bytes:
    _header(token)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # of the name EdDSA, under which issuers still sign
            return jws.deserialize_compact(token.encode(), key, algorithms=algorithms).payload
    except (JoseError, ValueError, TypeError, KeyError):
        raise AuthFailed("token signature does not verify") from None


def _header(token: str) -> dict[str, Any]:
    """The protected header, unverified. Refuses `crit`: there is no extension that we understand."""
    first, signature = token.partition(".")[0], token.rpartition(".")[2]
    try:
        jws.extract_compact(token.encode())
        header = _object(_bytes(first))
        is_canonical = _base64(_bytes(signature)) == signature
    except (JoseError, ValueError, TypeError, RecursionError):
        raise AuthFailed("token is malformed") from None
    # The same signature in other letters would be another token to a hash.
    if not is_canonical or "crit" in header or "b64" in header:
        raise AuthFailed("token is malformed")
    return header


def _twins(token: str) -> tuple[str, ...]:
    """SHA-256 of the one other token that an ECDSA signature (r, s) makes good as well: that with (r, n - s).

    Whoever holds a token can make its twin; revoking one must revoke both.
    """
    signed, _, signature = token.rpartition(".")
    if _header(token).get("alg") != "ES256":
        return ()
    raw = _bytes(signature)
    other = _P256_ORDER - int.from_bytes(raw[32:])
    if len(raw) != 64 or not 0 < other < _P256_ORDER:
        return ()  # no signature of that kind, which only `UnverifiedKeyring` lets come this far
    return (_sha256(f"{signed}.{_base64(raw[:32] + other.to_bytes(32))}"),)


def _sha256(token: str) -> str:
    return sha256(token.encode()).hexdigest()


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    """What `_base64` wrote. Raises `ValueError`."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _claims(payload: bytes) -> dict[str, Any]:
    try:
        return _object(payload)
    except (ValueError, RecursionError):
        raise AuthFailed("token claims are malformed") from None


def _object(text: bytes) -> dict[str, Any]:
    """Read a JSON object as strictly as RFC 8259 allows. Raises `ValueError` or `RecursionError`.

    Lone surrogates, which JSON can smuggle into a Python string, are refused. So is a name given twice: readers that
    take the first and readers that take the last would see two tokens.
    """
    value = json.loads(text.decode(), object_pairs_hook=_once_each, parse_constant=_no_constant)
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004
    json.dumps(value, ensure_ascii=False).encode()
    return value


def _once_each(members: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(members)
    if len(value) < len(members):
        raise ValueError("a name is given twice")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _principal(claims: dict[str, Any], token_hashes: tuple[str, ...]) -> Principal:
    agent_id = claims.get("sub")
    if not isinstance(agent_id, str) or not 0 < len(agent_id) <= MAX_AGENT_ID_LENGTH:
        raise AuthFailed(f"token claim `sub` must be text of 1 to {MAX_AGENT_ID_LENGTH} characters")
    issued_at = _time(claims, "iat", required=True)
    return Principal(
        agent_id=agent_id,
        capabilities=_capabilities(claims.get("capabilities")),
        metadata=_metadata(claims.get("metadata")),
        not_before=max(issued_at, _time(claims, "nbf", required=False)),
        expires_at=_time(claims, "exp", required=True),
        token_hashes=token_hashes,
    )


def _time(claims: dict[str, Any], name: str, *, required: bool) -> float:
    value = claims.get(name)
    if value is None and not required:
        return float("-inf")
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:
        raise AuthFailed(f"token claim `{name}` must be a time in unix seconds")
    return float(value)


def _capabilities(value: object) -> frozenset[str]:
    if value is None:
        return frozenset()
    if not isinstance(value, list):
        raise AuthFailed("token claim `capabilities` must be a list")
    granted = frozenset(item for item in value if isinstance(item, str)) & _KNOWN_CAPABILITIES
    return _CAPABILITY_SETS.setdefault(granted, granted)


def _metadata(value: object) -> dict[str, Any]:
    if value is None or value == {}:
        return _NO_METADATA
    if isinstance(value, dict):
        return value
    raise AuthFailed("token claim `metadata` must be an object")


def _key_id(key: Key) -> str | None:
    value = key.get("kid")
    return value if isinstance(value, str) else None


def _algorithms_of(key: Key) -> list[str]:
    """The names under which tokens may ask for the one algorithm of a key; none for a key that is not for this."""
    algorithms: list[str] = []
    if isinstance(key, RSAKey) and key.public_key.key_size >= 2048:
        algorithms = ["RS256"]
    elif isinstance(key, ECKey) and key.curve_name == "P-256":
        algorithms = ["ES256"]
    elif isinstance(key, OKPKey) and key.curve_name == "Ed25519":
        algorithms = ["EdDSA", "Ed25519"]  # RFC 8037 and its successor, RFC 9864
    operations = key.get("key_ops")
    meant = (
        key.get("use") in (None, "sig")
        and (operations is None or "verify" in operations)
        and (key.get("alg") is None or key.get("alg") in algorithms)
    )
    return algorithms if meant else []
