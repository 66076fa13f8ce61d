"""Reads the head of a request: what came over HTTP, as `decision` knows it. Bodies are read by the core."""

import re
from collections.abc import Iterable
from string import ascii_letters, digits

import msgspec

from kalguard.errors import AuthFailed
from kalguard.randomness import hex_ids

REQUEST_ID_HEADER = b"x-kalguard-request-id"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_CHOSEN_PART = 128 - 17  # of an event's id, before a point and 16 random digits
_REQUEST_IDS = hex_ids(12, prefix="req_")
_EVENT_SUFFIXES = hex_ids(8)
_OF_TOKENS = f"{ascii_letters}{digits}._~+/=-".encode()


class Head(msgspec.Struct, frozen=True):
    """What of the head of a request concerns a check.

    `request_id` is the caller's own where that is a good one (`is_chosen`), else a fresh one. `announced` is the
    length that the body has if all of it comes; `None` where that is not said.
    """

    request_id: str
    is_chosen: bool
    authorization: tuple[bytes, ...]
    announced: int | None

    def bearer_token(self) -> str | None:
        """The token of the one `Authorization` header; `None` where there is none. Raises `AuthFailed`."""
        if not self.authorization:
            return None
        if len(self.authorization) > 1:
            raise AuthFailed("more than one authorization header")
        scheme, _, token = self.authorization[0].partition(b" ")
        token = token.strip(b" ")
        if scheme.lower() != b"bearer" or not token or token.translate(None, _OF_TOKENS):
            raise AuthFailed("authorization header is not a bearer token")
        return token.decode("ascii")

    def event_id(self) -> str:
        """What a check is told from all others by: its request id, but one that the caller chose may be chosen again.

        It is no longer than a request id may be: a longer one Cloud need not take, and nobody is to have that choice.
        """
        return f"{self.request_id[:_CHOSEN_PART]}.{next(_EVENT_SUFFIXES)}" if self.is_chosen else self.request_id


def read_head(headers: Iterable[tuple[bytes, bytes]]) -> Head:
    """Read the head of a request. Total. Of a header that may be there once, two are none."""
    ids, authorization, lengths = [], [], []
    in_chunks = False
    for name, value in headers:
        if name == b"authorization":
            authorization.append(value)
        elif name == b"content-length":
            lengths.append(value)
        elif name == REQUEST_ID_HEADER:
            ids.append(value)
        elif name == b"transfer-encoding":
            in_chunks = True  # then a length means nothing
    is_chosen = len(ids) == 1 and _REQUEST_ID.fullmatch(ids[0]) is not None
    is_told = not in_chunks and len(lengths) == 1 and lengths[0].isdigit() and len(lengths[0]) < 20
    return Head(
        request_id=ids[0].decode("ascii") if is_chosen else next(_REQUEST_IDS),
        is_chosen=is_chosen,
        authorization=tuple(authorization),
        announced=int(lengths[0]) if is_told else None,
    )
