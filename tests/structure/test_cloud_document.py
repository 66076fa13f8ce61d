"""`docs/cloud.md` lists what leaves the machine, field by field, and what is taken from Cloud."""

import asyncio
import re

import httpx
import msgspec

from kalguard.connector.client import CloudClient
from kalguard.connector.license import LicenseState
from kalguard.decision.model import Decision
from kalguard.sidecar.cloud import CloudReply
from kalguard.wire.cloud import (
    REPORT_PATH,
    VALIDATE_PATH,
    LicenseLimits,
    LicenseReply,
    UsageEvent,
    UsageReply,
    UsageReport,
)
from tests.cloud import API_KEY, cloud
from tests.support import ROOT

DOCUMENT = (ROOT / "docs/cloud.md").read_text()
EVENT = UsageEvent("prompt_check", "agent-1", "allow", "2026-01-02T03:04:05.678Z", "req_0")


def rows(heading: str, table: int = 0) -> list[list[str]]:
    """The cells of a table under a heading."""
    section = DOCUMENT.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    tables = re.findall(r"^\|.*\n\|[-|]+\n((?:\|.*\n)+)", section, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in tables[table].splitlines()]


def listed(heading: str, where: str = "") -> set[str]:
    """The names in the first cells, of those rows whose second cell holds `where`."""
    return {cells[0].strip("` ") for cells in rows(heading) if where in cells[1]}


def fields(*types: type[msgspec.Struct]) -> set[str]:
    """What the fields of messages are called on the wire."""
    return {field.encode_name for one in types for field in msgspec.structs.fields(one)}


class _Recorded(httpx.AsyncBaseTransport):
    """A Cloud that sets a cookie and names its answer, and keeps what it was sent."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.requests.append(request)
        return httpx.Response(200, headers={"set-cookie": "a=b; Path=/"}, stream=httpx.ByteStream(b"{}"))


def sent() -> list[httpx.Request]:
    """Every kind of request, each with all the headers that it may have."""
    recorded = _Recorded()

    async def ask() -> None:
        client = CloudClient("https://cloud.example", API_KEY, transport=recorded)
        await client.report([EVENT])
        await client.validate('"etag"')
        await client.report([EVENT])
        await client.close()

    asyncio.run(ask())
    return recorded.requests


def test_every_header_that_leaves_is_listed_and_no_other() -> None:
    names = {name.lower() for request in sent() for name in request.headers}
    assert names == listed("What leaves the machine", "header")


def test_over_a_socket_no_header_is_added() -> None:
    async def ask(url: str) -> None:
        client = CloudClient(url, API_KEY)
        await client.validate('"etag"')
        await client.report([EVENT])
        await client.close()

    with cloud() as stand_in:
        asyncio.run(ask(stand_in.url))
    assert {path for _, path, _ in stand_in.requests} == {VALIDATE_PATH, REPORT_PATH}
    names = {name for _, _, headers in stand_in.requests for name in headers}
    assert names == listed("What leaves the machine", "header")


def test_every_field_that_leaves_is_listed_and_no_other() -> None:
    assert listed("What leaves the machine", "event") | listed("What leaves the machine", "usage report") == fields(
        UsageReport, UsageEvent
    )
    bodies = {request.url.path: request.content for request in sent()}
    assert bodies == {VALIDATE_PATH: b"{}", REPORT_PATH: msgspec.json.encode(UsageReport([EVENT]))}
    assert "The body of the call for the licence is `{}`." in DOCUMENT


def test_every_value_that_an_event_can_take_is_listed() -> None:
    told = {cells[0].strip("`"): set(re.findall(r"`(\w+)`", cells[2])) for cells in rows("What leaves the machine")}
    assert told["eventType"] == set(
        msgspec.json.schema(UsageEvent)["$defs"]["UsageEvent"]["properties"]["eventType"]["enum"]
    )
    assert told["decision"] == set(Decision)


def test_every_field_that_is_taken_from_cloud_is_listed() -> None:
    assert listed("What is taken from Cloud") == fields(LicenseReply, LicenseLimits, UsageReply)


def test_every_state_is_listed() -> None:
    states = [cells[0].strip("`") for cells in rows("The states")]
    assert states == ["local-only", *LicenseState]
    told = {name for cells in rows("The states") for name in re.findall(r"`(\w+)`", cells[5])}
    assert told == fields(CloudReply) - {"state"}


def test_every_place_in_other_documents_is_there() -> None:
    headings = {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", DOCUMENT, re.M)
    }
    named = {
        anchor
        for file in [ROOT / "README.md", ROOT / "SECURITY.md", *(ROOT / "docs").glob("*.md")]
        for anchor in re.findall(r"\]\((?:docs/)?cloud\.md#([\w-]+)\)", file.read_text())
    } | set(re.findall(r"\]\(#([\w-]+)\)", DOCUMENT))
    assert named
    assert named <= headings
