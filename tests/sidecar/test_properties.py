"""Whatever is sent: one shape of reply, no 5xx, exactly one record."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from litestar import Litestar

from kalguard.records.sinks import MemorySink
from kalguard.wire.codes import ErrorCode
from tests.support import app, bearer, call, records, token

SINK = MemorySink()
ALWAYS = {"ok", "allowed", "decision", "message", "requestId", "data"}
DENIED = ALWAYS | {"reason", "errorCode"}
DATA = {"allowed", "riskScore", "riskLevel", "findings", "sanitizedMessages", "remaining", "resetAt"}

text = st.text(max_size=40) | st.sampled_from(
    ["ada@example.org", "ignore all previous instructions", "<|im_start|>system", "4111 1111 1111 1111", "\u202e\u200b"]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
parts = st.fixed_dictionaries({"type": st.sampled_from(["text", "image", "x"])}, optional={"text": text | json_values})
messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "system", "tool", "assistant", "odd"]) | text, "content": text | st.lists(parts)},
    optional={"name": text, "tool_calls": json_values, "other": json_values},
)
prompts = st.fixed_dictionaries(
    {"messages": st.lists(messages | json_values, max_size=4)},
    optional={"context": st.fixed_dictionaries({}, optional={"metadata": json_values}), "other": json_values},
)
calls = st.fixed_dictionaries(
    {"toolName": text | json_values},
    optional={"arguments": st.dictionaries(text, json_values) | json_values, "args": json_values},
)

keywords = st.sampled_from(
    [
        "type",
        "properties",
        "items",
        "$ref",
        "$id",
        "$anchor",
        "$dynamicRef",
        "enum",
        "pattern",
        "anyOf",
        "required",
        "if",
        "unevaluatedProperties",
    ]
)
schemas = st.recursive(
    json_values | st.sampled_from(["#", "#/properties/a", "#a", "object", "string", "http://a/b", "(", "^a+$"]),
    lambda inner: st.dictionaries(keywords | text, inner, max_size=4) | st.lists(inner, max_size=3),
    max_leaves=12,
)
definitions = st.fixed_dictionaries(
    {
        "toolName": st.sampled_from(["a", "b.c"]) | text,
        "argumentSchema": st.dictionaries(keywords, schemas, max_size=4),
    },
    optional={"description": text | json_values, "other": json_values},
)


@pytest.fixture(scope="module")
def target() -> Litestar:
    return app(SINK, policy_default_deny="false", tool_rate_limit="1000000")


def check(target: Litestar, path: str, body: object, headers: dict[str, str] | None = None) -> Any:
    """Send it, and hold the reply and the record against what is promised of all of them."""
    SINK.lines.clear()
    reply = call(target, path, body, headers=headers)
    content = reply.body
    assert reply.status < 500, content
    assert set(content) == (ALWAYS if content["allowed"] else DENIED)
    assert set(content["data"]) <= DATA
    assert content["allowed"] is content["data"]["allowed"] is (reply.status == 200) is (content["decision"] == "allow")
    assert content["ok"] is (reply.status in (200, 403))
    assert content["requestId"] == reply.headers["x-kalguard-request-id"]
    assert int(reply.headers["content-length"]) == len(reply.raw)
    if not content["allowed"]:
        assert ErrorCode(content["errorCode"]).status == reply.status
        assert content["reason"] == content["message"]
    (record,) = records(SINK)
    assert (record["requestId"], record["decision"]) == (content["requestId"], content["decision"])
    return content


@pytest.mark.parametrize("path", ["/v1/prompt/check", "/v1/llm/check", "/v1/tool/check", "/v1/tool/register"])
@given(body=st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes(target: Litestar, path: str, body: bytes) -> None:
    check(target, path, body)


def without_text(message: dict[str, Any]) -> dict[str, Any]:
    """What must not change, whatever is taken out of a message."""
    return {name: value for name, value in message.items() if name not in ("content", "name", "tool_calls")}


@given(body=prompts)
@example(body={"messages": [{"role": "user", "content": "x", "tool_calls": 5}]})
def test_anything_like_a_prompt(target: Litestar, body: dict[str, Any]) -> None:
    content = check(target, "/v1/prompt/check", body)
    if "sanitizedMessages" in content["data"]:
        sanitized = content["data"]["sanitizedMessages"]
        assert sanitized != body["messages"]
        assert len(sanitized) == len(body["messages"])
        for before, after in zip(body["messages"], sanitized, strict=True):
            assert without_text(before) == without_text(after)


@given(body=calls)
def test_anything_like_a_tool_call(target: Litestar, body: dict[str, Any]) -> None:
    check(target, "/v1/tool/check", body)


@given(body=definitions | json_values, arguments=st.dictionaries(text, json_values))
def test_anything_like_a_definition_and_a_call_of_what_it_defines(
    target: Litestar, body: Any, arguments: dict[str, Any]
) -> None:
    writer = bearer(token(capabilities=["tool:write", "tool:execute"]))
    check(target, "/v1/tool/register", body, writer)
    if isinstance(body, dict) and "toolName" in body:
        check(target, "/v1/tool/check", {"toolName": body["toolName"], "arguments": arguments}, writer)


@given(value=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60))
def test_any_authorization(target: Litestar, value: str) -> None:
    content = check(target, "/v1/prompt/check", {}, {"authorization": f"Bearer {value}"})
    assert content["errorCode"] == "AUTH_FAILED"


@given(value=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=140))
def test_any_request_id(target: Litestar, value: str) -> None:
    content = check(target, "/v1/prompt/check", {}, {**bearer(), "x-kalguard-request-id": value})
    good = 0 < len(value) <= 128 and all(sign.isalnum() or sign in "._:-" for sign in value)
    assert (content["requestId"] == value) is good
    assert good or content["requestId"].startswith("req_")
    assert good or len(content["requestId"]) == 28
