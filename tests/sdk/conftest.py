"""The service with the example policy and tools, as a reader of the documents has it."""

from collections.abc import Iterator

import pytest

from tests.support import ROOT, Server, running


@pytest.fixture(scope="module")
def example_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for each file of tests."""
    policy, tools = ROOT / "deploy" / "policy.example.json", ROOT / "deploy" / "tools.example.json"
    folder = tmp_path_factory.mktemp("examples")
    with running(folder, policy_path=str(policy), tools_path=str(tools)) as found:
        yield found
