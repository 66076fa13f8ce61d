"""Traces: what goes to a collector, what does not, and that nobody waits for one."""

import re
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from kalguard.sidecar import otlp, traces
from tests.collector import Collector, collector
from tests.support import ATTACK, GOOD_PROMPT, ROOT, Server, bearer, environment, free_port, running, stop, token, until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{CALLER}-01"
SERVER, INTERNAL = 2, 1
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")


def named(spans: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [span for span in spans if span["name"] == name]


def arrive(to: Collector, count: int) -> None:
    until(lambda: len(to.spans) >= count)


def ask(server: Server, body: object = GOOD_PROMPT, path: str = "/v1/prompt/check", **headers: str) -> int:
    return server.post(path, body, {**bearer(), **headers}).status_code


def test_a_check_is_part_of_the_caller_s_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "policy.json").write_text('{"version": "7", "rules": [{"id": "everybody", "decision": "allow"}]}')
    with collector() as to:
        monkeypatch.setenv(ENDPOINT, to.url)
        with running(tmp_path, policy_path=str(tmp_path / "policy.json")) as server:
            before = time.time_ns()
            assert ask(server, traceparent=PARENT, **{"x-kalguard-request-id": "mine-1"}) == 200
            after = time.time_ns()
            arrive(to, 2)
    (outer,) = named(to.spans, "POST /v1/prompt/check")
    (inner,) = named(to.spans, "run_guardrail")
    assert (outer["trace"], outer["parent"], outer["kind"], outer["service"]) == (TRACE, CALLER, SERVER, "kalguard")
    assert (inner["trace"], inner["parent"], inner["kind"]) == (TRACE, outer["id"], INTERNAL)
    assert before <= outer["start"] <= inner["start"] <= inner["end"] <= outer["end"] <= after
    assert outer["attributes"] == {
        "http.request.method": "POST",
        "http.route": "/v1/prompt/check",
        "http.response.status_code": 200,
    }
    assert inner["attributes"] == {
        "kalguard.check": "prompt",
        "kalguard.decision": "allow",
        "kalguard.request_id": "mine-1",
        "kalguard.risk_score": 0,
        "kalguard.risk_level": "low",
        "security_rule.name": "everybody",
        "security_rule.version": "7",
    }
    assert not outer["failed"] and not inner["failed"]
    assert set(to.paths) == {"/v1/traces"}


def test_refusals_are_traced_and_only_failures_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as to:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{to.url}/here")
        with running(tmp_path, policy_default_deny="false") as server:
            assert ask(server, ATTACK) == 403
            assert ask(server, authorization="Bearer no") == 401
            server.audit_path.unlink()
            server.audit_path.mkdir()
            assert ask(server, {"toolName": "t"}, "/v1/tool/check") == 503
            arrive(to, 6)
    codes = [(s["attributes"]["kalguard.code"], s["failed"]) for s in named(to.spans, "run_guardrail")]
    assert codes == [("PROMPT_BLOCKED", False), ("AUTH_FAILED", False), ("UNAVAILABLE", True)]
    (failed,) = named(to.spans, "POST /v1/tool/check")
    assert failed["failed"]
    assert failed["attributes"]["error.type"] == "UNAVAILABLE"
    assert set(to.paths) == {"/here"}


def test_nothing_that_an_agent_says_is_on_a_span(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("zanzibar", "quagmire", "marmalade", "agent-zebra", "yesteryear", "vendorstate", "baggageword", "wombat")
    mine = token(sub="agent-zebra", metadata={"team": "yesteryear"})
    headers = {
        "authorization": f"Bearer {mine}",
        "tracestate": "v=vendorstate",
        "baggage": "k=baggageword",
        "user-agent": "wombat",
    }
    with collector() as to:
        monkeypatch.setenv(ENDPOINT, to.url)
        with running(tmp_path, policy_default_deny="false") as server:
            prompt = {"messages": [{"role": "user", "content": "zanzibar"}], "context": {"metadata": {"m": "quagmire"}}}
            assert ask(server, prompt, traceparent=PARENT, **headers) == 200
            call = {"toolName": "quagmire", "arguments": {"marmalade": "zanzibar"}}
            assert ask(server, call, "/v1/tool/check", traceparent=PARENT, **headers) == 200
            arrive(to, 4)
    sent = b"".join(to.bodies)
    assert b"run_guardrail" in sent
    assert [word for word in (*words, mine, mine.rpartition(".")[2]) if word.encode() in sent] == []
    assert {span["state"] for span in to.spans} == {""}


@pytest.mark.parametrize(
    "given",
    [
        ["nonsense"],
        [""],
        ["00-" + "0" * 32 + f"-{CALLER}-01"],
        [f"00-{TRACE}-{'0' * 16}-01"],
        [f"ff-{TRACE}-{CALLER}-01"],
        [f"00-{TRACE.upper()}-{CALLER}-01"],
        [f"{PARENT}-extra"],
        ["00-" + "a" * 10_000],
        [PARENT, f"00-{'1' * 32}-{CALLER}-01"],
    ],
    ids=range(9),
)
def test_a_malformed_traceparent_is_ignored(
    given: list[str], traced: tuple[Server, Collector], request: pytest.FixtureRequest
) -> None:
    server, to = traced
    seen = len(to.spans)
    name = f"malformed-{request.node.callspec.id}"
    headers = [*bearer().items(), ("x-kalguard-request-id", name), *(("traceparent", value) for value in given)]
    reply = server.post("/v1/prompt/check", GOOD_PROMPT, headers)  # type: ignore[arg-type]
    assert reply.status_code == 200
    arrive(to, seen + 2)
    (inner,) = [span for span in to.spans if span["attributes"].get("kalguard.request_id") == name]
    (outer,) = [span for span in to.spans if span["id"] == inner["parent"]]
    assert (outer["parent"], outer["trace"] in (TRACE, "1" * 32, "0" * 32)) == ("", False)
    assert "traceparent" not in server.log()


def test_a_caller_that_does_not_sample_gets_no_spans(traced: tuple[Server, Collector]) -> None:
    server, to = traced
    assert ask(server, traceparent=f"00-{'2' * 32}-{CALLER}-00") == 200
    assert ask(server, traceparent=f"00-{'3' * 32}-{CALLER}-01") == 200
    until(lambda: any(span["trace"] == "3" * 32 for span in to.spans))
    assert not any(span["trace"] == "2" * 32 for span in to.spans)


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server that sends its traces to a collector."""
    with collector() as to, ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(ENDPOINT, to.url)
            patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
            server = stack.enter_context(running(tmp_path_factory.mktemp("traced"), policy_default_deny="false"))
        yield server, to


def test_a_collector_that_is_gone_is_one_line_and_delays_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    # With a password in it, which must not be told.
    monkeypatch.setenv(ENDPOINT, f"http://user:hunter2@127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20hunter3")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with running(tmp_path, policy_default_deny="false", log_level="debug") as server:
        for _ in range(20):
            assert ask(server) == 200
        until(lambda: "traces cannot be exported" in server.log())
        for _ in range(3):  # batches that fail anew
            assert ask(server) == 200
            time.sleep(1.2)
        assert server.log().count("traces cannot be exported") == 1
        with collector(port) as to:
            until(lambda: ask(server) == 200 and len(to.spans) > 0)
            until(lambda: "traces are exported again" in server.log())
        assert "hunter" not in server.log()
        assert server.log().count("opentelemetry") == 0


def test_a_collector_that_does_not_answer_holds_up_neither_checks_nor_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "64")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "16")
    with collector() as to:
        to.held.set()
        monkeypatch.setenv(ENDPOINT, to.url)
        with running(tmp_path, policy_default_deny="false", drain_seconds="5") as server:
            slowest = 0.0
            for _ in range(100):  # more spans than there is room for
                began = time.monotonic()
                assert ask(server) == 200
                slowest = max(slowest, time.monotonic() - began)
            assert slowest < 5  # the exporter gives up after ten
            began = time.monotonic()
            assert stop(server.process) == 0
            assert time.monotonic() - began < 30  # the collector would answer in a minute


def test_what_waits_is_sent_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    with collector() as to:
        monkeypatch.setenv(ENDPOINT, to.url)
        with running(tmp_path, policy_default_deny="false", workers="2", drain_seconds="10") as server:
            for _ in range(10):
                assert ask(server) == 200
            assert to.spans == []
            assert stop(server.process) == 0
        assert len(to.spans) == 20


def test_without_an_endpoint_nothing_is_imported_for_it() -> None:
    # The client of Redis imports parts of OpenTelemetry by itself, where it is installed.
    program = "import sys; from kalguard.sidecar.app import create; create(); print(*sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=True
    )
    modules = set(shown.stdout.split())
    assert "kalguard.sidecar.traces" in modules
    assert modules & {"kalguard.sidecar.otlp", "opentelemetry.sdk.trace", "opentelemetry.exporter", "requests"} == set()


def test_the_document_lists_what_is_on_a_span() -> None:
    section = (ROOT / "docs/behaviour.md").read_text().split("\n## Traces\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    source = Path(otlp.__file__).read_text()
    set_by_us = set(re.findall(r'"((?:kalguard|security_rule|error)\.\w+)"', source))
    assert set(re.findall(r"`([\w.]+)`", " ".join(rows))) == set_by_us


def refused(start: str = "pass", **variables: str) -> str:
    """Start the server with variables of OpenTelemetry that it must refuse; what it says."""
    ports = {"port": str(free_port()), "metrics_port": str(free_port()), "host": "127.0.0.1"}
    program = f"import sys; {start}; from kalguard.sidecar.main import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment(**ports), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    (line,) = ended.stderr.splitlines()
    return line.removeprefix("kalguard-sidecar: ")


@pytest.mark.parametrize("missing", ["opentelemetry", "opentelemetry.exporter.otlp.proto.http"])
def test_traces_without_the_extra_are_a_mistake_that_is_told(missing: str) -> None:
    said = refused(f"sys.modules['{missing}'] = None", **{ENDPOINT: "http://127.0.0.1:4318"})
    assert said == f"{ENDPOINT}: traces need OpenTelemetry, which is not installed: install `kalguard[otel]`"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({ENDPOINT: "127.0.0.1:4318"}, f"{ENDPOINT}: the value given is not an http or https URL"),
        ({ENDPOINT: "http://u:hunter2@h:port"}, f"{ENDPOINT}: the value given is not an http or https URL"),
        (
            {ENDPOINT: "http://h:99999", "KALGUARD_HARDEN": "true", "KALGUARD_LOG_LEVEL": "error"},
            f"{ENDPOINT}: the value given is not an http or https URL",
        ),
        (
            {ENDPOINT: "http://h", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "ftp://h"},
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: the value given is not an http or https URL",
        ),
        (
            {ENDPOINT: "http://h", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL: `grpc` is not spoken; expected `http/protobuf`",
        ),
    ],
)
def test_what_cannot_be_done_is_told_at_the_start(variables: dict[str, str], said: str) -> None:
    assert refused(**variables) == said


def test_a_variable_that_opentelemetry_refuses_is_told_at_the_start() -> None:
    assert refused(**{ENDPOINT: "http://h", "OTEL_BSP_MAX_QUEUE_SIZE": "-1"}).startswith("OTEL_*: a variable cannot be")


def test_traces_can_be_switched_off_as_opentelemetry_says() -> None:
    wanted = {ENDPOINT: "http://127.0.0.1:4318"}
    assert traces.are_wanted(wanted)
    assert not traces.are_wanted({})
    assert not traces.are_wanted({ENDPOINT: ""})
    assert not traces.are_wanted({**wanted, "OTEL_SDK_DISABLED": "true"})
    assert not traces.are_wanted({**wanted, "OTEL_TRACES_EXPORTER": "none"})
