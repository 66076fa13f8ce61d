"""What the documents on integration show is run: each block, against the service with the example policy and tools."""

import re
import subprocess
import sys

import pytest

from tests.support import PATIENCE_SECONDS, ROOT, Server, environment, token

DOCUMENTS = "".join((ROOT / "docs" / name).read_text() for name in ("integration.md", "integration-frameworks.md"))
PYTHON = re.findall(r"```python\n(.*?)```", DOCUMENTS, re.DOTALL)
CURL = [block for block in re.findall(r"```sh\n(.*?)```", DOCUMENTS, re.DOTALL) if block.startswith("curl")]


def run(command: list[str], example_server: Server) -> str:
    ended = subprocess.run(
        command,
        env=environment(sidecar_url=example_server.url, agent_token=token()),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_the_python_in_the_documents(example_server: Server, code: str) -> None:
    run([sys.executable, "-c", code], example_server)


@pytest.mark.parametrize("command", CURL, ids=range(len(CURL)))
def test_the_requests_in_the_documents(example_server: Server, command: str) -> None:
    assert '"allowed":true' in run(["sh", "-c", command], example_server)


def test_there_is_something_to_run() -> None:
    assert (len(PYTHON), len(CURL)) == (6, 2)
