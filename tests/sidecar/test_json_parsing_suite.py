"""The JSON parsing test suite, over HTTP: what RFC 8259 rules out is a 400, and nothing is a 5xx.

Every case is tried as a value inside the arguments of a tool call, and as the whole body of a prompt check.
"""

import base64
import json
from collections.abc import Iterator

import httpx
import pytest

from tests.support import ALLOW_ALL, bearer, running, vectors

BY_VERDICT = {"y": 95, "n": 188, "i": 35}
# What the standard leaves to the reader, and we take: numbers that a float or a whole number of Python can hold.
# All other `i_` cases are refused: numbers beyond that, lone surrogates, what is not UTF-8, a byte order mark, and
# nesting deeper than 64.
TAKEN = {
    "i_number_double_huge_neg_exp",
    "i_number_real_underflow",
    "i_number_too_big_neg_int",
    "i_number_too_big_pos_int",
    "i_number_very_big_negative_int",
}


def cases() -> dict[str, bytes]:
    """Name and bytes of each case."""
    return {
        case["name"]: base64.b64decode(case["base64"]) * case.get("times", 1) + base64.b64decode(case.get("then", ""))
        for case in vectors("json-parsing/cases.json")
    }


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("json")
    (folder / "policy.json").write_text(json.dumps(ALLOW_ALL))
    with (
        running(folder, policy_path=str(folder / "policy.json")) as server,
        httpx.Client(base_url=server.url, headers=bearer()) as opened,
    ):
        yield opened
        assert "Traceback" not in server.log()


def is_taken(name: str) -> bool:
    return name.startswith("y_") or name in TAKEN


def test_the_suite_is_whole() -> None:
    names = list(cases())
    assert {verdict: sum(name[0] == verdict for name in names) for verdict in BY_VERDICT} == BY_VERDICT


def test_as_an_argument_of_a_tool_call_a_case_is_taken_or_refused_as_the_standard_says(client: httpx.Client) -> None:
    differing = []
    for name, text in cases().items():
        reply = client.post("/v1/tool/check", content=b'{"toolName": "t", "arguments": {"value": ' + text + b"}}")
        if reply.status_code != (200 if is_taken(name) else 400):
            differing.append((name, reply.status_code, reply.json()["message"]))
    assert differing == []


def test_as_a_whole_body_a_case_is_refused_for_its_syntax_or_for_what_it_lacks(client: httpx.Client) -> None:
    differing = []
    for name, text in cases().items():
        reply = client.post("/v1/prompt/check", content=text)
        message = reply.json()["message"]
        is_read = message == "body must be a JSON object" or "missing required field" in message
        if reply.status_code != 400 or is_read != is_taken(name):
            differing.append((name, reply.status_code, message))
    assert differing == []
