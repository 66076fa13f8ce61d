"""Whatever Cloud answers, and in whatever order: nobody gets in who must not, and losing Cloud never widens access.

A machine makes up a history: a Cloud that changes plan, key and revocations and answers well, wrongly or not at all;
restarts of the whole and of one worker; time that passes; a snapshot that cannot be written, is lost, or is replaced by
rubbish. Everything between the bytes of Cloud's answer and `Identity` is the product's. A plain model says which tokens
must pass, to the second; and beside it, whatever is not a good answer may take away and never add.
"""

import asyncio
import errno
import hashlib
import logging
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from kalguard.connector import client
from kalguard.connector.client import CloudClient
from kalguard.connector.sealed import SealedFile, Unreadable
from kalguard.connector.snapshot import SnapshotFile
from kalguard.connector.sync import Connector
from kalguard.decision.quota import PlanLimits
from kalguard.decision.revocation import Revocations
from kalguard.errors import AuthFailed, TokenRevoked, Unavailable
from kalguard.ledger.file import temporary_ledger
from kalguard.ledger.usage import UsageBuffer
from kalguard.sidecar import app as sidecar
from kalguard.sidecar.app import Plan
from kalguard.sidecar.cloud import CloudView
from kalguard.wire.cloud import LicenseLimits, LicenseReply
from tests.support import ALL_CAPABILITIES, settings, token

START = 1_700_000_000
OVERLAP = 60
PRESENTED = 12  # tokens, the latest ones, after every step
URL, API_KEY = "https://cloud.example", "kg_test_key"
SECRETS = {name: f"the secret {name} for tests, of more than 32 bytes" for name in ("own", "a", "b", "c", "nobody's")}
NO_ANSWERS: dict[str, type[httpx.TransportError]] = {
    "gone": httpx.ConnectError,
    "slow": httpx.ReadTimeout,
    "cut": httpx.RemoteProtocolError,
}
ANSWERS: dict[str, tuple[int, dict[str, str], Any]] = {
    "refused": (401, {}, None),
    "forbidden": (403, {}, None),
    "broken": (500, {}, None),
    "busy": (429, {"retry-after": "5"}, None),
    "elsewhere": (307, {"location": "https://other.example"}, None),
    "rubbish": (200, {}, b"<html>\xff"),
    "without a plan": (200, {}, {"valid": True, "tokenSigningSecret": SECRETS["nobody's"]}),
    "a short key": (
        200,
        {},
        {
            "valid": True,
            "tier": "t",
            "orgId": "o",
            "limits": {"checksPerDay": -1, "maxAgents": -1, "auditRetentionDays": 1},
            "tokenSigningSecret": "short",
            "revokedTokenHashes": [],
        },
    ),
    "yes, perhaps": (200, {}, {"valid": "true", "revokedTokenHashes": []}),
    "unchanged": (304, {}, None),  # said to everybody
}
BAD = sorted({*NO_ANSWERS, *ANSWERS, "invalid", "invalid and more revoked"})


def answer(status: int, headers: dict[str, str], content: bytes) -> httpx.Response:
    """As it comes from a network: in a stream that has yet to be read."""
    return httpx.Response(status, headers=headers, stream=httpx.ByteStream(content))


class Token(NamedTuple):
    """A token, and what is known of it."""

    text: str
    signed_by: str
    good_from: int
    good_until: int

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


class Known(NamedTuple):
    """What somebody knows of Cloud's last good word, as plainly as it can be said."""

    key: str | None = None
    key_before: str | None = None
    before_until: int = 0
    revoked: frozenset[str] = frozenset()
    limits: PlanLimits = PlanLimits()

    def keys(self, now: int) -> set[str]:
        """Who may sign."""
        if self.key is None:
            return {"own"}
        return {self.key, self.key_before} - {None} if now < self.before_until else {self.key}  # type: ignore[return-value]

    def told(self, key: str | None, revoked: frozenset[str] | None, limits: PlanLimits, now: int) -> "Known":
        """After a good answer."""
        known = self._replace(limits=limits, revoked=self.revoked if revoked is None else revoked)
        if key is None:
            return known._replace(key=None, key_before=None, before_until=0)
        if self.key in (None, key):
            return known._replace(key=key)
        return known._replace(key=key, key_before=self.key, before_until=now + OVERLAP)


class Machine(RuleBasedStateMachine):
    tokens = Bundle("tokens")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "licence"
        self.now = START
        self.answer = "good"
        self.cloud = LicenseReply(valid=True, tier="pro", org_id="org_1", limits=LicenseLimits(-1, -1, 1))
        self.key: str | None = None
        self.is_full = False
        self.presented: list[Token] = []
        # What is known to whom: the main process, the file (nothing while it is lost or rubbish), the worker (nothing:
        # it has none to go by).
        self.main = Known()
        self.file: Known | None = None
        self.worker: Known | None = None
        logging.disable()  # what is logged of thousands of answers
        self.patched = pytest.MonkeyPatch()
        self.patched.setattr(client, "PAUSE_SECONDS", 0.0)
        self.patched.setattr(sidecar, "time", SimpleNamespace(time=lambda: float(self.now)))
        whole = SealedFile.write
        self.patched.setattr(SealedFile, "write", lambda file, content: self._written(whole, file, content))

    def teardown(self) -> None:
        self.patched.undo()
        logging.disable(logging.NOTSET)
        shutil.rmtree(self.folder)

    def _written(self, whole: Any, file: SealedFile, content: bytes) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(file, content)

    def _answered(self, request: httpx.Request) -> httpx.Response:
        if self.answer in NO_ANSWERS:
            raise NO_ANSWERS[self.answer](self.answer)
        if self.answer in ANSWERS:
            status, headers, said = ANSWERS[self.answer]
            return answer(status, headers, said if isinstance(said, bytes) else msgspec.json.encode(said))
        reply = self.cloud
        if self.answer.startswith("invalid"):
            more = [one.digest for one in self.presented[-1:]] if "more" in self.answer else []
            reply = msgspec.structs.replace(reply, valid=False, revoked_token_hashes=more)
        content = msgspec.json.encode(reply)
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        if request.headers.get("if-none-match") == etag:
            return answer(304, {"etag": etag}, b"")
        return answer(200, {"etag": etag}, content)

    @initialize(has_own=st.booleans())
    def begin(self, has_own: bool) -> None:
        self.settings = settings(token_secret=SECRETS["own"] if has_own else "", api_key=API_KEY)
        self.has_own = has_own
        self.restart()

    @precondition(lambda self: not self.is_full)
    @rule()
    def restart(self) -> None:
        """All processes are new."""
        store = SnapshotFile(self.path, url=URL, api_key=API_KEY)
        self.connector = Connector(
            CloudClient(URL, API_KEY, transport=httpx.MockTransport(self._answered)),
            store=store,
            snapshot=store.resume(now=float(self.now), overlap=3600),
            usage=USAGE,
            interval_seconds=300,
            overlap_seconds=OVERLAP,
            obeys_remaining=True,
            clock=lambda: float(self.now),
        )
        self.main = self.file = self.file or Known()
        self.new_worker()

    @rule()
    def new_worker(self) -> None:
        self.view = CloudView(SnapshotFile(self.path, url=URL, api_key=API_KEY))
        files: Any = SimpleNamespace(revoked=Revocations)
        self.identity = sidecar._identity(self.settings, files, Plan(self.view, LEDGER))
        self.worker = self.file

    @rule(key=st.sampled_from(["a", "b", "c", "a", "b", "c", None]))
    def cloud_has_another_key(self, key: str | None) -> None:
        self.key = key
        self.cloud = msgspec.structs.replace(self.cloud, token_signing_secret=SECRETS[key] if key else None)

    @rule(token=tokens)
    def cloud_revokes(self, token: Token) -> None:
        self._known(token)
        self._revoked([*(self.cloud.revoked_token_hashes or []), token.digest])

    @rule(revoked=st.sampled_from([None, []]))
    def cloud_says_of_revocations(self, revoked: list[str] | None) -> None:
        self._revoked(revoked)

    def _revoked(self, digests: list[str] | None) -> None:
        self.cloud = msgspec.structs.replace(self.cloud, revoked_token_hashes=digests)

    @rule(checks=st.sampled_from([-1, 0, 5]), agents=st.sampled_from([-1, 0, 3]))
    def cloud_has_another_plan(self, checks: int, agents: int) -> None:
        self.cloud = msgspec.structs.replace(self.cloud, limits=LicenseLimits(checks, agents, 1))

    @rule()
    def cloud_answers_well(self) -> None:
        self._ask("good")
        assert self.cloud.limits is not None
        checks, agents = self.cloud.limits.checks_per_day, self.cloud.limits.max_agents
        limits = PlanLimits(None if checks < 0 else checks, None if agents < 0 else agents)
        revoked = self.cloud.revoked_token_hashes
        said = None if revoked is None else frozenset(revoked)
        self.main = self.main.told(self.key, said, limits, self.now)
        self._published()

    @rule(how=st.sampled_from(BAD))
    def cloud_does_not(self, how: str) -> None:
        """Whatever this is, it opens nothing, and no limit of the plan with it."""
        self.worker_looks()
        before, limits = self._passing(), self.view.limits()
        self._ask(how)
        if "more" in how:
            self.main = self.main._replace(revoked=self.main.revoked | {one.digest for one in self.presented[-1:]})
        lagged = self.file != self.main and self.file is not None  # a write that failed before, caught up with now
        was_lost = self.worker is None
        self._published()
        self.worker_looks()
        if not lagged and not was_lost:
            assert self._passing() <= before
            assert self.view.limits() == limits

    def _ask(self, how: str) -> None:
        self.answer = how
        asyncio.run(self.connector.sync())

    def _published(self) -> None:
        """What is known to the main process is made known, as soon as that can be written."""
        if not self.is_full:
            self.file = self.main

    @rule()
    def worker_looks(self) -> None:
        try:
            asyncio.run(self.view.refresh())
        except (OSError, Unreadable):
            assert self.file is None
        else:
            assert self.file is not None
            self.worker = self.file

    @rule(is_full=st.sampled_from([True, False, False]))
    def disk_is(self, is_full: bool) -> None:
        self.is_full = is_full

    @rule(how=st.sampled_from(["lost", "rubbish"]))
    def snapshot_is(self, how: str) -> None:
        self.file = None
        self.path.unlink(missing_ok=True)
        if how == "rubbish":
            self.path.write_bytes(b"rubbish")

    @rule(seconds=st.sampled_from([1, OVERLAP - 1, OVERLAP, OVERLAP + 1, 3600]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule(
        target=tokens,
        signed_by=st.sampled_from(sorted(SECRETS)),
        issued=st.sampled_from([0, 0, 0, -30, 30]),
        lasts=st.sampled_from([7200, 7200, OVERLAP + 1, 1, 0]),
    )
    def issue(self, signed_by: str, issued: int, lasts: int) -> Token:
        good_from, good_until = self.now + issued, self.now + lasts
        text = token(SECRETS[signed_by], iat=good_from, exp=good_until, capabilities=ALL_CAPABILITIES)
        return self._known(Token(text, signed_by, good_from, good_until))

    @rule(target=tokens, token=tokens)
    def forge(self, token: Token) -> Token:
        """The same with another signature."""
        signed, _, signature = token.text.rpartition(".")
        return self._known(token._replace(text=f"{signed}.{signature[::-1]}", signed_by="nobody's"))

    def _known(self, token: Token) -> Token:
        self.presented = [*(one for one in self.presented[-PRESENTED + 1 :] if one != token), token]
        return token

    def _outcome(self, token: Token) -> str:
        try:
            self.identity.confirm(self.identity.verify_token(token.text))
        except (AuthFailed, TokenRevoked, Unavailable) as error:
            return type(error).__name__
        return "passes"

    def _passing(self) -> set[Token]:
        return {one for one in self.presented if self._outcome(one) == "passes"}

    def _expected(self, token: Token) -> str:
        known = self.worker or Known()
        keys = known.keys(self.now) if self.has_own else known.keys(self.now) - {"own"}
        if token.signed_by not in keys or not token.good_from <= self.now < token.good_until:
            return "AuthFailed"
        if self.worker is None:
            return "Unavailable"
        return "TokenRevoked" if token.digest in known.revoked else "passes"

    @invariant()
    def nobody_gets_in_who_must_not(self) -> None:
        """Twice in a row: the second time, the memory for verified tokens is warm."""
        for one in [*self.presented, *self.presented]:
            assert self._outcome(one) == self._expected(one)

    @invariant()
    def the_plan_is_the_last_that_was_known(self) -> None:
        assert self.view.limits() == (self.worker or Known()).limits


LEDGER = temporary_ledger()
USAGE = UsageBuffer(LEDGER)

TestOutages = Machine.TestCase
TestOutages.settings = hypothesis_settings(max_examples=60, stateful_step_count=40, deadline=None)
