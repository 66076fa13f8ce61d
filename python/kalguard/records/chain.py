"""The links of the audit log: what each line says of the lines before it, and how it is signed.

A line ends with `chain` (its writer), `seq` (1, 2, 3... in the chain), `prev` (SHA-256 of the chain's line before),
where it does not come right after that one `after` (SHA-256 of the line just before it in its file, null in an empty
one), and now and then `signature`. They are the last members of a native record, and of the `unmapped` of an OCSF
event. Digests are those of a line's bytes without its line feed.
"""

import hashlib
import re
from base64 import urlsafe_b64decode
from collections.abc import Sequence
from enum import Enum
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SIGNED_EVERY = 1000
SIGNED_TYPES = frozenset({"audit_checkpoint", "audit_closed"})
CLOSING_TYPE = "audit_closed"
NO_PREDECESSOR = bytes(32)
_DOMAIN = b"kalguard-audit-1\n"
_LONGEST_LINKS = 400  # bytes
_LINKS = re.compile(
    rb',"chain":"(?P<chain>wrt_[0-9a-f]{24})","seq":(?P<seq>[1-9][0-9]{0,15}),"prev":"(?P<prev>[0-9a-f]{64})"'
    rb'(?:,"after":(?P<after>null|"[0-9a-f]{64}"))?'
    rb'(?P<signed>,"signature":"(?P<signature>[A-Za-z0-9_-]{86})")?(?P<end>\}\}?)\Z'
)
_TIMESTAMP = re.compile(r"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]\.[0-9]{3}Z")
_BEGINNINGS = (b'{"id":"evt_', b'{"class_uid":')
_BREAKS_OFF = "Input data was truncated"


class NoRecord(ValueError):
    """A line is no audit record. `str()` says why; `is_fragment` where it begins like one and breaks off."""

    def __init__(self, problem: str, *, is_fragment: bool = False) -> None:
        super().__init__(problem)
        self.is_fragment = is_fragment


class NoDigest(Enum):
    """What `after` can be instead of a digest."""

    ABSENT = "absent"
    EMPTY_FILE = "null"


class Link(msgspec.Struct, frozen=True):
    """A line's place in its chain. `digest` is that of the line itself; `signed` what `signature` has to be of."""

    chain: str
    seq: int
    prev: bytes
    after: bytes | NoDigest
    type: str
    timestamp: str
    digest: bytes
    signature: bytes | None = None
    signed: bytes = b""

    def is_signed_by(self, keys: Sequence[Ed25519PublicKey]) -> bool:
        """Whether one of the keys made the signature. There has to be one."""
        return any(_verifies(key, self.signature or b"", self.signed) for key in keys)

    @property
    def has_to_be_signed(self) -> bool:
        """Whether a writer that has a key signs this record."""
        return self.seq % SIGNED_EVERY == 0 or self.type in SIGNED_TYPES


class _Native(msgspec.Struct):
    id: str
    type: str
    timestamp: str
    decision: str
    reason: str
    chain: str
    seq: int
    prev: str


class _Metadata(msgspec.Struct):
    uid: str
    event_code: str
    original_time: str


class _Unmapped(msgspec.Struct):
    chain: str
    seq: int
    prev: str


class _Event(msgspec.Struct):
    metadata: _Metadata
    unmapped: _Unmapped


_NATIVE = msgspec.json.Decoder(_Native)
_EVENT = msgspec.json.Decoder(_Event)


def digest_of(line: bytes) -> bytes:
    """What `prev` and `after` of later lines hold of this one, which comes without its line feed."""
    return hashlib.sha256(line).digest()


def read_link(line: bytes) -> Link:
    """The links of a record of either format, without its line feed. Raises `NoRecord`."""
    found = _LINKS.search(line, max(0, len(line) - _LONGEST_LINKS))
    if found is None:
        raise _objection(line)
    of_the_chain, kind, timestamp = _native(line) if found["end"] == b"}" else _event(line)
    if of_the_chain != (found["chain"].decode(), int(found["seq"]), found["prev"].decode()):
        raise NoRecord("its chain is not where it has to be")
    if not line.isascii() or _TIMESTAMP.fullmatch(timestamp) is None:
        raise NoRecord("not as an audit record is written")
    signature = found["signature"]
    return Link(
        chain=of_the_chain[0],
        seq=of_the_chain[1],
        prev=bytes.fromhex(of_the_chain[2]),
        after=_after(found["after"]),
        type=kind,
        timestamp=timestamp,
        digest=digest_of(line),
        signature=None if signature is None else urlsafe_b64decode(signature + b"=="),
        signed=b"" if signature is None else _DOMAIN + line[: found.start("signed")] + found["end"],
    )


def _native(line: bytes) -> tuple[tuple[str, int, str], str, str]:
    record = _decode(_NATIVE, line)
    return (record.chain, record.seq, record.prev), record.type, record.timestamp


def _event(line: bytes) -> tuple[tuple[str, int, str], str, str]:
    event = _decode(_EVENT, line)
    links = event.unmapped
    return (links.chain, links.seq, links.prev), event.metadata.event_code, event.metadata.original_time


def _decode(decoder: Any, line: bytes) -> Any:
    try:
        return decoder.decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _objection(line, str(error)) from None


def _after(written: bytes | None) -> bytes | NoDigest:
    if written is None:
        return NoDigest.ABSENT
    return NoDigest.EMPTY_FILE if written == b"null" else bytes.fromhex(written.strip(b'"').decode())


def _objection(line: bytes, problem: str = "it does not end with `chain`, `seq` and `prev`") -> NoRecord:
    """Why a line is no record; `problem` says it where the line is JSON at all.

    After a power loss zeros may stand where the rest of a line has not reached the disk.
    """
    begun = line.rstrip(b"\0")
    try:
        msgspec.json.decode(begun)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        begins = line != b"" and any(begun[: len(start)] == start[: len(begun)] for start in _BEGINNINGS)
        return NoRecord("no audit record: not JSON", is_fragment=begins and _BREAKS_OFF in str(error))
    return NoRecord(f"no audit record: {problem}")


def _verifies(key: Ed25519PublicKey, signature: bytes, data: bytes) -> bool:
    try:
        key.verify(signature, data)
    except InvalidSignature:
        return False
    return True
