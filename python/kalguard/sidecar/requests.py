"""Reads requests: what came over HTTP, as `decision` knows it. Everything that is wrong with it raises `BadRequest`."""

import re
import secrets
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from kalguard.decision.model import PromptRequest, TextSlot, ToolCall
from kalguard.errors import AuthFailed, BadRequest
from kalguard.wire.check import Context, Message, PromptCheck, ToolCheck, read_object, write_json

REQUEST_ID_HEADER = b"x-kalguard-request-id"
MAX_TOOL_NAME_LENGTH = 256
_T = TypeVar("_T")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_BEARER = re.compile(rb"(?i:bearer) +([A-Za-z0-9._~+/=-]+) *")


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The caller's own id where it is a good one, else a fresh one. Two of them are none."""
    given = [value for name, value in headers if name == REQUEST_ID_HEADER]
    if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]):
        return given[0].decode("ascii")
    return f"req_{secrets.token_hex(12)}"


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
    slots = [
        slot for index, message in enumerate(request.messages) for slot in _slots(index, message)
    ]  # in the order in which the texts stand
    return PromptRequest(messages=value["messages"], slots=slots, metadata=_metadata(request.context))


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


def _as(value: dict[str, Any], kind: type[_T]) -> _T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise BadRequest(str(error)) from None


def _slots(index: int, message: Message) -> Iterable[TextSlot]:
    """Every text of a message: its content, or the parts of it that carry text."""
    content = message.content
    if isinstance(content, str):
        yield TextSlot(message=index, part=None, role=message.role, text=content)
    elif isinstance(content, list):
        for position, part in enumerate(content):
            text = _text_of_part(part, f"messages[{index}].content[{position}]")
            if text is not None:
                yield TextSlot(message=index, part=position, role=message.role, text=text)
    elif not message.tool_calls:
        raise BadRequest(f"`messages[{index}].content` is missing")


def _text_of_part(part: dict[str, Any], place: str) -> str | None:
    """The text of a part, whatever it calls itself: a type that we do not know does not hide text from the check."""
    kind, text = part.get("type"), part.get("text")
    if not isinstance(kind, str):
        raise BadRequest(f"`{place}.type` must be text")
    if isinstance(text, str):
        return text
    if kind == "text" or text is not None:
        raise BadRequest(f"`{place}.text` must be text")
    return None


def _metadata(context: Context | msgspec.UnsetType) -> dict[str, Any]:
    if context is UNSET or context.metadata is UNSET:
        return {}
    return context.metadata
