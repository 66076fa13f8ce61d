"""Reads requests: what came over HTTP, as `decision` knows it.

What is wrong with a body raises `BadRequest`, naming the field; what is wrong with the head raises `AuthFailed`. Every
text of a message is found, however it is wrapped: its name, its content or the parts of it, parts inside parts (a
tool's result), the text of a document, the arguments of tool calls.
"""

import re
import secrets
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from kalguard.decision.model import PromptRequest, TextSlot, ToolCall
from kalguard.decision.registration import Definition
from kalguard.errors import AuthFailed, BadRequest
from kalguard.wire.check import Context, PromptCheck, ToolCheck, ToolRegister, read_object, write_json

REQUEST_ID_HEADER = b"x-kalguard-request-id"
MAX_TOOL_NAME_LENGTH = 256
MAX_DESCRIPTION_BYTES = 4 * 1024  # of a tool that is registered
MAX_TEXTS = 10_000  # of one conversation; every text costs something, however short
MAX_METADATA = 256
# Of a message, beside `name` and `content`.
_FIELDS_WITH_TEXT = ("refusal", "reasoning", "reasoning_content", "thinking", "function_call", "tool_calls")
# What is in these, of parts and calls, is no text: names of things, addresses, bytes in base64.
_FIELDS_WITHOUT_TEXT = frozenset(
    {
        "type", "id", "index", "call_id", "tool_call_id", "tool_use_id", "file_id", "url", "image_url", "data",
        "file_data", "input_audio", "media_type", "mime_type", "format", "detail", "signature", "encrypted_content",
        "cache_control",
    }
)  # fmt: skip
# What is in these is whatever a tool takes: there names like the ones above mean nothing, and may hold any text.
_FIELDS_OF_TOOLS = frozenset({"arguments", "args", "input", "parameters"})
_TYPE_WORDS = {"str": "text", "int": "number", "float": "number", "bool": "boolean", "array": "list"}
_TYPES = re.compile(r"\b(" + "|".join(_TYPE_WORDS) + r")\b")
_T = TypeVar("_T")
_Path = tuple[str | int, ...]
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_CHOSEN_PART = 128 - 17  # of an event's id, before a point and 16 random digits
REGISTERED_NAME = r"[A-Za-z0-9_.:/-]{1,128}"
_REGISTERED_NAME = re.compile(REGISTERED_NAME)
_BEARER = re.compile(rb"(?i:bearer) +([A-Za-z0-9._~+/=-]+) *")


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The caller's own id where it is a good one, else a fresh one. Two of them are none."""
    given = [value for name, value in headers if name == REQUEST_ID_HEADER]
    if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]):
        return given[0].decode("ascii")
    return f"req_{secrets.token_hex(12)}"


def event_id_of(request_id: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
    """What a check is told from all others by: its request id, but one that the caller chose may be chosen again.

    It is no longer than a request id may be: a longer one Cloud need not take, and nobody is to have that choice.
    """
    is_chosen = (REQUEST_ID_HEADER, request_id.encode("ascii")) in headers
    return f"{request_id[:_CHOSEN_PART]}.{secrets.token_hex(8)}" if is_chosen else request_id


def bearer_token_of(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The token of the one `Authorization` header; `None` where there is none. Raises `AuthFailed`."""
    given = [value for name, value in headers if name == b"authorization"]
    if not given:
        return None
    if len(given) > 1:
        raise AuthFailed("more than one authorization header")
    match = _BEARER.fullmatch(given[0])
    if match is None:
        raise AuthFailed("authorization header is not a bearer token")
    return match.group(1).decode("ascii")


def read_prompt(body: bytes) -> PromptRequest:
    """Read the body of a prompt check. Raises `BadRequest`."""
    value = read_object(body)
    request = _as(value, PromptCheck)
    if not request.messages:
        raise BadRequest("`messages` must hold at least one message")
    messages: list[dict[str, Any]] = value["messages"]
    slots: list[TextSlot] = []
    for index, (message, raw) in enumerate(zip(request.messages, messages, strict=True)):
        if not message.tool_calls and not isinstance(message.content, str | list):
            raise BadRequest(f"`messages[{index}].content` is missing")
        slots.extend(_slots(index, message.role, raw))
        if len(slots) > MAX_TEXTS:
            raise BadRequest(f"`messages` hold more than {MAX_TEXTS} texts")
    return PromptRequest(messages=messages, slots=slots, metadata=_metadata(request.context))


def read_tool_call(body: bytes) -> ToolCall:
    """Read the body of a tool check. Raises `BadRequest`."""
    request = _as(read_object(body), ToolCheck)
    if not 0 < len(request.tool_name) <= MAX_TOOL_NAME_LENGTH:
        raise BadRequest(f"`toolName` must have 1 to {MAX_TOOL_NAME_LENGTH} characters")
    if request.arguments is not UNSET and request.args is not UNSET:
        raise BadRequest("`arguments` and `args` are two names for one field: give one of them")
    arguments = request.arguments if request.arguments is not UNSET else request.args
    if arguments is UNSET:
        arguments = {}
    return ToolCall(
        name=request.tool_name,
        arguments=write_json(arguments),
        argument_count=len(arguments),
        metadata=_metadata(request.context),
    )


def read_tool_definition(body: bytes) -> Definition:
    """Read the body of a registration. Raises `BadRequest`."""
    request = _as(read_object(body), ToolRegister)
    if not _REGISTERED_NAME.fullmatch(request.tool_name):
        raise BadRequest("`toolName` must have 1 to 128 characters of A-Za-z0-9_.:/-")
    description = request.description or None
    if description is not None and len(description.encode()) > MAX_DESCRIPTION_BYTES:
        raise BadRequest(f"`description` is larger than {MAX_DESCRIPTION_BYTES} bytes")
    return Definition(request.tool_name, description, request.argument_schema)


def _as(value: dict[str, Any], kind: type[_T]) -> _T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise BadRequest(_in_plain_words(str(error))) from None


def _in_plain_words(problem: str) -> str:
    """Msgspec's sentence with the field in front and without the names of Python types."""
    what, _, path = problem.partition(" - at `$")
    what = _TYPES.sub(lambda match: _TYPE_WORDS[match[0]], what[:1].lower() + what[1:])
    field = path.rstrip("`").lstrip(".")
    return f"`{field}`: {what}" if field else what


def _slots(index: int, role: str, message: dict[str, Any]) -> Iterator[TextSlot]:
    """Every text of a message, in the order in which they stand."""
    name, content = message.get("name"), message.get("content")
    if isinstance(name, str):
        yield TextSlot(message=index, path=("name",), role=role, text=name)
    for path, inner_role, text in _texts(content, ("content",), role, f"messages[{index}].content"):
        yield TextSlot(message=index, path=path, role=inner_role, text=text)
    for field in _FIELDS_WITH_TEXT:
        for path, _, text in _strings(message.get(field), (field,), role):
            if path[-1] != "name" or not _FIELDS_OF_TOOLS.isdisjoint(path):  # else it is the function's
                yield TextSlot(message=index, path=path, role=role, text=text)


def _texts(content: Any, path: _Path, role: str, place: str) -> Iterator[tuple[_Path, str, str]]:
    """The texts of a content: `(path, role, text)`. `place` names it for whoever has to mend it."""
    if isinstance(content, list):
        for position, part in enumerate(content):
            if isinstance(part, str) and len(path) > 1:
                yield (*path, position), role, part
            else:
                yield from _texts_of_part(part, (*path, position), role, f"{place}[{position}]")
    else:
        yield from _strings(content, path, role, is_free=True)


def _texts_of_part(part: Any, path: _Path, role: str, place: str) -> Iterator[tuple[_Path, str, str]]:
    """The texts of a part, whatever it calls itself: a type that we do not know hides no text from the check."""
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str):
        raise BadRequest(f"`{place}.type` must be text")
    text = part.get("text")
    if not isinstance(text, str) and (kind == "text" or text is not None):
        raise BadRequest(f"`{place}.text` must be text")
    inner_role = "tool" if kind == "tool_result" else role
    for field, value in part.items():
        if field in _FIELDS_WITHOUT_TEXT:
            continue
        if field == "content":
            yield from _texts(value, (*path, field), inner_role, f"{place}.content")
        elif field == "source" and isinstance(value, dict):
            yield from _texts_of_source(value, (*path, field), inner_role, f"{place}.source")
        else:
            is_free = field in _FIELDS_OF_TOOLS
            yield from _strings(value, (*path, field), role if field == "text" else inner_role, is_free=is_free)


def _texts_of_source(source: dict[str, Any], path: _Path, role: str, place: str) -> Iterator[tuple[_Path, str, str]]:
    """The texts of a document. One that is given as bytes or by its address has none that could be read."""
    if source.get("type") == "text":
        yield from _strings(source.get("data"), (*path, "data"), role)
    yield from _texts(source.get("content"), (*path, "content"), role, f"{place}.content")


def _strings(value: Any, path: _Path, role: str, *, is_free: bool = False) -> Iterator[tuple[_Path, str, str]]:
    """Every text in a value, at any depth, but for what names or encodes something.

    Of what `is_free`, of no form that we know, every text.
    """
    if isinstance(value, str):
        yield path, role, value
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from _strings(item, (*path, position), role, is_free=is_free)
    elif isinstance(value, dict):
        for field, item in value.items():
            if is_free or field not in _FIELDS_WITHOUT_TEXT:
                yield from _strings(item, (*path, field), role, is_free=is_free or field in _FIELDS_OF_TOOLS)


def _metadata(context: Context | msgspec.UnsetType | None) -> dict[str, Any]:
    if context is UNSET or context is None or context.metadata is UNSET or context.metadata is None:
        return {}
    if len(context.metadata) > MAX_METADATA:
        raise BadRequest(f"`context.metadata` holds more than {MAX_METADATA} entries")
    return context.metadata
