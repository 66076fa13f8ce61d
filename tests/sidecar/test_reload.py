"""Files that change while the service runs: a good version is taken up, a bad one never."""

import asyncio
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from kalguard.sidecar.background import Repeated
from kalguard.sidecar.files import Change, LiveFile
from kalguard.sidecar.folders import FolderWatch
from tests.support import GOOD_PROMPT, Server, running, until, until_in_loop

ALLOW = json.dumps({"rules": [{"id": "all", "decision": "allow"}]})
DENY = json.dumps({"rules": [{"id": "none", "decision": "deny"}]})


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "policy.json").write_text(DENY)
    with running(
        tmp_path, policy_path=str(tmp_path / "policy.json"), policy_watch="true", policy_watch_interval_ms="50"
    ) as server:
        yield server


def status(server: Server) -> int:
    return server.post("/v1/prompt/check", GOOD_PROMPT).status_code


def test_a_bad_version_keeps_the_old_one_and_says_why_once(watched: Server, tmp_path: Path) -> None:
    bad_ones = ("", "{", '{"rules": []', '{"rules": [{"id": "r", "decision": "allow", "match": {"tools": []}}]}')
    for count, bad in enumerate(bad_ones, start=1):
        (tmp_path / "policy.json").write_text(bad)
        until(lambda wanted=count: watched.log().count("the version before stays in force") == wanted)  # type: ignore[misc]
        assert status(watched) == 403
    refused = [record for record in watched.audit() if record["type"] == "policy_error"]
    assert [record["metadata"]["file"] for record in refused] == ["policy"] * 4
    (tmp_path / "policy.json").write_text(ALLOW)
    until(lambda: status(watched) == 200)


def test_a_file_that_is_gone_keeps_the_old_version(watched: Server, tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_text(ALLOW)
    until(lambda: status(watched) == 200)
    (tmp_path / "policy.json").unlink()
    until(lambda: "cannot be read: No such file" in watched.log())
    assert status(watched) == 200
    (tmp_path / "policy.json").write_text(DENY)
    until(lambda: status(watched) == 403)


def test_an_editor_s_rename_is_noticed_again_and_again(watched: Server, tmp_path: Path) -> None:
    for content, expected in ((ALLOW, 200), (DENY, 403), (ALLOW, 200)):
        (tmp_path / "new").write_text(content)
        (tmp_path / "new").rename(tmp_path / "policy.json")
        until(lambda wanted=expected: status(watched) == wanted)  # type: ignore[misc]
    taken = [record for record in watched.audit() if record["type"] == "policy_reload"]
    assert len(taken) == 3


def test_a_config_map_s_swap_is_noticed_again_and_again(tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    mount.mkdir()

    def swap(number: int, content: str) -> None:
        version = mount / f"..{number}"
        version.mkdir()
        (version / "policy.json").write_text(content)
        os.symlink(version.name, mount / "..tmp")
        os.replace(mount / "..tmp", mount / "..data")

    swap(1, DENY)
    os.symlink("..data/policy.json", mount / "policy.json")
    variables = {"policy_path": str(mount / "policy.json"), "policy_watch": "true", "policy_watch_interval_ms": "50"}
    with running(tmp_path, **variables) as server:
        assert status(server) == 403
        for number, (content, expected) in enumerate([(ALLOW, 200), (DENY, 403), (ALLOW, 200)], start=2):
            swap(number, content)
            until(lambda wanted=expected: status(server) == wanted)  # type: ignore[misc]


def test_a_file_that_appears_later_is_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "policy.json"
    with running(tmp_path, policy_path=str(path), policy_watch="true", policy_watch_interval_ms="50") as server:
        assert status(server) == 403
        path.parent.mkdir()
        path.write_text(ALLOW)
        until(lambda: status(server) == 200)


def test_tools_are_taken_up_too(tmp_path: Path) -> None:
    path = tmp_path / "tools.json"
    path.write_text('{"tools": []}')
    variables = {"tools_path": str(path), "policy_watch": "true", "policy_watch_interval_ms": "50"}

    with running(tmp_path, policy_default_deny="false", **variables) as server:

        def tool() -> int:
            return server.post("/v1/tool/check", {"toolName": "t"}).status_code

        assert tool() == 403
        path.write_text('{"tools": [{"name": "t"}]}')
        until(lambda: tool() == 200)


def test_without_the_watch_nothing_changes(tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_text(DENY)
    with running(tmp_path, policy_path=str(tmp_path / "policy.json"), policy_watch_interval_ms="50") as server:
        (tmp_path / "policy.json").write_text(ALLOW)
        time.sleep(0.5)
        assert status(server) == 403


def test_the_patterns_file_is_followed_and_a_bad_one_at_the_start_denies(tmp_path: Path) -> None:
    patterns = tmp_path / "patterns.json"
    patterns.write_text('{"patterns": [{"id": "acme.oslo"}]}')
    (tmp_path / "policy.json").write_text(ALLOW)
    with running(
        tmp_path,
        policy_path=str(tmp_path / "policy.json"),
        patterns_path=str(patterns),
        policy_watch="true",
        policy_watch_interval_ms="50",
    ) as server:
        assert server.post("/v1/prompt/check", GOOD_PROMPT).json()["message"] == "patterns file cannot be loaded"
        assert httpx.get(f"{server.url}/health").json()["failing"] == ["patterns"]
        oslo = {
            "id": "acme.oslo",
            "category": "harmful.blocked_phrase",
            "score": 1,
            "phrase": "oslo",
            "matches": ["Oslo"],
        }
        patterns.write_text("{}")
        until(lambda: status(server) == 200)
        patterns.write_text(json.dumps({"patterns": [oslo]}))
        until(lambda: status(server) == 403)
        patterns.write_text(json.dumps({"patterns": [{**oslo, "matches": ["Bergen"]}]}))
        until(lambda: "does not match its example" in server.log())
        assert status(server) == 403
        patterns.write_text(json.dumps({"patterns": [oslo], "modes": {"acme.oslo": "monitor"}}))
        until(lambda: status(server) == 200)


def test_a_file_behind_a_link_is_followed_where_it_is(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "real.json").write_text(DENY)
    (tmp_path / "policy.json").symlink_to(elsewhere / "real.json")
    with running(
        tmp_path, policy_path=str(tmp_path / "policy.json"), policy_watch="true", policy_watch_interval_ms="50"
    ) as server:
        assert status(server) == 403
        (elsewhere / "real.json").write_text(ALLOW)
        until(lambda: status(server) == 200)


def test_a_folder_that_appears_later_is_no_obstacle(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    with running(
        tmp_path,
        policy_path=str(folder / "policy.json"),
        policy_watch="true",
        policy_watch_interval_ms="50",
    ) as server:
        until(lambda: "folders cannot be watched" in server.log())
        assert status(server) == 403
        folder.mkdir()
        (folder / "policy.json").write_text(ALLOW)
        until(lambda: status(server) == 200)
        (folder / "policy.json").write_text(DENY)
        until(lambda: status(server) == 403)
        assert server.log().count("folders cannot be watched") == 1


def test_files_are_not_read_again_and_again_while_nothing_happens(tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_text(ALLOW)
    looks = 0

    def load(document: bytes) -> bytes:
        return document

    class Counted(LiveFile[bytes]):
        async def refresh(self) -> Change | None:
            nonlocal looks
            looks += 1
            return await super().refresh()

    async def watch() -> None:
        file = Counted("policy", "X", str(tmp_path / "policy.json"), load=load, fallback=b"")
        work = asyncio.create_task(Repeated("watch", FolderWatch([file], 0.02).wait, lambda: looked(file)).run())
        await asyncio.sleep(0.5)
        assert looks <= 2  # one when the watch begins
        (tmp_path / "policy.json").write_text(DENY)
        await until_in_loop(lambda: file() == DENY.encode())
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    async def looked(file: LiveFile[bytes]) -> None:
        await file.refresh()

    asyncio.run(watch())
