"""The AppArmor profile, as AppArmor's own parser reads it. Enforcing it needs a kernel with AppArmor."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

PARSER = ROOT / ".services/apparmor_parser"
PROFILE = ROOT / "deploy/apparmor/kalguard-sidecar"

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
    rules = re.findall(r"^  (?:owner )?([/@]\S+) ([a-z]+),$", PROFILE.read_text(), re.MULTILINE)
    written = {path for path, rights in rules if "w" in rights}
    assert written
    assert [path for path in written if not path.startswith(("/var/log/", "/var/lib/", "/tmp/kalguard-"))] == []
    assert [path for path, rights in rules if "w" in rights and set("mx") & set(rights)] == []
