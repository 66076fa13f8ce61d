"""What is sent: prompts of three sizes that hold nothing to be found, a tool call, and prompts of 4 MiB.

No prompt is sent twice: four words of each message are others every time, since a message that was sent before is not
read again. Only in the conversation of 55 KB all messages but the last are always the same, as when an agent has its
turn.
"""

import json
import re
from collections.abc import Callable
from typing import Any

import msgspec

from benches.load.errors import Wrong
from benches.texts import conversation, texts

PROMPT, TOOL = "/v1/prompt/check", "/v1/tool/check"
SLACK = 4  # bytes that a body may lack to its size: a character may need two in JSON
WORDS = re.findall(
    "[a-z]+",
    """
    album apple april beach board books bread brown chain chess clean clock cloud coast cover craft
    daily dance early earth eight empty field final floor forum frame fresh front glass green group
    heart heavy horse hotel hours house large light local lunch march month music night north novel
    ocean paper party photo piano plant price queen quiet radio river round seven shoes small table
    """,
)
DIGITS = 4  # of a number, in words


class Body(msgspec.Struct, frozen=True):
    """One request's body. `bare_path` is where a yardstick answers it: of the same length as `path`.

    Our reply to a long prompt is another one than that to a short one, since it names the length; and a yardstick knows
    nothing but the path. `new_at` are the offsets in `content`, which is that of number 0, of what is new each time.
    """

    name: str
    title: str
    path: str
    bare_path: str
    content: bytes
    new_at: tuple[int, ...] = ()

    def numbered(self, number: int) -> bytes:
        """The content with another text for each number."""
        return spliced(self.content, self.new_at, number)


def words_of(number: int) -> str:
    """A number below 16,777,216 in four words, the least digit first, always of the same length."""
    return " ".join(WORDS[number // len(WORDS) ** place % len(WORDS)] for place in range(DIGITS))


_NEW = words_of(0)


def spliced(content: bytes, places: tuple[int, ...], number: int) -> bytes:
    """What holds the words of 0 at these places, with those of another number."""
    ends = [0, *(place + len(_NEW) for place in places)]
    parts = [content[end:place] for end, place in zip(ends, (*places, len(content)), strict=True)]
    return words_of(number).encode().join(parts)


def bodies() -> dict[str, Body]:
    """Those that throughput is measured with, by name."""
    made = [
        _prompt("small", "prompt of 281 B", 281),
        _talk("medium", "conversation of 3.8 KB", 3_800),
        _prompt("long", "prompt of 55 KB", 55_000, "/v1/prompt/large"),
        _talk("turn", "conversation of 55 KB, last message new", 55_000, new=1),
        tool_call("get_weather"),
    ]
    return {body.name: body for body in made}


def tool_call(name: str) -> Body:
    """A call of a tool that takes a place."""
    content = json.dumps({"toolName": name, "arguments": {"location": "Oslo"}}).encode()
    return Body("tool", "tool call", TOOL, TOOL, content)


def huge_prompt() -> Body:
    """A prompt of 4 MiB."""
    return _prompt("huge", "prompt of 4 MiB", 4 * 1024 * 1024, "/v1/prompt/heavy")


def _prompt(name: str, title: str, size: int, bare_path: str = PROMPT) -> Body:
    text = " ".join(texts(min(size, 16_384), -(-size // 16_384)))
    content = _fitted(lambda left: _new([{"role": "user", "content": text[:left]}]), size)
    return Body(name, title, PROMPT, bare_path, content, _places(content))


def _talk(name: str, title: str, size: int, *, new: int | None = None) -> Body:
    """A conversation, of which the last `new` messages are new each time, without a number all."""
    content = _fitted(lambda left: _new(conversation(left), new), size)
    return Body(name, title, PROMPT, PROMPT, content, _places(content))


def _new(messages: list[dict[str, Any]], count: int | None = None) -> list[dict[str, Any]]:
    for message in messages[-(count or len(messages)) :]:
        message["content"] += f" {_NEW}"
    return messages


def _places(content: bytes) -> tuple[int, ...]:
    return tuple(found.start() for found in re.finditer(_NEW.encode(), content))


def _fitted(made: Callable[[int], list[dict[str, Any]]], size: int) -> bytes:
    """The JSON of messages of as many characters as fit into `size` bytes, with words before them for the rest."""
    left = size
    while (missing := size - _size(messages := made(left))) < 0:
        left -= max(1, -missing // 2)
    messages[0]["content"] = f"{' '.join(WORDS)[:missing]}{messages[0]['content']}"
    if _size(messages) < size - SLACK:
        raise Wrong(f"body of {_size(messages)} bytes instead of {size}")
    return _written(messages)


def _size(messages: list[dict[str, Any]]) -> int:
    return len(_written(messages))


def _written(messages: list[dict[str, Any]]) -> bytes:
    return json.dumps({"messages": messages}).encode()
