"""Registered tools that all replicas share, in Redis.

A list that is only ever appended to, by one script that finds out whether there is room and keeps the registration in
one step, so that everywhere the same one is first. Each worker process reads it from where it was: before it says that
it does not know a tool, and every `LOOK_SECONDS` for what else is new. While Redis is lost nobody waits for it: known
tools go on, what becomes of others is said in `decision.registration`, and nothing is registered. When the list is
gone (Redis started anew) so are the tools. It is kept for `KEEP_SECONDS` after the last instance looked.
"""

import asyncio
import logging
import secrets
from collections.abc import Sequence
from contextlib import suppress

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from kalguard.counters.batches import StoreLost, answer_in_time
from kalguard.counters.redis import connection_pool
from kalguard.decision.registration import (
    MAX_DEFINITIONS,
    MAX_TOOLS,
    MAX_TOOLS_PER_AGENT,
    MAX_TOTAL_BYTES,
    Registration,
    TooManyTools,
)
from kalguard.errors import Unavailable
from kalguard.toolstore.memory import PER_AGENT, TOO_MANY, Table

LOOK_SECONDS = 1.0
KEEP_SECONDS = 86_400
_PAGE = 32  # registrations of one answer, each of 64 KiB at most and much less as a rule
_KEYS = [f"kalguard:{{tools}}:{name}" for name in ("log", "id", "counts", "digests", "agents", "bytes")]
_log = logging.getLogger(__name__)
_DECODER = msgspec.json.Decoder(Registration)

# KEYS: as above. ARGV: registration as JSON, tool, agent, digest, bytes, pinned or not, the four bounds, a new id,
# seconds to keep. Gives what became of it.
ADD = """
local log, id, counts, digests, agents, bytes = unpack(KEYS)
local line, tool, agent, digest, size, pinned = unpack(ARGV, 1, 6)
if redis.call('EXISTS', id) == 0 then
  redis.call('DEL', unpack(KEYS))
  redis.call('SET', id, ARGV[11])
end
if redis.call('SISMEMBER', digests, digest .. ' ' .. tool) == 1 then return 'known' end
local count = tonumber(redis.call('HGET', counts, tool) or '0')
if count > 0 then
  if pinned == '0' and count >= tonumber(ARGV[7]) then return 'known' end
else
  if redis.call('HLEN', counts) >= tonumber(ARGV[8]) then return 'many' end
  if tonumber(redis.call('GET', bytes) or '0') + size > tonumber(ARGV[10]) then return 'many' end
  if tonumber(redis.call('HGET', agents, agent) or '0') >= tonumber(ARGV[9]) then return 'agent' end
  redis.call('HINCRBY', agents, agent, 1)
  redis.call('INCRBY', bytes, size)
end
redis.call('HINCRBY', counts, tool, 1)
redis.call('SADD', digests, digest .. ' ' .. tool)
redis.call('RPUSH', log, line)
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, ARGV[12]) end
return 'kept'
"""

# KEYS: as above. ARGV: the id and how much is known of it, size of a page, seconds to keep. Gives the id, where the
# page begins, and the page.
LOOK = """
local id, from = redis.call('GET', KEYS[2]) or '', tonumber(ARGV[2])
if id ~= ARGV[1] then from = 0 end
if ARGV[4] ~= '0' then for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, ARGV[4]) end end
return {id, from, redis.call('LRANGE', KEYS[1], from, from + ARGV[3] - 1)}
"""


class RedisRegistrations:
    """The view of one worker process. Raises `ConfigError` for a URL that cannot be used."""

    def __init__(self, url: str) -> None:
        pool = connection_pool(url)
        self._secret = str(pool.connection_kwargs.get("password") or "")
        self._client = Redis.from_pool(pool)
        self._add = self._client.register_script(ADD)
        self._look = self._client.register_script(LOOK)
        self._table = Table()
        self._id = b""  # of the list that the table is from
        self._known = 0  # how much of it
        self._lost = False
        self._reading = asyncio.Lock()
        self._begun = self._latest = 0  # looks begun; the one that was begun last of those that are over

    @property
    def sees_all(self) -> bool:
        """What another replica registers is there to be looked for."""
        return False

    @property
    def has_looked(self) -> bool:
        """Whether the list was read to its end once."""
        return self._latest > 0

    def of(self, tool: str) -> Sequence[Registration]:
        """The registrations of a tool that are known here, the first one first."""
        return self._table.of(tool)

    async def look(self) -> None:
        """Take up what was registered before this call. Raises `Unavailable`."""
        if self._lost:
            raise Unavailable("registered tools cannot be looked up: the store that replicas share is lost")
        try:
            await self._read()
        except StoreLost as error:
            self._lose(error)
            raise Unavailable("registered tools cannot be looked up: the store that replicas share is lost") from None

    async def add(self, registration: Registration, *, pinned: bool) -> Sequence[Registration]:
        """Keep a registration if it is to be kept. Raises `TooManyTools` and `Unavailable`."""
        line, size = msgspec.json.encode(registration), len(registration.argument_schema)
        bounds = (MAX_DEFINITIONS, MAX_TOOLS, MAX_TOOLS_PER_AGENT, MAX_TOTAL_BYTES)
        who = (registration.tool, registration.agent_id, registration.digest)
        arguments: list[bytes | str | int] = [
            line,
            *who,
            size,
            int(pinned),
            *bounds,
            secrets.token_hex(8),
            KEEP_SECONDS,
        ]
        try:
            outcome = await answer_in_time(self._add(keys=_KEYS, args=arguments), secret=self._secret)
            await self._read()
        except StoreLost as error:
            self._lose(error)
            raise Unavailable("tool cannot be registered: the store that replicas share is lost") from None
        if outcome in (b"many", b"agent"):
            raise TooManyTools(TOO_MANY if outcome == b"many" else PER_AGENT)
        known = self._table.of(registration.tool)
        digests = [other.digest for other in known]
        if outcome == b"kept" and registration.digest in digests:  # what came after it is none of its business
            known = known[: digests.index(registration.digest) + 1]
        return known

    async def run(self) -> None:
        """Look for what is new, and for the store while it is lost, until cancelled."""
        while True:
            try:
                await self._read(keep=True)
            except StoreLost as error:
                self._lose(error)
            else:
                if self._lost:
                    _log.warning("store of registered tools is back")
                self._lost = False
            await asyncio.sleep(LOOK_SECONDS)

    async def close(self) -> None:
        """Let go of the connections."""
        with suppress(RedisError, OSError):
            await self._client.aclose()

    async def _read(self, *, keep: bool = False) -> None:
        """Read on to the end of the list. One reader is enough for all who asked before it began."""
        asked = self._begun
        async with self._reading:
            if self._latest > asked and not keep:
                return
            self._begun += 1
            number = self._begun
            while await self._read_page(KEEP_SECONDS if keep else 0) == _PAGE:
                pass
            self._latest = number

    async def _read_page(self, keep_seconds: int) -> int:
        arguments: list[bytes | str | int] = [self._id, self._known, _PAGE, keep_seconds]
        found, start, lines = await answer_in_time(self._look(keys=_KEYS, args=arguments), secret=self._secret)
        if found != self._id:
            self._table, self._id, self._known = Table(), found, 0
        for line in lines:
            try:
                self._table.put(_DECODER.decode(line))
            except (msgspec.DecodeError, UnicodeDecodeError):
                _log.error("a registration in the store cannot be read and is passed over")
        self._known = int(start) + len(lines)
        return len(lines)

    def _lose(self, error: StoreLost) -> None:
        if not self._lost:
            _log.error("store of registered tools lost: %s; only what is known is held to", error)
        self._lost = True
