"""LangChain's agents with the middleware: a real `create_agent`, a fake model, a real sidecar."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    AnyMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.prebuilt import ToolNode, ToolRuntime

from kalguard import AsyncKalGuardClient, KalGuardClient, KalGuardDenied, KalGuardUnavailable
from kalguard.errors import ConfigError
from kalguard.sdk.adapters.conversation import Unmappable
from kalguard.sdk.adapters.langchain import KalGuardMiddleware, from_sidecar, to_sidecar
from tests.sdk.adapters.conftest import ATTACK, MAIL, kill
from tests.support import Server, token

Agent = CompiledStateGraph[Any, Any, Any, Any]
Run = Callable[[Agent, Any], Any]


class Model(GenericFakeChatModel):
    """Says what it was told to say, and keeps what it saw."""

    seen: list[list[BaseMessage]] = []  # noqa: RUF012 - pydantic makes each its own

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Any:
        self.seen.append(messages)
        return super()._generate(messages, *args, **kwargs)

    def bind_tools(self, *_: Any, **__: Any) -> Any:
        return self


def saying(*messages: AIMessage) -> Model:
    return Model(messages=iter(messages), seen=[])


def calling(name: str, **arguments: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": "call_1"}])


class Tools:
    """Tools that keep what they were run with."""

    def __init__(self, weather: str = "sunny") -> None:
        self.runs: list[Any] = []

        @tool
        def get_weather(location: str) -> str:
            """The weather."""
            self.runs.append(location)
            return weather

        @tool
        def send_payment(amount: int) -> str:
            """Pay."""
            self.runs.append(amount)
            return "paid"

        @tool
        async def delete_all(path: str) -> str:
            """Delete."""
            self.runs.append(path)
            return "gone"

        self.all = [get_weather, send_payment, delete_all]


def agent_of(model: Model, middleware: AgentMiddleware[Any, Any], tools: Tools | None = None) -> Agent:
    return create_agent(model, (tools or Tools()).all, middleware=[middleware], system_prompt="Be brief.")


def invoke(agent: Agent, given: Any) -> Any:
    return agent.invoke({"messages": given})


def ainvoke(agent: Agent, given: Any) -> Any:
    return asyncio.run(agent.ainvoke({"messages": given}))


def stream(agent: Agent, given: Any) -> Any:
    return list(agent.stream({"messages": given}, stream_mode="values"))[-1]


@pytest.fixture(params=[invoke, ainvoke, stream])
def run(request: pytest.FixtureRequest) -> Run:
    made: Run = request.param
    return made


def test_an_attack_never_reaches_the_model(client: KalGuardClient, run: Run) -> None:
    model = saying(AIMessage("no"))
    with pytest.raises(KalGuardDenied) as raised:
        run(agent_of(model, KalGuardMiddleware(client)), [HumanMessage(ATTACK)])
    assert raised.value.code == "PROMPT_BLOCKED"
    assert model.seen == []


def test_an_attack_in_a_tool_s_result_stops_the_second_turn(client: KalGuardClient, run: Run) -> None:
    model, tools = saying(calling("get_weather", location="Oslo"), AIMessage("no")), Tools(weather=ATTACK)
    with pytest.raises(KalGuardDenied, match="PROMPT_BLOCKED"):
        run(agent_of(model, KalGuardMiddleware(client), tools), [HumanMessage("What is the weather in Oslo?")])
    assert (len(model.seen), tools.runs) == (1, ["Oslo"])


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (calling("send_payment", amount=5), "REQUIRE_APPROVAL"),
        (calling("delete_all", path="/"), "TOOL_DENIED"),
        (calling("get_weather", location=5), "TOOL_DENIED"),
        (calling("unknown_to_the_agent"), "TOOL_DENIED"),
    ],
)
def test_a_denied_tool_never_runs(client: KalGuardClient, run: Run, call: AIMessage, code: str) -> None:
    model, tools = saying(call, AIMessage("done")), Tools()
    with pytest.raises(KalGuardDenied) as raised:
        run(agent_of(model, KalGuardMiddleware(client), tools), [HumanMessage("Go on.")])
    assert (raised.value.code, tools.runs, len(model.seen)) == (code, [], 1)


def test_a_model_can_be_told_of_a_denial(client: KalGuardClient, run: Run) -> None:
    model, tools = saying(calling("send_payment", amount=5), AIMessage("I may not.")), Tools()
    end = run(agent_of(model, KalGuardMiddleware(client, on_denied_tool="tell_model"), tools), [HumanMessage("Pay.")])
    assert tools.runs == []
    told = model.seen[1][-1]
    assert isinstance(told, ToolMessage)
    assert (told.tool_call_id, told.status, told.name) == ("call_1", "error", "send_payment")
    assert told.text.endswith("Denied by KalGuard: ask a person (REQUIRE_APPROVAL)")
    assert end["messages"][-1].text == "I may not."


@pytest.mark.parametrize("on_denied_tool", ["raise", "tell_model"])
def test_without_a_sidecar_neither_model_nor_tool_is_called(
    gone: KalGuardClient, run: Run, on_denied_tool: Any
) -> None:
    model, tools = saying(calling("get_weather", location="Oslo")), Tools()
    with pytest.raises(KalGuardUnavailable):
        run(agent_of(model, KalGuardMiddleware(gone, on_denied_tool=on_denied_tool), tools), [HumanMessage("Hello.")])
    assert (model.seen, tools.runs) == ([], [])


@pytest.mark.parametrize("on_denied_tool", ["raise", "tell_model"])
def test_a_tool_does_not_run_while_the_sidecar_is_gone(gone: KalGuardClient, run: Run, on_denied_tool: Any) -> None:
    class OnlyTools(KalGuardMiddleware):
        def wrap_model_call(self, request: Any, handler: Any) -> Any:
            return handler(request)

        async def awrap_model_call(self, request: Any, handler: Any) -> Any:
            return await handler(request)

    model, tools = saying(calling("get_weather", location="Oslo")), Tools()
    with pytest.raises(KalGuardUnavailable):
        run(agent_of(model, OnlyTools(gone, on_denied_tool=on_denied_tool), tools), [HumanMessage("Hello.")])
    assert (len(model.seen), tools.runs) == (1, [])


def test_the_model_sees_the_redaction_and_the_state_keeps_what_was_said(client: KalGuardClient, run: Run) -> None:
    model, tools = saying(calling("get_weather", location="Oslo"), AIMessage("Sent.")), Tools(weather=f"ask {MAIL}")
    said = HumanMessage(f"Mail {MAIL} the weather.", id="m1", name="jane")
    end = run(agent_of(model, KalGuardMiddleware(client), tools), [said])
    first, second = model.seen
    assert [message.text for message in first] == ["Be brief.", "Mail [EMAIL_REDACTED] the weather."]
    assert (first[1].id, first[1].name) == ("m1", "jane")
    assert [message.text for message in second[1:]] == [
        "Mail [EMAIL_REDACTED] the weather.",
        "",
        "ask [EMAIL_REDACTED]",
    ]
    assert (said.text, end["messages"][0].text) == (f"Mail {MAIL} the weather.",) * 2
    assert end["messages"][2].text == f"ask {MAIL}"
    assert tools.runs == ["Oslo"]


def test_what_middleware_before_it_adds_is_checked(client: KalGuardClient) -> None:
    class Adds(AgentMiddleware[Any, Any]):
        def wrap_model_call(self, request: Any, handler: Any) -> Any:
            return handler(request.override(messages=[*request.messages, HumanMessage(ATTACK)]))

    model = saying(AIMessage("no"))
    agent = create_agent(model, [], middleware=[Adds(), KalGuardMiddleware(client)])
    with pytest.raises(KalGuardDenied):
        agent.invoke({"messages": [HumanMessage("Hello.")]})
    assert model.seen == []


def test_an_async_client_serves_ainvoke_and_nothing_else(server: Server) -> None:
    async def run() -> None:
        async with AsyncKalGuardClient(server.url, token(), timeout_seconds=60) as client:
            model = saying(calling("get_weather", location="Oslo"), AIMessage("Sunny."))
            end = await agent_of(model, KalGuardMiddleware(client)).ainvoke(
                {"messages": [HumanMessage(f"I am {MAIL}.")]}
            )
            assert end["messages"][-1].text == "Sunny."
            assert model.seen[0][1].text == "I am [EMAIL_REDACTED]."
            denied = saying(AIMessage("no"))
            with pytest.raises(KalGuardDenied):
                await agent_of(denied, KalGuardMiddleware(client)).ainvoke({"messages": [HumanMessage(ATTACK)]})
            with pytest.raises(ConfigError, match="KalGuardClient"):
                agent_of(denied, KalGuardMiddleware(client)).invoke({"messages": [HumanMessage("Hello.")]})
            assert denied.seen == []

    asyncio.run(run())


def test_a_graph_s_own_tool_node_can_have_its_calls_checked(client: KalGuardClient) -> None:
    tools, kalguard = Tools(), KalGuardMiddleware(client, on_denied_tool="tell_model")
    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode(tools.all, wrap_tool_call=kalguard.wrap_tool_call))
    graph.add_edge(START, "tools")
    ran = graph.compile()
    assert ran.invoke({"messages": [calling("get_weather", location="Oslo")]})["messages"][-1].text == "sunny"
    denied = ran.invoke({"messages": [calling("send_payment", amount=5)]})["messages"][-1]
    assert "REQUIRE_APPROVAL" in denied.text
    assert tools.runs == ["Oslo"]


def test_arguments_are_redacted_for_the_model_and_not_for_the_tool(client: KalGuardClient, run: Run) -> None:
    model, tools = saying(calling("get_weather", location=MAIL), AIMessage("Sunny.")), Tools()
    end = run(agent_of(model, KalGuardMiddleware(client), tools), [HumanMessage("Weather?")])
    (call,) = model.seen[1][2].tool_calls  # type: ignore[attr-defined]
    assert (call["args"], call["id"]) == ({"location": "[EMAIL_REDACTED]"}, "call_1")
    assert end["messages"][1].tool_calls[0]["args"] == {"location": MAIL}
    assert tools.runs == [MAIL]


def test_what_the_framework_injects_is_no_argument(client: KalGuardClient, run: Run) -> None:
    seen: list[Any] = []

    @tool
    def get_weather(location: str, runtime: ToolRuntime[Any, Any]) -> str:
        """The weather."""
        seen.append((location, len(runtime.state["messages"])))
        return "sunny"

    model = saying(calling("get_weather", location="Oslo"), AIMessage("Sunny."))
    run(create_agent(model, [get_weather], middleware=[KalGuardMiddleware(client)]), [HumanMessage("Weather?")])
    assert seen == [("Oslo", 2)]


def test_a_sidecar_that_is_killed_on_the_way_stops_the_next_turn(doomed: Server) -> None:
    @tool
    def get_weather(location: str) -> str:
        """The weather."""
        kill(doomed)
        return "sunny"

    model = saying(calling("get_weather", location="Oslo"), AIMessage("no"))
    with KalGuardClient(doomed.url, token()) as client, pytest.raises(KalGuardUnavailable):
        invoke(create_agent(model, [get_weather], middleware=[KalGuardMiddleware(client)]), [HumanMessage("Weather?")])
    assert len(model.seen) == 1


def test_each_check_is_on_record(server: Server, client: KalGuardClient) -> None:
    before = len(server.audit())
    model = saying(calling("get_weather", location="Oslo"), AIMessage("Sunny."))
    invoke(agent_of(model, KalGuardMiddleware(client)), [HumanMessage("What is the weather in Oslo?")])
    checks = [record["metadata"]["check"] for record in server.audit()[before:]]
    assert checks == ["prompt", "tool", "prompt"]


def test_another_way_to_deny_is_refused(client: KalGuardClient) -> None:
    with pytest.raises(ConfigError, match="on_denied_tool: `ignore`"):
        KalGuardMiddleware(client, on_denied_tool="ignore")  # type: ignore[arg-type]


IMAGE = {"type": "image", "base64": "iVBORw0KGgo=", "mime_type": "image/png"}
EVERY_KIND: list[AnyMessage] = [
    SystemMessage("s1"),
    HumanMessage("t1", name="jane@example.com"),
    HumanMessage([{"type": "text", "text": "t2"}, IMAGE, "t3"]),
    HumanMessage([IMAGE, {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}]),
    HumanMessage([{"type": "text-plain", "text": "t4", "title": "t5", "mime_type": "text/plain"}]),
    HumanMessage([{"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "t6 in data"}}]),
    AIMessage(
        [{"type": "reasoning", "reasoning": "r1", "extras": {"signature": "QUJD"}}, {"type": "text", "text": "t7"}],
        tool_calls=[{"name": "find", "args": {"data": "a1", "n": 1}, "id": "c1"}],
        invalid_tool_calls=[{"name": "find", "args": "{a2", "id": "c2", "error": "e1"}],
        additional_kwargs={"reasoning_content": "r2"},
    ),
    ToolMessage("t8", tool_call_id="c1"),
    ToolMessage(
        [{"type": "json", "json": {"url": "j1 u", "data": ["j2"]}}, IMAGE], tool_call_id="c2", artifact=object()
    ),
    ChatMessage(content="t9", role="developer"),
    AIMessageChunk(content="t10"),
]
TEXTS = ["s1", "t1", "t2", "t3", "t4", "t5", "t6 in data", "r1", "t7", "r2", "e1", "t8"]
TEXTS += ['{"url": "j1 u", "data": ["j2"]}', "t9", "t10"]


def texts_of(messages: list[dict[str, Any]]) -> list[str]:
    found: list[str] = []
    for message in messages:
        content = message["content"]
        found += [content] if isinstance(content, str) else [part["text"] for part in content]
    return found


def test_every_text_is_shown_and_nothing_else() -> None:
    sent = to_sidecar(EVERY_KIND)
    roles = ["system", *["user"] * 5, "assistant", "tool", "tool", "developer", "assistant"]
    assert [message["role"] for message in sent] == roles
    assert texts_of(sent) == TEXTS
    assert sent[1]["name"] == "jane@example.com"
    assert sent[6]["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"data": "a1", "n": 1}'}},
        {"id": "c2", "type": "function", "function": {"name": "find", "arguments": "{a2"}},
    ]
    assert [message.get("tool_call_id") for message in sent[7:9]] == ["c1", "c2"]


def marked(value: Any, key: str = "") -> Any:
    """What the sidecar might return: every text another one."""
    if isinstance(value, dict):
        return {
            name: marked(item, "" if name == "name" and "role" not in value else name) for name, item in value.items()
        }
    if isinstance(value, list):
        return [marked(item) for item in value]
    if key == "arguments" or (isinstance(value, str) and value.startswith('{"url"')):
        return value.replace("a1", "A1").replace("a2", "A2").replace("j1", "J1").replace("j2", "J2")
    return value.upper() if key in ("text", "content", "name") and isinstance(value, str) else value


def test_what_comes_back_replaces_the_texts_and_only_them() -> None:
    before = [message.model_dump() for message in EVERY_KIND[:8]]
    made: list[Any] = from_sidecar(EVERY_KIND, marked(to_sidecar(EVERY_KIND)))
    assert texts_of(to_sidecar(made)) == [
        text.upper() if not text.startswith("{") else '{"url": "J1 u", "data": ["J2"]}' for text in TEXTS
    ]
    assert made[1].name == "JANE@EXAMPLE.COM"
    assert made[2].content == [{"type": "text", "text": "T2"}, IMAGE, "T3"]
    assert made[3] is EVERY_KIND[3]
    said = made[6]
    assert isinstance(said, AIMessage)
    assert said.tool_calls == [{"name": "find", "args": {"data": "A1", "n": 1}, "id": "c1", "type": "tool_call"}]
    assert said.invalid_tool_calls[0]["args"] == "{A2"
    assert said.content[0] == {"type": "reasoning", "reasoning": "R1", "extras": {"signature": "QUJD"}}
    assert [type(one) for one in made] == [type(one) for one in EVERY_KIND]
    given: Any = EVERY_KIND[8]
    assert made[8].artifact is given.artifact
    assert [message.model_dump() for message in EVERY_KIND[:8]] == before


def test_the_sidecar_takes_all_of_it(client: KalGuardClient) -> None:
    sent = to_sidecar(EVERY_KIND)
    result = client.check_prompt(sent)
    assert result.messages[1]["name"] == "[EMAIL_REDACTED]"
    assert from_sidecar(EVERY_KIND, result.messages)[1].name == "[EMAIL_REDACTED]"
    assert result.messages[3] == sent[3] == {"role": "user", "content": []}


def test_unchanged_messages_stay_the_same_objects() -> None:
    made = from_sidecar(EVERY_KIND, to_sidecar(EVERY_KIND))
    assert all(one is other for one, other in zip(made, EVERY_KIND, strict=True))


@pytest.mark.parametrize(
    "message",
    [
        RemoveMessage("m1"),
        HumanMessage([{"type": "text", "text": object()}]),
        AIMessage("", tool_calls=[{"name": "f", "args": {"n": float("nan")}, "id": "c"}]),
    ],
)
def test_what_cannot_be_said_is_a_denial(message: BaseMessage) -> None:
    with pytest.raises(Unmappable):
        to_sidecar([message])
    assert issubclass(Unmappable, KalGuardUnavailable)
