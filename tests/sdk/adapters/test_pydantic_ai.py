"""Pydantic AI's agents with the capability: its own test models, a real sidecar."""

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, ImageUrl, UsageLimits
from pydantic_ai import messages as said
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.models.batch import BatchRequest
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.toolsets import AbstractToolset, FunctionToolset, WrapperToolset
from pydantic_ai.usage import RequestUsage

from kalguard import AsyncKalGuardClient, KalGuardClient, KalGuardDenied, KalGuardUnavailable
from kalguard.errors import ConfigError
from kalguard.sdk.adapters.conversation import Unmappable
from kalguard.sdk.adapters.pydantic_ai import KalGuard, KalGuardModel, from_sidecar, to_sidecar
from tests.sdk.adapters.conftest import ATTACK, MAIL, kill
from tests.support import Server, token

Run = Callable[..., Any]
Step = str | tuple[str, dict[str, Any]]


class Scripted:
    """A model that says or calls one thing after another, and keeps what it saw."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.seen: list[list[said.ModelMessage]] = []
        self.infos: list[AgentInfo] = []
        self.model = FunctionModel(self._whole, stream_function=self._streamed)

    def _next(self, messages: list[said.ModelMessage], info: AgentInfo) -> Step:
        self.seen.append(copy.deepcopy(messages))
        self.infos.append(info)
        return self.steps.pop(0)

    def _whole(self, messages: list[said.ModelMessage], info: AgentInfo) -> said.ModelResponse:
        step = self._next(messages, info)
        if isinstance(step, str):
            return said.ModelResponse([said.TextPart(step)])
        return said.ModelResponse([said.ToolCallPart(step[0], step[1], "call_1")])

    async def _streamed(
        self, messages: list[said.ModelMessage], info: AgentInfo
    ) -> AsyncIterator[str | DeltaToolCalls]:
        step = self._next(messages, info)
        if isinstance(step, str):
            yield step
        else:
            yield {0: DeltaToolCall(step[0], json.dumps(step[1]), tool_call_id="call_1")}


class Amount(BaseModel):
    value: int
    due: datetime


class Tools:
    """Tools that keep what they were run with."""

    def __init__(self, weather: Any = "sunny") -> None:
        self.runs: list[Any] = []
        self.weather = weather

    def get_weather(self, location: str) -> Any:
        self.runs.append(location)
        return self.weather

    async def send_payment(self, amount: Amount) -> str:
        self.runs.append(amount)
        return "paid"

    def delete_all(self, path: str) -> str:
        self.runs.append(path)
        return "gone"

    @property
    def all(self) -> list[Any]:
        return [self.get_weather, self.send_payment, self.delete_all]


def agent_of(model: Scripted, client: Any, tools: Tools | None = None, **options: Any) -> Agent[None, str]:
    kalguard = KalGuard(client, **options)
    return Agent(model.model, instructions="Be brief.", tools=(tools or Tools()).all, capabilities=[kalguard])


def run_sync(agent: Agent[None, str], given: Any, **options: Any) -> Any:
    return asyncio.run(agent.run(given, **options))


def streamed(agent: Agent[None, str], given: Any, **options: Any) -> Any:
    async def run() -> Any:
        async with agent.run_stream(given, **options) as result:
            await result.get_output()
            return result

    return asyncio.run(run())


@pytest.fixture(params=[run_sync, streamed])
def run(request: pytest.FixtureRequest) -> Run:
    made: Run = request.param
    return made


def test_an_attack_never_reaches_the_model(client: KalGuardClient, run: Run) -> None:
    model = Scripted("no")
    with pytest.raises(KalGuardDenied) as raised:
        run(agent_of(model, client), ATTACK)
    assert (raised.value.code, model.seen) == ("PROMPT_BLOCKED", [])


@pytest.mark.parametrize("weather", [ATTACK, {"data": ATTACK}, {ATTACK: 1}, [{"url": ATTACK}, 3]])
def test_an_attack_in_a_tool_s_result_stops_the_second_turn(client: KalGuardClient, run: Run, weather: Any) -> None:
    model, tools = Scripted(("get_weather", {"location": "Oslo"}), "no"), Tools(weather=weather)
    with pytest.raises(KalGuardDenied, match="PROMPT_BLOCKED"):
        run(agent_of(model, client, tools), "What is the weather in Oslo?")
    assert (len(model.seen), tools.runs) == (1, ["Oslo"])


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (("send_payment", {"amount": {"value": 5, "due": "2026-01-02T03:04:05Z"}}), "REQUIRE_APPROVAL"),
        (("delete_all", {"path": "/"}), "TOOL_DENIED"),
    ],
)
def test_a_denied_tool_never_runs(client: KalGuardClient, run: Run, call: Step, code: str) -> None:
    model, tools = Scripted(call, "done"), Tools()
    with pytest.raises(KalGuardDenied) as raised:
        run(agent_of(model, client, tools), "Go on.")
    assert (raised.value.code, tools.runs, len(model.seen)) == (code, [], 1)


def test_tools_of_a_run_are_checked_too(client: KalGuardClient, run: Run) -> None:
    tools, model = Tools(), Scripted(("delete_all", {"path": "/"}), "done")
    agent: Agent[None, str] = Agent(model.model, capabilities=[KalGuard(client)])
    with pytest.raises(KalGuardDenied, match="TOOL_DENIED"):
        run(agent, "Go on.", toolsets=[FunctionToolset([tools.delete_all])])
    assert tools.runs == []


class Meddling(AbstractCapability[Any]):
    """Changes what goes to the model, and what goes to a tool, as late as it can."""

    def __init__(self, added: str, location: Any) -> None:
        self.added = added
        self.location = location

    async def prepare_model_request(self, ctx: Any, request_context: Any) -> Any:
        request_context.messages.append(said.ModelRequest([said.UserPromptPart(self.added)]))
        return request_context

    async def before_tool_execute(self, ctx: Any, *, call: Any, tool_def: Any, args: Any) -> Any:
        return {"location": self.location}


class Wrapping(AbstractCapability[Any]):
    """Changes what goes to a tool even later: next to the tool, as far as it is let."""

    def get_wrapper_toolset(self, toolset: AbstractToolset[Any]) -> AbstractToolset[Any]:
        class Changing(WrapperToolset[Any]):
            async def call_tool(self, name: str, tool_args: Any, ctx: Any, tool: Any) -> Any:
                return await super().call_tool(name, {"location": {"not": "text"}}, ctx, tool)

        return Changing(toolset)


def test_what_wraps_the_tools_is_outside_of_the_check(client: KalGuardClient, run: Run) -> None:
    for capabilities in ([KalGuard(client), Wrapping()], [Wrapping(), KalGuard(client)]):
        tools, model = Tools(), Scripted(("get_weather", {"location": "Oslo"}), "done")
        agent: Agent[None, str] = Agent(model.model, tools=tools.all, capabilities=capabilities)
        with pytest.raises(KalGuardDenied, match="TOOL_DENIED"):
            run(agent, "Go on.")
        assert tools.runs == []


@pytest.mark.parametrize(
    ("added", "location", "code", "calls"),
    [(ATTACK, "Oslo", "PROMPT_BLOCKED", 0), ("Hello.", {"not": "text"}, "TOOL_DENIED", 1)],
)
def test_what_another_capability_makes_of_it_is_what_is_checked(
    client: KalGuardClient, run: Run, added: str, location: Any, code: str, calls: int
) -> None:
    meddling = Meddling(added, location)
    for capabilities in ([KalGuard(client), meddling], [meddling, KalGuard(client)]):
        tools, model = Tools(), Scripted(("get_weather", {"location": "Oslo"}), "done")
        agent: Agent[None, str] = Agent(model.model, tools=tools.all, capabilities=capabilities)
        with pytest.raises(KalGuardDenied, match=code):
            run(agent, "Go on.")
        assert (tools.runs, len(model.seen)) == ([], calls)


def test_a_model_can_be_told_of_a_denial(client: KalGuardClient, run: Run) -> None:
    model, tools = Scripted(("delete_all", {"path": "/"}), "I may not."), Tools()
    run(agent_of(model, client, tools, on_denied_tool="tell_model"), "Delete.")
    assert tools.runs == []
    told = model.seen[1][-1].parts[0]
    assert isinstance(told, said.ToolReturnPart)
    assert (told.tool_call_id, told.outcome) == ("call_1", "failed")
    assert "Denied by KalGuard: " in str(told.content)
    assert "(TOOL_DENIED)" in str(told.content)


def test_without_a_sidecar_the_model_is_not_called(gone: KalGuardClient, run: Run) -> None:
    model = Scripted("no")
    with pytest.raises(KalGuardUnavailable):
        run(agent_of(model, gone), "Hello.")
    assert model.seen == []


@pytest.mark.parametrize("on_denied_tool", ["raise", "tell_model"])
def test_a_tool_does_not_run_while_the_sidecar_is_gone(gone: KalGuardClient, run: Run, on_denied_tool: Any) -> None:
    class OnlyTools(KalGuard):
        def get_wrapper_model(self, model: Any) -> Any:
            return None

    model, tools = Scripted(("get_weather", {"location": "Oslo"}), "no"), Tools()
    kalguard = OnlyTools(gone, on_denied_tool=on_denied_tool)
    agent: Agent[None, str] = Agent(model.model, tools=tools.all, capabilities=[kalguard])
    with pytest.raises(KalGuardUnavailable):
        run(agent, "Hello.")
    assert (len(model.seen), tools.runs) == (1, [])


def test_a_fallback_model_does_not_take_a_denial_for_a_failure(client: KalGuardClient) -> None:
    first, second = Scripted("no"), Scripted("no")
    agent: Agent[None, str] = Agent(FallbackModel(first.model, second.model), capabilities=[KalGuard(client)])
    with pytest.raises(KalGuardDenied):
        run_sync(agent, ATTACK)
    assert (first.seen, second.seen) == ([], [])


def test_the_model_sees_the_redaction_and_the_history_keeps_what_was_said(client: KalGuardClient, run: Run) -> None:
    model = Scripted(("get_weather", {"location": MAIL}), "Sent.")
    tools = Tools(weather={"ask": MAIL, "degrees": 5})
    agent: Agent[None, str] = Agent(
        model.model, instructions=f"You are {MAIL}.", tools=tools.all, capabilities=[KalGuard(client)]
    )
    given = [f"Mail {MAIL} the weather.", ImageUrl("https://example.com/a.png")]
    result = run(agent, given)
    seen: Any = model.seen[1]
    assert [info.instructions for info in model.infos] == ["You are [EMAIL_REDACTED]."] * 2
    assert seen[0].instructions == "You are [EMAIL_REDACTED]."
    assert seen[0].parts[0].content == ["Mail [EMAIL_REDACTED] the weather.", given[1]]
    assert (seen[1].parts[0].args_as_dict(), seen[1].parts[0].tool_call_id) == (
        {"location": "[EMAIL_REDACTED]"},
        "call_1",
    )
    assert seen[2].parts[0].content == {"ask": "[EMAIL_REDACTED]", "degrees": 5}
    history: Any = result.all_messages()
    assert history[0].parts[0].content == given == [f"Mail {MAIL} the weather.", given[1]]
    assert (history[2].parts[0].content, tools.runs) == ({"ask": MAIL, "degrees": 5}, [MAIL])


def test_text_files_are_read(client: KalGuardClient, run: Run) -> None:
    model = Scripted("Yes.", "no")
    run(agent_of(model, client), ["Read this.", BinaryContent(f"from {MAIL}".encode(), media_type="text/plain")])
    seen: Any = model.seen[0][0].parts[0]
    assert seen.content[1].data == b"from [EMAIL_REDACTED]"
    with pytest.raises(KalGuardDenied):
        run(agent_of(model, client), ["Read this.", BinaryContent(ATTACK.encode(), media_type="application/json")])
    assert len(model.seen) == 1


def test_what_is_only_counted_is_checked(client: KalGuardClient) -> None:
    class Counts(TestModel):
        counted: Any = None

        async def count_tokens(self, messages: Any, *_: Any) -> Any:
            self.counted = messages[0].parts[0].content
            return RequestUsage(input_tokens=5)

    model = Counts()
    agent: Agent[None, str] = Agent(model, capabilities=[KalGuard(client)])
    limits = UsageLimits(input_tokens_limit=1000, count_tokens_before_request=True)
    with pytest.raises(KalGuardDenied):
        run_sync(agent, ATTACK, usage_limits=limits)
    run_sync(agent, f"I am {MAIL}.", usage_limits=limits)
    assert model.counted == "I am [EMAIL_REDACTED]."


def test_a_model_can_be_wrapped_on_its_own(client: KalGuardClient) -> None:
    model = Scripted("Yes.")
    agent: Agent[None, str] = Agent(KalGuardModel(model.model, client))
    with pytest.raises(KalGuardDenied):
        run_sync(agent, ATTACK)
    assert run_sync(agent, "Hello.").output == "Yes."


def test_an_async_client_serves_one_event_loop(server: Server) -> None:
    async def twice() -> None:
        async with AsyncKalGuardClient(server.url, token(), timeout_seconds=60) as client:
            model, tools = Scripted(("get_weather", {"location": "Oslo"}), "Sunny."), Tools()
            assert (await agent_of(model, client, tools).run("Weather?")).output == "Sunny."
            assert tools.runs == ["Oslo"]
            with pytest.raises(KalGuardDenied):
                await agent_of(model, client).run(ATTACK)

    asyncio.run(twice())


def test_a_sidecar_that_is_killed_on_the_way_stops_the_next_turn(doomed: Server) -> None:
    def get_weather(location: str) -> str:
        kill(doomed)
        return "sunny"

    model = Scripted(("get_weather", {"location": "Oslo"}), "no")
    with KalGuardClient(doomed.url, token()) as client, pytest.raises(KalGuardUnavailable):
        run_sync(Agent(model.model, tools=[get_weather], capabilities=[KalGuard(client)]), "Go.")
    assert len(model.seen) == 1


def test_another_way_to_deny_is_refused(client: KalGuardClient) -> None:
    with pytest.raises(ConfigError, match="on_denied_tool: `ignore`"):
        KalGuard(client, on_denied_tool="ignore")  # type: ignore[arg-type]


IMAGE = BinaryContent(b"\x89PNG", media_type="image/png")
EVERY_KIND: list[said.ModelMessage] = [
    said.ModelRequest([said.SystemPromptPart("s1"), said.UserPromptPart("t1")], instructions="i1"),
    said.ModelResponse(
        [
            said.ThinkingPart("r1", signature="sig"),
            said.TextPart("t2", id="m1"),
            said.ToolCallPart("find", {"q": "a1"}, "c1"),
            said.ToolCallPart("find", '{"q":"a2"}', "c2"),
            said.ToolCallPart("find", None, "c3"),
            said.FilePart(IMAGE),
        ],
        model_name="m",
    ),
    said.ModelRequest(
        [
            said.ToolReturnPart("find", {"data": "d1", "when": datetime(2026, 1, 2, tzinfo=UTC)}, "c1"),
            said.ToolReturnPart("find", ["d2", IMAGE, {"n": 1}], "c2"),
            said.ToolReturnPart("find", None, "c3"),
            said.UserPromptPart([said.TextContent("t3", metadata=1), IMAGE, said.CachePoint(), "t4"]),
            said.UserPromptPart([said.StructuredContent({"v": "d3"}, content="t5")]),
            said.UserPromptPart([BinaryContent(b"t6", media_type="text/csv;charset=utf-8")]),
            said.RetryFeedbackPart("t7", retry=said.RetryInfo(cause="model_retry")),
            said.SpeechPart(speaker="user", transcript="t8"),
            said.CapabilityLoadDeltaPart(loaded=["x"]),
        ],
        instructions="i1",
    ),
]
D1 = '{"data": "d1", "when": "2026-01-02T00:00:00Z"}'
TEXTS = ["i1", "s1", "t1", "r1", "t2", D1, "d2", '{"n": 1}', "t3", "t4", "t5", '{"v": "d3"}', "t6", "t7", "t8"]


def texts_of(messages: list[dict[str, Any]]) -> list[str]:
    found: list[str] = []
    for message in messages:
        content = message["content"]
        found += [content] if isinstance(content, str) else [part["text"] for part in content]
    return found


def shouted(value: Any) -> Any:
    """What the sidecar might return: every text another one."""
    text = json.dumps(value)
    for name in "irtsda":
        for number in "12345678":
            text = text.replace(f'"{name}{number}"', f'"{name.upper()}{number}"')
            text = text.replace(f'\\"{name}{number}\\"', f'\\"{name.upper()}{number}\\"')
    return json.loads(text)


def test_every_text_is_shown_and_nothing_else(client: KalGuardClient) -> None:
    sent = to_sidecar(EVERY_KIND)
    assert texts_of(sent) == TEXTS
    roles = ["system", "system", "user", *["assistant"] * 6, *["tool"] * 3, *["user"] * 3, "tool", "user"]
    assert [message["role"] for message in sent] == roles
    calls = [message["tool_calls"][0] for message in sent if "tool_calls" in message]
    assert [(one["id"], one["function"]["arguments"]) for one in calls] == [("c1", '{"q": "a1"}'), ("c2", '{"q":"a2"}')]
    assert [message["tool_call_id"] for message in sent if "tool_call_id" in message] == ["c1", "c2", "c3"]
    assert client.check_prompt(sent).messages == sent


def test_what_comes_back_replaces_the_texts_and_only_them() -> None:
    before = copy.deepcopy(EVERY_KIND)
    made: Any = from_sidecar(EVERY_KIND, shouted(to_sidecar(EVERY_KIND)))
    upper = [shouted(text) if text.startswith("{") else text.upper() for text in TEXTS]
    assert [text for text in texts_of(to_sidecar(made)) if text != '{"v": "D3"}'] == [
        t for t in upper if t != '{"v": "D3"}'
    ]
    assert [message.instructions for message in (made[0], made[2])] == ["I1", "I1"]
    thinking, text, call, call_text, call_none, file = made[1].parts
    assert (thinking.signature, text.id, made[1].model_name) == ("sig", "m1", "m")
    assert (call.args, call.tool_call_id, call_text.args, call_none.args) == ({"q": "A1"}, "c1", '{"q":"A2"}', None)
    assert file is EVERY_KIND[1].parts[5]
    first, second, third, user, structured, csv, *_, silent = made[2].parts
    assert first.content == {"data": "D1", "when": "2026-01-02T00:00:00Z"}
    assert (second.content, third.content) == (["D2", IMAGE, {"n": 1}], None)
    assert user.content == [said.TextContent("T3", metadata=1), IMAGE, said.CachePoint(), "T4"]
    assert structured.content == [said.TextContent("T5")]
    assert (csv.content[0].data, csv.content[0].media_type) == (b"T6", "text/csv;charset=utf-8")
    assert silent is EVERY_KIND[2].parts[-1]
    assert before == EVERY_KIND


def test_unchanged_parts_stay_the_same_objects() -> None:
    made = from_sidecar(EVERY_KIND, to_sidecar(EVERY_KIND))
    assert all(a is b for m, n in zip(made, EVERY_KIND, strict=True) for a, b in zip(m.parts, n.parts, strict=True))


@pytest.mark.parametrize(
    "part",
    [
        object(),
        said.UserPromptPart([BinaryContent(b"\xff\xfe", media_type="text/plain")]),
        said.ToolReturnPart("find", object(), "c1"),
        said.ToolCallPart("find", {"n": float("nan")}, "c1"),
    ],
)
def test_what_cannot_be_said_is_a_denial(part: Any) -> None:
    with pytest.raises(Unmappable):
        to_sidecar([said.ModelRequest([part])])


def test_a_batch_is_checked(client: KalGuardClient) -> None:

    request = BatchRequest(custom_id="1", messages=[said.ModelRequest([said.UserPromptPart(ATTACK)])])
    with pytest.raises(KalGuardDenied):
        asyncio.run(KalGuardModel(Scripted().model, client).batch_encode(request))
