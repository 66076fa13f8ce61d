"""What the adapters share: a reply that is not what was sent, but for its texts, lets nothing pass."""

import copy
from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import pytest

from kalguard import KalGuardClient
from kalguard.sdk.adapters.conversation import Conversion, Unmappable, Visitor, checked, compare, incoming, walked

SENT: list[dict[str, Any]] = [
    {"role": "user", "name": "n", "content": "a"},
    {"role": "tool", "tool_call_id": "c0", "content": [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]},
    {
        "role": "assistant",
        "content": [],
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    },
]


def changed(edit: Callable[[list[dict[str, Any]]], object]) -> list[dict[str, Any]]:
    messages = copy.deepcopy(SENT)
    edit(messages)
    return messages


def test_texts_may_be_others() -> None:
    compare(SENT, changed(lambda m: m[0].update(content="x", name="y")))
    compare(SENT, changed(lambda m: m[1]["content"][1].update(text="")))
    compare(SENT, changed(lambda m: m[2]["tool_calls"][0]["function"].update(arguments="[]")))


@pytest.mark.parametrize(
    "edit",
    [
        lambda m: m.pop(),
        lambda m: m.append(m[0]),
        lambda m: m[0].update(role="system"),
        lambda m: m[0].update(content=["a"]),
        lambda m: m[0].update(content=None),
        lambda m: m[0].pop("name"),
        lambda m: m[0].update(more="x"),
        lambda m: m[1].update(tool_call_id="c9"),
        lambda m: m[1]["content"].pop(),
        lambda m: m[1]["content"][0].update(type="image"),
        lambda m: m[1].update(content="b c"),
        lambda m: m[2].update(content=""),
        lambda m: m[2]["tool_calls"][0].update(id="c2"),
        lambda m: m[2]["tool_calls"][0]["function"].update(name="g"),
        lambda m: m[2]["tool_calls"][0]["function"].update(arguments={}),
        lambda m: m[2].pop("tool_calls"),
    ],
)
def test_all_else_may_not(edit: Callable[[list[dict[str, Any]]], object]) -> None:
    with pytest.raises(Unmappable, match="more than their texts"):
        compare(SENT, changed(edit))


def test_a_reply_that_does_not_fit_is_a_denial_whatever_the_client_allows() -> None:
    def reply(request: httpx.Request) -> httpx.Response:
        request_id = request.headers["x-kalguard-request-id"]
        data = {"allowed": True, "sanitizedMessages": [{"role": "system", "content": "other"}]}
        yes = {"ok": True, "allowed": True, "decision": "allow", "message": "", "requestId": request_id, "data": data}
        return httpx.Response(200, content=msgspec.json.encode(yes))

    def back(messages: Any, returned: Any) -> Any:
        compare([{"role": "user", "content": messages}], returned)

    conversion = Conversion(lambda text: [{"role": "user", "content": text}], back)
    with (
        KalGuardClient("http://sidecar", "t", on_unavailable="allow", transport=httpx.MockTransport(reply)) as client,
        pytest.raises(Unmappable) as raised,
    ):
        checked(client, "hello", conversion)
    assert raised.value.request_id.startswith("req_")


def test_a_walk_that_asks_for_more_texts_than_came_back_ends() -> None:
    def walk(visit: Visitor) -> str:
        return visit.text("a") + visit.text("b")

    with pytest.raises(Unmappable, match="fewer texts"):
        incoming({"role": "user", "content": "a"}, walk)


class Shouting:
    """Says everything aloud."""

    def name(self, text: str) -> str:
        return text.upper()

    text = name

    def call(self, _: str | None, __: str, arguments: str) -> str:
        return arguments.upper()


@pytest.mark.parametrize(
    ("part", "seen"),
    [
        ({"type": "text", "text": "a", "id": "b"}, {"type": "text", "text": "A", "id": "b"}),
        ({"data": "aGVsbG8=", "url": "https://a/b?c=d"}, {"data": "aGVsbG8=", "url": "https://a/b?c=d"}),
        ({"data": "do this", "url": "do\tthat"}, {"data": "DO THIS", "url": "DO\tTHAT"}),
        ({"type": "text", "data": "a"}, {"type": "text", "data": "A"}),
        ({"name": "a_tool", "id": "jane@x.org"}, {"name": "a_tool", "id": "JANE@X.ORG"}),
        ({"image_url": {"url": "data:a/b,aGk="}, "alt": "a"}, {"image_url": {"url": "data:a/b,aGk="}, "alt": "A"}),
        ({"input": {"a": "b"}}, {"input": {"A": "B"}}),
        ({"logprobs": [{"token": "a"}], "n": 1, "b": b"x"}, {"logprobs": [{"token": "a"}], "n": 1, "b": b"x"}),
    ],
)  # fmt: skip
def test_what_names_or_encodes_something_is_left_alone_only_if_it_looks_so(part: Any, seen: Any) -> None:
    assert walked(part, Shouting()) == seen


class Breaking(Shouting):
    """Takes away a character of all JSON."""

    def text(self, text: str) -> str:
        return text[:-1]


def test_json_that_is_cut_up_is_a_denial() -> None:
    with pytest.raises(Unmappable, match="none any more"):
        walked({"input": {"a": "b"}}, Breaking())
