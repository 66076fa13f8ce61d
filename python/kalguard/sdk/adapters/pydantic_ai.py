"""Pydantic AI: a capability that checks every model call and every tool call.

    agent = Agent(model, capabilities=[KalGuard(KalGuardClient())])

It wraps the model and the tools, and goes innermost: what other capabilities and hooks change is checked too, and
nothing is changed after the check. The model sees what the sidecar made of the conversation; the history keeps what was
said. Not looked at: definitions of tools, what a provider keeps for itself (`provider_details`), images, and files that
are not text. What an output function does is no tool call.
"""

import dataclasses
import functools
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from kalguard.errors import KalGuardDenied
from kalguard.sdk.adapters.conversation import (
    Client,
    Conversion,
    Messages,
    OnDeniedTool,
    Unmappable,
    Visitor,
    check_tool_async,
    checked_async,
    compare,
    incoming,
    json_text,
    outgoing,
    rewritten,
    tells_model,
    told,
)

try:
    import pydantic_core
    from pydantic_ai import RunContext, ToolFailed
    from pydantic_ai import messages as said
    from pydantic_ai.capabilities import AbstractCapability, CapabilityOrdering
    from pydantic_ai.models import Model, ModelRequestContext, ModelRequestParameters, StreamedResponse
    from pydantic_ai.models.batch import BatchRequest, EncodedBatchRequest
    from pydantic_ai.models.wrapper import WrapperModel
    from pydantic_ai.settings import ModelSettings
    from pydantic_ai.toolsets import AbstractToolset, ToolsetTool, WrapperToolset
    from pydantic_ai.usage import RequestUsage
except ImportError as error:
    raise ImportError('this needs Pydantic AI: pip install "kalguard[pydantic-ai]"') from error

_ROLES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    ((said.SystemPromptPart, said.InstructionDeltaPart, said.InstructionPart), "system"),
    (said.UserPromptPart, "user"),
    (said.BaseToolReturnPart, "tool"),
    ((said.RetryPromptPart, said.RetryFeedbackPart), "tool"),  # they quote what the model, or a tool, wrote
    (
        (said.TextPart, said.ThinkingPart, said.BaseToolCallPart, said.CompactionPart, said.FilePart),
        "assistant",
    ),
)
# Records of the framework's own, which no model is sent.
_SILENT = (
    said.ToolAvailabilityDeltaPart,
    said.CapabilityLoadDeltaPart,
    said.ModelSettingsDeltaPart,
    said.InstructionBaselinePart,
)
_TEXT_TYPES = ("application/json", "application/xml", "application/yaml", "application/x-yaml", "application/toml")


class _Prompt(NamedTuple):
    """What goes to a model."""

    messages: list[said.ModelMessage]
    parameters: ModelRequestParameters


class KalGuard(AbstractCapability[Any]):
    """Checks model calls and tool calls. Raises `KalGuardDenied` and `KalGuardUnavailable`, through the agent's run.

    With `on_denied_tool="tell_model"` the model is told why its tool call was not carried out, instead of an exception.
    Raises `ConfigError` for another `on_denied_tool`.
    """

    def __init__(self, client: Client, *, on_denied_tool: OnDeniedTool = "raise") -> None:
        self._client = client
        self._tells_model = tells_model(on_denied_tool)

    def get_ordering(self) -> CapabilityOrdering:
        """Next to the model and the tools."""
        return CapabilityOrdering(position="innermost")

    def get_wrapper_model(self, model: Model) -> Model:
        """The model, checked. Called for every attempt, with the model that will serve it."""
        return KalGuardModel(model, self._client)

    def get_wrapper_toolset(self, toolset: AbstractToolset[Any]) -> AbstractToolset[Any]:
        """All tools of the agent, checked."""
        return KalGuardToolset(toolset, self._client, self._tells_model)


class KalGuardModel(WrapperModel):
    """A model that is sent only what the sidecar allows. Raises `KalGuardDenied` and `KalGuardUnavailable`."""

    def __init__(self, wrapped: Model | str, client: Client) -> None:
        super().__init__(wrapped)
        self._client = client

    async def request(
        self,
        messages: list[said.ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> said.ModelResponse:
        """Call the model with the messages that it may see."""
        prompt = await self._checked(messages, model_request_parameters)
        return await super().request(prompt.messages, model_settings, prompt.parameters)

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[said.ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncIterator[StreamedResponse]:
        """See `request`."""
        prompt = await self._checked(messages, model_request_parameters)
        async with super().request_stream(prompt.messages, model_settings, prompt.parameters, run_context) as stream:
            yield stream

    async def count_tokens(
        self,
        messages: list[said.ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> RequestUsage:
        """Checked too: to count, the provider is sent the messages."""
        prompt = await self._checked(messages, model_request_parameters)
        return await super().count_tokens(prompt.messages, model_settings, prompt.parameters)

    async def compact_messages(
        self, request_context: ModelRequestContext, *, instructions: str | None = None
    ) -> said.ModelResponse:
        """Checked too: it is a model that compacts."""
        prompt = await self._checked(request_context.messages, request_context.model_request_parameters)
        context = dataclasses.replace(
            request_context, messages=prompt.messages, model_request_parameters=prompt.parameters
        )
        return await super().compact_messages(context, instructions=instructions)

    async def batch_encode(self, request: BatchRequest) -> EncodedBatchRequest:
        """Checked too: it is what a batch sends."""
        prompt = await self._checked(request.messages, request.model_request_parameters)
        return await super().batch_encode(
            dataclasses.replace(request, messages=prompt.messages, model_request_parameters=prompt.parameters)
        )

    async def _checked(self, messages: list[said.ModelMessage], parameters: ModelRequestParameters) -> _Prompt:
        return await checked_async(self._client, _Prompt(messages, parameters), CONVERSION)


@dataclasses.dataclass
class KalGuardToolset(WrapperToolset[Any]):
    """Tools whose calls are checked before they run. Raises `KalGuardDenied` and `KalGuardUnavailable`."""

    client: Client
    tells_model: bool = False

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: ToolsetTool[Any]
    ) -> Any:
        """Run the tool if it may be run with these arguments."""
        try:
            await check_tool_async(self.client, name, _jsonable(tool_args))
        except KalGuardDenied as error:
            if self.tells_model:
                raise ToolFailed(told(error)) from error
            raise
        return await super().call_tool(name, tool_args, ctx, tool)


def to_sidecar(messages: Sequence[said.ModelMessage]) -> Messages:
    """Messages in the sidecar's shape, one for each part. Raises `Unmappable`."""
    return _to_sidecar(_Prompt([*messages], ModelRequestParameters()))


def from_sidecar(messages: Sequence[said.ModelMessage], returned: Messages) -> list[said.ModelMessage]:
    """The messages with the texts that came back for them; those given stay as they are. Raises `Unmappable`."""
    return _from_sidecar(_Prompt([*messages], ModelRequestParameters()), returned).messages


def _to_sidecar(prompt: _Prompt) -> Messages:
    return [outgoing(_head(part), functools.partial(_seen, part)) for part in _spoken(prompt)]


def _from_sidecar(prompt: _Prompt, returned: Messages) -> _Prompt:
    sent = _to_sidecar(prompt)
    compare(sent, returned)
    made = (
        part if before == after else incoming(after, functools.partial(_seen, part))
        for part, before, after in zip(_spoken(prompt), sent, returned, strict=True)
    )
    instructions = {text: next(made) for text in _instructions(prompt)}
    blocks = prompt.parameters.instruction_parts
    parameters = dataclasses.replace(
        prompt.parameters, instruction_parts=None if blocks is None else [next(made) for _ in blocks]
    )
    return _Prompt([_made_anew(message, made, instructions) for message in prompt.messages], parameters)


def _made_anew(message: said.ModelMessage, made: Iterator[Any], instructions: dict[str, str]) -> said.ModelMessage:
    parts: list[Any] = [part if isinstance(part, _SILENT) else next(made) for part in message.parts]
    if isinstance(message, said.ModelResponse):
        return dataclasses.replace(message, parts=parts)
    text = message.instructions
    return dataclasses.replace(message, parts=parts, instructions=instructions[text] if text else text)


def _spoken(prompt: _Prompt) -> list[Any]:
    """All that is said: instructions, and the parts of messages, in the order in which they are made anew."""
    parts = [part for message in prompt.messages for part in message.parts if not isinstance(part, _SILENT)]
    return [*_instructions(prompt), *(prompt.parameters.instruction_parts or ()), *parts]


def _instructions(prompt: _Prompt) -> list[str]:
    """Instructions of the messages: each request repeats them, so each text only once."""
    texts = [message.instructions for message in prompt.messages if isinstance(message, said.ModelRequest)]
    return list(dict.fromkeys(text for text in texts if text))


def _head(part: Any) -> dict[str, Any]:
    if isinstance(part, str):
        return {"role": "system"}
    if isinstance(part, said.SpeechPart):
        return {"role": part.speaker}
    role = next((role for kind, role in _ROLES if isinstance(part, kind)), None)
    if role is None:
        raise Unmappable(f"a `{type(part).__name__}` in a message cannot be checked")
    return (
        {"role": role, "tool_call_id": part.tool_call_id}
        if isinstance(part, said.BaseToolReturnPart)
        else {"role": role}
    )


def _seen(part: Any, visit: Visitor) -> Any:
    """A part, or instructions, anew in the words of `visit`."""
    if isinstance(part, str):
        return visit.text(part)
    if isinstance(part, said.BaseToolCallPart):
        return _call_seen(part, visit)
    if isinstance(part, said.SpeechPart):
        return dataclasses.replace(part, transcript=visit.text(part.transcript)) if part.transcript else part
    content = part.content
    if isinstance(part, said.BaseToolReturnPart | said.RetryPromptPart | said.RetryFeedbackPart):
        items = [_result_seen(item, visit) for item in (content if isinstance(content, list) else [content])]
        return dataclasses.replace(part, content=items if isinstance(content, list) else items[0])
    if isinstance(content, str) or not isinstance(content, Sequence):
        return part if content is None else dataclasses.replace(part, content=_item_seen(content, visit))
    return dataclasses.replace(part, content=[_item_seen(item, visit) for item in content])


def _call_seen(part: said.BaseToolCallPart[Any], visit: Visitor) -> Any:
    def call(text: str) -> str:
        return visit.call(part.tool_call_id, part.tool_name, text)

    if isinstance(part.args, str):
        return dataclasses.replace(part, args=call(part.args))
    return dataclasses.replace(part, args=rewritten(part.args, call)) if part.args else part


def _result_seen(value: Any, visit: Visitor) -> Any:
    """What a tool gave back, or a part of it: text, a file, or a value that the model reads as JSON."""
    if isinstance(value, str) or said.is_multi_modal_content(value) or isinstance(value, said.TextContent):
        return _item_seen(value, visit)
    return value if value is None else _value_seen(value, visit.text)


def _value_seen(value: Any, visit: Callable[[str], str]) -> Any:
    """A value that is no JSON itself, but is read as JSON: it stays what it is unless its text changes."""
    jsonable = _jsonable(value)
    made = rewritten(jsonable, visit)
    return value if made is jsonable else made


def _item_seen(item: Any, visit: Visitor) -> Any:
    """A text, or a file: one that is text is sent to the model as text."""
    if isinstance(item, str):
        return visit.text(item)
    if isinstance(item, said.StructuredContent):
        shown = json_text(_jsonable(item.value))
        text, value = visit.text(item.content), visit.text(shown)
        # Only the text, where something changed: some models would be sent the value.
        return item if (text, value) == (item.content, shown) else said.TextContent(text, metadata=item.metadata)
    if isinstance(item, said.TextContent):
        return dataclasses.replace(item, content=visit.text(item.content))
    if isinstance(item, said.BinaryContent):
        return _file_seen(item, visit)
    if said.is_multi_modal_content(item) or isinstance(item, said.CachePoint):
        return item
    raise Unmappable(f"a `{type(item).__name__}` in a message cannot be checked")


def _file_seen(item: said.BinaryContent, visit: Visitor) -> said.BinaryContent:
    kind = item.media_type.split(";", 1)[0].strip()
    if not (kind.startswith("text/") or kind.endswith(("+json", "+xml")) or kind in _TEXT_TYPES):
        return item
    try:
        text = item.data.decode()
    except UnicodeDecodeError:
        raise Unmappable(f"a file of the type `{kind}` is not UTF-8") from None
    changed = visit.text(text)
    return item if changed == text else dataclasses.replace(item, data=changed.encode())


def _jsonable(value: Any) -> Any:
    try:
        return pydantic_core.to_jsonable_python(value, by_alias=True, bytes_mode="base64")
    except ValueError as error:
        raise Unmappable(f"a value cannot be written as JSON: {error}") from None


CONVERSION = Conversion(_to_sidecar, _from_sidecar)
