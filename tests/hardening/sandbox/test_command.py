"""`kalguard sandbox run`, as it is called: what it hands on, its exit codes, and what it says."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from kalguard import Protection
from kalguard.cli.sandbox import sandbox
from tests.hardening.sandbox.tools import BWRAP
from tests.support import environment

KALGUARD = str(Path(sys.executable).with_name("kalguard"))


def run(
    folder: Path, *arguments: str, stdin: bytes = b"", variables: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """The command with the tests' bubblewrap, in `folder`."""
    return subprocess.run(
        [KALGUARD, "sandbox", "run", "--bwrap", str(BWRAP), *arguments],
        input=stdin,
        env=environment() | (variables or {}),
        capture_output=True,
        cwd=folder,
        timeout=60,
        check=False,
    )


def test_what_it_writes_and_its_exit_code_are_the_command_s(tmp_path: Path) -> None:
    ended = run(tmp_path, "--", "sh", "-c", "printf '\\377out'; echo err >&2; exit 7")
    assert (ended.returncode, ended.stdout, ended.stderr) == (7, b"\xffout", b"err\n")


def test_the_options_give_it_what_they_say(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    arguments = ["--timeout", "5s", "--env", "PATH", "--env", "A=b=c", "--cwd", "work", "--write", "work"]
    arguments += ["--memory", "256M", "--processes", "8", "--file-size", "1M", "--output", "64K", "--cpu", "3"]
    ended = run(tmp_path, *arguments, "--", "sh", "-c", "pwd; env | sort; ulimit -v; ulimit -t; touch made")
    assert ended.returncode == 0, ended.stderr
    pwd, *rest = ended.stdout.decode().splitlines()
    assert pwd == str(tmp_path / "work")
    assert rest[0] == "A=b=c"
    assert [line.partition("=")[0] for line in rest[1:-2]] == ["PATH", "PWD"]
    assert rest[-2:] == [str(256 * 1024), "3"]
    assert (tmp_path / "work/made").exists()


def test_as_json_it_says_how_it_ended_and_what_was_in_force(tmp_path: Path) -> None:
    ended = run(
        tmp_path, "--output-format", "json", "--stdin", "--", "sh", "-c", "cat; printf '\\377' >&2", stdin=b"in"
    )
    said = json.loads(ended.stdout)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert (said["exitCode"], said["signal"], said["timedOut"], said["truncated"]) == (0, None, False, False)
    assert (said["stdout"], base64.b64decode(said["stderrBase64"])) == ("in", b"\xff")
    assert set(said["protections"]) >= set(Protection) - {Protection.MEMORY_TOTAL}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--timeout", "200ms", "--", "sleep", "9"], 124, b"ended after its time"),
        (["--output", "10", "--", "yes"], 124, b"written more than it may"),
        (["--", "sh", "-c", "kill -9 $$"], 137, b""),
        (["--", "no-such-command"], 125, b"`no-such-command` cannot be started"),
        (["--cwd", "missing", "--", "true"], 125, b"missing"),
        (["--bwrap", "/missing", "--", "true"], 125, b"namespaces"),
        (["--env", "NOT_SET", "--", "true"], 2, b"NOT_SET"),
        (["--memory", "lots", "--", "true"], 2, b"`lots` is not a size"),
        (["--timeout", "5", "--", "true"], 2, b"`5` is not a time span"),
        (["--require", "magic", "--", "true"], 2, b"magic"),
        (["--unknown", "--", "true"], 2, b"--unknown"),
        (["--require", "namespaces", "--without", "namespaces", "--", "true"], 2, b"contradict"),
        (["--network", "--require", "no-network", "--", "true"], 2, b"contradict"),
        (
            ["--memory", "999999999999G", "--", "true"],
            2,
            b"--memory: `1073741823998926258176` is not a whole number from 1 to",
        ),
        (
            ["--timeout", "999999h", "--", "true"],
            2,
            b"--timeout: `3599996400.0` is not a number of seconds above 0 and up to",
        ),
        ([], 2, b"COMMAND"),
    ],
)
def test_exit_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, said: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(
        sandbox, ["run", "--bwrap", str(BWRAP), *arguments]
    )  # in this process, since it is quicker
    assert ended.exit_code == code
    assert said in ended.stderr_bytes


def test_a_refusal_as_json_names_what_is_missing(tmp_path: Path) -> None:
    ended = run(tmp_path, "--bwrap", "/missing", "--output-format", "json", "--", "true")
    assert ended.returncode == 125
    assert json.loads(ended.stdout)["missing"] == ["namespaces"]


def test_a_relative_path_of_bubblewrap_is_from_where_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "mine").symlink_to(BWRAP)
    assert run(tmp_path, "--bwrap", "./mine", "--", "echo", "ran").stdout == b"ran\n"


def test_options_after_the_command_are_the_command_s(tmp_path: Path) -> None:
    assert run(tmp_path, "echo", "--timeout", "-x").stdout == b"--timeout -x\n"


def test_without_what_is_not_demanded_it_runs(tmp_path: Path) -> None:
    fewer = ["--without", "namespaces", "--without", "process-limit"]
    ended = run(tmp_path, "--bwrap", "/missing", *fewer, "--output-format", "json", "--", "true")
    said = json.loads(ended.stdout)
    assert said["exitCode"] == 0
    assert "namespaces" not in said["protections"]
