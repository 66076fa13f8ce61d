"""The day's account of one instance: how many checks, which agents. See `decision.quota.Account`.

An agent is a hash in a table of sets of eight, of which it may lie in one of two; the day is part of what is hashed,
and the table is emptied with the first agent of a day. A process killed in the instant between place and entry leaves
an agent that is known and not counted.
"""

import hashlib

from kalguard.decision.quota import UNLIMITED, Lease, Spent
from kalguard.errors import Unavailable
from kalguard.ledger.file import AGENT_BYTES, AGENT_PLACES, AGENTS_AT, Entries, LedgerFile

_SET_BYTES = 8 * AGENT_BYTES
_SETS = AGENT_PLACES // 8
_EMPTY = bytes(AGENT_BYTES)


class DayAccount:
    """The account in `ledger`."""

    def __init__(self, ledger: LedgerFile) -> None:
        self._ledger = ledger
        self._map = ledger.file.map

    async def spend(self, day: int, share: int) -> Spent:
        def change(before: Entries) -> tuple[Entries, Spent]:
            entries = before.on(day)
            own = min(share, entries.ceiling - 1) if entries.ceiling and share < UNLIMITED else share
            allowed = entries.used < max(own, entries.leased)
            if allowed:
                entries = entries._replace(used=entries.used + 1)
            return entries, _spent(entries, allowed=allowed)

        return await self._ledger.changed(change)

    async def extend(self, day: int, lease: Lease) -> None:
        def change(before: Entries) -> tuple[Entries, None]:
            entries = before.on(day)
            # What was used without a lease is on the store's account by now, and no part of this one.
            leased = max(entries.leased, entries.used) + lease.granted
            return entries._replace(total=lease.total, leased=leased), None

        await self._ledger.changed(change)

    async def surrender(self, day: int) -> int:
        def change(before: Entries) -> tuple[Entries, int]:
            entries = before.on(day)
            rest = max(0, entries.leased - entries.used)
            return entries._replace(leased=entries.leased - rest), rest

        return await self._ledger.changed(change)

    async def admit(self, day: int, agent_id: str, limit: int) -> bool:
        digest = hashlib.blake2b(f"{day}:{agent_id}".encode(), digest_size=AGENT_BYTES).digest()

        def change(before: Entries) -> tuple[Entries, bool]:
            entries = before.on(day)
            if entries.agents == 0:
                if limit <= 0:
                    return entries, False
                self._map[AGENTS_AT : AGENTS_AT + AGENT_PLACES * AGENT_BYTES] = bytes(AGENT_PLACES * AGENT_BYTES)
            sets = [AGENTS_AT + int.from_bytes(digest[at : at + 4]) % _SETS * _SET_BYTES for at in (0, 4)]
            if any(self._map.find(digest, start, start + _SET_BYTES) >= 0 for start in sets):
                return entries, True
            if entries.agents >= limit:
                return entries, False
            free = [[at for at in self._places(start) if self._map[at : at + AGENT_BYTES] == _EMPTY] for start in sets]
            emptier = max(free, key=len)
            if not emptier:
                raise Unavailable("plan cannot be accounted for: too many agents in a day")
            self._map[emptier[0] : emptier[0] + AGENT_BYTES] = digest
            return entries._replace(agents=entries.agents + 1), True

        return await self._ledger.changed(change)

    @staticmethod
    def _places(start: int) -> range:
        return range(start, start + _SET_BYTES, AGENT_BYTES)

    def now(self, day: int) -> Spent:
        entries = self._ledger.read().on(day)
        return _spent(entries, allowed=False)


def _spent(entries: Entries, *, allowed: bool) -> Spent:
    ceiling = entries.ceiling - 1 if entries.ceiling else None
    return Spent(allowed, entries.used, entries.leased, entries.total, ceiling)
