"""What the operations guide tells an operator to do can be done, and has the effect that it says."""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from kalguard.cli.audit import audit
from kalguard.cli.main import cli
from kalguard.config import VARIABLES
from tests.deploy.test_systemd import value
from tests.support import GOOD_PROMPT, ROOT, bearer, running, token, until

GUIDE = (ROOT / "docs/operations.md").read_text()
DOCUMENTS = sorted((ROOT / "docs").glob("*.md"))
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def anchors(file: Path) -> set[str]:
    """What can stand behind `#` in a link to a document."""
    titles = (re.sub(r"[^\w\- ]", "", title.lower()) for title in _HEADING.findall(file.read_text()))
    return {title.replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_between_the_documents_leads_somewhere(document: Path) -> None:
    for path, anchor in re.findall(r"\]\(((?!https?:)[^)#]*)(?:#([^)]*))?\)", document.read_text()):
        target = document.parent / path if path else document
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


def test_every_file_and_variable_that_is_named_exists() -> None:
    paths = re.findall(r"(?<![\w/])deploy/[\w./-]*\w/?", GUIDE)
    assert len(paths) > 5
    assert [path for path in paths if not (ROOT / path).exists()] == []
    known = {variable.name for variable in VARIABLES} | {f"{one.name}_FILE" for one in VARIABLES if one.secret}
    assert set(re.findall(r"KALGUARD_[A-Z_]+", GUIDE)) <= known
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([\w-]+)`", GUIDE)) <= targets


def test_the_numbers_are_those_of_the_unit() -> None:
    assert f"({value('TimeoutStopSec')} in the unit)" in GUIDE
    assert f"`MemoryMax={value('MemoryMax')}`" in GUIDE
    assert f"`OOMPolicy={value('OOMPolicy')}`" in GUIDE
    assert value("RestartSec") == "5" and "up again after five seconds" in GUIDE


def test_the_commands_of_an_incident_are_understood() -> None:
    commands = re.findall(r"^    kalguard audit (.*?)(?: {2,}#.*)?$", GUIDE, re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        name, *arguments = shlex.split(command.replace("$LOGS", "-"))
        given = ["-" if argument.startswith("audit.") else argument for argument in arguments]
        audit.commands[name].make_context(name, [argument for argument in given if argument != "--key"])


def test_the_rule_that_blocks_an_agent_does(tmp_path: Path) -> None:
    (example,) = re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)
    (tmp_path / "policy.json").write_text(example)
    (command,) = re.findall(r"^    kalguard (policy test .*?)(?: {2,}#.*)?$", GUIDE, re.MULTILINE)
    arguments = shlex.split(command.replace("policy.json", str(tmp_path / "policy.json")))
    blocked = CliRunner().invoke(cli, arguments)
    assert blocked.exit_code == 1 and "blocked: case 1" in blocked.output
    others = CliRunner().invoke(cli, ["agent-8" if argument == "agent-7" else argument for argument in arguments])
    assert others.exit_code == 0


def test_a_token_is_revoked_as_it_is_written(tmp_path: Path) -> None:
    block = GUIDE.split("no restart is needed.\n\n", 1)[1].split("\n\n", 1)[0]
    (tmp_path / "revoked-tokens").write_text("# none yet\n")
    secret = token()
    with running(tmp_path, policy_default_deny="false", revoked_tokens_path=str(tmp_path / "revoked-tokens")) as server:
        assert server.post("/v1/prompt/check", GOOD_PROMPT, bearer(secret)).status_code == 200
        environment = {**os.environ, "TOKEN": secret}
        subprocess.run(["sh", "-ec", block], cwd=tmp_path, env=environment, check=True)
        until(lambda: server.post("/v1/prompt/check", GOOD_PROMPT, bearer(secret)).status_code == 401)
        assert server.audit()[-1]["metadata"]["errorCode"] == "TOKEN_REVOKED"
        assert server.post("/v1/prompt/check", GOOD_PROMPT, bearer(token(sub="agent-8"))).status_code == 200
    digest = (tmp_path / "revoked-tokens").read_text().splitlines()[-1]
    assert digest in json.dumps(server.audit())
