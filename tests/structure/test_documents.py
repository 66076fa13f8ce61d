"""What the documents say is what the code does."""

import json
import re
import shlex
from typing import get_args

import msgspec

from kalguard._core import ACTIONS, CATEGORIES
from kalguard.cli.audit import audit
from kalguard.config import VARIABLES
from kalguard.decision.firewall import FirewallOptions, PromptFirewall
from kalguard.decision.mediator import load_tools
from kalguard.decision.model import Action
from kalguard.decision.policy import load_policy
from kalguard.decision.registration import Definition
from kalguard.records.ocsf import ocsf_event
from kalguard.wire.audit import AuditRecord, EventType
from kalguard.wire.codes import ErrorCode
from tests.support import ROOT, app, call

README = (ROOT / "README.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading of the README."""
    section = README.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_the_readme_lists_every_variable_with_its_default() -> None:
    expected = [
        [
            f"`{variable.name}`{' (or `_FILE`)' if variable.secret else ''}",
            f"`{variable.default}`" if variable.default else "",
            variable.expected,
            f"{variable.description}.",
        ]
        for variable in VARIABLES
    ]
    assert rows("Configuration") == expected


def test_the_readme_lists_every_code_with_its_status() -> None:
    listed = {(int(row[0]), code) for row in rows("Answers") for code in re.findall(r"`([A-Z_]+)`", row[1])}
    assert listed == {(code.status, code.value) for code in ErrorCode}


def test_every_path_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"\]\(((?!http)[^)#]+)", README)) | set(
        re.findall(r"`((?:python|rust|tests|deploy|docs|benches)/[\w./-]*)`", README)
    )
    missing = sorted(path for path in named if not (ROOT / path).exists())
    assert named
    assert not missing


def test_the_readme_s_layout_names_every_folder_of_rust_and_deploy() -> None:
    listed = {row[0].strip("`"): row[1] for row in rows("Layout")}
    for folder in (path.name for path in (ROOT / "rust").iterdir() if any(path.glob("*.toml"))):
        assert f"rust/{folder}/" in listed
    named = set(re.findall(r"`([\w-]+)/`", listed["deploy/"]))
    assert named == {path.name for path in (ROOT / "deploy").iterdir() if path.is_dir() and path.name != "__pycache__"}


def test_the_firewalls_document_lists_every_category_and_shows_a_good_patterns_file() -> None:
    document = (ROOT / "docs/detection.md").read_text()
    listed = re.findall(r"^\| `(\w+\.\w+)` \| (.+) \|$", document, re.MULTILINE)
    assert tuple(listed) == CATEGORIES
    (example,) = re.findall(r"```json\n(.*?)```", document, re.DOTALL)
    assert PromptFirewall(FirewallOptions(), example.encode()).pattern_count == 2
    schema = json.loads((ROOT / "python/kalguard/schemas/patterns.schema.json").read_text())
    own = [name for name, _ in CATEGORIES if not name.startswith("abnormality.")]
    assert schema["definitions"]["pattern"]["properties"]["category"]["enum"] == own


def test_the_policies_that_are_shown_can_be_used() -> None:
    examples = re.findall(r"```json\n(.*?)```", (ROOT / "docs/policy.md").read_text(), re.DOTALL)
    assert len(examples) == 4
    for example in examples:
        policy = load_policy(example.encode())
        assert policy.rules.lint() == []
    assert load_policy((ROOT / "deploy/policy.example.json").read_bytes()).rules.lint() == []


def test_the_actions_of_policies_are_those_of_the_service() -> None:
    assert tuple(Action) == ACTIONS


def test_the_readme_s_requests_get_the_replies_that_it_shows() -> None:
    policy = str(ROOT / "deploy/policy.example.json")
    served = app(policy_path=policy, tools_path=str(ROOT / "deploy/tools.example.json"))
    bodies = re.findall(r"-d '(.*)'$", README, re.MULTILINE)
    replies = [call(served, body=body.encode()).body for body in bodies]
    assert [reply["allowed"] for reply in replies] == [True, False]
    for reply in replies:
        for name in ("message", "decision", "errorCode"):
            if name in reply:
                assert f'"{name}":{json.dumps(reply[name])}' in README
        assert f'"riskScore":{reply["data"]["riskScore"]}' in README


def test_the_tools_document_shows_a_good_file_with_the_pin_of_the_tool_that_it_registers() -> None:
    document = (ROOT / "docs/tools.md").read_text()
    written, registered, _ = re.findall(r"```json\n(.*?)```", document, re.DOTALL)
    tools = load_tools(written.encode())
    assert (tools.registry.tool_count, tools.registry.warnings) == (2, [])
    definition = Definition.read(registered.encode())
    assert tools.registry.pin(definition.tool) == definition.digest


def test_the_audit_document_lists_every_type_field_and_disposition() -> None:
    document = (ROOT / "docs/audit.md").read_text()
    (types,) = re.findall(r"^\| `type` \| (.*) \|$", document, re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", types)) == sorted(get_args(EventType))
    record = AuditRecord("evt_0", "tool_denied", "2026-01-02T03:04:05.678Z", "a", "r", "deny", "why", {"check": "tool"})
    fields = re.findall(r"^\| (`[^|]*`) \|", document.split("## The chain")[0], re.MULTILINE)
    listed = {name for cell in fields for name in re.findall(r"`(\w+)`", cell)}
    assert listed == {*msgspec.to_builtins(record), "chain", "seq", "prev", "after", "signature"}
    rows = re.findall(r"^\| (.*) \| 2 Denied \| (\d+) ", document, re.MULTILINE)
    dispositions = {code: int(number) for codes, number in rows for code in re.findall(r"`([A-Z_]+)`", codes)}
    for code in ErrorCode:
        event = ocsf_event(msgspec.structs.replace(record, metadata={"check": "tool", "errorCode": code}))
        assert event["disposition_id"] == dispositions.get(code, 2)


def test_every_command_that_the_audit_document_shows_is_understood() -> None:
    document = (ROOT / "docs/audit.md").read_text()
    commands = re.findall(r"^    kalguard audit (.*?)(?: +#.*)?$", document, re.MULTILINE)
    assert len(commands) == 9
    for command in commands:
        name, *arguments = shlex.split(re.sub(r"\$\(.*?\)", "-", command))
        given = ["-" if argument.startswith("audit.") else argument for argument in arguments]
        audit.commands[name].make_context(name, [argument for argument in given if argument != "--key"])
