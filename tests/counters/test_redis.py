"""Counting in a real Redis: exact, bounded in time, and every way of losing it told in the same words."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from kalguard.counters.batches import BUDGET_SECONDS, StoreLost, within
from kalguard.counters.redis import RedisStore
from kalguard.decision.limits import Limit
from kalguard.decision.model import LimitName
from tests.redis import RedisServer, redis_server
from tests.support import free_port, make_certificate

AGENT = Limit(LimitName.AGENT, ("a",), 100)
TOOL = Limit(LimitName.TOOL, ("a", "t"), 100)
LATE = {"no answer within 50 ms"}
TIMES = 5  # of which the quickest counts
FAR_ABOVE = 10 * BUDGET_SECONDS  # what a busy machine may add to a wait, and a client's own ideas of waiting exceed


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis(shared: RedisServer) -> RedisServer:
    shared.client.flushall()
    return shared


async def beat(url: str) -> None:
    store = RedisStore(url, instance="i")
    try:
        await store.beat()
    finally:
        await store.close()


async def connected(url: str, instance: str = "i") -> RedisStore:
    """A store that has been spoken to, on a machine that may be busy."""
    store = RedisStore(url, instance=instance)
    for _ in range(50):
        try:
            await store.beat()
            return store
        except StoreLost:
            await asyncio.sleep(0.1)
    raise AssertionError("Redis cannot be reached")


def test_two_clients_allow_exactly_the_limit_together(redis: RedisServer) -> None:
    async def run() -> int:
        stores = [await connected(redis.url), await connected(redis.url)]
        taken = await asyncio.gather(*(stores[number % 2].take([AGENT, TOOL]) for number in range(150)))
        for store in stores:
            await store.close()
        return sum(one.counted for one in taken)

    assert asyncio.run(run()) == 100


def test_what_is_kept_is_small_carries_no_name_and_is_gone_after_a_window(redis: RedisServer) -> None:
    async def run() -> None:
        store = await connected(redis.url)
        for _ in range(150):
            await store.take([AGENT, TOOL])
        await store.close()

    asyncio.run(run())
    names = [str(key) for key in redis.client.keys("kalguard:{*")]
    assert len(names) == 2
    assert len({name.partition("}")[0] for name in names}) == 1  # one hash tag
    for name in names:
        assert redis.client.hlen(name) < 10
        assert 0 < redis.client.ttl(name) <= 62


def test_a_server_that_has_forgotten_the_script_is_told_it_again(redis: RedisServer) -> None:
    async def run() -> None:
        store = await connected(redis.url)
        assert (await store.take([AGENT])).rooms[0].remaining == 99
        redis.client.script_flush()
        taken = await asyncio.gather(*(store.take([AGENT]) for _ in range(10)))
        assert sorted(one.rooms[0].remaining for one in taken) == list(range(89, 99))
        await store.close()

    asyncio.run(run())


def test_calls_at_the_same_time_are_sent_together(redis: RedisServer) -> None:
    async def run() -> None:
        store = await connected(redis.url)
        await store.take([AGENT])
        before = redis.client.info("stats")["total_connections_received"]
        await asyncio.gather(*(store.take([AGENT]) for _ in range(100)))
        assert redis.client.info("stats")["total_connections_received"] == before
        await store.close()

    asyncio.run(run())


def test_whoever_stops_waiting_takes_nobody_with_him(redis: RedisServer) -> None:
    async def run() -> None:
        store = await connected(redis.url)
        calls = [asyncio.create_task(store.take([AGENT])) for _ in range(20)]
        await asyncio.sleep(0)
        calls[3].cancel()
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(ended[3], asyncio.CancelledError)
        assert sum(not isinstance(one, BaseException) for one in ended) == 19
        assert (await store.take([AGENT])).counted
        await store.close()

    asyncio.run(run())


def lost(url: str, calls: int = 20) -> tuple[list[str], float]:
    """What so many calls at once come to, and the seconds until the last of them has ended."""

    async def run() -> tuple[list[str], float]:
        store = RedisStore(url, instance="i")
        started = time.monotonic()
        ended = await asyncio.gather(*(store.take([AGENT]) for _ in range(calls)), return_exceptions=True)
        took = time.monotonic() - started
        await store.close()
        assert all(isinstance(one, StoreLost) for one in ended), ended
        return [str(one) for one in ended], took

    return asyncio.run(run())


@pytest.mark.usefixtures("impatient")
def test_a_server_that_is_not_there_is_told_at_once() -> None:
    tried = [lost("redis://127.0.0.1:1/0") for _ in range(TIMES)]
    told = [problems for problems, _ in tried if set(problems) != LATE]
    assert told
    assert all("ConnectionError" in problem for problems in told for problem in problems)
    assert min(took for _, took in tried) < FAR_ABOVE


@pytest.mark.usefixtures("impatient")
def test_a_server_that_hangs_costs_all_who_wait_the_budget_once(redis: RedisServer) -> None:
    async def run() -> float:
        store = await connected(redis.url)
        sent: list[int] = []
        deliver = store._windows._deliver

        async def counted(batch: Sequence[Any]) -> None:
            sent.append(len(batch))
            await deliver(batch)

        store._windows._deliver = counted  # type: ignore[method-assign]
        redis.hold()
        try:
            started = time.monotonic()
            calls = [asyncio.create_task(store.take([AGENT])) for _ in range(20)]
            await asyncio.sleep(BUDGET_SECONDS / 2)
            calls += [asyncio.create_task(store.take([AGENT])) for _ in range(20)]  # these gather behind the first
            ended = await asyncio.gather(*calls, return_exceptions=True)
            took = time.monotonic() - started
        finally:
            redis.go_on()
        assert {str(one) for one in ended} == LATE
        assert took >= BUDGET_SECONDS
        assert sent == [20]
        await store.close()
        return took

    assert min(asyncio.run(run()) for _ in range(TIMES)) < FAR_ABOVE


@pytest.mark.usefixtures("impatient")
def test_a_server_that_hangs_while_connecting_costs_the_budget(redis: RedisServer) -> None:
    redis.hold()
    try:
        tried = [lost(redis.url) for _ in range(TIMES)]
    finally:
        redis.go_on()
    assert {problem for problems, _ in tried for problem in problems} == LATE
    assert min(took for _, took in tried) < FAR_ABOVE


@pytest.mark.usefixtures("impatient")
def test_a_name_that_cannot_be_found_or_written_is_a_lost_store() -> None:
    lost("redis://no.such.host.invalid/0")
    lost(f"redis://{'x' * 70}.example/0")


def test_a_wrong_password_is_a_lost_store_and_told_without_it(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--requirepass", "the-right-one") as server:
        for secret in (":hunter2@", "someone:hunter2@", ""):
            url = server.url.replace("redis://", f"redis://{secret}")
            (problem,) = set(lost(url)[0])
            assert "hunter2" not in problem
            assert "uthentication" in problem
        right = server.url.replace("redis://", "redis://:the-right-one@")
        assert asyncio.run(_one_call(right))


async def _one_call(url: str) -> bool:
    store = await connected(url)
    taken = await store.take([AGENT])
    await store.close()
    return taken.counted


def test_a_replica_that_takes_no_writes_is_a_lost_store(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--replicaof", "127.0.0.1 1") as server:
        (problem,) = set(lost(server.url)[0])
        assert "ReadOnly" in problem
        with pytest.raises(StoreLost):
            asyncio.run(beat(server.url))


def test_a_server_without_memory_is_a_lost_store_and_counts_nothing(redis: RedisServer) -> None:
    redis.client.config_set("maxmemory-policy", "noeviction")
    redis.client.config_set("maxmemory", 1)
    try:
        (problem,) = set(lost(redis.url)[0])
        assert "OutOfMemory" in problem
        with pytest.raises(StoreLost):
            asyncio.run(beat(redis.url))
    finally:
        redis.client.config_set("maxmemory", 0)
    assert redis.client.keys("kalguard:{*") == []


def test_something_else_under_our_names_is_a_lost_store(redis: RedisServer) -> None:
    async def run() -> None:
        store = await connected(redis.url)
        await store.take([AGENT])
        (name,) = redis.client.keys("kalguard:{*")
        redis.client.set(name, "x")
        with pytest.raises(StoreLost, match="WRONGTYPE"):
            await store.take([AGENT])
        await store.close()

    asyncio.run(run())


def test_it_speaks_tls_to_a_server_that_it_can_trust_and_to_no_other(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    files = ["--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-ca-cert-file", str(certificate)]
    port = free_port()
    with redis_server(tmp_path, "--tls-port", str(port), "--tls-auth-clients", "no", *files):
        assert asyncio.run(_one_call(f"rediss://localhost:{port}/0?ssl_ca_certs={certificate}"))
        (problem,) = lost(f"rediss://localhost:{port}/0", 1)[0]
        assert "certificate verify failed" in problem


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"$999999999999\r\n", b"*-7\r\n", b""])
def test_something_that_is_no_redis_is_a_lost_store(answer: bytes) -> None:
    async def run() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(100)
            writer.write(answer)
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        store = RedisStore(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", instance="i")
        for _ in range(2):
            with pytest.raises(StoreLost):
                await store.take([AGENT])
        await store.close()
        server.close()
        await server.wait_closed()

    asyncio.run(run())


def test_it_speaks_over_a_unix_socket(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--unixsocket", str(tmp_path / "socket")):
        assert asyncio.run(_one_call(f"unix://{tmp_path}/socket?db=3"))


def test_instances_that_say_nothing_for_a_while_are_no_more(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        one, other = await connected(redis.url, "one"), await connected(redis.url, "other")
        assert await one.beat() == 2
        assert await other.beat() == 2
        redis.client.zadd("kalguard:instances", {"other": time.time() - 1})
        assert await one.beat() == 1
        await one.close()
        await other.close()

    asyncio.run(run())


def test_an_answer_that_came_while_this_process_was_busy_is_not_lost() -> None:
    async def answer() -> str:
        await asyncio.sleep(0.01)
        return "here"

    async def run() -> str:
        asked = asyncio.create_task(within(0.05, answer()))
        await asyncio.sleep(0)
        time.sleep(0.2)
        return await asked

    assert asyncio.run(run()) == "here"
