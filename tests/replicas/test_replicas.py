"""Three replicas in network namespaces of their own, behind HAProxy with the configuration that is shipped.

`make test-replicas` runs this alone and shows what was measured. It takes some 40 seconds, ends after ten minutes
whatever happens, and leaves nothing behind: processes, namespaces and links end with the process that it starts.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

OF_ITS_OWN = ["--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
CONFINED = ["unshare", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), *OF_ITS_OWN]


def why_not() -> str:
    """Why namespaces cannot be had here; nothing if they can."""
    tried = subprocess.run([*CONFINED, "true"], capture_output=True, text=True, check=False)
    return tried.stderr.strip() if tried.returncode else ""


def test_three_replicas_behind_a_load_balancer_are_one_service(tmp_path: Path) -> None:
    if reason := why_not():
        pytest.skip(f"network namespaces are not permitted here: {reason}")
    command = [*CONFINED, sys.executable, "-m", "tests.replicas.play", str(tmp_path)]
    played = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert played.returncode == 0, played.stderr
    measured = json.loads(played.stdout)
    print(measured)
    assert measured["failed"] == 0
    # HAProxy knew before an instance was gone: without draining over a hundred met a closed door.
    assert measured["sent_elsewhere"] < 20
    assert measured["policy_everywhere_seconds"] < 10
