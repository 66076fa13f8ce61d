"""Of a key given twice the last one is judged, and nobody is handed what was not judged."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import ATTACK, app, call

HARMLESS = "What is the weather in Oslo tomorrow?"
ATTACKING = ATTACK["messages"][0]["content"]
TOOLS = {"tools": [{"name": "t", "argumentSchema": {"to": {"type": "string", "required": True, "maxLength": 5}}}]}


def prompt(*contents: str) -> bytes:
    """A prompt check whose only message has several contents."""
    members = ",".join(f'"content":{json.dumps(content)}' for content in contents)
    return f'{{"messages":[{{"role":"user",{members}}}]}}'.encode()


def allows(path: str, body: bytes, *, tools_path: str = "") -> bool:
    reply = call(app(policy_default_deny="false", tools_path=tools_path), path, body)
    assert reply.status in (200, 403)
    return bool(reply.body["allowed"])


@pytest.mark.parametrize(
    ("body", "is_allowed"),
    [
        (prompt(HARMLESS, ATTACKING), False),
        (prompt(ATTACKING, HARMLESS), True),
        (prompt(HARMLESS)[:-1] + b"," + prompt(ATTACKING)[1:], False),
        (prompt(ATTACKING)[:-1] + b"," + prompt(HARMLESS)[1:], True),
        (prompt(HARMLESS, ATTACKING).replace(b'"content"', b'"conten\\u0074"', 1), False),
    ],
)
def test_the_last_one_is_judged(body: bytes, is_allowed: bool) -> None:
    assert allows("/v1/prompt/check", body) is is_allowed


@pytest.mark.parametrize(
    ("body", "is_allowed"),
    [
        (b'{"toolName":"t","arguments":{"to":"a","to":"much too long"}}', False),
        (b'{"toolName":"t","arguments":{"to":"much too long","to":"a"}}', True),
        (b'{"toolName":"t","arguments":{"to":"a"},"arguments":{"to":"much too long"}}', False),
        (b'{"toolName":"t","toolName":"other","arguments":{"to":"a"}}', False),
        (b'{"toolName":"other","toolName":"t","arguments":{"to":"a"}}', True),
    ],
)
def test_the_last_one_is_judged_in_a_tool_call(body: bytes, is_allowed: bool, tmp_path: Path) -> None:
    (tmp_path / "tools.json").write_text(json.dumps(TOOLS))
    assert allows("/v1/tool/check", body, tools_path=str(tmp_path / "tools.json")) is is_allowed


def test_what_was_judged_is_what_is_returned() -> None:
    body = prompt(ATTACKING, "Mail ada@example.org.").replace(b'"role":"user"', b'"id":1,"role":"system","id":2', 1)
    body = body.replace(b'"content"', b'"role":"user","content"', 1)
    reply = call(app(policy_default_deny="false"), body=body)
    returned: list[Any] = reply.body["data"]["sanitizedMessages"]
    assert returned == [{"id": 2, "role": "user", "content": "Mail [EMAIL_REDACTED]."}]
    assert reply.raw.count(b'"content"') == reply.raw.count(b'"role"') == 1
