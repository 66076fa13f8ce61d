"""Tokens: what passes under which keys, and for how long. (What is refused over HTTP: sidecar/test_status_table.py.)"""

import base64
import hashlib
import json
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from kalguard.decision import identity
from kalguard.decision.identity import ClosedKeyring, Identity, JwksKeyring, Keyring, SecretKeyring, UnverifiedKeyring
from kalguard.decision.model import Principal
from kalguard.errors import AuthFailed, ConfigError, TokenRevoked
from tests.support import SECRET, always, claims, token, token_with_header

RSA, EC, ED = RSAKey.generate_key(2048), ECKey.generate_key("P-256"), OKPKey.generate_key("Ed25519")


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def verifier(keyring: Keyring, *, leeway: int = 0) -> Identity:
    nothing = frozenset[str]().__contains__
    return Identity(always(keyring), clock=Clock(1000.0), leeway_seconds=leeway, revoked=always(nothing))


def accept(checked: Identity, text: str | None) -> Principal:
    principal = checked.verify_token(text)
    checked.confirm(principal)
    return principal


def timed(**changes: Any) -> str:
    return token(**{"iat": 900, "exp": 1100, **changes})


@pytest.fixture(autouse=True)
def _old_names_of_algorithms() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)  # for the name EdDSA, which tokens still use
        yield


def signed(key: Key, algorithm: str, kid: str | None = None) -> str:
    header = {"alg": algorithm} if kid is None else {"alg": algorithm, "kid": kid}
    return jwt.encode(header, claims(iat=900, exp=1100), key, algorithms=[algorithm])


def key_set(*keys: tuple[Key, str | None]) -> bytes:
    entries = [{**key.as_dict(private=False), **({"kid": kid} if kid else {})} for key, kid in keys]
    for entry, (_, kid) in zip(entries, keys, strict=True):
        if kid is None:
            entry.pop("kid", None)
    return json.dumps({"keys": entries}).encode()


def test_without_keys_no_token_passes() -> None:
    with pytest.raises(AuthFailed, match="no token key is configured"):
        verifier(ClosedKeyring()).verify_token(timed())


@pytest.mark.parametrize("value", [None, "", "ü.ü.ü", "a.b", "..", "a.b.c"])
@pytest.mark.parametrize(
    "keyring", [ClosedKeyring(), SecretKeyring(SECRET), UnverifiedKeyring(), JwksKeyring(key_set((RSA, None)))]
)
def test_what_is_no_token_passes_under_no_keys(keyring: Keyring, value: str | None) -> None:
    with pytest.raises(AuthFailed):
        verifier(keyring).verify_token(value)


def test_a_public_key_is_no_secret() -> None:
    with pytest.raises(ConfigError, match="not a secret"):
        SecretKeyring(RSA.as_pem(private=False).decode())


def test_a_secret_of_31_bytes_is_refused() -> None:
    with pytest.raises(ConfigError, match="32 bytes"):
        SecretKeyring("s" * 31)


def test_a_good_token_names_its_agent() -> None:
    principal = verifier(SecretKeyring(SECRET)).verify_token(
        timed(capabilities=["prompt:send", "made:up", 7], metadata={"env": "production"})
    )
    assert principal.agent_id == "agent-1"
    assert principal.capabilities == {"prompt:send"}
    assert principal.metadata == {"env": "production"}


def test_a_token_without_capabilities_has_none() -> None:
    assert verifier(SecretKeyring(SECRET)).verify_token(timed(capabilities=None)).capabilities == frozenset()


@pytest.mark.parametrize(
    ("changes", "leeway", "passes"),
    [
        ({"exp": 1000}, 0, False),
        ({"exp": 1001}, 0, True),
        ({"exp": 996}, 5, True),
        ({"exp": 995}, 5, False),
        ({"nbf": 1001}, 0, False),
        ({"nbf": 1000}, 0, True),
        ({"nbf": 1005}, 5, True),
        ({"iat": 1001}, 0, False),
        ({"iat": 1000}, 0, True),
        ({"exp": 1e300}, 0, False),
        ({"exp": float("inf")}, 0, False),
        ({"exp": float("nan")}, 0, False),
    ],
)
def test_times_are_kept_to_the_second(changes: dict[str, Any], leeway: int, passes: bool) -> None:
    checked = verifier(SecretKeyring(SECRET), leeway=leeway)
    if passes:
        accept(checked, timed(**changes))
    else:
        with pytest.raises(AuthFailed):
            accept(checked, timed(**changes))


def test_a_remembered_token_still_expires() -> None:
    clock = Clock(1000.0)
    checked = Identity(always(SecretKeyring(SECRET)), clock=clock, revoked=lambda: frozenset[str]().__contains__)
    text = timed()
    assert accept(checked, text) == accept(checked, text)
    clock.now = 1100.0
    with pytest.raises(AuthFailed, match="expired"):
        accept(checked, text)


def test_a_remembered_token_can_still_be_revoked() -> None:
    revoked: set[str] = set()
    checked = Identity(always(SecretKeyring(SECRET)), clock=Clock(1000.0), revoked=lambda: revoked.__contains__)
    text = timed()
    accept(checked, text)
    revoked.add(hashlib.sha256(text.encode()).hexdigest())
    with pytest.raises(TokenRevoked):
        accept(checked, text)


def test_a_forged_token_is_not_remembered_for_a_good_one() -> None:
    checked = verifier(SecretKeyring(SECRET))
    good = timed()
    with pytest.raises(AuthFailed):
        checked.verify_token(good[:-2] + ("AA" if good[-2:] != "AA" else "BB"))
    checked.verify_token(good)


def test_the_memory_for_tokens_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "CACHED_TOKENS", 6)
    checked = verifier(SecretKeyring(SECRET))
    for number in range(20):
        checked.verify_token(timed(jti=str(number)))
    assert 3 <= len(checked._verified) <= 6


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [(RSA, "RS256"), (EC, "ES256"), (ED, "EdDSA"), (ED, "Ed25519")],
    ids=["RS256", "ES256", "EdDSA", "Ed25519"],
)
def test_a_key_set_verifies_with_the_algorithm_of_each_key(key: Key, algorithm: str) -> None:
    checked = verifier(JwksKeyring(key_set((RSA, "r"), (EC, "e"), (ED, "o"))))
    assert checked.verify_token(signed(key, algorithm)).agent_id == "agent-1"


def test_a_key_set_refuses_a_stranger_and_a_wrong_key_id() -> None:
    checked = verifier(JwksKeyring(key_set((EC, "e"), (RSA, "r"))))
    for text in (signed(ECKey.generate_key("P-256"), "ES256"), signed(EC, "ES256", "r"), signed(EC, "ES256", "x")):
        with pytest.raises(AuthFailed):
            checked.verify_token(text)
    assert checked.verify_token(signed(EC, "ES256", "e")).agent_id == "agent-1"


def test_a_public_key_is_never_taken_for_a_secret() -> None:
    confused = token_with_header(b'{"alg":"HS256"}', RSA.as_pem(private=False), iat=900, exp=1100)
    with pytest.raises(AuthFailed):
        verifier(JwksKeyring(key_set((RSA, None)))).verify_token(confused)


def test_with_a_key_set_the_secret_signs_nothing() -> None:
    with pytest.raises(AuthFailed):
        verifier(JwksKeyring(key_set((RSA, None)))).verify_token(timed())


def test_revoking_a_token_revokes_the_twin_that_its_holder_can_make() -> None:
    text = signed(EC, "ES256")
    head, _, signature = text.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    other = raw[:32] + (order - int.from_bytes(raw[32:])).to_bytes(32)
    twin = f"{head}.{base64.urlsafe_b64encode(other).decode().rstrip('=')}"
    for withdrawn in (text, twin):
        digest = hashlib.sha256(withdrawn.encode()).hexdigest()
        revoked = partial(getattr, frozenset({digest}), "__contains__")
        checked = Identity(always(JwksKeyring(key_set((EC, None)))), clock=Clock(1000.0), revoked=revoked)
        for presented in (text, twin):
            with pytest.raises(TokenRevoked):
                accept(checked, presented)


@pytest.mark.parametrize("signature", ["A", "AAAAA", "A" * 41])
def test_a_signature_of_no_length_that_base64_has_is_refused(signature: str) -> None:
    for keyring in (SecretKeyring(SECRET), UnverifiedKeyring(), JwksKeyring(key_set((EC, None)))):
        with pytest.raises(AuthFailed):
            verifier(keyring).verify_token(f"{timed().rpartition('.')[0]}.{signature}")


@pytest.mark.parametrize("raw", [b"", b"\xff" * 40, b"\xff" * 64, bytes(64), b"\xff" * 100], ids=len)
def test_a_signature_that_is_none_has_no_twin(raw: bytes) -> None:
    head = token_with_header(b'{"alg":"ES256"}', iat=900, exp=1100).rpartition(".")[0]
    text = f"{head}.{base64.urlsafe_b64encode(raw).decode().rstrip('=')}"
    assert len(accept(verifier(UnverifiedKeyring()), text).token_hashes) == 1


@pytest.mark.parametrize("tail", ["=", "==", "====", "!", "\n", " "])
def test_no_other_spelling_of_a_token_passes(tail: str) -> None:
    for keyring in (SecretKeyring(SECRET), UnverifiedKeyring()):
        with pytest.raises(AuthFailed):
            verifier(keyring).verify_token(timed() + tail)


def test_no_other_spelling_of_a_signature_passes() -> None:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    text = timed()
    for keyring in (SecretKeyring(SECRET), UnverifiedKeyring()):
        passed = 0
        for letter in letters:
            try:
                verifier(keyring).verify_token(text[:-1] + letter)
                passed += 1
            except AuthFailed:
                pass
        assert passed == (1 if isinstance(keyring, SecretKeyring) else 16)  # of 43 letters the last holds four bits


def test_keys_that_are_not_for_verifying_are_passed_over() -> None:
    def entry(key: Key, **fields: Any) -> dict[str, Any]:
        return {**key.as_dict(private=False), **fields}

    unusable = [
        entry(RSA, use="enc"),
        entry(RSA, alg="RSA-OAEP"),
        entry(EC, key_ops=["encrypt"]),
        entry(ECKey.generate_key("P-384")),
    ]
    with pytest.raises(ConfigError, match="no key for verifying"):
        JwksKeyring(json.dumps({"keys": unusable}).encode())
    mixed = JwksKeyring(json.dumps({"keys": [*unusable, entry(ED, use="sig")]}).encode())
    assert verifier(mixed).verify_token(signed(ED, "EdDSA")).agent_id == "agent-1"
    with pytest.raises(AuthFailed):
        verifier(mixed).verify_token(signed(RSA, "RS256"))


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[" * 100_000,
        b"[]",
        b"{}",
        b'{"keys": []}',
        b'{"keys": [{"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U"}]}',
        b'{"keys": [{"kty": "RSA"}]}',
        b'{"keys": [1]}',
        key_set((ECKey.generate_key("P-384"), None)),
    ],
)
def test_a_key_set_that_must_not_be_used_is_refused(document: bytes) -> None:
    with pytest.raises(ConfigError):
        JwksKeyring(document)


def test_unsigned_mode_accepts_any_signature_but_no_expired_token() -> None:
    checked = verifier(UnverifiedKeyring())
    unsigned = token_with_header(b'{"alg":"none"}', iat=900, exp=1100).rpartition(".")[0] + "."
    assert accept(checked, unsigned).agent_id == "agent-1"
    assert accept(checked, timed()).agent_id == "agent-1"
    with pytest.raises(AuthFailed, match="expired"):
        accept(checked, timed(exp=999))
