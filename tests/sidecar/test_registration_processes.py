"""Registered tools in a real service: several worker processes, a worker that is killed, a tools file that changes."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from kalguard.decision.registration import Definition
from tests.patient import PATIENT
from tests.support import ALL_CAPABILITIES, ALLOW_ALL, Server, bearer, running, token, until, wait_until_up, workers_of

REGISTER, CHECK = "/v1/tool/register", "/v1/tool/check"
TOOL = {"toolName": "mail.send", "argumentSchema": {"to": {"type": "string", "required": True}}}
CHANGED_TOOL = {**TOOL, "argumentSchema": {}}
GOOD_CALL = {"toolName": "mail.send", "arguments": {"to": "ann"}}
CHANGED = "tool definition changed"


def agent(name: str = "agent-1") -> dict[str, str]:
    return bearer(token(sub=name, capabilities=[*ALL_CAPABILITIES, "tool:write"]))


def digest(body: dict[str, Any]) -> str:
    return Definition(body["toolName"], body.get("description"), body["argumentSchema"]).digest


def variables(folder: Path, tools: object) -> dict[str, str]:
    (folder / "policy.json").write_text(json.dumps(ALLOW_ALL))
    (folder / "tools.json").write_text(json.dumps(tools))
    return {
        "policy_path": str(folder / "policy.json"),
        "tools_path": str(folder / "tools.json"),
        "policy_watch": "true",
        "policy_watch_interval_ms": "50",
    }


def statuses(server: Server, body: object = GOOD_CALL, times: int = 24) -> set[int]:
    """What several connections are answered, so many that with two workers not all find the same one."""
    return {server.post(CHECK, body, agent()).status_code for _ in range(times)}


def test_all_workers_know_a_tool_at_once_and_one_that_replaces_a_killed_one_too(tmp_path: Path) -> None:
    with running(tmp_path, PATIENT, **variables(tmp_path, {}), workers="3") as server:
        assert statuses(server) == {403}
        assert server.post(REGISTER, TOOL, agent()).status_code == 200
        assert statuses(server) == {200}
        before = workers_of(server)
        os.kill(before[0], signal.SIGKILL)
        until(lambda: len(workers_of(server)) == 3 and before[0] not in workers_of(server))
        wait_until_up(server)
        assert statuses(server) == {200}
        assert statuses(server, {**GOOD_CALL, "arguments": {"to": 1}}) == {403}
        assert server.post(REGISTER, CHANGED_TOOL, agent()).status_code == 403
        assert statuses(server) == {403}


def test_of_two_agents_that_race_one_wins_and_the_other_is_told(tmp_path: Path) -> None:
    def register(server: Server, number: int, name: str) -> httpx.Response:
        body = {**TOOL, "toolName": f"t{number}", "description": name}
        return server.post(REGISTER, body, agent(name))

    with running(tmp_path, PATIENT, **variables(tmp_path, {}), workers="2") as server, ThreadPoolExecutor(2) as pool:
        for number in range(10):
            both = list(pool.map(lambda name, n=number: register(server, n, name), ("agent-a", "agent-b")))
            assert sorted(reply.status_code for reply in both) == [200, 403]
            (lost,) = (reply.json() for reply in both if reply.status_code == 403)
            assert (lost["errorCode"], lost["reason"]) == ("TOOL_DENIED", CHANGED)
            assert statuses(server, {**GOOD_CALL, "toolName": f"t{number}"}, 4) == {403}
        types = [record["type"] for record in server.audit() if record["metadata"].get("check") == "register"]
    assert sorted(types) == ["tool_denied"] * 10 + ["tool_registered"] * 10


def test_the_operator_agrees_to_the_new_definition_or_to_the_old_one(tmp_path: Path) -> None:
    with running(tmp_path, PATIENT, **variables(tmp_path, {}), workers="2") as server:
        server.post(REGISTER, TOOL, agent())
        server.post(REGISTER, CHANGED_TOOL, agent())
        anything = {**GOOD_CALL, "arguments": {"x": 1}}
        assert statuses(server) == statuses(server, anything) == {403}
        for pinned, allowed in ((CHANGED_TOOL, anything), (TOOL, GOOD_CALL)):
            (tmp_path / "tools.json").write_text(json.dumps({"pins": {"mail.send": digest(pinned)}}))
            # Each worker takes the file up in its own time: what holds in the end has to hold in all of them.
            of_anything = {200} if pinned is CHANGED_TOOL else {403}
            until(
                lambda body=allowed, other=of_anything: (  # type: ignore[misc]
                    statuses(server, body) == {200} and statuses(server, anything) == other
                )
            )
        (tmp_path / "tools.json").write_text("{}")
        until(lambda: statuses(server, GOOD_CALL) == {403})


def test_a_tool_that_the_file_declares_later_is_the_operators(tmp_path: Path) -> None:
    with running(tmp_path, **variables(tmp_path, {})) as server:
        server.post(REGISTER, TOOL, agent())
        server.post(REGISTER, CHANGED_TOOL, agent())
        assert statuses(server, GOOD_CALL, 4) == {403}
        own = {"tools": [{"name": "mail.send", "argumentSchema": {"properties": {"to": {"const": "bob"}}}}]}
        (tmp_path / "tools.json").write_text(json.dumps(own))
        bob = {**GOOD_CALL, "arguments": {"to": "bob"}}
        until(lambda: statuses(server, bob) == {200})
        assert statuses(server, GOOD_CALL, 4) == {403}
        reply = server.post(REGISTER, TOOL, agent()).json()
        assert reply["reason"] == "tool is defined by the operator"
        (tmp_path / "tools.json").write_text(json.dumps({"denylist": ["mail.*"]}))
        until(lambda: server.post(REGISTER, TOOL, agent()).json()["reason"] == "tool is on the denylist")
        assert statuses(server, bob, 4) == {403}


def test_registered_tools_are_gone_after_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        with running(tmp_path, **variables(tmp_path, {})) as server:
            assert statuses(server, GOOD_CALL, 2) == {403}
            assert server.post(REGISTER, TOOL, agent()).status_code == 200
            assert statuses(server, GOOD_CALL, 2) == {200}
