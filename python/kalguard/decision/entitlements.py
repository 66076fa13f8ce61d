"""What Cloud has said that a decision needs: one immutable snapshot, swapped whole."""

from collections.abc import Callable

import msgspec

from kalguard.decision.identity import AnyKeyring, Keyring
from kalguard.decision.quota import PlanLimits
from kalguard.decision.revocation import Digests


class TokenKey(msgspec.Struct, frozen=True):
    """A key that tokens are verified with, until then (unix seconds) if it was replaced."""

    keyring: Keyring
    until: float | None = None


class Entitlements(msgspec.Struct, frozen=True):
    """The plan's limits, the keys of agent tokens and those that are withdrawn."""

    limits: PlanLimits = PlanLimits()
    keys: tuple[TokenKey, ...] = ()
    revoked: Callable[[str], bool] = Digests(b"")


class KeysInForce:
    """The keyring of now: Cloud's keys if there are any, else `own`. It is another one whenever a key comes or goes."""

    def __init__(self, entitlements: Callable[[], Entitlements], *, own: Keyring, clock: Callable[[], float]) -> None:
        self._entitlements = entitlements
        self._own = own
        self._clock = clock
        self._of: Entitlements | None = None
        self._until = float("inf")
        self._keyring = own

    def __call__(self) -> Keyring:
        now, entitlements = self._clock(), self._entitlements()
        if entitlements is not self._of or now >= self._until:
            good = [key for key in entitlements.keys if key.until is None or now < key.until]
            self._keyring = AnyKeyring([key.keyring for key in good]) if good else self._own
            self._until = min((key.until for key in good if key.until is not None), default=float("inf"))
            self._of = entitlements
        return self._keyring
