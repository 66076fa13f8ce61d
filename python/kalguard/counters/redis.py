"""Counts that all replicas share, in Redis 5 or newer, or Valkey.

One Lua script takes all limits of a call together; the time is the server's, so that the clocks of replicas do not
matter. A window is a hash, second -> count, under a name made of the hash of the agent, and is gone a window after its
last call. The names of one call share a hash tag. Nothing here waits: a call takes `BUDGET_SECONDS` at most, from the
wait for a connection to the answer, and there are no retries. What then happens is `counters.replicas`' business.

A server whose clock is set back would count for too long what lies in its future: the script takes that for counted
now.
"""

import asyncio
import time
from collections.abc import Awaitable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from kalguard.counters.workers import hash_of
from kalguard.decision.limits import Limit, Room, Taken
from kalguard.decision.quota import Lease
from kalguard.errors import ConfigError, KalGuardError

BUDGET_SECONDS = 0.05
INSTANCE_SECONDS = 15  # an instance that says nothing for so long is none any more
_GRACE_SECONDS = 0.005
_CONNECTIONS = 8  # of one worker process
_DAY_TTL = 2 * 86_400
_INSTANCES = "kalguard:instances"
_T = TypeVar("_T")

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


class StoreLost(KalGuardError):
    """The store gave no answer that can be used, or none in time. The message holds no secret."""


class RedisStore:
    """The store at `url`, as one worker process of `instance` sees it. Connects when it is first asked.

    Every method raises `StoreLost`.
    """

    def __init__(self, url: str, *, instance: str) -> None:
        """Raises `ConfigError` for a URL that cannot be used."""
        self._instance = instance
        pool = connection_pool(url)
        self._password = str(pool.connection_kwargs.get("password") or "")
        self._client = Redis.from_pool(pool)
        self._take = self._client.register_script(TAKE)
        self._beat = self._client.register_script(BEAT)
        self._lease = self._client.register_script(LEASE)

    async def take(self, limits: Sequence[Limit]) -> Taken:
        """See `decision.limits.Counters.take`."""
        keys, allowed = [_window_name(limit.key) for limit in limits], [limit.allowed for limit in limits]
        reply = await self._answer(self._take(keys=keys, args=allowed))
        rooms = (Room(int(left), int(micros) / 1e6) for left, micros in zip(reply[1::2], reply[2::2], strict=True))
        return Taken(reply[0] == 1, tuple(rooms))

    async def beat(self) -> int:
        """Say that this instance is there. Gives how many are."""
        return int(await self._answer(self._beat(keys=[_INSTANCES], args=[self._instance, INSTANCE_SECONDS])))

    async def lease(self, day: int, *, held: int, wanted: int, allowance: int) -> Lease:
        """See `decision.quota.Leases.lease`."""
        arguments: list[str | int] = [self._instance, held, wanted, allowance, _DAY_TTL]
        granted, total = await self._answer(self._lease(keys=[_quota_name(day)], args=arguments))
        return Lease(int(granted), int(total))

    async def give_back(self, day: int, units: int) -> None:
        """See `decision.quota.Leases.give_back`."""
        await self._answer(self._client.hincrby(_quota_name(day), self._instance, -units))

    async def close(self) -> None:
        """Let go of the connections."""
        with suppress(RedisError, OSError):
            await self._client.aclose()

    async def _answer(self, asked: Awaitable[_T]) -> _T:
        try:
            return await within(BUDGET_SECONDS, _awaiting(asked))
        except TimeoutError:
            raise StoreLost(f"no answer within {BUDGET_SECONDS * 1000:.0f} ms") from None
        except (RedisError, OSError, ValueError) as error:  # ValueError: a host name that cannot be encoded
            raise StoreLost(self._in_words(error)) from None

    def _in_words(self, error: Exception) -> str:
        words = f"{type(error).__name__}: {error}"
        return words.replace(self._password, "***") if self._password else words


async def within(seconds: float, work: Coroutine[Any, Any, _T]) -> _T:
    """Wait for an answer for so long, and a second time if it was this process that was late, not the answer.

    Timers come before whatever has arrived meanwhile: after a pause of this process, one that simply gave up would
    take every answer for lost. Raises `TimeoutError`.
    """
    task = asyncio.ensure_future(work)
    try:
        started = time.monotonic()
        done, _ = await asyncio.wait({task}, timeout=seconds)
        if not done:
            was_late = time.monotonic() - started > 1.5 * seconds
            done, _ = await asyncio.wait({task}, timeout=seconds if was_late else _GRACE_SECONDS)
        if done:
            return task.result()
        raise TimeoutError
    finally:
        task.cancel()


async def _awaiting(asked: Awaitable[_T]) -> _T:
    return await asked


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
        )
        pool.make_connection()  # type: ignore[no-untyped-call]
    except (RedisError, ValueError, TypeError, AttributeError, OSError) as error:
        raise ConfigError([f"is not a URL of Redis: {type(error).__name__}"]) from None
    return pool


def _window_name(key: tuple[str, ...]) -> str:
    """`kalguard:{agent}:window`, with the tool where there is one: hashes, whatever the names."""
    agent, *rest = (hash_of((part,)).hex() for part in key)
    return ":".join((f"kalguard:{{{agent}}}:window", *rest))


def _quota_name(day: int) -> str:
    return f"kalguard:quota:{day}"
