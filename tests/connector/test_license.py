"""The licence's states and what they keep: only a good answer changes the plan, the keys and what is revoked."""

import hashlib
from datetime import UTC, datetime

import msgspec
import pytest

from kalguard.connector.license import (
    Failed,
    Good,
    Invalid,
    License,
    LicenseState,
    Outcome,
    Refused,
    SigningKey,
    Snapshot,
    Unchanged,
    after,
    objection,
    resumed,
)
from kalguard.decision.revocation import Digests
from kalguard.wire.cloud import LicenseLimits, LicenseReply
from tests.cloud import PRO, SIGNING_SECRET

OVERLAP = 60.0
A, B, C = (f"{name} secret for tests, of more than 32 bytes" for name in ("one", "another", "a third"))
CONNECTING, CONNECTED, DEGRADED, REJECTED = LicenseState
PLAN = License("team", "org_0", 5, 3)
KEYS = (SigningKey(B), SigningKey(A, 1000.0 + OVERLAP))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def digests(*texts: str) -> bytes:
    return b"".join(sorted(bytes.fromhex(digest(text)) for text in texts))


BEFORE = {
    "connecting": Snapshot(CONNECTING, 1.0),
    "connected": Snapshot(CONNECTED, 1.0, "", PLAN, KEYS, digests("x"), '"e"'),
    "degraded": Snapshot(DEGRADED, 1.0, "", PLAN, KEYS, digests("x"), '"e"'),
    "rejected": Snapshot(REJECTED, 1.0, "API key is refused", PLAN, KEYS, digests("x")),
    "rejected from the start": Snapshot(REJECTED, 1.0, "licence is not valid"),
}
OUTCOMES: dict[str, Outcome] = {
    "good": Good(PRO, '"new"'),
    "unchanged": Unchanged(),
    "invalid": Invalid(LicenseReply(valid=False)),
    "refused": Refused(),
    "failed": Failed("no answer"),
}
AFTER = {
    ("connecting", "good"): (CONNECTED, ""),
    ("connecting", "invalid"): (REJECTED, "licence is not valid"),
    ("connecting", "refused"): (REJECTED, "API key is refused"),
    ("connecting", "failed"): (CONNECTING, ""),
    ("connected", "good"): (CONNECTED, ""),
    ("connected", "unchanged"): (CONNECTED, ""),
    ("connected", "invalid"): (REJECTED, "licence is not valid"),
    ("connected", "refused"): (REJECTED, "API key is refused"),
    ("connected", "failed"): (DEGRADED, ""),
    ("degraded", "good"): (CONNECTED, ""),
    ("degraded", "unchanged"): (CONNECTED, ""),
    ("degraded", "invalid"): (REJECTED, "licence is not valid"),
    ("degraded", "refused"): (REJECTED, "API key is refused"),
    ("degraded", "failed"): (DEGRADED, ""),
    ("rejected", "good"): (CONNECTED, ""),
    ("rejected", "invalid"): (REJECTED, "licence is not valid"),
    ("rejected", "refused"): (REJECTED, "API key is refused"),
    ("rejected", "failed"): (REJECTED, "API key is refused"),  # its last word was no
    ("rejected from the start", "good"): (CONNECTED, ""),
    ("rejected from the start", "invalid"): (REJECTED, "licence is not valid"),
    ("rejected from the start", "refused"): (REJECTED, "API key is refused"),
    ("rejected from the start", "failed"): (REJECTED, "licence is not valid"),
}


def then(snapshot: Snapshot, *outcomes: Outcome, now: float = 1001.0, overlap: float = OVERLAP) -> Snapshot:
    """What is known after these, one after another, at the same moment."""
    for outcome in outcomes:
        snapshot = after(snapshot, outcome, now=now, overlap=overlap)
    return snapshot


def good(*, secret: str | None = SIGNING_SECRET, revoked: list[str] | None = None) -> Good:
    """A good answer with these."""
    return Good(msgspec.structs.replace(PRO, token_signing_secret=secret, revoked_token_hashes=revoked))


def test_every_state_and_outcome_is_in_the_table() -> None:
    """But "unchanged" where there is nothing that it could stand for: the client takes none (`test_client`)."""
    needed = {
        (state, outcome) for state in BEFORE for outcome in OUTCOMES if BEFORE[state].etag or outcome != "unchanged"
    }
    assert set(AFTER) == needed


@pytest.mark.parametrize(("state", "outcome"), AFTER)
def test_what_comes_of_an_outcome_in_a_state(state: str, outcome: str) -> None:
    before = BEFORE[state]
    found = then(before, OUTCOMES[outcome])
    assert (found.state, found.problem) == AFTER[state, outcome]
    assert found.since == (1001.0 if found.state is not before.state else before.since)
    if outcome == "good":
        assert found.license == License("pro", "org_1", 100_000, None)
        assert found.keys[0] == SigningKey(SIGNING_SECRET)
        assert (found.revoked, found.etag) == (b"", '"new"')
    else:
        assert (found.license, found.keys, found.revoked) == (before.license, before.keys, before.revoked)
        assert found.etag == (None if outcome in ("invalid", "refused") else before.etag)


@pytest.mark.parametrize("state", BEFORE)
def test_a_start_is_not_connected_and_knows_what_was_known(state: str) -> None:
    before = BEFORE[state]
    found = resumed(before, now=50.0, overlap=3600)
    if state == "connected":
        assert found == msgspec.structs.replace(before, state=DEGRADED, since=50.0)
    else:
        assert found == before


@pytest.mark.parametrize(("overlap", "until"), [(3600, 90.0), (10, 60.0), (0, None)])
def test_a_start_with_a_shorter_overlap_shortens_what_is_left(overlap: float, until: float | None) -> None:
    current, before = SigningKey("n" * 40), SigningKey("o" * 40, until=90.0)
    found = resumed(Snapshot(keys=(current, before)), now=50.0, overlap=overlap)
    assert found.keys == ((current,) if until is None else (current, SigningKey(before.secret, until)))


def test_a_limit_of_none_and_one_of_zero_are_told_apart() -> None:
    limits = LicenseLimits(checks_per_day=0, max_agents=-1, audit_retention_days=-1)
    found = then(Snapshot(), Good(msgspec.structs.replace(PRO, limits=limits)))
    assert found.license is not None
    assert (found.license.checks_per_day, found.license.max_agents) == (0, None)


def in_force(snapshot: Snapshot, now: float) -> list[str]:
    """The secrets that tokens may be signed with."""
    return [key.secret for key in snapshot.keys if key.until is None or now < key.until]


def test_a_key_that_is_replaced_stays_good_for_the_overlap_and_no_longer() -> None:
    found = then(Snapshot(), good(secret=A), good(secret=B))
    assert found.keys == (SigningKey(B), SigningKey(A, 1001.0 + OVERLAP))
    assert in_force(found, 1000.9 + OVERLAP) == [B, A]
    assert in_force(found, 1001.0 + OVERLAP) == [B]


def test_without_an_overlap_a_key_is_replaced_at_once() -> None:
    assert then(Snapshot(), good(secret=A), good(secret=B), overlap=0).keys == (SigningKey(B),)


def test_the_overlap_is_not_made_longer_by_more_answers() -> None:
    found = then(Snapshot(), good(secret=A), good(secret=B))
    again = then(found, good(secret=B), Unchanged(), Failed("gone"), now=1040.0)
    assert again.keys == found.keys
    over = then(again, good(secret=B), now=1001.0 + OVERLAP)
    assert over.keys == (SigningKey(B),)


def test_a_key_whose_overlap_is_over_is_forgotten_whatever_cloud_says() -> None:
    found = then(Snapshot(), good(secret=A), good(secret=B))
    for outcome in OUTCOMES.values():
        assert A not in [key.secret for key in then(found, outcome, now=1001.0 + OVERLAP).keys]


def test_of_keys_that_are_replaced_twice_the_latest_two_are_good() -> None:
    found = then(then(Snapshot(), good(secret=A), good(secret=B)), good(secret=C), now=1020.0)
    assert found.keys == (SigningKey(C), SigningKey(B, 1020.0 + OVERLAP))


def test_a_key_that_comes_back_is_good_again_without_an_end() -> None:
    found = then(then(Snapshot(), good(secret=A), good(secret=B)), good(secret=A), now=1020.0)
    assert found.keys == (SigningKey(A), SigningKey(B, 1020.0 + OVERLAP))


def test_a_key_that_cloud_withdraws_is_gone_at_once_and_so_is_the_one_before() -> None:
    found = then(Snapshot(), good(secret=A), good(secret=B), good(secret=None))
    assert found.keys == ()
    assert then(found, good(secret=C)).keys == (SigningKey(C),)


def test_no_word_of_revocations_keeps_them_and_an_empty_list_clears_them() -> None:
    found = then(Snapshot(), good(revoked=[digest("x"), digest("y").upper(), digest("x")]))
    assert found.revoked == digests("x", "y")
    assert then(found, good(revoked=None)).revoked == digests("x", "y")
    assert then(found, good(revoked=[digest("z")])).revoked == digests("z")
    assert then(found, good(revoked=[])).revoked == b""


def test_an_invalid_licence_can_only_add_revocations() -> None:
    found = then(Snapshot(), good(revoked=[digest("x")]))
    for said, known in (
        (None, digests("x")),
        ([], digests("x")),
        ([digest("y")], digests("x", "y")),
        ([digest("x"), digest("x")], digests("x")),
    ):
        assert then(found, Invalid(LicenseReply(valid=False, revoked_token_hashes=said))).revoked == known


def test_an_invalid_licence_changes_neither_plan_nor_keys_whatever_it_says() -> None:
    found = then(Snapshot(), good(secret=A))
    said = msgspec.structs.replace(PRO, valid=False, tier="free", token_signing_secret=B)
    invalid = then(found, Invalid(said))
    assert (invalid.license, invalid.keys) == (found.license, found.keys)


def expiring(at: float) -> Good:
    return Good(msgspec.structs.replace(PRO, expires_at=datetime.fromtimestamp(at, UTC)))


def test_a_licence_that_expires_while_cloud_is_gone_is_rejected_and_everything_else_stays() -> None:
    found = then(Snapshot(), expiring(1100.0))
    before = then(found, Failed("gone"), now=1099.9)
    assert before.state is DEGRADED
    over = then(before, Failed("gone"), now=1100.0)
    assert (over.state, over.problem, over.since) == (REJECTED, "licence has expired", 1100.0)
    assert (over.license, over.keys, over.revoked) == (found.license, found.keys, found.revoked)
    assert then(over, Failed("gone"), now=1200.0) == over
    assert then(over, expiring(1300.0), now=1200.0).state is CONNECTED


def test_while_cloud_says_it_is_valid_it_is_whatever_the_date() -> None:
    found = then(Snapshot(), expiring(900.0))
    assert found.state is CONNECTED
    assert then(found, Unchanged()).state is CONNECTED


def test_a_licence_that_cannot_be_used_is_objected_to() -> None:
    assert objection(PRO) is None
    assert objection(msgspec.structs.replace(PRO, token_signing_secret=None)) is None
    for changes, problem in (
        ({"tier": None}, "without tier"),
        ({"limits": None}, "without tier"),
        ({"token_signing_secret": "short"}, "shorter than 32 bytes"),
        ({"token_signing_secret": ""}, "shorter than 32 bytes"),
        ({"expires_at": datetime(2030, 1, 1)}, "without a time zone"),
    ):
        assert problem in str(objection(msgspec.structs.replace(PRO, **changes)))


def test_a_hundred_thousand_revoked_tokens_are_each_found_and_nothing_else() -> None:
    found = then(Snapshot(), good(revoked=[digest(str(number)) for number in range(100_000)]))
    revoked = Digests(found.revoked)
    assert len(revoked) == 100_000
    assert all(revoked(digest(str(number))) for number in range(0, 100_000, 997))
    assert not any(revoked(digest(f"x{number}")) for number in range(1000))
