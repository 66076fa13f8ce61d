"""The `kalguard` command, as it is called: output, exit codes, and that secrets stay where they are."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import PATIENCE_SECONDS, ROOT, SECRET, environment, token, token_with_header

POLICY = {
    "rules": [
        {"id": "no-shell", "match": {"tools": ["shell_*"]}, "decision": "deny", "reason": "no shells"},
        {
            "id": "prod",
            "match": {"agentIds": ["a*"], "attributes": {"env": "prod*"}},
            "decision": "allow",
            "reason": "ok",
        },
    ]
}


def run(*arguments: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("kalguard")), *arguments]
    return subprocess.run(
        command,
        input=stdin,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
        cwd=ROOT,
    )


@pytest.fixture
def policy(tmp_path: Path) -> str:
    (tmp_path / "policy.json").write_text(json.dumps(POLICY))
    return str(tmp_path / "policy.json")


ISSUE = ("token", "issue", "--agent", "agent-1", "--capability", "prompt:send")


def test_without_a_secret_no_token_is_made() -> None:
    ended = run(*ISSUE)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "KALGUARD_TOKEN_SECRET" in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("token", "issue", "--agent", "a"),
        ("token", "issue", "--capability", "prompt:send"),
        (*ISSUE, "--capability", "made:up"),
        (*ISSUE, "--ttl", "soon"),
        (*ISSUE, "--ttl", "0h"),
        (*ISSUE, "--metadata", "env"),
        (*ISSUE, "--secret", SECRET),
    ],
)
def test_a_token_that_is_asked_for_wrongly_is_not_made(arguments: tuple[str, ...]) -> None:
    ended = run(*arguments, token_secret=SECRET)
    assert (ended.returncode, ended.stdout) == (2, "")


def test_a_token_that_is_made_is_accepted() -> None:
    made = run(*ISSUE, "--ttl", "2h", "--metadata", "env=production", token_secret=SECRET)
    assert made.returncode == 0
    looked_at = run("token", "inspect", "--json", stdin=made.stdout, token_secret=SECRET)
    report = json.loads(looked_at.stdout)
    assert looked_at.returncode == 0
    assert report["accepted"] is True
    assert report["claims"]["sub"] == "agent-1"
    assert report["claims"]["metadata"] == {"env": "production"}
    assert report["claims"]["exp"] - report["claims"]["iat"] == 7200
    assert report["sha256"] == hashlib.sha256(made.stdout.strip().encode()).hexdigest()


def test_a_token_can_be_made_with_its_hash() -> None:
    made = json.loads(run(*ISSUE, "--json", token_secret=SECRET).stdout)
    assert made["sha256"] == hashlib.sha256(made["token"].encode()).hexdigest()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (token("another secret of more than 32 bytes"), "signature"),
        (token(exp=1), "expired"),
        ("rubbish", "malformed"),
        ("", "missing"),
        (token(exp=10**15), "`exp`"),
        (token(exp=True), "`exp`"),
        (token_with_header(b'{"alg":"HS256"}')[:-4] + "....", "malformed"),
    ],
)
def test_a_token_that_would_be_refused_says_why(text: str, problem: str) -> None:
    looked_at = run("token", "inspect", "--json", stdin=text, token_secret=SECRET)
    assert looked_at.returncode == 1
    assert problem in json.loads(looked_at.stdout)["problem"]


def test_a_revoked_token_says_so(tmp_path: Path) -> None:
    text = token()
    (tmp_path / "revoked").write_text(hashlib.sha256(text.encode()).hexdigest())
    looked_at = run("token", "inspect", stdin=text, token_secret=SECRET, revoked_tokens_path=str(tmp_path / "revoked"))
    assert looked_at.returncode == 1
    assert "token is revoked" in looked_at.stdout


def test_a_bad_policy_is_named_with_rule_and_field(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text('{"rules": [{"id": "r1", "decision": "allow", "match": {"tools": []}}]}')
    ended = run("policy", "check", str(path))
    assert ended.returncode == 1
    assert "r1" in ended.stderr
    assert "match.tools" in ended.stderr
    assert json.loads(run("policy", "check", str(path), "--json").stdout)["valid"] is False


def test_a_file_that_is_not_there_is_a_usage_error() -> None:
    assert run("policy", "check", "/nowhere").returncode == 2
    assert run("tools", "check", "/nowhere").returncode == 2


def test_a_good_policy_is_good(policy: str) -> None:
    ended = run("policy", "check", policy)
    assert (ended.returncode, "good; 2 rules" in ended.stdout) == (0, True)
    report = json.loads(run("policy", "check", policy, "--json").stdout)
    digest = hashlib.sha256(Path(policy).read_bytes()).hexdigest()
    assert report == {"valid": True, "rules": 2, "digest": digest, "warnings": []}


def test_a_policy_that_allows_everything_is_checked_as_the_service_would(tmp_path: Path) -> None:
    path = tmp_path / "open.json"
    path.write_text('{"rules": [], "defaultDecision": "allow"}')
    assert run("policy", "check", str(path)).returncode == 1
    assert run("policy", "check", str(path), policy_default_deny="false").returncode == 0


def test_a_question_is_answered_with_the_rule_and_the_reasons(policy: str) -> None:
    asked = ("policy", "test", policy, "--agent", "a1", "--action", "tool:execute", "--tool", "search")
    denied = run(*asked)
    assert denied.returncode == 1
    assert "no-shell: condition `tools` does not hold" in denied.stdout
    assert "prod: condition `attributes.env` does not hold" in denied.stdout
    assert "deny by the default: no matching rule" in denied.stdout
    allowed = run(*asked, "--attribute", "env=production", "--json")
    assert allowed.returncode == 0
    assert json.loads(allowed.stdout) == {
        "decision": "allow",
        "ruleId": "prod",
        "reason": "ok",
        "findings": [],
        "rules": [{"id": "no-shell", "failed": "tools"}, {"id": "prod", "failed": None}],
    }


@pytest.mark.parametrize(
    "arguments",
    [("--action", "tool:execute"), ("--action", "prompt:check", "--tool", "t"), ("--action", "fly")],
)
def test_a_question_that_makes_no_sense_is_a_usage_error(policy: str, arguments: tuple[str, ...]) -> None:
    assert run("policy", "test", policy, "--agent", "a", *arguments).returncode == 2


def test_tools_files_are_checked(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text('{"tools": [{"name": "t"}]}')
    bad.write_text('{"tools": [{"name": "t", "argumentSchema": {"type": "object", "requird": []}}]}')
    assert run("tools", "check", str(good)).returncode == 0
    ended = run("tools", "check", str(bad))
    assert ended.returncode == 1
    assert "requird" in ended.stderr
    assert json.loads(run("tools", "check", str(bad), "--json").stdout)["valid"] is False


def test_what_a_tools_file_says_without_effect_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "tools.json"
    tool = {"name": "t", "argumentSchema": {"properties": {"a": {"format": "email"}}}}
    path.write_text(json.dumps({"tools": [tool]}))
    ended = run("tools", "check", str(path))
    assert (ended.returncode, "good; 1 tool" in ended.stdout) == (0, True)
    for part in ("warning", "`t`", "/properties/a", "`format`"):
        assert part in ended.stderr
    assert len(json.loads(run("tools", "check", str(path), "--json").stdout)["warnings"]) == 1
    path.write_text(json.dumps({"formats": "enforce", "tools": [tool]}))
    assert run("tools", "check", str(path)).stderr == ""
    tool["argumentSchema"] = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "properties": {"a": {"$ref": "#/definitions/a", "maxLength": 1}},
        "definitions": {"a": {}},
    }
    path.write_text(json.dumps({"tools": [tool]}))
    assert "passes over `maxLength` beside `$ref`" in run("tools", "check", str(path)).stderr


def test_the_digest_of_a_definition_is_that_of_its_json_with_sorted_keys(tmp_path: Path) -> None:
    path = tmp_path / "tool.json"
    schema = '{"b": {"type": "string"}, "a": {"type": "string", "title": "\u00e9"}}'
    path.write_text(f'{{"toolName": "t", "description": "d", "argumentSchema": {schema}}}')
    canonical = '{"argumentSchema":{"a":{"title":"\u00e9","type":"string"},"b":{"type":"string"}},"description":"d"}'
    ended = run("tools", "digest", str(path))
    assert ended.returncode == 0
    assert ended.stdout.strip() == f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"
    path.write_text('{"toolName": "t", "argumentSchema": {"requird": []}}')
    ended = run("tools", "digest", str(path))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "requird" in ended.stderr


def test_the_settings_in_force_are_shown_without_secrets() -> None:
    ended = run("config", token_secret=SECRET, port="1234")
    assert ended.returncode == 0
    assert "(set, not shown)" in ended.stdout
    assert "1234" in ended.stdout
    assert SECRET not in ended.stdout + ended.stderr
    values = json.loads(run("config", "--json", token_secret=SECRET, port="1234").stdout)
    assert (values["KALGUARD_PORT"], values["KALGUARD_TOKEN_SECRET"]) == (1234, "(set, not shown)")


def test_settings_that_cannot_be_used_are_told() -> None:
    ended = run("config", port="abc", workers="x")
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 2


def test_the_version_is_that_of_the_package() -> None:
    from kalguard._core import __version__
    from kalguard.version import VERSION

    assert run("version").stdout.strip() == VERSION == __version__


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("serve",),
        ("token",),
        ("token", "issue"),
        ("policy", "check"),
        ("policy", "test"),
        ("tools", "check"),
        ("tools", "digest"),
        ("token", "inspect"),
        ("audit",),
        ("audit", "verify"),
        ("audit", "tail"),
        ("audit", "search"),
        ("config",),
        ("version",),
    ],
)
def test_every_command_explains_itself(command: tuple[str, ...]) -> None:
    ended = run(*command, "--help")
    assert ended.returncode == 0
    assert ended.stdout.startswith("Usage: ")
    assert len(ended.stdout.split("\n\n")[1].strip()) > 15  # says what it is for


def test_the_example_files_are_good() -> None:
    assert run("policy", "check", "deploy/policy.example.json").returncode == 0
    assert run("tools", "check", "deploy/tools.example.json").returncode == 0
