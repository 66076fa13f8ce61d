"""What both clients send and make of good answers, and when they ask again."""

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from kalguard import AsyncKalGuardClient, KalGuardClient, KalGuardDenied, KalGuardUnavailable, PlanInfo
from kalguard.errors import ConfigError
from tests.sdk.faulty import Behaviour, Request, allows, changed, faulty, http, refuses, reply
from tests.support import ATTACK, GOOD_PROMPT, free_port, running, token

PRIVATE = [{"role": "user", "content": "Write to jane.doe@example.com, please."}]
MESSAGES = [{"role": "user", "content": "hello", "x": [1]}]
Ask = Callable[[Any], Any]


def with_sync(url: str | None, ask: Ask, **options: Any) -> Any:
    """What comes of asking with `KalGuardClient`."""
    with KalGuardClient(url, **{"token": "token", **options}) as client:
        return ask(client)


def with_async(url: str | None, ask: Ask, **options: Any) -> Any:
    """What comes of asking with `AsyncKalGuardClient`."""

    async def run() -> Any:
        async with AsyncKalGuardClient(url, **{"token": "token", **options}) as client:
            answer = ask(client)
            return await answer if isinstance(answer, Awaitable) else answer

    return asyncio.run(run())


KINDS = pytest.mark.parametrize("using", [with_sync, with_async])


def prompt(client: Any) -> Any:
    return client.check_prompt(MESSAGES)


def tool(client: Any) -> Any:
    return client.check_tool("search", {"q": "x"})


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """One behaviour after the other; the last one stays."""
    left = list(behaviours)

    def behave(request: Request, connection: Any) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(request, connection)

    return behave


@KINDS
def test_what_is_sent(using: Any) -> None:
    with faulty(allows) as sidecar:
        using(sidecar.url, lambda client: client.check_prompt(MESSAGES, metadata={"env": "test"}))
        using(sidecar.url, lambda client: client.check_tool("search", {"q": "x"}, metadata={"env": "test"}))
        using(sidecar.url, lambda client: client.check_tool("search"))
        using(sidecar.url, lambda client: client.register_tool("search", {"type": "object"}, "searches"))
        using(sidecar.url, lambda client: client.register_tool("search", {}))
        context = {"context": {"metadata": {"env": "test"}}}
        assert [(request.path, request.json) for request in sidecar.requests] == [
            ("/v1/prompt/check", {"messages": MESSAGES, **context}),
            ("/v1/tool/check", {"toolName": "search", "arguments": {"q": "x"}, **context}),
            ("/v1/tool/check", {"toolName": "search", "arguments": {}}),
            (
                "/v1/tool/register",
                {"toolName": "search", "argumentSchema": {"type": "object"}, "description": "searches"},
            ),
            ("/v1/tool/register", {"toolName": "search", "argumentSchema": {}}),
        ]
        heads = [request.headers for request in sidecar.requests]
        assert {head["authorization"] for head in heads} == {"Bearer token"}
        assert len({head["x-kalguard-request-id"] for head in heads}) == len(heads)
        assert set(heads[0]) == {
            "host", "connection", "authorization", "content-type", "content-length", "accept", "accept-encoding",
            "user-agent", "x-kalguard-request-id",
        }  # fmt: skip


@KINDS
def test_a_prompt_that_may_be_sent_as_it_is(using: Any) -> None:
    with faulty(changed(data={"allowed": True, "riskScore": 3, "riskLevel": "low", "findings": []})) as sidecar:
        result = using(sidecar.url, prompt)
    assert result.messages == MESSAGES
    assert (result.is_sanitized, result.risk_score, result.risk_level) == (False, 3, "low")
    assert (result.findings, result.is_unchecked) == ((), False)


@KINDS
def test_a_prompt_that_may_be_sent_otherwise(using: Any) -> None:
    sanitized = [{"role": "user", "content": "[EMAIL_REDACTED]", "x": [1]}]
    found = [{"category": "pii.email", "score": 20, "message": 0}, {"category": "newer", "score": 1, "more": True}]
    with faulty(changed(data={"allowed": True, "sanitizedMessages": sanitized, "findings": found})) as sidecar:
        result = using(sidecar.url, prompt)
    assert (result.messages, result.is_sanitized) == (sanitized, True)
    assert [(one.category, one.message) for one in result.findings] == [("pii.email", 0), ("newer", None)]
    assert MESSAGES[0]["content"] == "hello"


@KINDS
def test_a_denial_says_all_that_is_known(using: Any) -> None:
    with faulty(refuses(403, "PROMPT_BLOCKED", riskScore=92)) as sidecar, pytest.raises(KalGuardDenied) as caught:
        using(sidecar.url, prompt)
    denied = caught.value
    assert (denied.code, denied.reason, denied.risk_score, denied.approval_required) == (
        "PROMPT_BLOCKED",
        "because",
        92,
        False,
    )
    assert str(denied) == f"because (PROMPT_BLOCKED, request {denied.request_id})"
    with faulty(refuses(403, "REQUIRE_APPROVAL")) as sidecar, pytest.raises(KalGuardDenied) as caught:
        using(sidecar.url, tool)
    assert caught.value.approval_required
    limited = refuses(429, "RATE_LIMIT_EXCEEDED", "retry-after: 77", remaining=0, resetAt=1714694400)
    with faulty(limited) as sidecar, pytest.raises(KalGuardDenied) as caught:
        using(sidecar.url, tool)
    assert (caught.value.retry_after, caught.value.reset_at) == (77, 1714694400)


@KINDS
def test_the_plan_is_that_of_the_last_reply(using: Any) -> None:
    plan = ("x-kalguard-plan: pro", "x-kalguard-usage-remaining: 99842", "x-ratelimit-reset: 1714694400")

    def behave(request: Request, connection: Any) -> None:
        connection.sendall(http(200, reply(request), *plan))

    def ask(client: Any) -> Any:
        assert client.plan_info is None
        return _then(client.check_tool("t"), lambda _: client.plan_info)

    with faulty(behave) as sidecar:
        assert using(sidecar.url, ask) == PlanInfo("pro", 99842, 1714694400)
    with faulty(refuses(403, "POLICY_DENY", *plan)) as sidecar:
        assert using(sidecar.url, _plan_after_denial) == PlanInfo("pro", 99842, 1714694400)
    with faulty(refuses(403, "POLICY_DENY", "x-kalguard-plan: pro", "x-ratelimit-reset: soon")) as sidecar:
        assert using(sidecar.url, _plan_after_denial) is None


def _then(answer: Any, more: Callable[[Any], Any]) -> Any:
    if not isinstance(answer, Awaitable):
        return more(answer)

    async def wait() -> Any:
        return more(await answer)

    return wait()


def _plan_after_denial(client: Any) -> Any:
    if isinstance(client, KalGuardClient):
        with pytest.raises(KalGuardDenied):
            client.check_tool("t")
        return client.plan_info

    async def wait() -> Any:
        with pytest.raises(KalGuardDenied):
            await client.check_tool("t")
        return client.plan_info

    return wait()


@KINDS
@pytest.mark.parametrize(
    "first", [refuses(429, "RATE_LIMIT_EXCEEDED", "retry-after: 0"), refuses(503, "UNAVAILABLE", "retry-after: 0")]
)
def test_who_is_told_when_asks_again_with_the_same_id(using: Any, first: Behaviour) -> None:
    with faulty(in_turn(first, first, allows)) as sidecar:
        result = using(sidecar.url, tool)
        assert {request.headers["x-kalguard-request-id"] for request in sidecar.requests} == {result.request_id}
        assert len(sidecar.requests) == 3


@KINDS
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (refuses(429, "RATE_LIMIT_EXCEEDED"), KalGuardDenied),
        (refuses(429, "RATE_LIMIT_EXCEEDED", "retry-after: 5"), KalGuardDenied),
        (refuses(429, "RATE_LIMIT_EXCEEDED", "retry-after: soon"), KalGuardDenied),
        (refuses(503, "UNAVAILABLE"), KalGuardUnavailable),
        (refuses(503, "UNAVAILABLE", "retry-after: 3"), KalGuardUnavailable),
        (refuses(500, "INTERNAL", "retry-after: 0"), KalGuardUnavailable),
        (refuses(403, "POLICY_DENY", "retry-after: 0"), KalGuardDenied),
        (refuses(401, "AUTH_FAILED", "retry-after: 0"), KalGuardDenied),
    ],
)
def test_nobody_asks_again_without_being_told_or_later_than_there_is_time(
    using: Any, answer: Behaviour, error: type[Exception]
) -> None:
    with faulty(answer) as sidecar:
        with pytest.raises(error):
            using(sidecar.url, tool)
        assert len(sidecar.requests) == 1


@KINDS
def test_it_is_asked_so_often_and_no_more(using: Any) -> None:
    with faulty(refuses(503, "UNAVAILABLE", "retry-after: 0")) as sidecar:
        for retries in (0, 1, 4):
            sidecar.requests.clear()
            with pytest.raises(KalGuardUnavailable):
                using(sidecar.url, tool, retries=retries)
            assert len(sidecar.requests) == 1 + retries


@KINDS
def test_what_may_have_been_decided_is_not_asked_again(using: Any) -> None:
    with faulty(lambda _, connection: connection.close()) as sidecar:
        with pytest.raises(KalGuardUnavailable):
            using(sidecar.url, tool)
        assert len(sidecar.requests) == 1


@KINDS
def test_a_connection_that_cannot_be_made_is_tried_again(using: Any) -> None:
    """Nobody listens at first; somebody does before the time is over."""
    port = free_port()
    with ThreadPoolExecutor(1) as threads:

        def listen() -> bytes:
            time.sleep(0.03)
            with socket.create_server(("127.0.0.1", port)) as listener, listener.accept()[0] as connection:
                return connection.recv(4)

        came = threads.submit(listen)
        with pytest.raises(KalGuardUnavailable, match="no reply"):
            using(f"http://127.0.0.1:{port}", tool, retries=8)
        assert came.result() == b"POST"


def test_where_and_who_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with faulty(allows) as sidecar:
        monkeypatch.setenv("KALGUARD_SIDECAR_URL", f"{sidecar.url}/")
        monkeypatch.setenv("KALGUARD_AGENT_TOKEN", "of-the-environment")
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")  # which is not for this
        with KalGuardClient() as client:
            client.check_tool("t")
        assert sidecar.requests[0].headers["authorization"] == "Bearer of-the-environment"


@pytest.mark.parametrize("client", [KalGuardClient, AsyncKalGuardClient])
@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"token": None}, "KALGUARD_AGENT_TOKEN"),
        ({"token": ""}, "KALGUARD_AGENT_TOKEN"),
        ({"base_url": "localhost:9292"}, "KALGUARD_SIDECAR_URL"),
        ({"base_url": "ftp://localhost"}, "KALGUARD_SIDECAR_URL"),
        ({"base_url": "http://"}, "KALGUARD_SIDECAR_URL"),
        ({"base_url": "http://user:secret@host"}, "KALGUARD_SIDECAR_URL"),
        ({"on_unavailable": "Allow"}, "on_unavailable"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"retries": -1}, "retries"),
    ],
)
def test_what_cannot_be_used_is_said_at_once(
    client: Any, options: dict[str, Any], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KALGUARD_AGENT_TOKEN", raising=False)
    with pytest.raises(ConfigError, match=named) as caught:
        client(**{"token": "token", **options})
    assert "secret" not in str(caught.value)


@KINDS
@pytest.mark.parametrize("text", ["two words", "a\r\nx-evil: 1", "ü", ""])
def test_a_token_that_is_none_is_never_sent(using: Any, text: str) -> None:
    with faulty(allows) as sidecar:
        with pytest.raises(KalGuardDenied, match="AUTH_FAILED"):
            using(sidecar.url, tool, token=lambda: text)
        assert sidecar.requests == []


@KINDS
def test_a_token_can_be_another_one_each_time(using: Any) -> None:
    tokens = iter(["first", "second"])

    def twice(client: Any) -> Any:
        return _then(client.check_tool("t"), lambda _: client.check_tool("t"))

    with faulty(allows) as sidecar:
        if using is with_sync:
            using(sidecar.url, twice, token=lambda: next(tokens))
        else:
            for _ in range(2):
                using(sidecar.url, tool, token=lambda: next(tokens))
        assert [request.headers["authorization"] for request in sidecar.requests] == ["Bearer first", "Bearer second"]


@pytest.mark.parametrize("messages", ["text", b"text", {"role": "user"}, [["role", "user"]], ["hello"], 5])
def test_what_are_no_messages_is_not_sent(messages: Any) -> None:
    with faulty(allows) as sidecar:
        with KalGuardClient(sidecar.url, "token") as client, pytest.raises(TypeError):
            client.check_prompt(messages)
        assert sidecar.requests == []


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, "\ud800", len, float("nan"), float("inf"), b"bytes", datetime.now(UTC)], ids=range(8)
)
def test_arguments_that_json_cannot_say_are_not_sent(value: Any) -> None:
    with faulty(allows) as sidecar:
        with KalGuardClient(sidecar.url, "token") as client, pytest.raises((TypeError, ValueError)):
            client.check_tool("t", {"x": value})
        assert sidecar.requests == []


def test_a_transport_of_one_s_own() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        found = {"requestId": request.headers["x-kalguard-request-id"], "message": "", "decision": "allow"}
        return httpx.Response(200, content=json.dumps({**found, "ok": True, "allowed": True}))

    with KalGuardClient("http://sidecar", "token", transport=httpx.MockTransport(answer)) as client:
        assert client.check_tool("t").reason == ""


def test_with_the_sidecar_itself(tmp_path: Path) -> None:
    given = {"token": token(), "timeout_seconds": 60, "connect_seconds": 60}
    with running(tmp_path, policy_default_deny="false") as server:
        for using in (with_sync, with_async):
            good = using(server.url, lambda client: client.check_prompt(GOOD_PROMPT["messages"]), **given)
            assert (good.messages, good.risk_level) == (GOOD_PROMPT["messages"], "low")
            sanitized = using(server.url, lambda client: client.check_prompt(PRIVATE), **given)
            assert "[EMAIL_REDACTED]" in sanitized.messages[0]["content"]
            with pytest.raises(KalGuardDenied, match="PROMPT_BLOCKED") as caught:
                using(server.url, lambda client: client.check_prompt(ATTACK["messages"]), **given)
            assert caught.value.risk_score is not None
            assert caught.value.risk_score >= 70
            with pytest.raises(KalGuardDenied, match="AUTH_FAILED"):
                using(server.url, tool, **{**given, "token": token("x" * 40)})
            with pytest.raises(KalGuardDenied, match="CAPABILITY_DENIED"):
                using(server.url, lambda client: client.register_tool("t", {}), **given)
            assert using(server.url, tool, **given).is_unchecked is False


def test_it_needs_neither_the_extension_nor_the_server() -> None:
    code = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == "kalguard._core" or name.split(".")[0] in %r:
            raise ImportError(f"{name} is not there")
sys.meta_path.insert(0, Absent())
import kalguard
assert "httpx" not in sys.modules
from kalguard import *
from kalguard import KalGuardClient
import tests.sdk.faulty as f
with f.faulty(f.allows) as sidecar, KalGuardClient(sidecar.url, "token") as client:
    assert client.check_tool("t").reason == "fine"
print(sorted(name for name in sys.modules if name.startswith("kalguard.")))
"""
    server = [
        "litestar",
        "granian",
        "redis",
        "joserfc",
        "cryptography",
        "prometheus_client",
        "click",
        "structlog",
        "tenacity",
    ]
    ended = subprocess.run([sys.executable, "-c", code % server], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    # `hardening` is the sandbox for tools, which is imported without the extension and asks for it when a tool is run.
    assert {name.split(".")[1] for name in eval(ended.stdout)} == {"errors", "hardening", "sdk", "version", "wire"}
