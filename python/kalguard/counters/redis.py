"""Counts that all replicas share, in Redis 5 or newer, or Valkey.

One Lua script takes all limits of a call together; the time is the server's, so that the clocks of replicas do not
matter. A window is a hash, second -> count, under a name made of the hash of the agent, and is gone a window after its
last call. The names of one call share a hash tag. There are no retries, and no answer is waited for longer than
`BUDGET_SECONDS`; what then happens is `counters.replicas`' business.

A server whose clock is set back would count for too long what lies in its future: the script takes that for counted
now.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import RedisSSLContext, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.maint_notifications import MaintNotificationsConfig

from kalguard.counters.batches import BUDGET_SECONDS, Batches, answer_in_time
from kalguard.decision.limits import Limit, Room, Taken
from kalguard.decision.quota import Joined, Lease
from kalguard.errors import ConfigError

INSTANCE_SECONDS = 15  # an instance that says nothing for so long is none any more
_CONNECTIONS = 4  # of one worker process: one for windows, one for what is asked now and then, and some to spare
_DAY_TTL = 2 * 86_400
_INSTANCES = "kalguard:instances"

# KEYS: one window for each limit. ARGV: their limits. Gives: counted or not, then for each limit what remains and the
# microseconds until it grows. Reads everything before it counts anything.
TAKE = """
local time = redis.call('TIME')
local now, micros = tonumber(time[1]), tonumber(time[2])
local windows, counted = {}, 1
for i, key in ipairs(KEYS) do
  local fields, counts, used, old = redis.call('HGETALL', key), {}, 0, {}
  for j = 1, #fields, 2 do
    local second, count = tonumber(fields[j]), tonumber(fields[j + 1])
    if second > now then
      redis.call('HDEL', key, fields[j])
      redis.call('HINCRBY', key, now, count)
      redis.call('EXPIRE', key, 62)
      second = now
    end
    if second > now - 61 then
      counts[second] = (counts[second] or 0) + count
      used = used + count
    else
      old[#old + 1] = fields[j]
    end
  end
  if used >= tonumber(ARGV[i]) then counted = 0 end
  windows[i] = {counts, used, old}
end
local reply = {counted}
for i, key in ipairs(KEYS) do
  local counts, used, old = unpack(windows[i])
  local limit = tonumber(ARGV[i])
  if counted == 1 then
    redis.call('HINCRBY', key, now, 1)
    redis.call('EXPIRE', key, 62)
    if #old > 0 then redis.call('HDEL', key, unpack(old)) end
    counts[now] = (counts[now] or 0) + 1
    used = used + 1
  end
  local leaving, reset = math.max(1, used - limit + 1), 0
  for second = now - 60, now do
    leaving = leaving - (counts[second] or 0)
    if leaving <= 0 then
      reset = (second + 61 - now) * 1000000 - micros
      break
    end
  end
  reply[#reply + 1] = math.max(0, limit - used)
  reply[#reply + 1] = reset
end
return reply
"""

# KEYS: the instances, by the time at which they are given up. ARGV: an instance, its seconds. Gives how many there are.
BEAT = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('EXPIRE', KEYS[1], 10 * ARGV[2])
return redis.call('ZCARD', KEYS[1])
"""

# KEYS: what each instance has leased today. ARGV: instance, what it holds, what it wants, the allowance, seconds to
# keep. Gives what it gets, and what all have then. An instance that holds more than is on record used it without a
# lease, or the record was lost: either way it counts.
LEASE = """
local held, wanted, allowance = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if held > tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0') then redis.call('HSET', KEYS[1], ARGV[1], held) end
local total = 0
for _, leased in ipairs(redis.call('HVALS', KEYS[1])) do total = total + tonumber(leased) end
local granted = math.max(0, math.min(wanted, allowance - total))
if granted > 0 then redis.call('HINCRBY', KEYS[1], ARGV[1], granted) end
redis.call('EXPIRE', KEYS[1], ARGV[5])
return {granted, total + granted}
"""

# KEYS: as for a lease. ARGV: an instance, what it gives back. A store that has forgotten what it gave takes nothing
# back: less than nothing on record would be more for others.
GIVE_BACK = """
local units = math.min(tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0'), tonumber(ARGV[2]))
if units > 0 then redis.call('HINCRBY', KEYS[1], ARGV[1], -units) end
return units
"""

# KEYS: the agents of a day, as hashes. ARGV: an agent, the limit, seconds to keep. Says whether it is one of them.
JOIN = """
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 then return 1 end
if redis.call('SCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""


class RedisStore:
    """The store at `url`, as one worker process of `instance` sees it. Connects when it is first asked.

    Every method raises `StoreLost`.
    """

    def __init__(self, url: str, *, instance: str) -> None:
        """Raises `ConfigError` for a URL that cannot be used."""
        self._instance = instance
        pool = connection_pool(url)
        self._secret = str(pool.connection_kwargs.get("password") or "")
        self._client = Redis.from_pool(pool)
        self._windows = Batches(self._client, TAKE, secret=self._secret)
        self._beat = self._client.register_script(BEAT)
        self._lease = self._client.register_script(LEASE)
        self._give_back = self._client.register_script(GIVE_BACK)
        self._join = self._client.register_script(JOIN)

    async def take(self, limits: Sequence[Limit]) -> Taken:
        """See `decision.limits.Counters.take`."""
        keys = [_window_name(limit.key) for limit in limits]
        reply = await self._windows.ask(keys, [limit.allowed for limit in limits])
        rooms = (Room(int(left), int(micros) / 1e6) for left, micros in zip(reply[1::2], reply[2::2], strict=True))
        return Taken(reply[0] == 1, tuple(rooms))

    async def beat(self) -> int:
        """Say that this instance is there, and have all ready for a burst. Gives how many instances there are."""
        return await answer_in_time(self._say_so(), secret=self._secret)

    async def lease(self, day: int, *, held: int, wanted: int, allowance: int) -> Lease:
        """See `decision.quota.Shared.lease`."""
        arguments: list[str | int] = [self._instance, held, wanted, allowance, _DAY_TTL]
        granted, total = await answer_in_time(self._lease(keys=[_quota_name(day)], args=arguments), secret=self._secret)
        return Lease(int(granted), int(total))

    async def give_back(self, day: int, units: int) -> None:
        """See `decision.quota.Shared.give_back`."""
        arguments: list[str | int] = [self._instance, units]
        await answer_in_time(self._give_back(keys=[_quota_name(day)], args=arguments), secret=self._secret)

    async def join(self, day: int, agent_id: str, *, limit: int) -> Joined:
        """See `decision.quota.Shared.join`."""
        arguments: list[str | int] = [_hash_of(agent_id), limit, _DAY_TTL]
        admitted = await answer_in_time(self._join(keys=[_agents_name(day)], args=arguments), secret=self._secret)
        return Joined(int(admitted) == 1)

    async def _say_so(self) -> int:
        await self._windows.prepare()
        return int(await self._beat(keys=[_INSTANCES], args=[self._instance, INSTANCE_SECONDS]))

    async def close(self) -> None:
        """Let go of the connections."""
        with suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(10 * BUDGET_SECONDS):
                await self._client.aclose()


def connection_pool(url: str) -> BlockingConnectionPool:
    """The connections to `url`, none of them open yet. Raises `ConfigError`, which does not repeat the URL."""
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=BUDGET_SECONDS * 2,  # the budget ends earlier; these only see to it that nothing is left behind
            socket_timeout=BUDGET_SECONDS * 2,
            socket_connect_timeout=BUDGET_SECONDS * 2,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            driver_info=None,  # neither name itself nor ask for notifications: each is a round trip more
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
        )
        first = pool.make_connection()  # type: ignore[no-untyped-call]
        if isinstance(first, SSLConnection):
            pool.connection_class = _sharing(first.ssl_context)
    except (RedisError, ValueError, TypeError, AttributeError, OSError) as error:
        raise ConfigError([f"cannot be used as a URL of Redis: {type(error).__name__}"]) from None
    return pool


def _sharing(tls: RedisSSLContext) -> type[SSLConnection]:
    """Connections that need not read the certificates of trust each for itself, which takes as long as the budget."""
    tls.get()

    class Connection(SSLConnection):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.ssl_context = tls

    return Connection


def _hash_of(name: str) -> str:
    """What stands for a name: 16 bytes, in hex. All replicas have to agree on it."""
    encoded = name.encode()
    return hashlib.blake2b(len(encoded).to_bytes(4) + encoded, digest_size=16).hexdigest()


def _window_name(key: tuple[str, ...]) -> str:
    """`kalguard:{agent}:window`, with the tool where there is one: hashes, whatever the names."""
    agent, *rest = (_hash_of(part) for part in key)
    return ":".join((f"kalguard:{{{agent}}}:window", *rest))


def _quota_name(day: int) -> str:
    return f"kalguard:quota:{day}"


def _agents_name(day: int) -> str:
    return f"kalguard:agents:{day}"
