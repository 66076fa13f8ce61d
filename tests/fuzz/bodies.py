"""Bodies: only `Refusal` is raised, and what is accepted is what any other reader of JSON sees.

The first byte of an input says whose body it is. The twin is the reader of Python's own library: what we accept it
must accept and read alike, and what it accepts we must, but for what we rule out on purpose. Ours is written in Rust,
where nobody sees which of its lines an input reaches; so the library's other reader, written in Python, reads too.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from json.decoder import py_scanstring  # type: ignore[attr-defined]
from json.scanner import py_make_scanner  # type: ignore[attr-defined]
from typing import Any

import atheris

with atheris.instrument_imports(include=["kalguard.decision.registration"]):
    from kalguard._core import MAX_DEPTH, Conversation, ToolCall, read_definition
    from kalguard.decision.firewall import FirewallOptions, PromptFirewall
    from kalguard.decision.registration import Definition
    from kalguard.errors import BadRequest, Refusal

from tests.fuzz.engine import fuzz
from tests.sidecar.test_json_parsing_suite import cases
from tests.support import ATTACK, GOOD_PROMPT, vectors

READERS = (Conversation, ToolCall, Definition.read)
FIREWALL = PromptFirewall(FirewallOptions())
_scan_string, _make_scanner = (atheris.instrument_func(each) for each in (py_scanstring, py_make_scanner))
DICTIONARY = (
    *('"messages"', '"role"', '"content"', '"user"', '"name"', '"type":"text"', '"text"', '"tool_calls"', '"refusal"'),
    *('"function"', '"arguments"', '"args"', '"toolName"', '"context"', '"metadata"', '"argumentSchema"', '"source"'),
    *(
        '"tool_result"',
        '"data"',
        "null",
        "true",
        "false",
        "1e999",
        "-0",
        "\\u0000",
        "\\ud800",
        "\\udc00",
        "NaN",
        "[[[[",
    ),
)


class Visible(json.JSONDecoder):
    """Python's reader without its parts in C: shows the fuzzer where an input leads. Slower, and not as strict."""

    def __init__(self) -> None:
        super().__init__()
        self.parse_string = _scan_string
        self.scan_once = _make_scanner(self)


VISIBLE = Visible()


def read(data: bytes) -> None:
    """One input."""
    if not data:
        return
    reader, body = READERS[data[0] % len(READERS)], data[1:]
    value = _read_as_both_do(body)
    try:
        request: Any = reader(body)
    except Refusal:
        return
    assert value is not None, "a reader takes what is no object"
    if reader is ToolCall:
        assert request.argument_count == len(value.get("arguments", value.get("args", {})))
    elif reader is Conversation:
        assert request.message_count == len(value["messages"])
        said = list(_strings(value["messages"]))
        assert all(text in said for *_, text in request.texts)
        sanitized = FIREWALL.inspect(request, "fuzz").sanitized_messages
        if sanitized is not None:
            _assert_same_but_for_texts(json.loads(sanitized), value["messages"])


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def _assert_same_but_for_texts(changed: Any, value: Any) -> None:
    assert type(changed) is type(value)
    if isinstance(value, dict):
        assert set(changed) == set(value)
        for name, item in value.items():
            _assert_same_but_for_texts(changed[name], item)
    elif isinstance(value, list):
        for one, other in zip(changed, value, strict=True):
            _assert_same_but_for_texts(one, other)
    elif not isinstance(value, str):
        assert changed == value


def _read_as_both_do(body: bytes) -> dict[str, Any] | None:
    """An object as we read it, in a body of which it is the schema. Raises `AssertionError` where the twin differs."""
    with suppress(ValueError, RecursionError):
        VISIBLE.decode(body.decode())
    try:
        _, written, _ = read_definition(b'{"toolName":"t","argumentSchema":' + body + b"}")
    except BadRequest:
        assert not _is_good(body), "refused, although there is nothing wrong with it"
        return None
    value: dict[str, Any] = json.loads(written)
    assert value == json.loads(body.decode()), "read otherwise than by others"
    return value


def _is_good(body: bytes) -> bool:
    """Whether a body is one that must be taken, according to the twin."""
    try:
        value = json.loads(body.decode(), parse_constant=_refuse, parse_float=_finite)
        json.dumps(value, ensure_ascii=False).encode()  # without lone surrogates
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and _depth(value) < MAX_DEPTH


def _refuse(text: str) -> float:
    raise ValueError(text)


def _finite(text: str) -> float:
    value = float(text)
    return value if abs(value) < float("inf") else _refuse(text)


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max((_depth(item) for item in inner), default=0)


def seeds() -> list[bytes]:
    """Prompts and calls of the test vectors, and the JSON parsing suite."""
    prompts: list[Any] = [GOOD_PROMPT, ATTACK, *({"messages": case["messages"]} for case in vectors("firewall.json"))]
    calls = [{"toolName": "t", "arguments": {"a": [1, {"b": None}]}, "context": {"metadata": {"env": "prod"}}}]
    definitions = [{"toolName": "t", "argumentSchema": {"a": {"type": "string"}}, "description": "d"}]
    bodies = [(0, prompts), (1, calls), (2, definitions)]
    found = [bytes([kind]) + json.dumps(body).encode() for kind, group in bodies for body in group]
    suite = [text for text in cases().values() if len(text) < 1000]
    return found + [b'\x01{"toolName":"t","arguments":{"v":' + text + b"}}" for text in suite]


if __name__ == "__main__":
    fuzz("bodies", read, seeds(), dictionary=DICTIONARY)
