"""Audit logs as the service writes them: a small writer of chains, for the tests of what reads them."""

import hashlib
import json
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kalguard.records.clock import rfc3339
from kalguard.records.ocsf import ocsf_event
from kalguard.wire.audit import AuditRecord

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def key(number: int = 1) -> Ed25519PrivateKey:
    """A key that is always the same."""
    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


def public_pem(private: Ed25519PrivateKey) -> bytes:
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


@dataclass
class Writer:
    """One chain. `write` appends to a list of lines (without line feeds) that stands for a file.

    `tied` is as for a file; a chain on standard output is not. `now` counts seconds since `START`.
    """

    number: int = 1
    ocsf: bool = False
    signer: Ed25519PrivateKey | None = None
    tied: bool = True
    seq: int = 0
    now: float = 0
    prev: str = "0" * 64
    last: tuple[int, int] | None = field(default=None, repr=False)

    @property
    def chain(self) -> str:
        return f"wrt_{self.number:024x}"

    def write(self, lines: list[bytes], kind: str = "prompt_allowed", *, sign: bool = False, **fields: Any) -> bytes:
        """Append a record, and return its line."""
        self.seq += 1
        self.now += 0.5
        links: dict[str, Any] = {"chain": self.chain, "seq": self.seq, "prev": self.prev}
        if self.tied and self.last != (id(lines), len(lines) - 1):
            links["after"] = digest(lines[-1]) if lines else None
        line = self._encode(links, kind, fields)
        if self.signer is not None and (sign or self.seq % 1000 == 0 or kind in ("audit_checkpoint", "audit_closed")):
            signature = urlsafe_b64encode(self.signer.sign(b"kalguard-audit-1\n" + line)).decode().rstrip("=")
            line = self._encode({**links, "signature": signature}, kind, fields)
        lines.append(line)
        self.prev = digest(line)
        self.last = (id(lines), len(lines) - 1)
        return line

    def _encode(self, links: dict[str, Any], kind: str, fields: dict[str, Any]) -> bytes:
        written = self.record(kind, **fields)
        if self.ocsf:
            event = ocsf_event(written)
            return encoded({**event, "unmapped": {**event["unmapped"], **links}})
        return encoded({**msgspec.to_builtins(written), **links})

    def record(self, kind: str, **fields: Any) -> AuditRecord:
        """The record that is to be written next."""
        of_the_service = kind.startswith(("audit_", "policy_"))
        given = {
            "id": f"evt_{self.number:012x}{self.seq:012x}",
            "type": kind,
            "timestamp": rfc3339((START + timedelta(seconds=self.now)).timestamp()),
            "agentId": None if of_the_service else "agent-1",
            "requestId": None if of_the_service else f"req_{self.number:012x}{self.seq:012x}",
            "decision": "deny" if kind.endswith("_denied") else "allow",
            "reason": "as the policy says",
            "metadata": {} if of_the_service else {"check": "tool" if kind.startswith("tool_") else "prompt"},
        }
        return msgspec.convert({**given, **fields}, AuditRecord)


def encoded(value: object) -> bytes:
    """Compact JSON in ASCII."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode()


def joined(lines: Sequence[bytes]) -> bytes:
    """The file with these lines."""
    return b"".join(line + b"\n" for line in lines)
