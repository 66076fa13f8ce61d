"""Asks Redis for what is wanted at the same time together: one script, one round trip for all calls that wait.

Called by `counters.redis`. While one batch is on its way the next gathers, so that a burst costs each call less, not
more, and one connection is enough. Each batch has `BUDGET_SECONDS`, from the wait for a connection to the last answer,
and is not tried again; when it fails, so does everything that gathered meanwhile, and nobody waits longer than that for
a store that is lost.
"""

import asyncio
import time
from collections.abc import Awaitable, Sequence
from contextvars import Context
from typing import Any, TypeVar

import msgspec
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from kalguard.errors import KalGuardError

BUDGET_SECONDS = 0.05
MAX_BATCH = 64
_GRACE_SECONDS = 0.005
_T = TypeVar("_T")


class StoreLost(KalGuardError):
    """The store gave no answer that can be used, or none in time. The message holds no secret."""


class _Call(msgspec.Struct, frozen=True):
    keys: Sequence[str]
    arguments: Sequence[int]
    answer: asyncio.Future[Any]


class Batches:
    """Calls of one `script`. `secret` is what must not be in any message."""

    def __init__(self, client: Redis, script: str, *, secret: str) -> None:
        self._client = client
        self._script = client.register_script(script)
        self._secret = secret
        self._waiting: list[_Call] = []
        self._sender: asyncio.Task[None] | None = None

    async def ask(self, keys: Sequence[str], arguments: Sequence[int]) -> Any:
        """What the script gives. Raises `StoreLost`."""
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append(_Call(keys, arguments, answer))
        if self._sender is None or self._sender.done():
            # It goes on for others: it is no part of the request that happens to start it.
            self._sender = asyncio.create_task(self._send(), context=Context())
        return await answer

    async def prepare(self) -> None:
        """See to it that the server knows the script, so that no burst has to wait for that."""
        await self._client.script_load(self._script.script)

    async def _send(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            problem = "stopped"
            try:
                await self._deliver(batch)
            except StoreLost as error:
                problem = str(error)
                batch, self._waiting = batch + self._waiting, []
            except BaseException:
                batch, self._waiting = batch + self._waiting, []
                raise
            finally:
                for call in batch:
                    if not call.answer.done():
                        call.answer.set_exception(StoreLost(problem))

    async def _deliver(self, batch: Sequence[_Call]) -> None:
        replies = await answer_in_time(self._replies(batch), secret=self._secret)
        for call, reply in zip(batch, replies, strict=True):
            if call.answer.done():  # whoever asked has gone
                continue
            if isinstance(reply, Exception):
                call.answer.set_exception(StoreLost(in_words(reply, self._secret)))
            else:
                call.answer.set_result(reply)

    async def _replies(self, batch: Sequence[_Call]) -> list[Any]:
        replies = await self._send_once(batch)
        if any(isinstance(reply, NoScriptError) for reply in replies):  # a new server, or one that was told to forget
            await self.prepare()
            again = [number for number, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            for number, reply in zip(again, await self._send_once([batch[number] for number in again]), strict=True):
                replies[number] = reply
        return replies

    async def _send_once(self, batch: Sequence[_Call]) -> list[Any]:
        async with self._client.pipeline(transaction=False) as pipeline:
            for call in batch:
                pipeline.evalsha(self._script.sha, len(call.keys), *call.keys, *call.arguments)
            replies: list[Any] = await pipeline.execute(raise_on_error=False)
            return replies


async def answer_in_time(asked: Awaitable[_T], *, secret: str) -> _T:
    """An answer of Redis that comes in time. Raises `StoreLost`."""
    try:
        return await within(BUDGET_SECONDS, asked)
    except TimeoutError:
        raise StoreLost(f"no answer within {BUDGET_SECONDS * 1000:.0f} ms") from None
    except (RedisError, OSError, ValueError) as error:  # ValueError: a host name that cannot be encoded
        raise StoreLost(in_words(error, secret)) from None


async def within(seconds: float, asked: Awaitable[_T]) -> _T:
    """Wait for an answer for so long, and a second time if it was this process that was late, not the answer.

    Timers come before whatever has arrived meanwhile: after a pause of this process, one that simply gave up would
    take every answer for lost. Raises `TimeoutError`.
    """
    task = asyncio.ensure_future(asked)
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


def in_words(error: Exception, secret: str) -> str:
    """What went wrong, for the log."""
    words = f"{type(error).__name__}: {error}"
    return words.replace(secret, "***") if secret else words
