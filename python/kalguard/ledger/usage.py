"""Usage events that Cloud has yet to get: a ring of JSON lines in the ledger, filled by the workers, emptied by one.

An event is counted as made and put into the ring in one step, so that for whoever looks

    made = accepted + waiting + dropped

What does not fit, the ring being full, is dropped and counted. Events that could not be put there because the lock was
held, or the disk did not take them, wait in the memory of their worker (`flush`), up to `MAX_PENDING` of them.
"""

import logging
from collections import deque
from datetime import UTC, datetime
from itertools import islice
from typing import NamedTuple

import msgspec

from kalguard.errors import Unavailable
from kalguard.ledger.file import Entries, LedgerFile, ring_read, written
from kalguard.wire.cloud import UsageEvent

MAX_PENDING = 10_000
MAX_AT_ONCE = 200  # events that one step puts into the ring: others want the lock too
_DAY_SECONDS = 86_400
_READ_BYTES = 262_144  # no hundred events are as long
_log = logging.getLogger(__name__)
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(UsageEvent)


class _Line(NamedTuple):
    """An event as it lies in the ring, and its day (since 1970)."""

    text: bytes
    day: int


class Batch(NamedTuple):
    """The oldest events that wait, from `begin` to `end` in the ring; `broken` counts what lay there and is none."""

    events: list[UsageEvent]
    begin: int
    end: int
    broken: int = 0


class UsageBuffer:
    """The events in `ledger`. Workers `add`; `oldest`, `accept` and `drop` are for the one who sends them on."""

    def __init__(self, ledger: LedgerFile) -> None:
        self._ledger = ledger
        self._pending: deque[_Line] = deque()
        self._lost = 0  # of those that waited here

    async def add(self, event: UsageEvent, at: float) -> None:
        """Keep an event until Cloud has it. Never raises; what cannot be kept is counted."""
        self._pending.append(_Line(_ENCODER.encode(event) + b"\n", int(at // _DAY_SECONDS)))
        if len(self._pending) > MAX_PENDING:
            self._pending.popleft()
            self._lost += 1
        await self._put_some()

    async def flush(self) -> None:
        """Put what waits in this process into the ring, as far as that is possible now."""
        while self._pending or self._lost:
            if not await self._put_some():
                return

    async def _put_some(self) -> bool:
        try:
            await self._ledger.changed(self._put_pending)
        except (Unavailable, OSError) as error:
            _log.debug("usage events wait: %s", error)
            return False
        return True

    def _put_pending(self, before: Entries) -> tuple[Entries, None]:
        entries = before._replace(made=before.made + self._lost, dropped=before.dropped + self._lost)
        lines = list(islice(self._pending, MAX_AT_ONCE))
        for line in lines:
            entries = self._put(line, entries.on(max(line.day, entries.day)))
        # Nothing raises from here on: the entries are as good as written.
        for _ in lines:
            self._pending.popleft()
        self._lost = 0
        return entries, None

    def _put(self, line: _Line, entries: Entries) -> Entries:
        entries = entries._replace(made=entries.made + 1, told=entries.told + (line.day == entries.day))
        if entries.end + len(line.text) - entries.begin > self._ledger.ring_bytes:
            return entries._replace(dropped=entries.dropped + 1)
        written(self._ledger, entries.end, line.text)
        return entries._replace(end=entries.end + len(line.text), waiting=entries.waiting + 1)

    def entries(self) -> Entries:
        """All that is counted, at one moment. Raises `Unavailable`."""
        return self._ledger.changed_here(lambda entries: (entries, entries))

    def oldest(self, count: int) -> Batch:
        """Up to so many of the events that wait, the oldest first. Raises `Unavailable` or `OSError`."""
        entries = self.entries()
        text = ring_read(self._ledger, entries.begin, min(entries.end, entries.begin + _READ_BYTES))
        lines = text.split(b"\n")[:-1][:count]
        if text and not lines:  # what a machine left that lost its power: nothing can be told apart in it
            return Batch([], entries.begin, entries.end)
        events, broken = [], 0
        for line in lines:
            try:
                events.append(_DECODER.decode(line))
            except (msgspec.DecodeError, UnicodeDecodeError):
                broken += 1
        end = entries.begin + sum(len(line) + 1 for line in lines)
        return Batch(events, entries.begin, end, broken)

    def accept(self, batch: Batch, *, now: datetime, remaining: int | None) -> None:
        """Cloud has a batch: it waits no more. One that is out already changes nothing. Raises `Unavailable`.

        `remaining` is how many checks Cloud leaves for the day, all told: less those whose events still wait, that is
        what this instance may use from here on. `None`: it has no say.
        """
        today = int(now.timestamp() // _DAY_SECONDS)
        date = now.astimezone(UTC).strftime("%Y-%m-%d")
        of_today = sum(event.timestamp.startswith(date) for event in batch.events)

        def change(before: Entries) -> tuple[Entries, None]:
            if batch.begin != before.begin:
                return before, None
            entries = _without(batch, before.on(max(today, before.day)), accepted=len(batch.events))
            entries = entries._replace(taken=entries.taken + of_today)
            if remaining is None:
                return entries._replace(ceiling=0), None
            waiting = max(0, entries.told - entries.taken)
            return entries._replace(ceiling=1 + entries.used + max(0, remaining - waiting)), None

        self._ledger.changed_here(change)

    def drop(self, batch: Batch) -> None:
        """Give up a batch, which Cloud will not have. One that is out already changes nothing. Raises `Unavailable`."""

        def change(before: Entries) -> tuple[Entries, None]:
            return (_without(batch, before) if batch.begin == before.begin else before), None

        self._ledger.changed_here(change)

    def forget_ceiling(self) -> None:
        """What Cloud said of the day's rest does not hold any more. Raises `Unavailable`."""
        self._ledger.changed_here(lambda entries: (entries._replace(ceiling=0), None))


def _without(batch: Batch, before: Entries, *, accepted: int = 0) -> Entries:
    """What is counted when a batch is out of the ring; of it so many events were accepted, the rest are dropped.

    With the last of what the ring holds goes whatever else was said to wait, and before that something waits: a machine
    that lost its power may have kept the entries and not the ring, or the other way round.

    INVARIANT: nothing waits exactly where the ring is empty.
    """
    is_last = batch.end == before.end
    gone = before.waiting if is_last else min(len(batch.events) + batch.broken, before.waiting - 1)
    return before._replace(
        begin=batch.end,
        waiting=before.waiting - gone,
        made=before.made + max(0, accepted - gone),
        accepted=before.accepted + accepted,
        dropped=before.dropped + max(0, gone - accepted),
    )
