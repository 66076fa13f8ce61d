"""The licence: what Cloud said last that was good, and how things stand with Cloud. One machine, no I/O, no clock.

    connecting --good--> connected --failed--> degraded --good--> connected
        any of them --refused, invalid--> rejected --good--> connected

Without an API key there is no machine at all: that is local-only.

INVARIANT: only a good answer changes the plan, the keys and what is no longer revoked. Losing Cloud, being refused by
it or being told rubbish leaves them as they were, so that nothing opens and nothing closes.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from kalguard.decision.identity import SecretKeyring
from kalguard.errors import ConfigError
from kalguard.wire.cloud import LicenseReply

DIGEST_BYTES = 32


class LicenseState(StrEnum):
    """How things stand with Cloud."""

    CONNECTING = "connecting"  # no good answer yet
    CONNECTED = "connected"  # the last answer was good
    DEGRADED = "degraded"  # no answer; the last good licence is in force
    REJECTED = "rejected"  # Cloud said no: the key is refused or the licence not valid


class License(msgspec.Struct, frozen=True):
    """A plan, as Cloud gave it. `None`: no limit."""

    tier: str
    org_id: str
    checks_per_day: int | None
    max_agents: int | None
    expires_at: datetime | None = None


class SigningKey(msgspec.Struct, frozen=True):
    """A secret that agent tokens are signed with; good until then, in unix seconds, if it was replaced."""

    secret: str
    until: float | None = None


class Snapshot(msgspec.Struct, frozen=True):
    """All that is known, swapped whole. `since` is unix seconds; `problem` says why Cloud's last word was no.

    `revoked` are the digests of withdrawn tokens, one after the other. `etag` stands for the last good answer.
    """

    state: LicenseState = LicenseState.CONNECTING
    since: float = 0.0
    problem: str = ""
    license: License | None = None
    keys: tuple[SigningKey, ...] = ()
    revoked: bytes = b""
    etag: str | None = None


class Good(msgspec.Struct, frozen=True):
    """A valid licence."""

    reply: LicenseReply
    etag: str | None = None


class Unchanged(msgspec.Struct, frozen=True):
    """The licence is as it was."""


class Invalid(msgspec.Struct, frozen=True):
    """Cloud knows the key and says that its licence is not valid."""

    reply: LicenseReply


class Refused(msgspec.Struct, frozen=True):
    """Cloud does not take the key."""


class Failed(msgspec.Struct, frozen=True):
    """No answer, or none that can be used: `problem`. After `retry_after` seconds Cloud wants to be asked again."""

    problem: str
    retry_after: float | None = None


Outcome = Good | Unchanged | Invalid | Refused | Failed


def after(snapshot: Snapshot, outcome: Outcome, *, now: float, overlap: float) -> Snapshot:
    """What is known after an outcome. A key that is replaced stays good for `overlap` seconds."""
    changes: dict[str, object] = {}
    if isinstance(outcome, Good):
        state, problem = LicenseState.CONNECTED, ""
        changes = _taken_up(snapshot, outcome, now, overlap)
    elif isinstance(outcome, Unchanged):
        state, problem = LicenseState.CONNECTED, ""
    elif isinstance(outcome, Invalid):
        state, problem = LicenseState.REJECTED, "licence is not valid"
        # Whatever else it says: a token that is withdrawn meanwhile is withdrawn.
        changes = {"revoked": _joined(snapshot.revoked, outcome.reply.revoked_token_hashes or ()), "etag": None}
    elif isinstance(outcome, Refused):
        state, problem = LicenseState.REJECTED, "API key is refused"
        changes = {"etag": None}
    else:
        state, problem = _without_an_answer(snapshot, now)
    since = snapshot.since if state is snapshot.state else now
    kept = tuple(key for key in snapshot.keys if key.until is None or now < key.until)
    return msgspec.structs.replace(
        snapshot, **{"keys": kept, **changes, "state": state, "since": since, "problem": problem}
    )


def resumed(snapshot: Snapshot, *, now: float, overlap: float) -> Snapshot:
    """What is known at a start, from what was known before: not connected until Cloud says so.

    A key that was replaced stays good for `overlap` seconds at most, which may be less than was asked for before.
    """
    keys = tuple(
        key if key.until is None else SigningKey(key.secret, min(key.until, now + overlap))
        for key in snapshot.keys
        if key.until is None or (overlap > 0 and now < key.until)
    )
    snapshot = msgspec.structs.replace(snapshot, keys=keys)
    if snapshot.state is not LicenseState.CONNECTED:
        return snapshot
    return msgspec.structs.replace(snapshot, state=LicenseState.DEGRADED, since=now)


def _without_an_answer(snapshot: Snapshot, now: float) -> tuple[LicenseState, str]:
    if snapshot.state in (LicenseState.CONNECTING, LicenseState.REJECTED):
        return snapshot.state, snapshot.problem  # where the last word of Cloud was no, it stays so
    expires_at = None if snapshot.license is None else snapshot.license.expires_at
    if expires_at is not None and now >= expires_at.timestamp():
        return LicenseState.REJECTED, "licence has expired"
    return LicenseState.DEGRADED, ""


def _taken_up(snapshot: Snapshot, good: Good, now: float, overlap: float) -> dict[str, object]:
    reply = good.reply
    assert reply.tier is not None and reply.org_id is not None and reply.limits is not None  # noqa: S101 - see `objection`
    revoked = reply.revoked_token_hashes
    return {
        "license": License(
            reply.tier,
            reply.org_id,
            _limit(reply.limits.checks_per_day),
            _limit(reply.limits.max_agents),
            reply.expires_at,
        ),
        "keys": _rotated(snapshot.keys, reply.token_signing_secret, now, overlap),
        "revoked": snapshot.revoked if revoked is None else _joined(b"", revoked),
        "etag": good.etag,
    }


def objection(reply: LicenseReply) -> str | None:
    """Why a licence that is said to be valid cannot be used."""
    if reply.tier is None or reply.org_id is None or reply.limits is None:
        return "a valid licence without tier, orgId or limits"
    if reply.token_signing_secret is not None:
        try:
            SecretKeyring(reply.token_signing_secret)
        except ConfigError as error:
            return f"a tokenSigningSecret that {error}"
    if reply.expires_at is not None and reply.expires_at.tzinfo is None:
        return "an expiresAt without a time zone"
    return None


def _rotated(keys: Sequence[SigningKey], secret: str | None, now: float, overlap: float) -> tuple[SigningKey, ...]:
    """The keys when Cloud names one: it, and the one before it for a while. Without one there is none any more."""
    if secret is None:
        return ()
    current = SigningKey(secret)
    before = [key for key in keys if key.secret != secret and (key.until is None or now < key.until)]
    if not before or overlap <= 0:
        return (current,)
    last = before[0]
    until = now + overlap if last.until is None else last.until
    return (current, SigningKey(last.secret, until))


def _limit(count: int) -> int | None:
    return None if count < 0 else count


def _joined(digests: bytes, more: Sequence[str]) -> bytes:
    held = {digests[at : at + DIGEST_BYTES] for at in range(0, len(digests), DIGEST_BYTES)}
    return b"".join(sorted(held | {bytes.fromhex(digest) for digest in more}))
