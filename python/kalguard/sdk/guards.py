"""Around what an agent does: the check first, and what it is about only if the answer is yes.

INVARIANT: the function that is given is called after an allowance and at no other time.
"""

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar, overload

from kalguard.errors import ConfigError
from kalguard.sdk.client import AsyncKalGuardClient, KalGuardClient

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Messages = Sequence[Mapping[str, Any]]
_Client = KalGuardClient | AsyncKalGuardClient


@overload
def with_prompt_check(client: KalGuardClient, messages: _Messages, fn: Callable[[list[dict[str, Any]]], _T]) -> _T: ...
@overload
def with_prompt_check(
    client: AsyncKalGuardClient, messages: _Messages, fn: Callable[[list[dict[str, Any]]], Awaitable[_T]]
) -> Awaitable[_T]: ...
def with_prompt_check(client: _Client, messages: _Messages, fn: Callable[[list[dict[str, Any]]], Any]) -> Any:
    """Call `fn` with the messages that may be sent: those given, or what the sidecar made of them.

    With an `AsyncKalGuardClient` the result, and what `fn` gives, is to be awaited. Raises as `check_prompt`.
    """
    if isinstance(client, KalGuardClient):
        return fn(client.check_prompt(messages).messages)
    return _prompt_then(client, messages, fn)


@overload
def with_tool_check(
    client: KalGuardClient, name: str, arguments: Mapping[str, Any] | None, fn: Callable[[], _T]
) -> _T: ...
@overload
def with_tool_check(
    client: AsyncKalGuardClient, name: str, arguments: Mapping[str, Any] | None, fn: Callable[[], Awaitable[_T]]
) -> Awaitable[_T]: ...
def with_tool_check(client: _Client, name: str, arguments: Mapping[str, Any] | None, fn: Callable[[], Any]) -> Any:
    """Call `fn` if the tool may be run with these arguments.

    With an `AsyncKalGuardClient` the result, and what `fn` gives, is to be awaited. Raises as `check_tool`.
    """
    if isinstance(client, KalGuardClient):
        client.check_tool(name, arguments)
        return fn()
    return _tool_then(client, name, arguments, fn)


def guard_prompt(client: _Client, *, messages: str = "messages") -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """Check the messages that a function is called with, in its parameter of that name; it gets those that may be sent.

    A coroutine function needs an `AsyncKalGuardClient`, any other a `KalGuardClient`. Raises `ConfigError` at once for
    a function that this does not fit.
    """

    def decorate(fn: Callable[_P, _T]) -> Callable[_P, _T]:
        signature = _signature(client, fn)
        if messages not in signature.parameters:
            raise ConfigError([f"guard_prompt: `{fn.__qualname__}` has no parameter `{messages}`"])

        def bound(args: Any, kwargs: Any) -> inspect.BoundArguments:
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            return given

        if isinstance(client, AsyncKalGuardClient):

            @functools.wraps(fn)
            async def guarded_async(*args: _P.args, **kwargs: _P.kwargs) -> Any:
                given = bound(args, kwargs)
                given.arguments[messages] = (await client.check_prompt(given.arguments[messages])).messages
                return await fn(*given.args, **given.kwargs)  # type: ignore[misc]

            return guarded_async  # type: ignore[return-value]

        @functools.wraps(fn)
        def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            given = bound(args, kwargs)
            given.arguments[messages] = client.check_prompt(given.arguments[messages]).messages
            return fn(*given.args, **given.kwargs)

        return guarded

    return decorate


def guard_tool(
    client: _Client, *, name: str | None = None, leave_out: Sequence[str] = ("self", "cls")
) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """Check every call of a function as the call of a tool: under its name, with the arguments it is called with.

    Defaults are arguments too. Parameters named in `leave_out` are no business of the tool's. Arguments have to be what
    JSON can say. Otherwise as `guard_prompt`.
    """

    def decorate(fn: Callable[_P, _T]) -> Callable[_P, _T]:
        signature, tool = _signature(client, fn), name or fn.__name__

        def arguments(args: Any, kwargs: Any) -> dict[str, Any]:
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            return _named(signature, given, leave_out)

        if isinstance(client, AsyncKalGuardClient):

            @functools.wraps(fn)
            async def guarded_async(*args: _P.args, **kwargs: _P.kwargs) -> Any:
                await client.check_tool(tool, arguments(args, kwargs))
                return await fn(*args, **kwargs)  # type: ignore[misc]

            return guarded_async  # type: ignore[return-value]

        @functools.wraps(fn)
        def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            client.check_tool(tool, arguments(args, kwargs))
            return fn(*args, **kwargs)

        return guarded

    return decorate


async def _prompt_then(
    client: AsyncKalGuardClient, messages: _Messages, fn: Callable[[list[dict[str, Any]]], Awaitable[_T]]
) -> _T:
    return await fn((await client.check_prompt(messages)).messages)


async def _tool_then(
    client: AsyncKalGuardClient, name: str, arguments: Mapping[str, Any] | None, fn: Callable[[], Awaitable[_T]]
) -> _T:
    await client.check_tool(name, arguments)
    return await fn()


def _signature(client: _Client, fn: Callable[..., Any]) -> inspect.Signature:
    """The parameters of a function that this client can guard. Raises `ConfigError`."""
    is_async = inspect.iscoroutinefunction(fn)
    if is_async and isinstance(client, KalGuardClient):
        raise ConfigError([f"`{fn.__qualname__}` is a coroutine function: guard it with an AsyncKalGuardClient"])
    if not is_async and isinstance(client, AsyncKalGuardClient):
        raise ConfigError([f"`{fn.__qualname__}` is no coroutine function: guard it with a KalGuardClient"])
    return inspect.signature(fn)


def _named(signature: inspect.Signature, given: inspect.BoundArguments, leave_out: Sequence[str]) -> dict[str, Any]:
    """Arguments by name; those that were caught by `**` under their own."""
    found: dict[str, Any] = {}
    for parameter, value in given.arguments.items():
        if parameter in leave_out:
            continue
        if signature.parameters[parameter].kind is inspect.Parameter.VAR_KEYWORD:
            found |= value
        else:
            found[parameter] = value
    return found
