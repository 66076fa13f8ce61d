"""Tools files and tool calls, through the loader that the service uses."""

import json
from typing import Any

import pytest

from kalguard._core import Arguments
from kalguard.decision.mediator import any_tool, load_tools, no_tool
from kalguard.errors import BadRequest, ToolsError
from tests.support import vectors

VECTORS = vectors("tools.json")


def arguments_of(value: object) -> Arguments:
    return Arguments(json.dumps(value).encode())


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_what_refuses_a_call(case: dict[str, Any]) -> None:
    tools = any_tool() if case["tools"] is None else load_tools(json.dumps(case["tools"]).encode())
    call = case["call"]
    if case["check"] == "arguments":
        with pytest.raises(BadRequest):
            arguments_of(call["arguments"])
        return
    refusal = tools.registry.check(call["toolName"], arguments_of(call["arguments"]))
    assert (None if refusal is None else refusal.check) == case["check"]


@pytest.mark.parametrize("case", VECTORS["invalid"], ids=lambda case: case["name"])
def test_a_file_that_is_refused_says_so_in_one_line(case: dict[str, Any]) -> None:
    with pytest.raises(ToolsError) as caught:
        load_tools(json.dumps(case["tools"]).encode())
    assert "\n" not in str(caught.value)
    for part in case["error"]:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("tool", "named"),
    [
        ({"name": "t", "argumentSchema": {"type": "object", "requird": ["x"]}}, ["`t`", "requird"]),
        ({"name": "t", "rateLimitPerMinute": 0}, ["`t`", "rateLimitPerMinute"]),
        ({"name": "t", "argumentSchema": {"$ref": "http://127.0.0.1:9/x"}}, ["`t`"]),
        ({"name": "t", "argumentSchema": {"$ref": "file:///etc/passwd"}}, ["`t`"]),
        ({"description": "x"}, ["index 0", "name"]),
    ],
)
def test_the_message_names_tool_and_field(tool: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(ToolsError) as caught:
        load_tools(json.dumps({"tools": [tool]}).encode())
    for name in named:
        assert name in str(caught.value)


def test_a_refusal_holds_no_argument() -> None:
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "additionalProperties": False}
    tools = load_tools(json.dumps({"tools": [{"name": "t", "argumentSchema": schema}]}).encode())
    for arguments in ({"x": "my-password"}, {"my-password": 1}):
        refusal = tools.registry.check("t", arguments_of(arguments))
        assert refusal is not None
        assert "my-password" not in refusal.reason


def test_a_file_that_cannot_be_used_leaves_no_tool() -> None:
    refusal = no_tool().registry.check("anything", Arguments(b"{}"))
    assert refusal is not None
    assert refusal.check == "allowlist"
