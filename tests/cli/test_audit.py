"""`kalguard audit`: verify, tail and search as they are called, on logs of both formats."""

import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from kalguard.cli.audit import audit
from kalguard.cli.audit_lines import Lines
from kalguard.records.clock import rfc3339
from tests.cli.test_commands import run
from tests.records.written import Writer, joined, key, public_pem
from tests.support import ROOT, environment

FORMATS = pytest.mark.parametrize("ocsf", [False, True])


def incident(*, ocsf: bool = False) -> list[bytes]:
    """Who did what, half a second apart."""
    lines: list[bytes] = []
    writer = Writer(ocsf=ocsf)
    writer.write(lines)
    writer.write(lines, "tool_allowed", metadata={"check": "tool", "toolName": "get_weather"})
    blocked = {
        "check": "prompt",
        "errorCode": "PROMPT_BLOCKED",
        "riskScore": 90,
        "riskLevel": "critical",
        "findings": [{"category": "injection.instruction_override", "messages": 1, "score": 90}],
    }
    writer.write(lines, "prompt_denied", agentId="agent-2", reason="prompt blocked", metadata=blocked)
    writer.write(lines, "policy_reload", metadata={"file": "policy", "digest": "ab", "problem": None})
    hashed = "sha256:" + "68d07da8d0fc8cb4e3c2ab7e2d4de9b2b9b49a7d7f29f9ac5ad9d3d1f20b0a3a"
    writer.write(lines, "tool_denied", metadata={"check": "tool", "errorCode": "TOOL_DENIED", "toolName": hashed})
    writer.write(lines, "audit_closed")
    return lines


def log(folder: Path, lines: list[bytes], name: str = "audit.jsonl") -> str:
    (folder / name).write_bytes(joined(lines))
    return str(folder / name)


@FORMATS
def test_a_log_as_it_was_written_is_good(tmp_path: Path, ocsf: bool) -> None:
    path = log(tmp_path, incident(ocsf=ocsf))
    ended = run("audit", "verify", path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == "good; 6 records of 1 chain in 1 file; no signatures\n"


@FORMATS
def test_the_first_bad_line_is_named(tmp_path: Path, ocsf: bool) -> None:
    lines = incident(ocsf=ocsf)
    lines[2] = lines[2].replace(b"agent-2", b"agent-1")
    path = log(tmp_path, lines)
    ended = run("audit", "verify", path)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"{path}:3: this line was changed")
    told = json.loads(run("audit", "verify", "--json", path).stdout)
    assert (told["valid"], told["bad"]["file"], told["bad"]["line"]) == (False, path, 3)


def test_a_line_that_is_missing_is_named_by_the_one_after_it(tmp_path: Path) -> None:
    lines = incident()
    path = log(tmp_path, [*lines[:3], *lines[4:]])
    ended = run("audit", "verify", path)
    assert ended.returncode == 1
    assert (
        f"{path}:4: seq 5 of wrt_000000000000000000000001 after seq 3 at {path}:3: 1 missing before it" in ended.stderr
    )


def test_rotated_and_compressed_files_are_verified_together(tmp_path: Path) -> None:
    writer = Writer()
    old: list[bytes] = []
    new: list[bytes] = []
    for lines in (old, old, new, new):
        writer.write(lines)
    (tmp_path / "audit.jsonl.1.gz").write_bytes(gzip.compress(joined(old)))
    rotated, current = str(tmp_path / "audit.jsonl.1.gz"), log(tmp_path, new)
    ended = run("audit", "verify", rotated, current)
    assert (ended.returncode, "4 records of 1 chain in 2 files" in ended.stdout) == (0, True)
    assert "remark: wrt_000000000000000000000001 has no closing record" in ended.stderr
    assert "seq 4 (2026-01-02T03:04:07.000Z)" in ended.stderr
    assert run("audit", "verify", current, rotated).returncode == 1
    alone = run("audit", "verify", current)
    assert (alone.returncode, "goes on here with seq 3" in alone.stderr) == (0, True)


def test_standard_input_is_verified(tmp_path: Path) -> None:
    text = joined(incident()).decode()
    assert run("audit", "verify", "-", stdin=text).returncode == 0
    ended = run("audit", "verify", "-", stdin=text.replace("agent-2", "agent-3"))
    assert (ended.returncode, ended.stderr.startswith("-:3: ")) == (1, True)


def test_the_log_of_this_environment_is_verified_where_none_is_named(tmp_path: Path) -> None:
    path = log(tmp_path, incident())
    assert run("audit", "verify", audit_log_path=path).returncode == 0
    assert run("audit", "tail", audit_log_path=path).returncode == 0
    for variables in ({}, {"audit_log_path": "-"}, {"audit_log_path": str(tmp_path / "none")}):
        ended = run("audit", "verify", **variables)
        assert (ended.returncode, "KALGUARD_AUDIT_LOG_PATH" in ended.stderr) == (2, True)


def test_signatures_are_verified_with_a_key(tmp_path: Path) -> None:
    lines: list[bytes] = []
    writer = Writer(signer=key())
    writer.write(lines)
    writer.write(lines, "audit_closed")
    path = log(tmp_path, lines)
    (tmp_path / "key.pem").write_bytes(public_pem(key()))
    (tmp_path / "other.pem").write_bytes(public_pem(key(2)))
    assert "1 signature not looked at, for want of --key" in run("audit", "verify", path).stdout
    ended = run("audit", "verify", "--key", str(tmp_path / "key.pem"), path)
    assert (ended.returncode, "1 signature verified" in ended.stdout) == (0, True)
    assert run("audit", "verify", "--key", str(tmp_path / "other.pem"), path).returncode == 1


def test_a_long_log_shows_how_far_it_is_on_a_terminal_and_only_there(tmp_path: Path) -> None:
    lines: list[bytes] = []
    writer = Writer()
    for _ in range(20_001):
        writer.write(lines)
    path = log(tmp_path, lines)
    terminal, its_end = os.openpty()
    command = [str(Path(sys.executable).with_name("kalguard")), "audit", "verify", "--json", path]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=its_end, env=environment(), cwd=ROOT, check=True)
    os.close(its_end)
    shown = os.read(terminal, 65536).decode()
    os.close(terminal)
    size = sum(len(line) + 1 for line in lines[:20_000]) // (1024 * 1024)
    assert shown.startswith(f"\r{path}: {size} MiB")
    assert shown.endswith("\r")
    assert json.loads(ended.stdout)["records"] == 20_001
    assert run("audit", "verify", "--json", path).stderr == ""


@pytest.mark.parametrize("text", ["", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "\x00"])
def test_what_is_no_key_is_a_usage_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "key.pem").write_text(text)
    ended = run("audit", "verify", "--key", str(tmp_path / "key.pem"), log(tmp_path, incident()))
    assert (ended.returncode, "Ed25519" in ended.stderr) == (2, True)


def test_what_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    assert run("audit", "verify", str(tmp_path)).returncode == 2
    assert run("audit", "verify", str(tmp_path / "none")).returncode == 2
    assert run("audit", "search", str(tmp_path / "none")).returncode == 2
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"x" * 1000)[:-9])
    assert run("audit", "search", str(tmp_path / "cut.gz")).returncode == 2
    assert run("audit", "verify", str(tmp_path / "cut.gz")).returncode == 1


@FORMATS
def test_the_last_records_are_shown(tmp_path: Path, ocsf: bool) -> None:
    path = log(tmp_path, incident(ocsf=ocsf))
    shown = run("audit", "tail", "-n", "4", path).stdout.splitlines()
    assert len(shown) == 4
    assert shown[0] == (
        "2026-01-02T03:04:06.500Z  deny   prompt_denied     agent-2  req_000000000001000000000003  prompt blocked  "
        "[code=PROMPT_BLOCKED risk=90 findings=injection.instruction_override]"
    )
    assert len(run("audit", "tail", path).stdout.splitlines()) == 6
    assert run("audit", "tail", "-n", "0", path).stdout == ""
    raw = run("audit", "tail", "--json", "-n", "2", path).stdout
    assert raw.encode() == joined(incident(ocsf=ocsf)[-2:])


def test_the_end_of_a_long_log_is_found(tmp_path: Path) -> None:
    lines: list[bytes] = []
    writer = Writer()
    for _ in range(600):
        writer.write(lines)
    path = log(tmp_path, lines)
    assert run("audit", "tail", "--json", "-n", "300", path).stdout.encode() == joined(lines[-300:])
    assert run("audit", "tail", "--json", "-n", "3", "-", stdin=joined(lines).decode()).stdout.encode() == joined(
        lines[-3:]
    )


ASKED = [
    (("--agent", "agent-2"), [3]),
    (("--type", "tool_allowed", "--type", "policy_reload"), [2, 4]),
    (("--decision", "deny"), [3, 5]),
    (("--decision", "deny", "--type", "tool_denied"), [5]),
    (("--request-id", "req_000000000001000000000002"), [2]),
    (("--tool", "get_weather"), [2]),
    (("--code", "TOOL_DENIED", "--code", "PROMPT_BLOCKED"), [3, 5]),
    (("--since", "2026-01-02T03:04:07Z"), [4, 5, 6]),
    (("--since", "2026-01-02T04:04:06.500+01:00", "--until", "2026-01-02T03:04:07.000Z"), [3, 4]),
    (("--until", "2026-01-02T03:04:05.500Z"), [1]),
    ((), [1, 2, 3, 4, 5, 6]),
]


@FORMATS
@pytest.mark.parametrize(("options", "expected"), ASKED)
def test_records_are_searched_by_what_they_say(
    tmp_path: Path, options: tuple[str, ...], expected: list[int], ocsf: bool
) -> None:
    lines = incident(ocsf=ocsf)
    ended = CliRunner().invoke(audit, ["search", "--json", *options, log(tmp_path, lines)])
    assert ended.exit_code == 0
    assert ended.stdout_bytes == joined([lines[number - 1] for number in expected])


def test_nothing_found_is_exit_code_1(tmp_path: Path) -> None:
    ended = run("audit", "search", "--agent", "nobody", log(tmp_path, incident()))
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", "")


def test_a_tool_whose_name_is_on_record_as_its_hash_is_found_by_its_name(tmp_path: Path) -> None:
    lines: list[bytes] = []
    hashed = f"sha256:{hashlib.sha256(b'a tool!').hexdigest()}"
    Writer().write(lines, "tool_denied", metadata={"check": "tool", "errorCode": "TOOL_DENIED", "toolName": hashed})
    assert run("audit", "search", "--tool", "a tool!", log(tmp_path, lines)).returncode == 0


def test_a_time_span_means_before_now(tmp_path: Path) -> None:
    lines: list[bytes] = []
    writer = Writer()
    now = datetime.now(UTC)
    for hours in (3, 1):
        writer.write(lines, timestamp=rfc3339((now - timedelta(hours=hours)).timestamp()))
    path = log(tmp_path, lines)
    assert run("audit", "search", "--json", "--since", "2h", path).stdout.encode() == joined(lines[1:])
    assert run("audit", "search", "--json", "--until", "2h", path).stdout.encode() == joined(lines[:1])


@pytest.mark.parametrize("text", ["yesterday", "2026-01-02", "2026-01-02T03:04:05", "2026-13-02T03:04:05Z", "9999999d"])
def test_what_is_no_time_is_a_usage_error(tmp_path: Path, text: str) -> None:
    ended = run("audit", "search", "--since", text, log(tmp_path, incident()))
    assert (ended.returncode, "2026-01-31T12:00:00Z" in ended.stderr) == (2, True)


def test_lines_that_are_no_records_are_passed_over_and_counted(tmp_path: Path) -> None:
    lines = incident()
    path = log(tmp_path, [*lines[:2], b"hello", b'{"id":"evt_', b"x" * (1024 * 1024 + 9), b"[" * 100_000, *lines[2:]])
    for command in (("search",), ("tail", "-n", "100")):
        ended = run("audit", command[0], "--json", *command[1:], path)
        assert ended.stdout.encode() == joined(lines)
        assert ended.stderr == "4 lines passed over: no audit records\n"


@FORMATS
def test_a_record_cannot_write_to_the_terminal(tmp_path: Path, ocsf: bool) -> None:
    lines: list[bytes] = []
    evil = "\x1b[2J\u202e\x9b31m\r\n\u2028"
    metadata = {"check": "tool", "toolName": evil, "ruleId": evil, "findings": [{"category": evil, "score": 1}]}
    Writer(ocsf=ocsf).write(lines, "tool_denied", agentId=evil, requestId=evil, reason=evil, metadata=metadata)
    written_out = json.dumps(json.loads(lines[0]), ensure_ascii=False).encode()
    for line in (lines[0], written_out, b"\r" + written_out + b" \r\t"):
        for options in ((), ("--json",)):
            shown = CliRunner().invoke(audit, ["search", *options, log(tmp_path, [line])]).stdout
            assert shown.count("\n") == 1
            assert shown[:-1].isprintable()
            assert "\\x1b[2J\\u202e" in shown or "\\u001b[2J\\u202e" in shown


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
NAMES = ["errorCode", "toolName", "ruleId", "riskScore", "findings", "exceededLimits", "check", "file"]


@given(metadata=st.dictionaries(st.sampled_from(NAMES), ANYTHING), text=st.text(), as_json=st.booleans())
def test_whatever_a_record_holds_is_shown_on_one_harmless_line(
    metadata: dict[str, object], text: str, as_json: bool
) -> None:
    record = {**json.loads(incident()[0]), "metadata": metadata, "reason": text}
    lines = Lines(as_json=as_json)
    (shown,) = lines.show([json.dumps(record, ensure_ascii=False).encode() + b"\n"])
    assert shown.isprintable()


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("value", ["1" * 5000, "[" * 990 + "]" * 990, "[" * 5000 + "]" * 5000])
def test_what_no_record_of_ours_holds_does_no_harm(value: str, as_json: bool) -> None:
    line = incident()[0].replace(b'"check":"prompt"', b'"check":"prompt","file":' + value.encode())
    lines = Lines(as_json=as_json)
    assert len(list(lines.show([line, incident()[1]]))) + lines.passed_over == 2


def test_the_name_of_a_file_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    ended = run("audit", "verify", log(tmp_path, incident()[:-1], name="a\x1b[2Jb"))
    assert (ended.returncode, "\x1b" in ended.stderr, "\\x1b[2J" in ended.stderr) == (0, False, True)


@contextmanager
def following(path: str, *options: str) -> Iterator["subprocess.Popen[str]"]:
    command = [str(Path(sys.executable).with_name("kalguard")), "audit", "tail", "-f", "--json", *options, path]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), cwd=ROOT
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_log_is_followed_over_its_rotation_until_ctrl_c(tmp_path: Path) -> None:
    writer = Writer()
    lines: list[bytes] = []
    for _ in range(3):
        writer.write(lines)
    path = Path(log(tmp_path, lines))
    with following(str(path), "-n", "1") as process:
        assert process.stdout is not None
        assert process.stdout.readline().encode() == lines[2] + b"\n"
        late = writer.write(lines)
        with path.open("ab") as file:
            file.write(late[:40])
            file.flush()
            time.sleep(0.5)
            file.write(late[40:] + b"\n")
            file.flush()
            assert process.stdout.readline().encode() == late + b"\n"
            path.rename(path.with_suffix(".1"))
            last = writer.write(lines)
            file.write(last + b"\n")
            file.flush()
            assert process.stdout.readline().encode() == last + b"\n"
        fresh: list[bytes] = []
        first = writer.write(fresh)
        path.write_bytes(first + b"\n")
        assert process.stdout.readline().encode() == first + b"\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, "", "")


def test_standard_input_cannot_be_followed() -> None:
    assert run("audit", "tail", "-f", "-").returncode == 2
