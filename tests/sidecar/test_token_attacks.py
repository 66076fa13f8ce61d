"""Every forged, malformed or misplaced token is a 401 on record, under every kind of key; never a 5xx."""

import logging
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar

from kalguard.records.sinks import MemorySink
from tests.forgery import FORGES, KEY_SET, Forge
from tests.support import GOOD_PROMPT, SECRET, Server, app, bearer, call, records, vectors

PROMPT = "/v1/prompt/check"
CASES: list[dict[str, Any]] = vectors("tokens.json")
LARGEST_FIELD = 60_000  # of what is sent over a socket; a larger field is the server's to refuse (test_door.py)


def target(ring: str, sink: MemorySink, folder: Path) -> Litestar:
    """The app with the keys of a ring, allowing everything to everybody it knows."""
    (folder / "keys.json").write_text(KEY_SET)
    keys = {"secret": {"token_secret": SECRET}, "none": {"token_secret": ""}}
    key_set = {"token_secret": "", "token_jwks_path": str(folder / "keys.json")}
    return app(sink, policy_default_deny="false", **keys.get(ring, key_set))


def is_sendable(value: str) -> bool:
    """Whether a client would send it as the value of a header field, and the server take it for one."""
    return len(value) <= LARGEST_FIELD and value.isprintable() and value.strip() == value


def fault(forge: Forge, case: dict[str, Any], served: Litestar, sink: MemorySink, *, knows: bool) -> str | None:
    """What is wrong with the answer to a case, if anything is."""
    sink.lines.clear()
    request = forge.request(case)
    reply = call(served, PROMPT, request.body or GOOD_PROMPT, headers=request.headers, query=request.query)
    found = records(sink)
    if (reply.status, reply.body["errorCode"], reply.body["allowed"]) != (401, "AUTH_FAILED", False):
        return f"{reply.status} {reply.body['message']}"
    if [(record["type"], record["decision"]) for record in found] != [("auth_failure", "deny")]:
        return f"recorded as {found}"
    # The agent is on record only where the signature was right and only the time was wrong.
    agent = "agent-1" if case.get("known") and knows else None
    return None if found[0]["agentId"] == agent else f"recorded for {found[0]['agentId']}"


@pytest.mark.parametrize("ring", FORGES)
def test_every_attack_is_a_401_on_record(ring: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sink = MemorySink()
    served = target(ring, sink, tmp_path)
    found = {case["name"]: fault(FORGES[ring], case, served, sink, knows=ring != "none") for case in CASES}
    assert {name: problem for name, problem in found.items() if problem} == {}
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("ring", FORGES)
def test_the_token_that_all_attacks_are_made_from_is_a_good_one(ring: str, tmp_path: Path) -> None:
    served = target(ring, MemorySink(), tmp_path)
    reply = call(served, PROMPT, GOOD_PROMPT, headers=FORGES[ring].request({}).headers)
    assert reply.status == (401 if ring == "none" else 200)


def test_over_a_socket_every_attack_is_a_401_and_the_next_good_token_passes(server: Server) -> None:
    forge, before = FORGES["secret"], len(server.audit())
    sent = 0
    with httpx.Client(base_url=server.url) as client:
        for case in CASES:
            request = forge.request(case)
            if not all(is_sendable(value) for _, value in request.headers):
                continue
            fields = [(name.encode(), value.encode()) for name, value in request.headers]
            path = f"{PROMPT}?{request.query}" if request.query else PROMPT
            reply = client.post(path, content=request.body or b"{}", headers=fields)
            assert (reply.status_code, reply.json()["errorCode"]) == (401, "AUTH_FAILED"), case["name"]
            sent += 1
        assert client.post(PROMPT, json=GOOD_PROMPT, headers=bearer()).status_code == 200
    recorded = server.audit()[before:]
    assert [record["type"] for record in recorded] == ["auth_failure"] * sent + ["prompt_allowed"]
    assert sent > len(CASES) - 10
    assert "Traceback" not in server.log()
