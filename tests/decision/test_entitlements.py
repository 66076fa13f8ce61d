"""The keys in force: Cloud's while it has any, none after its time, and the memory of tokens knows when they change."""

import pytest

from kalguard.decision.entitlements import Entitlements, KeysInForce, TokenKey
from kalguard.decision.identity import ClosedKeyring, Identity, Keyring, SecretKeyring
from kalguard.decision.quota import PlanLimits
from kalguard.errors import AuthFailed
from tests.support import SECRET, always, token

CLOUD, BEFORE = "the secret that Cloud names, of 32 bytes", "the secret that it named before, of 32"
FAR = 4_000_000_000


class Keys:
    """The keys in force, with a clock and entitlements that can be changed."""

    def __init__(self, own: Keyring, *keys: TokenKey) -> None:
        self.now = 1000.0
        self.entitlements = Entitlements(keys=keys)
        self.in_force = KeysInForce(lambda: self.entitlements, own=own, clock=lambda: self.now)

    def takes(self, secret: str) -> bool:
        try:
            self.in_force().open(token(secret))
        except AuthFailed:
            return False
        return True


def key(secret: str, until: float | None = None) -> TokenKey:
    return TokenKey(SecretKeyring(secret), until)


def test_without_a_word_of_cloud_there_are_no_keys_but_our_own() -> None:
    assert not Keys(ClosedKeyring()).takes(SECRET)
    assert Keys(SecretKeyring(SECRET)).takes(SECRET)
    assert not Keys(SecretKeyring(SECRET)).takes(CLOUD)


def test_where_cloud_names_a_key_our_own_is_not_good() -> None:
    keys = Keys(SecretKeyring(SECRET), key(CLOUD))
    assert keys.takes(CLOUD)
    assert not keys.takes(SECRET)
    keys.entitlements = Entitlements()  # it has withdrawn it
    assert not keys.takes(CLOUD)
    assert keys.takes(SECRET)


def test_a_key_that_was_replaced_is_good_until_its_time_and_not_at_it() -> None:
    keys = Keys(SecretKeyring(SECRET), key(CLOUD), key(BEFORE, 1060.0))
    assert keys.takes(CLOUD)
    assert keys.takes(BEFORE)
    keys.now = 1059.999
    assert keys.takes(BEFORE)
    keys.now = 1060.0
    assert not keys.takes(BEFORE)
    assert keys.takes(CLOUD)


def test_a_key_whose_time_was_over_before_it_was_looked_at_is_never_good() -> None:
    keys = Keys(ClosedKeyring(), key(CLOUD), key(BEFORE, 1000.0))
    assert not keys.takes(BEFORE)


def test_the_keyring_is_another_one_exactly_when_the_keys_are() -> None:
    """`Identity` goes by it, to forget what other keys verified."""
    keys = Keys(ClosedKeyring(), key(CLOUD), key(BEFORE, 1060.0))
    first = keys.in_force()
    keys.now = 1059.0
    assert keys.in_force() is first
    keys.now = 1060.0
    second = keys.in_force()
    assert second is not first
    assert keys.in_force() is second
    keys.entitlements = Entitlements(keys=(key(CLOUD),))
    assert keys.in_force() is not second


def test_a_token_that_was_verified_is_refused_as_soon_as_its_key_is_over() -> None:
    keys = Keys(ClosedKeyring(), key(CLOUD), key(BEFORE, 1060.0))
    identity = Identity(keys.in_force, clock=lambda: keys.now, revoked=always(always_not))
    text = token(BEFORE, iat=1, exp=FAR)
    for _ in range(2):
        identity.confirm(identity.verify_token(text))
    keys.now = 1060.0
    with pytest.raises(AuthFailed):
        identity.verify_token(text)


def always_not(_: str) -> bool:
    return False


def test_a_token_that_was_refused_passes_when_its_key_is_there() -> None:
    keys = Keys(ClosedKeyring())
    identity = Identity(keys.in_force, clock=lambda: keys.now, revoked=always(always_not))
    text = token(CLOUD, iat=1, exp=FAR)
    with pytest.raises(AuthFailed):
        identity.verify_token(text)
    keys.entitlements = Entitlements(keys=(key(CLOUD),))
    assert identity.verify_token(text).agent_id == "agent-1"


def test_what_nobody_said_limits_nothing_and_revokes_nothing() -> None:
    said_nothing = Entitlements()
    assert said_nothing.limits == PlanLimits(None, None)
    assert said_nothing.keys == ()
    assert not said_nothing.revoked("0" * 64)
