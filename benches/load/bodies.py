"""What is sent: prompts of three sizes that hold nothing to be found, a tool call, and prompts of 4 MiB."""

import json
from collections.abc import Callable
from typing import Any

import msgspec

from benches.load.errors import Wrong
from benches.texts import conversation, texts

PROMPT, TOOL = "/v1/prompt/check", "/v1/tool/check"
SLACK = 4  # bytes that a body may lack to its size: a character may need two in JSON


class Body(msgspec.Struct, frozen=True):
    """One request's body. `bare_path` is where a yardstick answers it: of the same length as `path`.

    Our reply to a long prompt is another one than that to a short one, since it names the length; and a yardstick knows
    nothing but the path.
    """

    name: str
    title: str
    path: str
    bare_path: str
    content: bytes


def bodies() -> dict[str, Body]:
    """The four that throughput is measured with, by name."""
    small, medium, long = _prompt(281), _talk(3_800), _prompt(55_000)
    made = [
        Body("small", "prompt of 281 B", PROMPT, PROMPT, small),
        Body("medium", "conversation of 3.8 KB", PROMPT, PROMPT, medium),
        Body("long", "prompt of 55 KB", PROMPT, "/v1/prompt/large", long),
        tool_call("get_weather"),
    ]
    return {body.name: body for body in made}


def tool_call(name: str) -> Body:
    """A call of a tool that takes a place."""
    content = json.dumps({"toolName": name, "arguments": {"location": "Oslo"}}).encode()
    return Body("tool", "tool call", TOOL, TOOL, content)


def huge_prompt() -> Body:
    """A prompt of 4 MiB."""
    size = 4 * 1024 * 1024
    text = " ".join(texts(16_384, size // 16_384))
    return Body(
        "huge", "prompt of 4 MiB", PROMPT, "/v1/prompt/heavy", _fitted(lambda left: _messages(text[:left]), size)
    )


def _prompt(size: int) -> bytes:
    (text,) = texts(size, 1)
    return _fitted(lambda left: _messages(text[:left]), size)


def _messages(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def _talk(size: int) -> bytes:
    return _fitted(conversation, size)


def _fitted(made: Callable[[int], list[dict[str, Any]]], size: int) -> bytes:
    """The JSON of messages of as many characters as fit into `size` bytes."""
    left = size
    while len(written := json.dumps({"messages": made(left)}).encode()) > size:
        left -= max(1, (len(written) - size) // 2)
    if len(written) < size - SLACK:
        raise Wrong(f"body of {len(written)} bytes instead of {size}")
    return written
