"""The bodies of `/v1/*`: what callers send, and the one shape of every reply.

What callers send is read by the core (`rust/core/src/body`); its form stands here for the description of the API, which
the tests hold the reader to.
"""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from kalguard.wire.codes import ErrorCode

MAX_BODY_BYTES = 5 * 1024 * 1024
_ENCODER = msgspec.json.Encoder()


class FindingOut(msgspec.Struct, frozen=True):
    """One finding: its category, the index of the message it is in (a tool call has none), its score from 0 to 100."""

    category: str
    score: int
    message: int | UnsetType = UNSET


class ReplyData(msgspec.Struct, frozen=True, rename="camel"):
    """The part of a reply that depends on the kind of check."""

    allowed: bool
    risk_score: int | UnsetType = UNSET
    risk_level: str | UnsetType = UNSET
    findings: list[FindingOut] | UnsetType = UNSET
    sanitized_messages: list[dict[str, Any]] | UnsetType = UNSET
    monitored: Literal["sanitize", "block"] | UnsetType = UNSET
    remaining: int | UnsetType = UNSET
    reset_at: int | UnsetType = UNSET


class Reply(msgspec.Struct, frozen=True, rename="camel"):
    """Every reply of `/v1/*`, refusals and errors included. `reason` and `errorCode` are there on a refusal."""

    ok: bool
    allowed: bool
    decision: Literal["allow", "deny", "require_approval"]
    message: str
    request_id: str
    data: ReplyData
    reason: str | UnsetType = UNSET
    error_code: ErrorCode | UnsetType = UNSET


class Message(msgspec.Struct, frozen=True):
    """One message of a prompt check. Further fields are kept as they come.

    `content` may be missing or null only beside `tool_calls`, as in an assistant's turn that calls a tool.
    """

    role: str
    content: str | list[dict[str, Any]] | UnsetType | None = UNSET
    name: str | UnsetType | None = UNSET
    tool_calls: list[Any] | UnsetType | None = UNSET


class Context(msgspec.Struct, frozen=True):
    """What the agent says about the circumstances; policies can ask for it."""

    metadata: dict[str, Any] | UnsetType | None = UNSET


class PromptCheck(msgspec.Struct, frozen=True):
    """Body of `POST /v1/prompt/check`."""

    messages: list[Message]
    context: Context | UnsetType | None = UNSET


class ToolCheck(msgspec.Struct, frozen=True, rename="camel"):
    """Body of `POST /v1/tool/check`. `args` is another name for `arguments`; without either there are none."""

    tool_name: str
    arguments: dict[str, Any] | UnsetType = UNSET
    args: dict[str, Any] | UnsetType = UNSET
    context: Context | UnsetType | None = UNSET


class ToolRegister(msgspec.Struct, frozen=True, rename="camel"):
    """Body of `POST /v1/tool/register`: a tool, and the JSON Schema of its arguments."""

    tool_name: str
    argument_schema: dict[str, Any]
    description: str | UnsetType | None = UNSET


def write_json(value: object) -> bytes:
    """Encode a reply or a part of a request as UTF-8 JSON."""
    return _ENCODER.encode(value)
