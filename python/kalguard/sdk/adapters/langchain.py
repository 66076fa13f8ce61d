"""LangChain and LangGraph: middleware for `create_agent` that checks every model call and every tool call.

    agent = create_agent(model, tools, middleware=[..., KalGuardMiddleware(KalGuardClient())])

The conversation is checked before each model call, as it goes to the model, system prompt included. The model sees
what the sidecar made of it; the agent's state keeps what was said. Put it last: what other middleware changes is then
checked too, and nothing is changed after the check. Not looked at: definitions of tools, images and files.
"""

import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from kalguard.errors import KalGuardDenied
from kalguard.sdk.adapters.conversation import (
    Client,
    Conversion,
    Messages,
    OnDeniedTool,
    Unmappable,
    Visitor,
    check_tool,
    check_tool_async,
    checked,
    checked_async,
    compare,
    incoming,
    outgoing,
    rewritten,
    tells_model,
    told,
    walked,
)

try:
    from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
    from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, ChatMessage, SystemMessage, ToolMessage
    from langgraph.prebuilt.tool_node import ToolCallRequest
    from langgraph.types import Command
except ImportError as error:
    raise ImportError('this needs LangChain: pip install "kalguard[langchain]"') from error

_ROLES = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool", "function": "function"}


class _Prompt(NamedTuple):
    """What goes to a model."""

    system: SystemMessage | None
    messages: list[AnyMessage]


class KalGuardMiddleware(AgentMiddleware[Any, Any, Any]):
    """Checks model calls and tool calls. Raises `KalGuardDenied` and `KalGuardUnavailable`, through `invoke`.

    A `KalGuardClient` serves `invoke` and `ainvoke` alike, an `AsyncKalGuardClient` only `ainvoke`.
    `on_denied_tool="tell_model"` has the model told why its tool call was not carried out, instead of an exception.
    Raises `ConfigError` for another `on_denied_tool`.
    """

    def __init__(self, client: Client, *, on_denied_tool: OnDeniedTool = "raise") -> None:
        super().__init__()
        self._client = client
        self._tells_model = tells_model(on_denied_tool)

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Call the model with the messages that it may see."""
        prompt = _Prompt(request.system_message, request.messages)
        return handler(_with(request, checked(self._client, prompt, CONVERSION)))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        """See `wrap_model_call`."""
        prompt = _Prompt(request.system_message, request.messages)
        return await handler(_with(request, await checked_async(self._client, prompt, CONVERSION)))

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], ToolMessage | Command[Any]]
    ) -> ToolMessage | Command[Any]:
        """Run the tool if it may be run with these arguments. Fits `ToolNode(wrap_tool_call=...)` too."""
        try:
            check_tool(self._client, request.tool_call["name"], request.tool_call["args"])
        except KalGuardDenied as error:
            return self._denied(request, error)
        return handler(request)

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]
    ) -> ToolMessage | Command[Any]:
        """See `wrap_tool_call`."""
        try:
            await check_tool_async(self._client, request.tool_call["name"], request.tool_call["args"])
        except KalGuardDenied as error:
            return self._denied(request, error)
        return await handler(request)

    def _denied(self, request: ToolCallRequest, error: KalGuardDenied) -> ToolMessage:
        if not self._tells_model:
            raise error
        call = request.tool_call
        return ToolMessage(told(error), tool_call_id=call["id"], name=call["name"], status="error")


def to_sidecar(messages: Sequence[BaseMessage]) -> Messages:
    """Messages in the sidecar's shape, one for one. Raises `Unmappable`."""
    return [outgoing(_head(message), functools.partial(_seen, message)) for message in messages]


def from_sidecar(messages: Sequence[BaseMessage], returned: Messages) -> list[BaseMessage]:
    """The messages with the texts that came back for them; those given stay as they are. Raises `Unmappable`."""
    sent = to_sidecar(messages)
    compare(sent, returned)
    return [
        message if before == after else incoming(after, functools.partial(_seen, message))
        for message, before, after in zip(messages, sent, returned, strict=True)
    ]


def _prompt_to_sidecar(prompt: _Prompt) -> Messages:
    return to_sidecar([*([prompt.system] if prompt.system else []), *prompt.messages])


def _prompt_from_sidecar(prompt: _Prompt, returned: Messages) -> _Prompt:
    if prompt.system is None:
        return _Prompt(None, from_sidecar(prompt.messages, returned))  # type: ignore[arg-type]
    system, *messages = from_sidecar([prompt.system, *prompt.messages], returned)
    return _Prompt(system, messages)  # type: ignore[arg-type]


CONVERSION = Conversion(_prompt_to_sidecar, _prompt_from_sidecar)


def _with(request: ModelRequest[Any], prompt: _Prompt) -> ModelRequest[Any]:
    return request.override(system_message=prompt.system, messages=prompt.messages)


def _head(message: BaseMessage) -> dict[str, Any]:
    role = message.role if isinstance(message, ChatMessage) else _ROLES.get(_type_of(message))
    if role is None:
        raise Unmappable(f"a message of the type `{message.type}` cannot be checked")
    return {"role": role, "tool_call_id": message.tool_call_id} if isinstance(message, ToolMessage) else {"role": role}


def _type_of(message: BaseMessage) -> str:
    """The type of a message that is complete, or of its chunk."""
    kind = message.type.removesuffix("MessageChunk")
    return kind.lower() if kind != message.type else kind


def _seen(message: BaseMessage, visit: Visitor) -> BaseMessage:
    """A message anew, in the words of `visit`."""
    made: dict[str, Any] = {}
    if message.name:
        made["name"] = visit.name(message.name)
    made["content"] = (
        visit.text(message.content) if isinstance(message.content, str) else walked(message.content, visit)
    )
    made["additional_kwargs"] = walked(message.additional_kwargs, visit)
    if isinstance(message, AIMessage):
        made["tool_calls"] = [{**call, "args": _arguments(call, visit)} for call in message.tool_calls]
        made["invalid_tool_calls"] = [_invalid(call, visit) for call in message.invalid_tool_calls]
    return message.model_copy(update=made)


def _arguments(call: Mapping[str, Any], visit: Visitor) -> Any:
    return rewritten(call["args"], lambda text: visit.call(call.get("id"), call["name"], text))


def _invalid(call: Mapping[str, Any], visit: Visitor) -> dict[str, Any]:
    """A call that the model wrote wrongly; some providers send it back to the model as it is."""
    arguments = visit.call(call.get("id"), call.get("name") or "", call.get("args") or "")
    return {
        **call,
        "args": arguments if call.get("args") else call.get("args"),
        "error": walked(call.get("error"), visit),
    }
