"""Whatever becomes of keys, clock and the list of revoked tokens, and in whatever order: nobody gets in who must not.

A machine makes up a history: restarts with other keys and another leeway, a clock that goes forward and back, a list of
revoked tokens that appears, grows, breaks and goes away, looked at once or twice, tokens issued, tampered with and
presented, to a memory for verified ones that holds only a few. A plain model says what must come of it. In no state
may a forged, expired or revoked token get anything but a 401, or 503 where nobody can know the list.
"""

import asyncio
import functools
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from joserfc.jwk import ECKey

from kalguard.decision import identity
from kalguard.decision.firewall import PromptFirewall
from kalguard.records.sinks import MemorySink
from kalguard.sidecar import app as sidecar
from kalguard.sidecar import operator
from kalguard.sidecar.operator import OperatorFiles
from tests.forgery import EC, ED, EDITS, FORGES, P256_ORDER, RSA, base64url, by_hmac, signer, unbase64url
from tests.support import ALL_CAPABILITIES, GOOD_PROMPT, SECRET, app, call, records

START = 1_700_000_000
PRESENTED = 4  # tokens, the latest ones, after every step
OTHER_SECRET = "another secret for tests, of more than 32 bytes"
OTHER_EC = ECKey.generate_key("P-256")
SIGNERS = {
    "secret": ("HS256", by_hmac(SECRET.encode())),
    "other secret": ("HS256", by_hmac(OTHER_SECRET.encode())),
    "rsa": ("RS256", signer(RSA)),
    "ec": ("ES256", signer(EC)),
    "other ec": ("ES256", signer(OTHER_EC)),
    "ed": ("EdDSA", signer(ED)),
}
# Which signatures are good under which keys.
KEYS: dict[str, frozenset[str]] = {
    "secret": frozenset({"secret"}),
    "other secret": frozenset({"other secret"}),
    "one set": frozenset({"rsa", "ec"}),
    "other set": frozenset({"other ec", "ed"}),
    "none": frozenset(),
}
BROKEN = "no digest\n"


class Token(NamedTuple):
    """A token, and what is known of it. `signed_by` is nobody for one that was tampered with."""

    text: str
    signed_by: str | None
    good_from: int
    good_until: int


def digests(token: Token) -> set[str]:
    """The SHA-256 of a token, and of the other spelling that its holder can make of it."""
    spellings = {token.text, twin_of(token.text)} if token.signed_by in ("ec", "other ec") else {token.text}
    return {hashlib.sha256(text.encode()).hexdigest() for text in spellings}


def twin_of(text: str) -> str:
    signed, signature = text.rsplit(".", 1)
    raw = unbase64url(signature)
    return f"{signed}.{base64url(raw[:32] + (P256_ORDER - int.from_bytes(raw[32:])).to_bytes(32))}"


class Disk:
    """The list of revoked tokens: what the path leads to, and what must be in force after each look."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.in_force: set[str] | None = None
        self.seen = self.settled = self.text = None  # type: str | None

    def write(self, text: str | None) -> None:
        self.text = text
        if text is None:
            self.path.unlink(missing_ok=True)
        else:
            self.path.write_text(text)

    def start(self) -> None:
        """What a fresh process finds: the first look is enough, and nothing is left of before."""
        self.in_force = None
        self.seen = self.text
        self._settle()

    def look(self) -> None:
        """A change is taken up when it is seen twice."""
        steady, self.seen = self.text == self.seen, self.text
        if steady and self.text != self.settled:
            self._settle()

    def _settle(self) -> None:
        self.settled = self.text
        if self.text is not None and BROKEN not in self.text:
            self.in_force = set(self.text.split())


class Machine(RuleBasedStateMachine):
    tokens = Bundle("tokens")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.now, self.leeway, self.keys, self.has_list = START, 0, "none", False
        self.disk = Disk(self.folder / "revoked")
        self.sink = MemorySink()
        self.presented: list[Token] = []
        self.patched = pytest.MonkeyPatch()
        self.patched.setattr(sidecar, "time", SimpleNamespace(time=lambda: float(self.now)))
        self.patched.setattr(sidecar, "OperatorFiles", self._files)
        self.patched.setattr(operator, "PromptFirewall", firewall)
        self.patched.setattr(identity, "CACHED_TOKENS", 3)
        for name, keys in (("one set", (RSA, EC)), ("other set", (OTHER_EC, ED))):
            key_set = {"keys": [key.as_dict(private=False) for key in keys]}
            (self.folder / name).write_text(json.dumps(key_set))

    def teardown(self) -> None:
        self.patched.undo()
        shutil.rmtree(self.folder)

    def _files(self, *arguments: Any, **named: Any) -> OperatorFiles:
        self.files = OperatorFiles(*arguments, **named)
        return self.files

    @initialize(keys=st.sampled_from(sorted(KEYS)), has_list=st.sampled_from([True, True, False]))
    def begin(self, keys: str, has_list: bool) -> None:
        self.restart(keys, 0, has_list)

    @rule(
        keys=st.sampled_from([None] * 5 + sorted(KEYS)),
        leeway=st.sampled_from([0, 0, 30]),
        has_list=st.sampled_from([True, True, False]),
    )
    def restart(self, keys: str | None, leeway: int, has_list: bool) -> None:
        """Another process, with other settings or the same: nothing is remembered."""
        keys = keys or self.keys
        self.keys, self.leeway, self.has_list = keys, leeway, has_list
        variables = {"token_secret": "", "policy_default_deny": "false", "token_leeway_s": str(leeway)}
        if keys.endswith("secret"):
            variables["token_secret"] = SECRET if keys == "secret" else OTHER_SECRET
        elif keys != "none":
            variables["token_jwks_path"] = str(self.folder / keys)
        if has_list:
            variables["revoked_tokens_path"] = str(self.disk.path)
        self.target = app(self.sink, **variables)
        self.disk.start()

    @rule(seconds=st.sampled_from([1, 29, 30, 31, 60, 3600, -1, -30, -60, -3600]))
    def clock_moves(self, seconds: int) -> None:
        self.now += seconds

    @rule(
        token=tokens.filter(lambda token: token.signed_by is not None),
        edge=st.sampled_from(["good_from", "good_until"]),
        off=st.sampled_from([-1, 0, 1]),
    )
    def clock_comes_to_the_edge(self, token: Token, edge: str, off: int) -> None:
        """Of the time in which a token is good."""
        leeway = self.leeway if edge == "good_until" else -self.leeway
        self.now = getattr(token, edge) + leeway + off
        self._known(token)

    @rule(target=tokens, data=st.data(), lasts=st.sampled_from([60, 7200]))
    def issue_good(self, data: st.DataObject, lasts: int) -> Token:
        signers = sorted(KEYS[self.keys]) or sorted(SIGNERS)
        return self._issued(data.draw(st.sampled_from(signers)), self.now - 1, None, self.now + lasts)

    @rule(
        target=tokens,
        signed_by=st.sampled_from(sorted(SIGNERS)),
        issued=st.sampled_from([-3600, -1, 0, 10]),
        lasts=st.sampled_from([-1, 0, 1, 30, 60]),
        delay=st.sampled_from([None, -60, 0, 30]),
    )
    def issue(self, signed_by: str, issued: int, lasts: int, delay: int | None) -> Token:
        not_before = None if delay is None else self.now + delay
        return self._issued(signed_by, self.now + issued, not_before, self.now + lasts)

    def _issued(self, signed_by: str, issued: int, not_before: int | None, expires: int) -> Token:
        claims = {"sub": "agent-1", "iat": issued, "exp": expires, "capabilities": ALL_CAPABILITIES}
        if not_before is not None:
            claims["nbf"] = not_before
        alg, sign = SIGNERS[signed_by]
        signed = ".".join(base64url(json.dumps(part).encode()) for part in ({"alg": alg}, claims))
        text = f"{signed}.{base64url(sign(signed.encode()))}"
        return self._known(Token(text, signed_by, max(issued, not_before or issued), expires))

    def _known(self, token: Token) -> Token:
        self.presented = [*self.presented[-PRESENTED + 1 :], token]
        return token

    @rule(
        target=tokens,
        token=tokens.filter(lambda token: token.signed_by is not None),
        how=st.sampled_from(sorted(EDITS)),
    )
    def tamper(self, token: Token, how: str) -> Token:
        return self._known(Token(EDITS[how](FORGES["secret"], token.text), None, 0, 0))

    @rule(target=tokens, token=tokens.filter(lambda token: token.signed_by in ("ec", "other ec")))
    def respell(self, token: Token) -> Token:
        return self._known(token._replace(text=twin_of(token.text)))

    @rule(token=tokens, looks=st.sampled_from([0, 2, 2]))
    def revoke(self, token: Token, looks: int) -> None:
        digest = hashlib.sha256(token.text.encode()).hexdigest()
        self.disk.write(f"{(self.disk.text or '').replace(BROKEN, '')}{digest}\n")
        self.look_at_list(looks)
        self._known(token)
        if token.signed_by in ("ec", "other ec"):
            self._known(token._replace(text=twin_of(token.text)))

    @rule(change=st.sampled_from(["gone", "empty", "broken", "append broken"]))
    def list_changes(self, change: str) -> None:
        appended = (self.disk.text or "") + BROKEN
        self.disk.write({"gone": None, "empty": "", "broken": BROKEN, "append broken": appended}[change])

    @rule(times=st.sampled_from([1, 2, 2]))
    def look_at_list(self, times: int) -> None:
        for _ in range(times):
            asyncio.run(self.files.refresh())
            if self.has_list:
                self.disk.look()

    @rule(token=tokens)
    def present(self, token: Token) -> None:
        """One from long ago."""
        self._known(token)

    @invariant()
    def nobody_gets_in_who_must_not(self) -> None:
        """Twice in a row: the second time, the memory for verified tokens is warm."""
        for token in self.presented:
            self._present(token, "/v1/tool/check", {"toolName": "t"})
            self._present(token, "/v1/prompt/check", GOOD_PROMPT)

    def _present(self, token: Token, path: str, body: object) -> None:
        self.sink.lines.clear()
        reply = call(self.target, path, body, headers={"authorization": f"Bearer {token.text}"})
        expected = self.expected(token)
        assert (reply.status, reply.body.get("errorCode")) == expected, (expected, reply.body["message"])
        assert reply.body["allowed"] is (reply.status == 200)
        (record,) = records(self.sink)
        assert (record["type"] == "auth_failure") is (reply.status == 401)

    def expected(self, token: Token) -> tuple[int, str | None]:
        is_signed = token.signed_by in KEYS[self.keys]
        in_time = token.good_from - self.leeway <= self.now < token.good_until + self.leeway
        if not is_signed or not in_time:
            return 401, "AUTH_FAILED"
        if self.has_list and self.disk.in_force is None:
            return 503, "UNAVAILABLE"
        if self.has_list and digests(token) & (self.disk.in_force or set()):
            return 401, "TOKEN_REVOKED"
        return 200, None


firewall: Callable[..., PromptFirewall] = functools.cache(PromptFirewall)  # the same for all; costly to make

TestTokenStates = Machine.TestCase
TestTokenStates.settings = hypothesis_settings(max_examples=100, stateful_step_count=30, deadline=None)
