"""The description of the API knows what comes back where there is a plan, too."""

from pathlib import Path
from typing import Any

import pytest

from kalguard.connector.license import License, LicenseState, Snapshot
from kalguard.sidecar.openapi import document
from kalguard.wire.codes import ErrorCode
from tests.support import GOOD_PROMPT, Reply, app_with, bearer, call, plan_of, token

_ALWAYS = {"content-type", "content-length", "cache-control"}
_PLAN = {"x-kalguard-plan", "x-kalguard-usage-remaining", "x-ratelimit-reset"}


def described(path: str, method: str, status: int) -> dict[str, Any]:
    """What the description says of a reply."""
    found: dict[str, Any] = document()["paths"][path][method]["responses"][str(status)]
    return found


def replies(folder: Path) -> list[tuple[str, str, Reply]]:
    """One of each kind, under a plan of three checks and one agent."""
    served = app_with(plan_of(folder, checks_per_day=3, max_agents=1), policy_default_deny="false")
    check = "/v1/prompt/check"
    asked: list[tuple[int, dict[str, str], object]] = [
        (200, bearer(), GOOD_PROMPT),
        (400, bearer(), b"{"),
        (401, {}, GOOD_PROMPT),
        (403, bearer(token(sub="agent-2")), GOOD_PROMPT),
        (429, bearer(), GOOD_PROMPT),
    ]
    found = [("/health", "get", call(served, "/health", b"", method="GET"))]
    for status, headers, body in asked:
        found.append((check, "post", call(served, check, body, headers=headers)))
        assert found[-1][2].status == status
    return found


def test_every_header_of_a_reply_is_described(tmp_path: Path) -> None:
    for path, method, reply in replies(tmp_path):
        headers = set(reply.headers) - _ALWAYS
        assert headers >= _PLAN
        assert headers <= set(described(path, method, reply.status)["headers"])


def test_an_agent_too_many_is_a_code_of_the_description(tmp_path: Path) -> None:
    (refused,) = (reply for _, _, reply in replies(tmp_path) if reply.status == 403)
    assert refused.body["errorCode"] == ErrorCode.AGENT_LIMIT_EXCEEDED
    assert refused.body["errorCode"] in document()["components"]["schemas"]["ErrorCode"]["enum"]


@pytest.mark.parametrize("state", LicenseState)
def test_what_health_says_of_cloud_is_described(state: LicenseState, tmp_path: Path) -> None:
    plan = None if state is LicenseState.CONNECTING else License("pro", "org_1", 10, None)
    problem = "API key is refused" if state is LicenseState.REJECTED else ""
    served = app_with(plan_of(tmp_path, Snapshot(state, problem=problem, license=plan)))
    said = call(served, "/health", b"", method="GET").body["cloud"]
    schema = document()["components"]["schemas"]["CloudReply"]
    assert set(schema["required"]) <= set(said) <= set(schema["properties"])
    assert said["state"] in schema["properties"]["state"]["enum"]
    assert said["connected"] is (state is LicenseState.CONNECTED)
