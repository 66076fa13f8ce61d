"""What the OpenAPI description says is what the service does: schemathesis against both, briefly.

For longer: `.venv/bin/python -m tests.sidecar.test_schemathesis 600`.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support import ALL_CAPABILITIES, ALLOW_ALL, ROOT, running, token

SECONDS = 30


def test_service_and_description_agree(tmp_path: Path) -> None:
    print(compared(tmp_path, SECONDS))


def compared(tmp_path: Path, seconds: int) -> str:
    """What schemathesis has to say. Raises `AssertionError` where it finds something."""
    (tmp_path / "policy.json").write_text(json.dumps(ALLOW_ALL))
    everything = token(capabilities=[*ALL_CAPABILITIES, "tool:write"])
    with running(tmp_path, policy_path=str(tmp_path / "policy.json")) as server:
        command = [
            *(
                str(Path(sys.executable).with_name("schemathesis")),
                "--config-file",
                str(ROOT / "tests/schemathesis.toml"),
            ),
            *("run", f"{server.url}/schema/openapi.json", "--header", f"Authorization: Bearer {everything}"),
            *("--max-time", str(seconds), "--seed", "1", "--continue-on-failure"),
        ]
        run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
        assert run.returncode == 0, run.stdout
        assert "Traceback" not in server.log()
        assert len(server.audit()) > 50  # it did ask
        return run.stdout


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(compared(Path(folder), int(sys.argv[1])))
