"""The unit, its settings, the rule for logrotate and the installation: checked by systemd's own tools, and run."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from kalguard import config
from kalguard.decision.policy import load_policy
from kalguard.decision.revocation import load_revocations
from kalguard.records.verification import verify
from tests.deploy.rotation import Rotation, asking
from tests.support import ROOT, SECRET, SIDECAR, running, stop, until

FOLDER = ROOT / "deploy/systemd"
UNIT = (FOLDER / "kalguard.service").read_text()
INSTALL = FOLDER / "install.sh"
ANALYZE = ROOT / ".services/systemd-analyze"
DROP_INS = ("cloud.conf", "redis.conf", "audit-key.conf")
_NAMES = {variable.name for variable in config.VARIABLES}
_NAMES |= {f"{variable.name}_FILE" for variable in config.VARIABLES if variable.secret}


def values(directive: str, text: str = UNIT) -> list[str]:
    """What a directive is set to, once for each time."""
    return re.findall(rf"^{directive}=(.*)$", text, re.MULTILINE)


def value(directive: str) -> str:
    (found,) = values(directive)
    return found


def env_file() -> dict[str, str]:
    """The example of settings, with what is only suggested."""
    text = (FOLDER / "kalguard.env").read_text()
    return dict(re.findall(r"^#?([A-Z]\w*)=(.*)$", text, re.MULTILINE))


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(ANALYZE), *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("drop_in", ["", *DROP_INS])
def test_systemd_understands_every_line(tmp_path: Path, drop_in: str) -> None:
    unit = tmp_path / "kalguard.service"
    # The commands have to be there; here they are somewhere else.
    unit.write_text(UNIT.replace("/opt/kalguard/current/bin/", f"{Path(SIDECAR).parent}/"))
    if drop_in:
        (tmp_path / "kalguard.service.d").mkdir()
        (tmp_path / "kalguard.service.d" / drop_in).write_text((FOLDER / drop_in).read_text())
    checked = analyze("verify", "--recursive-errors=yes", "--man=no", str(unit))
    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_line_that_systemd_does_not_know_would_be_noticed(tmp_path: Path) -> None:
    unit = tmp_path / "kalguard.service"
    unit.write_text(
        UNIT.replace("/opt/kalguard/current/bin/", f"{Path(SIDECAR).parent}/") + "[Service]\nProtectAll=yes\n"
    )
    assert analyze("verify", "--recursive-errors=yes", "--man=no", str(unit)).returncode != 0


def test_the_unit_is_hardly_exposed() -> None:
    checked = analyze("security", "--offline=true", "--threshold=20", str(FOLDER / "kalguard.service"))
    assert checked.returncode == 0, checked.stdout
    (exposure,) = re.findall(r"Overall exposure level.*: ([\d.]+)", checked.stdout)
    assert float(exposure) <= 1.5


def test_only_secrets_are_left_out_of_the_settings_and_all_are_good() -> None:
    given = env_file()
    assert set(given) <= _NAMES
    loaded = config.load({**given, "KALGUARD_TOKEN_SECRET": SECRET})
    assert loaded.warnings == []
    secret = {variable.name for variable in config.VARIABLES if variable.secret}
    assert not secret & set(given)


@pytest.mark.parametrize("name", ["kalguard.service", *DROP_INS])
def test_credentials_are_read_where_systemd_puts_them(name: str) -> None:
    text = (FOLDER / name).read_text()
    loaded = dict(credential.split(":") for credential in values("LoadCredential", text))
    assert all(path == f"/etc/kalguard/credentials/{credential}" for credential, path in loaded.items())
    settings = dict(setting.split("=", 1) for setting in values("Environment", text))
    used = {path.removeprefix("%d/") for path in settings.values() if path.startswith("%d/")}
    assert used == set(loaded) and used
    assert {variable for variable in settings if variable != "TMPDIR"} <= _NAMES
    assert not any(variable in env_file() for variable in settings), "the settings' file would win"


def test_the_end_has_the_time_that_it_takes() -> None:
    drain = int(env_file()["KALGUARD_DRAIN_SECONDS"])
    assert int(value("TimeoutStopSec")) >= drain + 2
    assert value("KillMode") == "mixed"  # a worker that gets SIGTERM by itself ends at once


def test_what_the_service_writes_lies_where_it_may_write() -> None:
    folders = {
        "/var/log": value("LogsDirectory"),
        "/var/lib": value("StateDirectory"),
        "/run": value("RuntimeDirectory"),
    }
    given = env_file()
    assert str(Path(given["KALGUARD_AUDIT_LOG_PATH"]).parent) == f"/var/log/{folders['/var/log']}"
    assert f"TMPDIR=%t/{folders['/run']}" in values("Environment")
    assert f"KALGUARD_STATE_DIR=%S/{folders['/var/lib']}" in values("Environment", (FOLDER / "cloud.conf").read_text())
    read = {path for name, path in given.items() if name.endswith("_PATH") and name != "KALGUARD_AUDIT_LOG_PATH"}
    assert {str(Path(path).parent) for path in read} == {"/etc/kalguard"}
    assert value("ProtectSystem") == "strict"


def test_what_a_process_takes_from_itself_it_may() -> None:
    allowed = {call for line in values("SystemCallFilter") for call in line.split()}
    assert {"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "seccomp"} <= allowed


def test_a_reload_is_refused_while_a_file_is_bad(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text('{"rules": []}')
    bad.write_text('{"rules": [{"id": "a"}]}')
    # What reloads has the settings of the service, and cannot read its credentials.
    settings = {**os.environ, "KALGUARD_TOKEN_SECRET_FILE": "/run/credentials/kalguard.service/none"}
    commands = [re.fullmatch(r"/bin/sh -ec '(.*)'", command) for command in values("ExecReload")]
    scripts = [
        found[1].replace("/opt/kalguard/current/bin/", f"{Path(SIDECAR).parent}/") for found in commands if found
    ]
    assert len(scripts) == 4 and scripts.pop() == 'kill -HUP "$MAINPID"'
    codes = {}
    for script in scripts:
        name = re.findall(r"\$(\w+_PATH)", script)[0]
        given = ("", str(good) if "POLICY" in name else "", str(bad))
        codes[name] = [
            subprocess.run(["sh", "-ec", script], env={**settings, name: path}, check=False).returncode
            for path in given
        ]
    assert codes == {f"KALGUARD_{kind}_PATH": [0, 0, 1] for kind in ("POLICY", "TOOLS", "PATTERNS")}


def test_the_files_of_the_beginning_let_nobody_in_and_are_good() -> None:
    policy = load_policy((FOLDER / "policy.json").read_bytes())
    document = json.loads((FOLDER / "policy.json").read_text())
    assert (document["defaultDecision"], document["rules"]) == ("deny", [])
    assert policy.rules.lint() == []
    assert load_revocations((FOLDER / "revoked-tokens").read_bytes()).digests == frozenset()


def test_logrotate_rotates_the_log_of_a_service_at_work(tmp_path: Path) -> None:
    with running(tmp_path, policy_default_deny="false", workers="2") as server:
        rotation = Rotation(tmp_path, server.audit_path)
        with asking(server) as answered:
            rotation.rotate_under_load(answered, 3)
            until(server.audit_path.exists)
        assert stop(server.process) == 0
    names = [file.name for file in rotation.files()]
    assert names == ["audit.jsonl.3.gz", "audit.jsonl.2.gz", "audit.jsonl.1", "audit.jsonl"]
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in rotation.files())
    report = verify([str(file) for file in rotation.files()])
    assert report.bad is None, report.bad
    assert [note.text for note in report.remarks] == []
    assert len(answered) > 60


def install(destination: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(INSTALL), *options],
        env={"PATH": os.environ["PATH"], "DESTDIR": str(destination)},
        capture_output=True,
        text=True,
        check=False,
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_an_installation_can_be_run_again_and_changes_nothing(tmp_path: Path) -> None:
    assert install(tmp_path).returncode == 0
    once = contents(tmp_path)
    assert {"etc/kalguard/policy.json", "etc/systemd/system/kalguard.service", "etc/logrotate.d/kalguard"} <= set(once)
    again = install(tmp_path)
    assert (again.returncode, again.stdout) == (0, "")
    assert contents(tmp_path) == once
    secret = tmp_path / "etc/kalguard/credentials/token-secret"
    assert (secret.stat().st_mode & 0o777, secret.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert len(secret.read_bytes()) == 64


def test_what_was_changed_is_kept_and_what_was_not_is_brought_up_to_date(tmp_path: Path) -> None:
    install(tmp_path)
    changed = ["etc/kalguard/policy.json", "etc/kalguard/kalguard.env", "etc/systemd/system/kalguard.service"]
    for name in changed:
        mine = tmp_path / name
        mine.write_text(mine.read_text() + "# mine\n")
    rule, pristine = tmp_path / "etc/logrotate.d/kalguard", tmp_path / "opt/kalguard/share/kalguard.logrotate"
    for file in (rule, pristine):  # as a version before would have left them
        file.write_text("# of before\n")
    before = contents(tmp_path)
    again = install(tmp_path)
    assert again.returncode == 0
    after = contents(tmp_path)
    assert {name: after[name] for name in changed} == {name: before[name] for name in changed}
    assert "etc/systemd/system/kalguard.service, which you have changed" in again.stdout
    assert rule.read_text() == (FOLDER / "kalguard.logrotate").read_text()


def test_a_removal_keeps_what_is_the_operator_s_until_it_is_told_otherwise(tmp_path: Path) -> None:
    install(tmp_path)
    log = tmp_path / "var/log/kalguard/audit.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text("a record\n")
    for _ in range(2):
        assert install(tmp_path, "--remove").returncode == 0
        left = set(contents(tmp_path))
        names = {"policy.json", "kalguard.env", "revoked-tokens", "credentials/token-secret"}
        assert left == {"var/log/kalguard/audit.jsonl", *(f"etc/kalguard/{name}" for name in names)}
    secret = (tmp_path / "etc/kalguard/credentials/token-secret").read_bytes()
    install(tmp_path)
    assert (tmp_path / "etc/kalguard/credentials/token-secret").read_bytes() == secret
    assert install(tmp_path, "--remove", "--purge").returncode == 0
    assert set(contents(tmp_path)) == {"var/log/kalguard/audit.jsonl"}
    assert install(tmp_path, "--remove", "--purge-logs").returncode == 0
    assert contents(tmp_path) == {}


# A machine where functions of install.sh are tried: its service stays up unless there is `$opt/broken`.
MACHINE = r"""
systemctl() { case $1 in
    --version) echo "systemd $SYSTEMD (as told)" ;;
    is-active) ! [ -e "$opt/broken" ] ;;
    *) echo same ;;
esac; }
journalctl() { :; }
sleep() { :; }
python=make_release
make_release() { mkdir -p "$3/bin"; printf '#!/bin/sh\n' | tee "$3/bin/pip" >"$3/bin/kalguard"; chmod +x "$3"/bin/*; }
"""


def played(destination: Path, steps: str, systemd: str = "252") -> subprocess.CompletedProcess[str]:
    """Some functions of install.sh on such a machine."""
    functions, _ = INSTALL.read_text().split("# One at a time.")
    return subprocess.run(
        ["sh", "-c", functions + MACHINE + steps],
        env={"PATH": os.environ["PATH"], "DESTDIR": str(destination), "SYSTEMD": systemd},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_version_before_is_the_last_one_that_stayed_up(tmp_path: Path) -> None:
    opt = tmp_path / "opt/kalguard"
    assert played(tmp_path, "add_release; restart").returncode == 0
    good = (opt / "current").resolve()
    assert not (opt / "previous").exists()
    (opt / "broken").touch()
    for _ in range(2):
        failed = played(tmp_path, "add_release; restart")
        assert failed.returncode == 1 and "does not stay up" in failed.stderr
        assert (opt / "previous").resolve() == good != (opt / "current").resolve()
    (opt / "broken").unlink()
    assert played(tmp_path, "roll_back").returncode == 0
    assert (opt / "current").resolve() == good
    assert not (opt / "previous").exists(), "a release that failed is nothing to go back to"
    assert played(tmp_path, "add_release; restart").returncode == 0
    assert (opt / "previous").resolve() == good
    for _ in range(2):
        before = (opt / "current").resolve()
        assert played(tmp_path, "roll_back").returncode == 0
        assert (opt / "previous").resolve() == before != (opt / "current").resolve()


def test_an_older_systemd_is_told_at_once(tmp_path: Path) -> None:
    told = [played(tmp_path, "root=''; check_systemd", systemd) for systemd in ("250", "251", "none")]
    assert [one.returncode for one in told] == [1, 0, 1]
    assert told[0].stderr == "install.sh: systemd 251 or newer is needed; this is 250\n"


def test_the_command_is_on_the_path_and_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    link = tmp_path / "usr/local/bin/kalguard"
    install(tmp_path)
    assert os.readlink(link) == "/opt/kalguard/current/bin/kalguard"
    install(tmp_path, "--remove")
    assert not link.is_symlink()
    link.write_text("mine")
    assert f"kept {link}, which is not ours" in install(tmp_path).stdout
    install(tmp_path, "--remove", "--purge-logs")
    assert link.read_text() == "mine"


def test_two_installations_at_once_do_not_get_in_each_other_s_way(tmp_path: Path) -> None:
    holds = ["flock", "--no-fork", str(tmp_path), "sleep", "60"]
    free = ["flock", "--nonblock", str(tmp_path), "true"]
    with subprocess.Popen(holds) as other:
        until(lambda: subprocess.run(free, check=False).returncode != 0)
        second = install(tmp_path)
        other.kill()
    assert (second.returncode, second.stderr) == (1, "install.sh: another install.sh is at work\n")
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    "options", [["--purge"], ["--wheel"], ["--wheel", "/nowhere.whl"], ["--lock"], ["--frobnicate"]]
)
def test_options_that_make_no_sense_do_nothing(tmp_path: Path, options: list[str]) -> None:
    done = install(tmp_path, *options)
    assert done.returncode == 2
    assert done.stderr.startswith("install.sh: ")
    assert contents(tmp_path) == {}


def test_shellcheck_finds_nothing_to_say_about_the_scripts() -> None:
    scripts = sorted({*ROOT.glob("deploy/**/*.sh"), *ROOT.glob("tests/**/*.sh"), ROOT / ".ci/run"})
    checked = subprocess.run(
        [str(ROOT / ".services/shellcheck"), "--external-sources", "--exclude=SC2015,SC2016", *map(str, scripts)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert (checked.returncode, checked.stdout) == (0, "")
