"""Whatever the sidecar does, nothing is called without an allowance: each fault, both clients, each way of asking."""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from kalguard import (
    AsyncKalGuardClient,
    KalGuardClient,
    KalGuardDenied,
    KalGuardUnavailable,
    guard_prompt,
    guard_tool,
    with_prompt_check,
    with_tool_check,
)
from tests.sdk.faulty import (
    LONG_SECONDS,
    Behaviour,
    allows,
    changed,
    closes,
    cut,
    cut_without_length,
    dripping_body,
    dripping_head,
    endless,
    faulty,
    http,
    redirects,
    refuses,
    reply,
    says,
    silent,
)
from tests.support import free_port

MESSAGES = [{"role": "user", "content": "hello"}]
SOON = {"timeout_seconds": 0.6}
PATIENT = {"timeout_seconds": 60.0, "connect_seconds": 60.0}  # where there is an answer, however late
HTML = b"<html>Bad Gateway</html>"
DENIALS: dict[str, tuple[Behaviour, str]] = {
    "401": (refuses(401, "AUTH_FAILED"), "AUTH_FAILED"),
    "403": (refuses(403, "POLICY_DENY"), "POLICY_DENY"),
    "403, blocked": (refuses(403, "PROMPT_BLOCKED", riskScore=92), "PROMPT_BLOCKED"),
    "403, a newer code": (refuses(403, "SOMETHING_NEW"), "SOMETHING_NEW"),
    "429": (refuses(429, "RATE_LIMIT_EXCEEDED", "retry-after: 300"), "RATE_LIMIT_EXCEEDED"),
    "400": (refuses(400, "BAD_REQUEST"), "BAD_REQUEST"),
    "413": (refuses(413, "PAYLOAD_TOO_LARGE"), "PAYLOAD_TOO_LARGE"),
    "404 of something else": (says(404, HTML), "HTTP_404"),
    "401 of something else": (says(401, b""), "HTTP_401"),
    "403 of something else": (says(403, HTML), "HTTP_403"),
    "403 that says yes": (changed(403), "HTTP_403"),
}
UNUSABLE: dict[str, Behaviour] = {
    "500": refuses(500, "INTERNAL"),
    "500 that says yes": changed(500),
    "502": says(502, HTML),
    "503": refuses(503, "UNAVAILABLE"),
    "204": says(204),
    "201 that says yes": changed(201),
    "redirect": redirects,
    "no JSON": says(200, HTML),
    "not UTF-8": says(200, b'{"ok": true, "allowed": true, "x": "\xff"}'),
    "nothing": says(200),
    "an empty object": says(200, b"{}"),
    "a list": says(200, b"[]"),
    "another request's": changed(requestId="req_of_somebody_else"),
    "allowed false": changed(allowed=False),
    "allowed as text": changed(allowed="true"),
    "allowed as a number": changed(allowed=1),
    "ok false": changed(ok=False),
    "decision deny": changed(decision="deny"),
    "decision missing": changed(decision=None),
    "data says no": changed(data={"allowed": False}),
    "a code": changed(errorCode="POLICY_DENY"),
    "cut": cut,
    "cut without a length": cut_without_length,
    "closes": closes,
    "silent": silent,
    "drips its head": dripping_head,
    "drips its body": dripping_body,
    "endless": endless,
}
FAULTS = {**{name: behaviour for name, (behaviour, _) in DENIALS.items()}, **UNUSABLE}


class Called(Exception):
    """What must not happen."""


def never(*_: Any, **__: Any) -> Any:
    raise Called


async def never_async(*_: Any, **__: Any) -> Any:
    raise Called


def in_sync(url: str, **options: Any) -> list[Callable[[], Any]]:
    """Every way of asking with `KalGuardClient`."""

    def ask(way: int) -> Any:
        with KalGuardClient(url, "token", **{**SOON, **options}) as client:

            @guard_prompt(client)
            def chat(messages: Any) -> Any:
                raise Called

            @guard_tool(client)
            def tool(x: int) -> Any:
                raise Called

            if way == 0:
                return with_prompt_check(client, MESSAGES, never)
            if way == 1:
                return with_tool_check(client, "tool", {}, never)
            return chat(MESSAGES) if way == 2 else tool(1)

    return [lambda way=way: ask(way) for way in range(4)]  # type: ignore[misc]


def in_async(url: str, **options: Any) -> list[Callable[[], Any]]:
    """Every way of asking with `AsyncKalGuardClient`."""

    async def ask(way: int) -> Any:
        async with AsyncKalGuardClient(url, "token", **{**SOON, **options}) as client:

            @guard_prompt(client)
            async def chat(messages: Any) -> Any:
                raise Called

            @guard_tool(client)
            async def tool(x: int) -> Any:
                raise Called

            if way == 0:
                return await with_prompt_check(client, MESSAGES, never_async)
            if way == 1:
                return await with_tool_check(client, "tool", {}, never_async)
            return await (chat(MESSAGES) if way == 2 else tool(1))

    return [lambda way=way: asyncio.run(ask(way)) for way in range(4)]  # type: ignore[misc]


KINDS = pytest.mark.parametrize("ways", [in_sync, in_async])


@KINDS
@pytest.mark.parametrize("name", FAULTS)
def test_nothing_is_called(ways: Any, name: str) -> None:
    with faulty(FAULTS[name]) as sidecar:
        for ask in ways(sidecar.url):
            started = time.monotonic()
            with pytest.raises((KalGuardDenied, KalGuardUnavailable)):
                ask()
            assert time.monotonic() - started < LONG_SECONDS / 2


@KINDS
def test_nothing_is_called_when_nobody_is_there(ways: Any) -> None:
    for ask in ways(f"http://127.0.0.1:{free_port()}"):
        with pytest.raises(KalGuardUnavailable, match="cannot be reached"):
            ask()


@KINDS
def test_the_name_of_a_host_that_there_is_not(ways: Any) -> None:
    for ask in ways("http://there-is-none.invalid:9292"):
        with pytest.raises(KalGuardUnavailable):
            ask()


@KINDS
@pytest.mark.parametrize("name", DENIALS)
def test_a_no_is_a_denial_with_its_code_and_stays_one_for_who_wants_to_go_on_without_a_sidecar(
    ways: Any, name: str
) -> None:
    behaviour, code = DENIALS[name]
    with faulty(behaviour) as sidecar:
        for ask in ways(sidecar.url, on_unavailable="allow", **PATIENT):
            with pytest.raises(KalGuardDenied) as caught:
                ask()
            assert caught.value.code == code
            assert caught.value.request_id == sidecar.requests[-1].headers["x-kalguard-request-id"]


@KINDS
@pytest.mark.parametrize("name", ["500", "503", "redirect", "no JSON", "cut", "silent", "another request's"])
def test_only_who_wrote_allow_goes_on_without_an_answer(ways: Any, name: str) -> None:
    with faulty(UNUSABLE[name]) as sidecar:
        for ask in ways(sidecar.url, on_unavailable="allow"):
            with pytest.raises(Called):
                ask()


@KINDS
def test_a_yes_is_one(ways: Any) -> None:
    with faulty(allows) as sidecar:
        for ask in ways(sidecar.url, **PATIENT):
            with pytest.raises(Called):
                ask()


def test_messages_that_are_not_those_that_were_sent_are_not_used() -> None:
    for messages in ([], [*MESSAGES, *MESSAGES], "text", [1], None):
        data = {"allowed": True, "sanitizedMessages": messages}
        with (
            faulty(changed(data=data)) as sidecar,
            KalGuardClient(sidecar.url, "token") as client,
            pytest.raises(KalGuardUnavailable),
        ):
            with_prompt_check(client, MESSAGES, never)


def test_the_token_does_not_go_where_a_redirect_leads() -> None:
    with faulty(allows) as other, faulty(says(307, b"", f"location: {other.url}/v1/tool/check")) as sidecar:
        with KalGuardClient(sidecar.url, "token") as client, pytest.raises(KalGuardUnavailable):
            client.check_tool("t")
        assert other.requests == []


def test_an_answer_that_comes_after_all_is_taken_from_the_right_request() -> None:
    """A connection on which an answer is still to come is not used for the next request."""

    given_up, answered = threading.Event(), threading.Event()

    def late(request: Any, connection: Any) -> None:
        if b"slow" not in request.body:
            connection.sendall(http(200, reply(request)))
            return
        given_up.wait(60)
        with suppress(OSError):
            connection.sendall(http(200, reply(request)))
        answered.set()

    with faulty(late) as sidecar, KalGuardClient(sidecar.url, "token", timeout_seconds=3) as client:
        with pytest.raises(KalGuardUnavailable, match="no reply in time"):
            client.check_tool("slow")
        given_up.set()
        assert answered.wait(60)
        assert client.check_tool("quick").request_id == sidecar.requests[-1].headers["x-kalguard-request-id"]
