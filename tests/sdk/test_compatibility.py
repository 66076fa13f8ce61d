"""Clients of the original KalGuard work unchanged (`vectors/compatibility.json`), and our clients read the same."""

import asyncio
import json
import re
from functools import reduce
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar

from kalguard import AsyncKalGuardClient, KalGuardDenied
from tests.support import app_with, bearer, call, plan_of, token, vectors

VECTORS = vectors("compatibility.json")
TYPES: dict[str, type | tuple[type, ...]] = {"string": str, "number": (int, float)}


@pytest.fixture
def served(tmp_path: Path) -> Litestar:
    for name in ("policy", "tools"):
        (tmp_path / name).write_text(json.dumps(VECTORS[name]))
    variables = {"policy_path": str(tmp_path / "policy"), "tools_path": str(tmp_path / "tools")}
    return app_with(plan_of(tmp_path, checks_per_day=1000), None, **variables)


def found(body: Any, way: str) -> Any:
    return reduce(lambda inside, name: inside[name], way.split("."), body)


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_a_client_of_the_original_reads_what_it_expects(served: Litestar, case: dict[str, Any]) -> None:
    headers = bearer(case.get("token"))
    if "requestId" in case:
        headers["x-kalguard-request-id"] = case["requestId"]
    for _ in range(case.get("times", 1)):
        reply = call(served, case["path"], case["body"], headers=headers)
    assert reply.status == case["status"]
    for way, expected in case["reads"].items():
        value = found(reply.body, way)
        if isinstance(expected, dict):
            assert isinstance(value, TYPES[expected["type"]])
        else:
            assert value == expected
    for way in case.get("absent", []):
        with pytest.raises(KeyError):
            found(reply.body, way)
    for name, pattern in case.get("headers", {}).items():
        assert re.fullmatch(pattern, reply.headers[name])


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_our_client_makes_the_same_of_it(served: Litestar, case: dict[str, Any]) -> None:
    """Over the same app, so that neither side can go its own way."""

    async def ask() -> Any:
        transport = httpx.ASGITransport(served)  # type: ignore[arg-type]
        given = case.get("token") or token()
        async with AsyncKalGuardClient("http://sidecar", given, transport=transport, retries=0) as client:
            body = case["body"]
            for _ in range(case.get("times", 1)):
                if "messages" in body:
                    result: Any = await client.check_prompt(body["messages"])
                else:
                    result = await client.check_tool(body["toolName"], body.get("arguments") or body.get("args"))
            assert client.plan_info is not None
            return result

    reads = case["reads"]
    if case["status"] == 200:
        result = asyncio.run(ask())
        if "data.sanitizedMessages" in reads:
            assert result.messages == reads["data.sanitizedMessages"]
    else:
        with pytest.raises(KalGuardDenied) as caught:
            asyncio.run(ask())
        assert caught.value.code == reads.get("errorCode", caught.value.code)
        assert caught.value.approval_required == (reads.get("decision") == "require_approval")
