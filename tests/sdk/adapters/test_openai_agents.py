"""Agents of the OpenAI Agents SDK: its runner and its scripted model, a real sidecar."""

import asyncio
import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from agents import (
    Agent,
    FunctionTool,
    Model,
    ModelProvider,
    RunConfig,
    Runner,
    Tool,
    function_tool,
    set_tracing_disabled,
)
from agents.testing import ScriptedModel
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

from kalguard import AsyncKalGuardClient, KalGuardClient, KalGuardDenied, KalGuardUnavailable
from kalguard.errors import ConfigError
from kalguard.sdk.adapters.conversation import Unmappable
from kalguard.sdk.adapters.openai_agents import (
    KalGuardModel,
    KalGuardModelProvider,
    from_sidecar,
    guarded_tool,
    to_sidecar,
    tool_guardrail,
)
from tests.sdk.adapters.conftest import ATTACK, MAIL, kill
from tests.support import Server, token

set_tracing_disabled(True)
Run = Callable[[Agent[Any], Any], Any]


def says(text: str) -> list[Any]:
    part = ResponseOutputText(annotations=[], text=text, type="output_text")
    return [ResponseOutputMessage(id="m1", content=[part], role="assistant", status="completed", type="message")]


def calls(name: str, **arguments: Any) -> list[Any]:
    return calls_with(name, json.dumps(arguments))


def calls_with(name: str, arguments: str) -> list[Any]:
    return [ResponseFunctionToolCall(arguments=arguments, call_id="call_1", name=name, type="function_call", id="f1")]


class Tools:
    """Tools that keep what they were run with."""

    def __init__(self, weather: str = "sunny") -> None:
        self.runs: list[Any] = []

        @function_tool
        def get_weather(location: str) -> str:
            """The weather."""
            self.runs.append(location)
            return weather

        @function_tool
        async def send_payment(amount: int) -> str:
            """Pay."""
            self.runs.append(amount)
            return "paid"

        @function_tool
        def delete_all(path: str = "/") -> str:
            """Delete."""
            self.runs.append(path)
            return "gone"

        self.all: list[FunctionTool] = [get_weather, send_payment, delete_all]


def agent_of(model: Model, client: Any, tools: Tools | None = None, **options: Any) -> Agent[Any]:
    guarded: list[Tool] = [guarded_tool(one, client, **options) for one in (tools or Tools()).all]
    return Agent("agent", instructions="Be brief.", model=KalGuardModel(model, client), tools=guarded)


def run_sync(agent: Agent[Any], given: Any) -> Any:
    return asyncio.run(Runner.run(agent, given))


def streamed(agent: Agent[Any], given: Any) -> Any:
    async def run() -> Any:
        result = Runner.run_streamed(agent, given)
        async for _ in result.stream_events():
            pass
        return result

    return asyncio.run(run())


@pytest.fixture(params=[run_sync, streamed])
def run(request: pytest.FixtureRequest) -> Run:
    made: Run = request.param
    return made


def test_an_attack_never_reaches_the_model(client: KalGuardClient, run: Run) -> None:
    model = ScriptedModel([says("no")])
    with pytest.raises(KalGuardDenied) as raised:
        run(agent_of(model, client), ATTACK)
    assert (raised.value.code, model.calls) == ("PROMPT_BLOCKED", ())


def test_an_attack_in_a_tool_s_result_stops_the_second_turn(client: KalGuardClient, run: Run) -> None:
    model, tools = ScriptedModel([calls("get_weather", location="Oslo"), says("no")]), Tools(weather=ATTACK)
    with pytest.raises(KalGuardDenied, match="PROMPT_BLOCKED"):
        run(agent_of(model, client, tools), "What is the weather in Oslo?")
    assert (len(model.calls), tools.runs) == (1, ["Oslo"])


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (calls("send_payment", amount=5), "REQUIRE_APPROVAL"),
        (calls("delete_all", path="/"), "TOOL_DENIED"),
        (calls("get_weather", location=5), "TOOL_DENIED"),
        (calls_with("delete_all", "[]"), "BAD_REQUEST"),
        (calls_with("delete_all", ""), "TOOL_DENIED"),
    ],
)
def test_a_denied_tool_never_runs(client: KalGuardClient, run: Run, call: Any, code: str) -> None:
    model, tools = ScriptedModel([call, says("done")]), Tools()
    with pytest.raises(KalGuardDenied) as raised:
        run(agent_of(model, client, tools), "Go on.")
    assert (raised.value.code, tools.runs, len(model.calls)) == (code, [], 1)


def test_arguments_that_json_cannot_say_are_denied(client: KalGuardClient, run: Run) -> None:
    model, tools = ScriptedModel([calls_with("send_payment", '{"amount": NaN}'), says("done")]), Tools()
    with pytest.raises(KalGuardUnavailable):
        run(agent_of(model, client, tools), "Go on.")
    assert tools.runs == []


def test_a_model_can_be_told_of_a_denial(client: KalGuardClient, run: Run) -> None:
    model, tools = ScriptedModel([calls("send_payment", amount=5), says("I may not.")]), Tools()
    result = run(agent_of(model, client, tools, on_denied_tool="tell_model"), "Pay.")
    assert (tools.runs, result.final_output) == ([], "I may not.")
    told = model.calls[1].input[-1]
    assert (told["type"], told["call_id"]) == ("function_call_output", "call_1")
    assert told["output"].endswith("Denied by KalGuard: ask a person (REQUIRE_APPROVAL)")


def test_without_a_sidecar_the_model_is_not_called(gone: KalGuardClient, run: Run) -> None:
    model = ScriptedModel([says("no")])
    with pytest.raises(KalGuardUnavailable):
        run(agent_of(model, gone), "Hello.")
    assert model.calls == ()


@pytest.mark.parametrize("on_denied_tool", ["raise", "tell_model"])
def test_a_tool_does_not_run_while_the_sidecar_is_gone(gone: KalGuardClient, run: Run, on_denied_tool: Any) -> None:
    model, tools = ScriptedModel([calls("get_weather", location="Oslo"), says("no")]), Tools()
    guarded: list[Tool] = [guarded_tool(one, gone, on_denied_tool=on_denied_tool) for one in tools.all]
    with pytest.raises(KalGuardUnavailable):
        run(Agent("agent", model=model, tools=guarded), "Hello.")
    assert (len(model.calls), tools.runs) == (1, [])


def test_the_model_sees_the_redaction_and_the_run_keeps_what_was_said(client: KalGuardClient, run: Run) -> None:
    model = ScriptedModel([calls("get_weather", location=MAIL), says("Sent.")])
    tools, given = Tools(weather=f"ask {MAIL}"), [{"role": "user", "content": f"Mail {MAIL} the weather."}]
    before = copy.deepcopy(given)
    result = run(agent_of(model, client, tools), given)
    first, second = model.calls
    assert first.system_instructions == second.system_instructions == "Be brief."
    assert first.input == [{"role": "user", "content": "Mail [EMAIL_REDACTED] the weather."}]
    assert (second.input[1]["arguments"], second.input[1]["call_id"]) == ('{"location": "[EMAIL_REDACTED]"}', "call_1")
    assert second.input[2]["output"] == "ask [EMAIL_REDACTED]"
    assert (given, tools.runs) == (before, [MAIL])
    assert result.to_input_list()[2]["output"] == f"ask {MAIL}"


def test_instructions_and_plain_input_are_redacted_too(client: KalGuardClient, run: Run) -> None:
    model = ScriptedModel([says("Yes.")])
    run(Agent("agent", instructions=f"You are {MAIL}.", model=KalGuardModel(model, client)), f"I am {MAIL}.")
    (call,) = model.calls
    assert call.system_instructions == "You are [EMAIL_REDACTED]."
    assert call.input in ("I am [EMAIL_REDACTED].", [{"content": "I am [EMAIL_REDACTED].", "role": "user"}])


def test_variables_of_a_stored_prompt_are_checked(client: KalGuardClient, run: Run) -> None:
    prompt: Any = {"id": "pmpt_1", "variables": {"who": MAIL, "what": {"type": "input_text", "text": "the weather"}}}
    model = ScriptedModel([says("Yes.")])
    run(Agent("agent", prompt=prompt, model=KalGuardModel(model, client)), "Hello.")
    stored: Any = model.calls[0].prompt
    assert stored["variables"] == {"who": "[EMAIL_REDACTED]", "what": {"type": "input_text", "text": "the weather"}}
    prompt["variables"]["who"] = ATTACK
    with pytest.raises(KalGuardDenied):
        run(Agent("agent", prompt=prompt, model=KalGuardModel(ScriptedModel(), client)), "Hello.")


def test_models_by_name_are_checked(client: KalGuardClient) -> None:
    model = ScriptedModel([says("Yes.")])

    class Provider(ModelProvider):
        def get_model(self, model_name: str | None) -> Model:
            assert model_name == "a-model"
            return model

    config = RunConfig(model_provider=KalGuardModelProvider(client, Provider()))
    agent: Agent[Any] = Agent("agent", model="a-model")
    with pytest.raises(KalGuardDenied):
        asyncio.run(Runner.run(agent, ATTACK, run_config=config))
    assert model.calls == ()
    assert asyncio.run(Runner.run(agent, "Hello.", run_config=config)).final_output == "Yes."


def test_a_client_serves_several_event_loops_and_an_async_one_serves_one(
    server: Server, client: KalGuardClient
) -> None:
    agent = agent_of(ScriptedModel([says("Yes."), says("No.")]), client)
    assert [run_sync(agent, "Hello.").final_output for _ in range(2)] == ["Yes.", "No."]

    async def twice() -> None:
        async with AsyncKalGuardClient(server.url, token(), timeout_seconds=60) as async_client:
            model, tools = ScriptedModel([calls("get_weather", location="Oslo"), says("Sunny.")]), Tools()
            assert (await Runner.run(agent_of(model, async_client, tools), "Weather?")).final_output == "Sunny."
            assert tools.runs == ["Oslo"]
            with pytest.raises(KalGuardDenied):
                await Runner.run(agent_of(ScriptedModel(), async_client), ATTACK)

    asyncio.run(twice())


def test_a_sidecar_that_is_killed_on_the_way_stops_the_next_turn(doomed: Server) -> None:
    @function_tool
    def get_weather(location: str) -> str:
        """The weather."""
        kill(doomed)
        return "sunny"

    model = ScriptedModel([calls("get_weather", location="Oslo"), says("no")])
    with KalGuardClient(doomed.url, token()) as client, pytest.raises(KalGuardUnavailable):
        run_sync(Agent("agent", model=KalGuardModel(model, client), tools=[guarded_tool(get_weather, client)]), "Go.")
    assert len(model.calls) == 1


def test_another_way_to_deny_is_refused(client: KalGuardClient) -> None:
    with pytest.raises(ConfigError, match="on_denied_tool: `ignore`"):
        tool_guardrail(client, on_denied_tool="ignore")  # type: ignore[arg-type]


IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,aGVsbG8=", "detail": "low"}
FILE = {"type": "input_file", "file_data": "aGVsbG8=", "filename": "t4.txt"}
FOUND = {"id": "fs_1", "status": "completed", "queries": ["q1"], "results": [{"file_id": "f", "text": "t9"}]}
EVERY_KIND: list[Any] = [
    {"role": "user", "content": "t1"},
    {"role": "developer", "content": [{"type": "input_text", "text": "t2"}, IMAGE, FILE]},
    {"role": "user", "content": [IMAGE]},
    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "r1"}], "encrypted_content": "g"},
    {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "t5", "annotations": [], "logprobs": [{"token": "t"}]}],
    },
    {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "find", "arguments": '{"q": "a1"}'},
    {"type": "function_call_output", "call_id": "c1", "output": "t6"},
    {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "t7"}, IMAGE]},
    {"type": "mcp_call", "name": "find", "server_label": "s", "arguments": '{"q": "a2"}', "output": "t8"},
    {"type": "file_search_call", **FOUND},
    {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "aGVsbG8="},
    {"type": "item_reference", "id": "ref_1"},
]  # fmt: skip
TEXTS = ["s1", "t1", "t2", "t4.txt", "r1", "t5", "t6", "t7", '{"q": "a2"}', "t8", "q1", "t9"]
ROLES = [
    "system",
    "user",
    "developer",
    "user",
    "assistant",
    "assistant",
    "assistant",
    *["tool"] * 4,
    *["assistant"] * 2,
]


def texts_of(messages: list[dict[str, Any]]) -> list[str]:
    found: list[str] = []
    for message in messages:
        content = message["content"]
        found += [content] if isinstance(content, str) else [part["text"] for part in content]
    return found


def shouted(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the sidecar might return: every text another one."""
    made = copy.deepcopy(messages)
    for message in made:
        content = message["content"]
        message["content"] = content.upper() if isinstance(content, str) else content
        for part in content if isinstance(content, list) else ():
            part["text"] = part["text"].upper()
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = call["function"]["arguments"].replace("a1", "A1")
    return made


def test_every_text_is_shown_and_nothing_else() -> None:
    sent = to_sidecar("s1", EVERY_KIND)
    assert [message["role"] for message in sent] == ROLES
    assert texts_of(sent) == TEXTS
    assert sent[6]["tool_calls"][0]["function"] == {"name": "find", "arguments": '{"q": "a1"}'}
    assert (sent[6]["tool_calls"][0]["id"], sent[7]["tool_call_id"]) == ("c1", "c1")
    assert texts_of(to_sidecar(None, "t1")) == ["t1"]


def test_what_comes_back_replaces_the_texts_and_only_them(client: KalGuardClient) -> None:
    before = copy.deepcopy(EVERY_KIND)
    instructions, items = from_sidecar("s1", EVERY_KIND, shouted(to_sidecar("s1", EVERY_KIND)))
    assert texts_of(to_sidecar(instructions, items)) == [text.upper() for text in TEXTS]
    made: Any = items
    assert made[1]["content"][1:] == [IMAGE, {**FILE, "filename": "T4.TXT"}]
    assert made[2] is EVERY_KIND[2]
    assert made[3] == {**EVERY_KIND[3], "summary": [{"type": "summary_text", "text": "R1"}]}
    assert made[5] == {**EVERY_KIND[5], "arguments": '{"q": "A1"}'}
    assert made[10:] == EVERY_KIND[10:]
    assert before == EVERY_KIND
    assert from_sidecar(None, "t1", [{"role": "user", "content": "T1"}]) == (None, "T1")
    assert client.check_prompt(to_sidecar("s1", EVERY_KIND)).messages == to_sidecar("s1", EVERY_KIND)


def test_what_cannot_be_said_is_a_denial() -> None:
    item: Any = says("t")[0]
    with pytest.raises(Unmappable, match="ResponseOutputMessage"):
        to_sidecar(None, [item])
