"""Lines of the audit log on a terminal: which are wanted, and how they are shown."""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from typing import Any

import msgspec

from kalguard.cli.printing import printable
from kalguard.records.clock import rfc3339
from kalguard.records.reader import MAX_LINE_BYTES, read_record
from kalguard.wire.audit import AuditRecord

_HARMLESS = re.compile(rb"[ -~]*")
# What is shown of the metadata, by its name there.
_SHOWN = {
    "errorCode": "code",
    "toolName": "tool",
    "ruleId": "rule",
    "riskScore": "risk",
    "failedCheck": "failed",
    "monitored": "monitored",
    "exceededLimits": "limits",
    "file": "file",
    "problem": "problem",
}


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which records are wanted; what is empty or `None` excludes none. Both times are included."""

    agents: Collection[str] = ()
    types: Collection[str] = ()
    decisions: Collection[str] = ()
    request_ids: Collection[str] = ()
    tools: Collection[str] = ()
    codes: Collection[str] = ()
    since: datetime | None = None
    until: datetime | None = None


class _Filter:
    """Says of each record whether it is wanted."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        # A name that is not written out in the log stands there as its hash.
        hashes = (f"sha256:{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()}" for name in wanted.tools)
        self._tools = (*wanted.tools, *hashes)
        self._since = "" if wanted.since is None else rfc3339(wanted.since.timestamp())
        self._until = None if wanted.until is None else rfc3339(wanted.until.timestamp())

    def __call__(self, record: AuditRecord) -> bool:
        wanted = self._wanted
        asked = (
            (wanted.agents, record.agent_id),
            (wanted.types, record.type),
            (wanted.decisions, record.decision),
            (wanted.request_ids, record.request_id),
            (self._tools, record.metadata.get("toolName")),
            (wanted.codes, record.metadata.get("errorCode")),
        )
        # Times are all written alike, so that they are in order as texts.
        in_time = record.timestamp >= self._since and (self._until is None or record.timestamp <= self._until)
        return in_time and all(not values or value in values for values, value in asked)


class Lines:
    """Shows lines one by one. `passed_over` counts those that were no records, `shown` the others that were wanted."""

    def __init__(self, wanted: Wanted | None = None, *, as_json: bool) -> None:
        self._is_wanted = _Filter(wanted or Wanted())
        self._as_json = as_json
        self.passed_over = 0
        self.shown = 0

    def show(self, lines: Iterable[bytes]) -> Iterator[str]:
        """What is to be printed of these lines."""
        for line in lines:
            record = None if len(line) > MAX_LINE_BYTES else read_record(line)
            if record is None:
                self.passed_over += 1
            elif self._is_wanted(record):
                try:
                    text = _as_written(line.rstrip(b"\n")) if self._as_json else readable(record)
                except (ValueError, RecursionError):  # a number or a nesting that no record of ours has
                    self.passed_over += 1
                    continue
                self.shown += 1
                yield text


def readable(record: AuditRecord) -> str:
    """A record on one line, for a person."""
    details = [f"{shown}={_value(record.metadata[name])}" for name, shown in _SHOWN.items() if _has(record, name)]
    if found := _categories(record.metadata.get("findings")):
        details.append(f"findings={found}")
    parts = [
        record.timestamp,
        f"{record.decision:5}",
        f"{record.type:16}",
        record.agent_id or "-",
        record.request_id or "-",
        record.reason,
        f"[{' '.join(details)}]" if details else "",
    ]
    return printable("  ".join(part for part in parts if part))


def _has(record: AuditRecord, name: str) -> bool:
    return record.metadata.get(name) not in (None, [], "")


def _value(value: Any) -> str:
    return ",".join(str(one) for one in value) if isinstance(value, list) else str(value)


def _categories(findings: object) -> str:
    if not isinstance(findings, list):
        return ""
    return ",".join(str(one.get("category")) for one in findings if isinstance(one, dict))


def _as_written(line: bytes) -> str:
    """The line itself; what is not as the service writes it is written anew, so that a terminal can show it."""
    return line.decode() if _HARMLESS.fullmatch(line) else json.dumps(json.loads(line), separators=(",", ":"))
