"""The head of a request is read as the expressions that it is described by would have it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalguard.errors import AuthFailed
from kalguard.sidecar.requests import read_head

BEARER = re.compile(rb"(?i:bearer) +([A-Za-z0-9._~+/=-]+) *")
NEARLY = st.from_regex(rb"(?i: ?bearer)? {0,2}[A-Za-z0-9._~+/=,:\t\n-]{0,20}( [a.]?)? {0,2}", fullmatch=True)


def token_in(*credentials: bytes) -> str | None:
    try:
        return read_head([(b"authorization", each) for each in credentials]).bearer_token()
    except AuthFailed:
        return None


@given(st.binary(max_size=20) | NEARLY)
def test_a_token_is_what_the_expression_finds(credentials: bytes) -> None:
    found = BEARER.fullmatch(credentials)
    assert token_in(credentials) == (found and found[1].decode())


@pytest.mark.parametrize("credentials", [b"Bearer a.b-c", b"bearer a.b-c", b"BEARER   a.b-c  "])
def test_a_token_may_stand_between_spaces_and_behind_any_spelling_of_bearer(credentials: bytes) -> None:
    assert token_in(credentials) == "a.b-c"
    assert token_in(credentials, credentials) is None


def test_fresh_names_do_not_meet() -> None:
    names = [read_head([]).request_id for _ in range(1000)]
    assert len(set(names)) == 1000
    assert all(re.fullmatch("req_[0-9a-f]{24}", name) for name in names)
