"""The AppArmor profile, as AppArmor's own parser reads it. Enforcing it needs a kernel with AppArmor."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.test_systemd import env_file, value
from tests.support import ROOT

PARSER = ROOT / ".services/apparmor_parser"
PROFILE = ROOT / "deploy/apparmor/kalguard-sidecar"
RULES = re.findall(r"^  (?:owner )?([/@]\S+) ([a-z]+),$", PROFILE.read_text(), re.MULTILINE)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no AppArmor elsewhere")


def parsed(path: Path) -> subprocess.CompletedProcess[str]:
    assert PARSER.exists(), "there is no AppArmor parser for the tests: run `make services`"
    command = [str(PARSER), "--skip-kernel-load", "--skip-cache", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_parser_takes_the_profile() -> None:
    assert parsed(PROFILE).returncode == 0


@pytest.mark.parametrize(
    ("right", "wrong"), [("deny ptrace,", "deny ptracing,"), ("** rwk,", "** rwy,"), ("network inet ", "network inat ")]
)
def test_a_mistake_in_it_would_be_noticed(right: str, wrong: str, tmp_path: Path) -> None:
    text = PROFILE.read_text()
    assert right in text
    (tmp_path / "profile").write_text(text.replace(right, wrong))
    assert parsed(tmp_path / "profile").returncode != 0


def test_what_is_written_is_our_own_and_nothing_is_both_written_and_executed() -> None:
    written = {path for path, rights in RULES if "w" in rights}
    assert written
    ours = ("/var/log/kalguard/", "/var/lib/kalguard/", "/run/kalguard/", "/tmp/kalguard-")
    assert [path for path in written if not path.startswith(ours)] == []
    assert [path for path, rights in RULES if "w" in rights and set("mx") & set(rights)] == []


def rights_to(path: str) -> str:
    """What the profile allows to do with a file: `**` is anything, `*` and `[...]` anything up to the next `/`."""
    found = ""
    for pattern, rights in RULES:
        glob = re.escape(pattern).replace(r"\*\*", ".+").replace(r"\*", "[^/]*").replace(r"\[0\-9\]", "[0-9]")
        expression = re.sub(r"\\{(.*?)\\}", lambda of: f"(?:{of[1].replace(',', '|')})", glob)
        found += rights if re.fullmatch(expression, path) else ""
    return found


def test_it_has_the_paths_of_what_is_shipped() -> None:
    program = value("ExecStart")
    for start in (program.replace("/current/", "/releases/20260102T030405Z-7/"), program.replace("/current/", "/")):
        assert "x" in rights_to(start) and "x" in rights_to(str(Path(start).with_name("python3")))
        assert "m" in rights_to(str(Path(start).parents[1] / "lib/python3.12/site-packages/kalguard/_core.abi3.so"))
    places = {"/var/log": "LogsDirectory", "/var/lib": "StateDirectory", "/run": "RuntimeDirectory"}
    for folder, directive in places.items():
        assert {"r", "w"} <= set(rights_to(f"{folder}/{value(directive)}/kalguard-1/any"))
    mounted = re.findall(r"^  KALGUARD_\w+: (/\S+)$", (ROOT / "deploy/k8s/configmap.yaml").read_text(), re.MULTILINE)
    given = [path for path in env_file().values() if path.startswith("/")]
    assert len(mounted) >= 3 and len(given) >= 3
    for path in (*mounted, *given, "/run/credentials/kalguard.service/token-secret"):
        assert "r" in rights_to(path), path
