"""What the adapters share: a framework's messages in the sidecar's shape, and the sidecar's texts in the framework's.

An adapter has one function that walks over a message and shows every text of it to a visitor, in whose words the
message is then made anew. On the way there the visitor notes the texts down, on the way back it hands out those that
the sidecar made of them. The way is the same, so the two cannot disagree on which text is which.

INVARIANT: what comes back has to be what was sent, but for the texts. Otherwise `Unmappable` is raised, which is a
`KalGuardUnavailable`, whatever the client does about others: nothing goes on with messages that nobody has checked.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar

import anyio.to_thread
import msgspec

from kalguard.errors import ConfigError, KalGuardDenied, KalGuardUnavailable
from kalguard.sdk.client import AsyncKalGuardClient, KalGuardClient
from kalguard.sdk.replies import PromptResult

Client = KalGuardClient | AsyncKalGuardClient
Messages = list[dict[str, Any]]
OnDeniedTool = Literal["raise", "tell_model"]
_T = TypeVar("_T")
# What is under these keys of a part names something or encodes something, if it looks like that. All else is text.
_NAMES = frozenset(
    {
        "type", "id", "index", "name", "role", "status", "phase", "call_id", "tool_call_id", "tool_use_id", "file_id",
        "mime_type", "media_type", "source_type", "format", "detail", "server_label", "container_id", "cache_control",
    }
)  # fmt: skip
_NAME = re.compile(r"[\w.:/|-]*")
_CODE = re.compile(r"\S*")
_ENCODED = frozenset(
    {
        "url", "image_url", "file_url", "data", "base64", "file_data", "result", "bytes", "signature",
        "thought_signature", "encrypted_content",
    }
)  # fmt: skip
# What is under these is what a tool is given or gives back: anything at all, and the model reads its keys too.
_FREE = frozenset({"args", "arguments", "input", "json", "output"})


class Unmappable(KalGuardUnavailable):
    """Messages that cannot be said in the sidecar's shape, or not be made again from its reply: nobody checked them."""

    def __init__(self, reason: str, *, request_id: str = "none") -> None:
        super().__init__(reason, request_id=request_id)


class Visitor(Protocol):
    """Is shown every text of a message, in order, and says how it reads from now on."""

    def name(self, text: str) -> str:
        """The name of who says it."""

    def text(self, text: str) -> str:
        """A text of the content."""

    def call(self, call_id: str | None, tool: str, arguments: str) -> str:
        """A call of a tool; its arguments as JSON."""


class _Noting:
    def __init__(self) -> None:
        self.names: list[str] = []
        self.texts: list[str] = []
        self.calls: list[tuple[str | None, str, str]] = []

    def name(self, text: str) -> str:
        self.names.append(text)
        return text

    def text(self, text: str) -> str:
        self.texts.append(text)
        return text

    def call(self, call_id: str | None, tool: str, arguments: str) -> str:
        self.calls.append((call_id, tool, arguments))
        return arguments


class _Replacing:
    def __init__(self, message: Mapping[str, Any]) -> None:
        content = message["content"]
        self._names = iter([message["name"]] if "name" in message else [])
        self._texts = iter([content] if isinstance(content, str) else [part["text"] for part in content])
        self._arguments = iter([call["function"]["arguments"] for call in message.get("tool_calls", ())])

    def name(self, _: str) -> str:
        return _next(self._names)

    def text(self, _: str) -> str:
        return _next(self._texts)

    def call(self, _: str | None, __: str, ___: str) -> str:
        return _next(self._arguments)


def outgoing(head: Mapping[str, Any], walk: Callable[[Visitor], object]) -> dict[str, Any]:
    """A message in the sidecar's shape: `head` (its role, the id of the call it answers) and the texts of `walk`."""
    noted = _Noting()
    walk(noted)
    message = dict(head)
    if noted.names:
        message["name"] = noted.names[0]
    parts = [{"type": "text", "text": text} for text in noted.texts]
    message["content"] = noted.texts[0] if len(parts) == 1 else parts
    if noted.calls:
        message["tool_calls"] = [
            {"id": call_id, "type": "function", "function": {"name": tool, "arguments": arguments}}
            for call_id, tool, arguments in noted.calls
        ]
    return message


def incoming(message: Mapping[str, Any], walk: Callable[[Visitor], _T]) -> _T:
    """What `walk` makes with the texts of a message of the sidecar's. Its shape has been compared: see `compare`."""
    return walk(_Replacing(message))


def compare(sent: Sequence[dict[str, Any]], returned: Sequence[dict[str, Any]]) -> None:
    """Raises `Unmappable` where `returned` differs from `sent` in anything but texts."""
    if not _same(sent, returned, is_text=False):
        raise Unmappable("the sanitised messages differ from those that were sent in more than their texts")


def _same(sent: Any, returned: Any, *, is_text: bool) -> bool:
    if isinstance(sent, dict):
        return (
            isinstance(returned, dict)
            and sent.keys() == returned.keys()
            and all(
                # The `name` of a function is none that the sidecar changes; that of a message is.
                _same(value, returned[key], is_text=key in ("content", "text", "arguments") or _is_name(key, sent))
                for key, value in sent.items()
            )
        )
    if isinstance(sent, list):
        return (
            isinstance(returned, list)
            and len(sent) == len(returned)
            and all(_same(one, other, is_text=False) for one, other in zip(sent, returned, strict=True))
        )
    return isinstance(returned, str) if is_text and isinstance(sent, str) else bool(sent == returned)


def _is_name(key: str, message: Mapping[str, Any]) -> bool:
    return key == "name" and "role" in message


def _next(texts: Iterator[str]) -> str:
    text = next(texts, None)
    if text is None:
        raise Unmappable("the sanitised messages have fewer texts than were sent")
    return text


def walked(value: Any, visit: Visitor) -> Any:
    """A part or content as frameworks write it, of dicts, lists and texts. Raises `Unmappable` for anything else."""
    if isinstance(value, str):
        return visit.text(value) if value else value
    if isinstance(value, Mapping):
        # The `data` of a document that is given as text is that text.
        encoded = _ENCODED - {"data"} if value.get("type") == "text" else _ENCODED
        return {key: _walked_field(key, item, visit, encoded) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [walked(item, visit) for item in value]
    if value is None or isinstance(value, bool | int | float | bytes):
        return value
    raise Unmappable(f"a `{type(value).__name__}` in a message cannot be checked")


def _walked_field(key: str, value: Any, visit: Visitor, encoded: frozenset[str]) -> Any:
    if isinstance(value, str):
        is_name = key in _NAMES and _NAME.fullmatch(value)
        return value if is_name or (key in encoded and _CODE.fullmatch(value)) else walked(value, visit)
    if key in _FREE and isinstance(value, Mapping):
        return rewritten(value, visit.text)
    return value if key == "logprobs" else walked(value, visit)


def rewritten(value: Any, visit: Callable[[str], str]) -> Any:
    """A value that the model reads as JSON. Raises `Unmappable` where it is JSON no more, or of another type."""
    text = json_text(value)
    changed = visit(text)
    if changed == text:
        return value
    try:
        made = json.loads(changed)
    except ValueError:
        raise Unmappable("sanitised JSON is none any more") from None
    if isinstance(made, dict) != isinstance(value, Mapping):
        raise Unmappable("sanitised JSON is of another type")
    return made


def json_text(value: Any) -> str:
    """JSON in which characters stand for themselves. Raises `Unmappable`."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise Unmappable(f"a value in a message cannot be written as JSON: {error}") from None


class Conversion(msgspec.Struct, frozen=True):
    """A framework's pair of pure functions: messages to the sidecar's, and back with the texts of a reply."""

    to_sidecar: Callable[[Any], Messages]
    from_sidecar: Callable[[Any, Messages], Any]


def checked(client: Client, messages: _T, conversion: Conversion) -> _T:
    """The messages that a model may see.

    Raises `KalGuardDenied`, `KalGuardUnavailable`, and `ConfigError` for a client that has to be awaited.
    """
    return _usable(_sync(client).check_prompt(conversion.to_sidecar(messages)), messages, conversion)


async def checked_async(client: Client, messages: _T, conversion: Conversion) -> _T:
    """See `checked`. A client that is not async is asked in a thread: it can be used from any event loop."""
    sent = conversion.to_sidecar(messages)
    if isinstance(client, AsyncKalGuardClient):
        return _usable(await client.check_prompt(sent), messages, conversion)
    return _usable(await anyio.to_thread.run_sync(client.check_prompt, sent), messages, conversion)


def check_tool(client: Client, name: str, arguments: Mapping[str, Any]) -> None:
    """Ask before a tool runs. Raises as `checked`."""
    _sync(client).check_tool(name, _exactly(arguments))


async def check_tool_async(client: Client, name: str, arguments: Mapping[str, Any]) -> None:
    """See `check_tool`, `checked_async`."""
    exact = _exactly(arguments)
    if isinstance(client, AsyncKalGuardClient):
        await client.check_tool(name, exact)
    else:
        await anyio.to_thread.run_sync(client.check_tool, name, exact)


def tells_model(on_denied_tool: OnDeniedTool) -> bool:
    """Whether a model is told of a denial, instead of an exception. Raises `ConfigError` for what is neither."""
    if on_denied_tool not in ("raise", "tell_model"):
        raise ConfigError([f'on_denied_tool: `{on_denied_tool}` is not "raise" or "tell_model"'])
    return on_denied_tool == "tell_model"


def told(error: KalGuardDenied) -> str:
    """What a model is told in place of a tool's result."""
    return f"This tool call was not carried out. Denied by KalGuard: {error.reason} ({error.code})"


def _sync(client: Client) -> KalGuardClient:
    if isinstance(client, AsyncKalGuardClient):
        raise ConfigError(["client: code that is not async needs a KalGuardClient, which serves async code too"])
    return client


def _exactly(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as they are, if JSON can say them: what is checked has to be what the tool gets."""
    json_text(dict(arguments))
    return dict(arguments)


def _usable(result: PromptResult, messages: _T, conversion: Conversion) -> _T:
    if not result.is_sanitized:
        return messages
    try:
        usable: _T = conversion.from_sidecar(messages, result.messages)
    except Unmappable as error:
        raise Unmappable(error.reason, request_id=result.request_id) from error
    return usable
