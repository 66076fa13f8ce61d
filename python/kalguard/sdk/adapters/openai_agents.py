"""OpenAI Agents SDK: a model that checks what it is sent, and a guardrail for tools.

    agent = Agent("name", model=KalGuardModel(model, client), tools=[guarded_tool(tool, client), ...])

The SDK's own input guardrails run on the first input only and can stop an agent, but rewrite nothing. Here every call
of the model is checked, with instructions, tool results and all, and it is sent what the sidecar made of them.
`KalGuardModelProvider` wraps every model that is asked for by name. Tools that are no functions (the provider's own,
handoffs) know no guardrails: what they give back is checked as part of the next model call.
"""

import dataclasses
import functools
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

from kalguard.errors import KalGuardDenied, KalGuardUnavailable
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
    outgoing,
    tells_model,
    told,
    walked,
)

try:
    from agents import (
        FunctionTool,
        Model,
        ModelProvider,
        ModelResponse,
        MultiProvider,
        ToolGuardrailFunctionOutput,
        ToolInputGuardrail,
        ToolInputGuardrailData,
    )
    from agents.exceptions import AgentsException
    from agents.items import TResponseInputItem, TResponseStreamEvent
    from agents.retry import ModelRetryAdvice, ModelRetryAdviceRequest
except ImportError as error:
    raise ImportError('this needs the OpenAI Agents SDK: pip install "kalguard[openai-agents]"') from error

# Kinds of items that the model wrote; what else has no role was written by a tool.
_BY_THE_MODEL = frozenset(
    {
        "reasoning", "function_call", "custom_tool_call", "computer_call", "local_shell_call", "shell_call",
        "apply_patch_call", "image_generation_call", "mcp_approval_request", "compaction", "item_reference",
    }
)  # fmt: skip


class ToolDenied(KalGuardDenied, AgentsException):
    """`KalGuardDenied` as the SDK lets it through: every other exception of a guardrail it makes a `UserError`."""


class ToolUnchecked(KalGuardUnavailable, AgentsException):
    """`KalGuardUnavailable`; see `ToolDenied`."""


class _Prompt(NamedTuple):
    """What goes to a model. `variables` are those of a prompt that is stored at the provider."""

    instructions: str | None
    input: str | list[TResponseInputItem]
    variables: Mapping[str, Any] | None


class KalGuardModel(Model):
    """`model`, but sent only what the sidecar allows. Raises `KalGuardDenied` and `KalGuardUnavailable`."""

    def __init__(self, model: Model, client: Client) -> None:
        self._model = model
        self._client = client

    async def get_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],  # noqa: A002
        *args: Any,
        **kwargs: Any,
    ) -> ModelResponse:
        """Call the model with the input that it may see."""
        prompt, kwargs = await self._checked(system_instructions, input, kwargs)
        return await self._model.get_response(prompt.instructions, prompt.input, *args, **kwargs)

    async def stream_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],  # noqa: A002
        *args: Any,
        **kwargs: Any,
    ) -> AsyncIterator[TResponseStreamEvent]:
        """See `get_response`."""
        prompt, kwargs = await self._checked(system_instructions, input, kwargs)
        async for event in self._model.stream_response(prompt.instructions, prompt.input, *args, **kwargs):
            yield event

    async def close(self) -> None:
        """Let go of what the model holds."""
        await self._model.close()

    async def _cleanup_on_run_end(self, owner: object) -> None:
        await self._model._cleanup_on_run_end(owner)

    def get_retry_advice(self, request: ModelRetryAdviceRequest) -> ModelRetryAdvice | None:
        """What the model says about trying again."""
        return self._model.get_retry_advice(request)

    def __getattr__(self, name: str) -> Any:
        if name == "_model":  # not there yet
            raise AttributeError(name)
        return getattr(self._model, name)

    async def _checked(
        self, instructions: str | None, given: str | list[TResponseInputItem], kwargs: dict[str, Any]
    ) -> tuple[_Prompt, dict[str, Any]]:
        stored = kwargs.get("prompt") or {}
        prompt = await checked_async(self._client, _Prompt(instructions, given, stored.get("variables")), CONVERSION)
        return prompt, {**kwargs, "prompt": {**stored, "variables": prompt.variables}} if prompt.variables else kwargs


class KalGuardModelProvider(ModelProvider):
    """Models by name, each as a `KalGuardModel`: for `RunConfig(model_provider=...)`."""

    def __init__(self, client: Client, provider: ModelProvider | None = None) -> None:
        self._client = client
        self._provider = provider or MultiProvider()

    def get_model(self, model_name: str | None) -> Model:
        """The model of that name, checked."""
        return KalGuardModel(self._provider.get_model(model_name), self._client)

    async def aclose(self) -> None:
        """Let go of what the provider holds."""
        await self._provider.aclose()


def tool_guardrail(client: Client, *, on_denied_tool: OnDeniedTool = "raise") -> ToolInputGuardrail[Any]:
    """A guardrail that has each call of a tool checked before it runs: for function tools and MCP servers.

    A denial is raised as `ToolDenied`, a `KalGuardDenied`; with `on_denied_tool="tell_model"` the model is told of it.
    Raises `ConfigError` for another `on_denied_tool`.
    """
    is_told = tells_model(on_denied_tool)

    async def kalguard(data: ToolInputGuardrailData) -> ToolGuardrailFunctionOutput:
        context = data.context
        try:
            await check_tool_async(client, context.tool_name, _arguments(context.tool_arguments))
        except KalGuardDenied as error:
            if is_told:
                return ToolGuardrailFunctionOutput.reject_content(told(error), output_info=error.code)
            raise _as_denied(error) from error
        except KalGuardUnavailable as error:
            raise ToolUnchecked(error.reason, request_id=error.request_id) from error
        return ToolGuardrailFunctionOutput.allow()

    return ToolInputGuardrail(guardrail_function=kalguard, name="kalguard")


def guarded_tool(tool: FunctionTool, client: Client, *, on_denied_tool: OnDeniedTool = "raise") -> FunctionTool:
    """A copy of a tool whose calls are checked, after its own guardrails. Otherwise as `tool_guardrail`."""
    guardrails = [*(tool.tool_input_guardrails or ()), tool_guardrail(client, on_denied_tool=on_denied_tool)]
    return dataclasses.replace(tool, tool_input_guardrails=guardrails)


def to_sidecar(instructions: str | None, items: str | Sequence[TResponseInputItem]) -> Messages:
    """Instructions and input in the sidecar's shape: one message for each item. Raises `Unmappable`."""
    return _to_sidecar(_Prompt(instructions, items if isinstance(items, str) else [*items], None))


def from_sidecar(
    instructions: str | None, items: str | Sequence[TResponseInputItem], returned: Messages
) -> tuple[str | None, str | list[TResponseInputItem]]:
    """Instructions and input with the texts that came back; those given stay as they are. Raises `Unmappable`."""
    prompt = _from_sidecar(_Prompt(instructions, items if isinstance(items, str) else [*items], None), returned)
    return prompt.instructions, prompt.input


def _to_sidecar(prompt: _Prompt) -> Messages:
    return [outgoing(head, functools.partial(_seen, value)) for head, value in _spoken(prompt)]


def _from_sidecar(prompt: _Prompt, returned: Messages) -> _Prompt:
    sent = _to_sidecar(prompt)
    compare(sent, returned)
    made = [
        value if before == after else incoming(after, functools.partial(_seen, value))
        for (_, value), before, after in zip(_spoken(prompt), sent, returned, strict=True)
    ]
    instructions = made.pop(0) if prompt.instructions else prompt.instructions
    variables = made.pop() if prompt.variables else prompt.variables
    return _Prompt(instructions, made[0] if isinstance(prompt.input, str) else made, variables)


def _spoken(prompt: _Prompt) -> list[tuple[dict[str, Any], Any]]:
    """What is said, each with the head of its message."""
    system = [({"role": "system"}, prompt.instructions)] if prompt.instructions else []
    given = [prompt.input] if isinstance(prompt.input, str) else prompt.input
    variables = [({"role": "user"}, prompt.variables)] if prompt.variables else []
    return [*system, *((_head(item), item) for item in given), *variables]


def _head(item: Any) -> dict[str, Any]:
    if isinstance(item, str):
        return {"role": "user"}
    if not isinstance(item, Mapping):
        raise Unmappable(f"an input item that is a `{type(item).__name__}` cannot be checked")
    if isinstance(item.get("role"), str):
        return {"role": item["role"]}
    if item.get("type") in _BY_THE_MODEL:
        return {"role": "assistant"}
    return {"role": "tool", "tool_call_id": item["call_id"]} if item.get("call_id") else {"role": "tool"}


def _seen(value: Any, visit: Visitor) -> Any:
    """A text, an item, or the variables of a stored prompt anew, in the words of `visit`."""
    if isinstance(value, Mapping) and value.get("type") == "function_call":
        call = cast("dict[str, Any]", value)
        return {**call, "arguments": visit.call(call.get("call_id"), call["name"], call["arguments"])}
    return visit.text(value) if isinstance(value, str) else walked(value, visit)


CONVERSION = Conversion(_to_sidecar, _from_sidecar)


def _arguments(text: str) -> Mapping[str, Any]:
    """The arguments of a call as the tool will read them. Raises `KalGuardDenied` where they are no JSON object."""
    try:
        arguments = json.loads(text or "{}")
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise KalGuardDenied("BAD_REQUEST", "the arguments are not a JSON object", request_id="none")
    return arguments


def _as_denied(error: KalGuardDenied) -> ToolDenied:
    return ToolDenied(
        error.code,
        error.reason,
        request_id=error.request_id,
        risk_score=error.risk_score,
        retry_after=error.retry_after,
        reset_at=error.reset_at,
    )
