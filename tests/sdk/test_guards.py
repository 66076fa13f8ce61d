"""What the guards pass on: to the sidecar names and arguments, to the function what may be used."""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kalguard import (
    AsyncKalGuardClient,
    KalGuardClient,
    KalGuardDenied,
    guard_prompt,
    guard_tool,
    with_prompt_check,
    with_tool_check,
)
from kalguard.errors import ConfigError
from tests.sdk.faulty import FaultySidecar, allows, changed, faulty, refuses

MESSAGES = [{"role": "user", "content": "my number is 5"}]
SANITIZED = [{"role": "user", "content": "my number is [X]"}]


@contextmanager
def guarded() -> Iterator[tuple[FaultySidecar, KalGuardClient]]:
    with faulty(allows) as sidecar, KalGuardClient(sidecar.url, "token") as client:
        yield sidecar, client


def asked(sidecar: FaultySidecar) -> tuple[str, dict[str, Any]]:
    body = sidecar.requests[-1].json
    return body["toolName"], body["arguments"]


def test_a_function_gets_the_messages_that_may_be_sent() -> None:
    data = {"allowed": True, "sanitizedMessages": SANITIZED}
    with faulty(changed(data=data)) as sidecar, KalGuardClient(sidecar.url, "token") as client:
        assert with_prompt_check(client, MESSAGES, lambda messages: messages) == SANITIZED

        @guard_prompt(client)
        def chat(model: str, messages: list[dict[str, Any]], *, limit: int = 3) -> tuple[Any, ...]:
            return model, messages, limit

        assert chat("m", MESSAGES) == ("m", SANITIZED, 3)
        assert chat("m", messages=MESSAGES, limit=4) == ("m", SANITIZED, 4)

        @guard_prompt(client, messages="history")
        def other(history: Any) -> Any:
            return history

        assert other(MESSAGES) == SANITIZED
        assert MESSAGES[0]["content"] == "my number is 5"


def test_the_same_to_be_awaited() -> None:
    async def run() -> None:
        data = {"allowed": True, "sanitizedMessages": SANITIZED}
        with faulty(changed(data=data)) as sidecar:
            async with AsyncKalGuardClient(sidecar.url, "token") as client:

                async def echo(messages: Any) -> Any:
                    return messages

                assert await with_prompt_check(client, MESSAGES, echo) == SANITIZED
                assert await guard_prompt(client)(echo)(MESSAGES) == SANITIZED

                @guard_tool(client)
                async def search(query: str, limit: int = 3) -> str:
                    return f"{query} {limit}"

                assert await search("x") == "x 3"
                assert asked(sidecar) == ("search", {"query": "x", "limit": 3})

                async def five() -> int:
                    return 5

                assert await with_tool_check(client, "t", None, five) == 5

    asyncio.run(run())


def test_the_arguments_of_a_tool_are_those_of_the_call() -> None:
    with guarded() as (sidecar, client):

        @guard_tool(client)
        def search(query: str, /, limit: int = 3, *more: str, lang: str = "en", **rest: Any) -> tuple[Any, ...]:
            """Searches."""
            return query, limit, more, lang, rest

        assert search("x") == ("x", 3, (), "en", {})
        assert asked(sidecar) == ("search", {"query": "x", "limit": 3, "more": [], "lang": "en"})
        assert search("x", 4, "y", lang="de", deep=True) == ("x", 4, ("y",), "de", {"deep": True})
        assert asked(sidecar) == ("search", {"query": "x", "limit": 4, "more": ["y"], "lang": "de", "deep": True})
        assert (search.__name__, search.__doc__) == ("search", "Searches.")
        assert inspect.signature(search).parameters.keys() == {"query", "limit", "more", "lang", "rest"}


def test_a_method_s_object_is_no_argument_and_neither_is_what_is_left_out() -> None:
    with guarded() as (sidecar, client):

        class Tools:
            @guard_tool(client, name="web.search", leave_out=("self", "session"))
            def search(self, query: str, session: object) -> str:
                return query

        assert Tools().search("x", object()) == "x"
        assert asked(sidecar) == ("web.search", {"query": "x"})


def test_a_call_that_does_not_fit_is_an_error_before_anybody_is_asked() -> None:
    with guarded() as (sidecar, client):

        @guard_tool(client)
        def search(query: str) -> str:
            raise AssertionError

        with pytest.raises(TypeError):
            search()  # type: ignore[call-arg]
        with pytest.raises(TypeError):
            search(object())  # type: ignore[arg-type]
        assert sidecar.requests == []


def test_a_generator_begins_only_after_the_check() -> None:
    began: list[int] = []
    with faulty(refuses(403, "POLICY_DENY")) as sidecar, KalGuardClient(sidecar.url, "token") as client:

        @guard_tool(client)
        def numbers() -> Iterator[int]:
            began.append(1)
            yield 1

        with pytest.raises(KalGuardDenied):
            numbers()
        assert began == []


def _plain(messages: Any) -> Any:
    raise AssertionError


async def _coroutine(messages: Any) -> Any:
    raise AssertionError


async def _stream(messages: Any) -> Any:
    yield messages


@pytest.mark.parametrize("guard", [guard_prompt, guard_tool])
@pytest.mark.parametrize(
    ("client", "fn"),
    [(KalGuardClient, _coroutine), (AsyncKalGuardClient, _plain), (AsyncKalGuardClient, _stream)],
)
def test_a_guard_that_does_not_fit_its_function_is_refused_at_once(
    guard: Callable[..., Any], client: Any, fn: Any
) -> None:
    with pytest.raises(ConfigError, match=f"`{fn.__name__}`"):
        guard(client("http://127.0.0.1:1", "token"))(fn)


def test_a_guard_for_messages_that_a_function_does_not_take_is_refused_at_once() -> None:
    with KalGuardClient("http://127.0.0.1:1", "token") as client, pytest.raises(ConfigError, match="`prompt`"):
        guard_prompt(client, messages="prompt")(_plain)
