"""Fixtures: one server process for all tests that need nothing special of it. And how the tests are spread.

`make test` runs them in several processes, file by file, in the order of this list (pytest-xdist).
"""

import atexit
import json
import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings as hypothesis_settings

from tests.support import Server, make_certificate, running

# The same examples on every run, so that a failure is one that anybody can see again.
hypothesis_settings.register_profile("default", deadline=None, derandomize=True)
hypothesis_settings.load_profile("default")

# Whoever makes an HTTP client reads all authorities that are trusted, in a twentieth of a second and for each call anew
# with `httpx.get`. Here nobody is called whom they vouch for: one is enough. The services do not see this.
_AUTHORITIES = TemporaryDirectory(prefix="authorities-")
atexit.register(_AUTHORITIES.cleanup)
os.environ["SSL_CERT_FILE"] = str(make_certificate(Path(_AUTHORITIES.name), "nobody")[0])

# Shells start what runs in the background with Ctrl-C ignored, and so would be what these tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The files that take longest begin first, so that none is left over at the end. Any other runs after them.
LONGEST = (
    "test_cloud.py",
    "test_cloud_usage.py",
    "test_cloud_attacks.py",
    "test_audit_chain.py",
    "test_soak.py",
    "test_lifecycle.py",
    "test_token_states.py",
    "test_limits.py",
    "test_takeover.py",
    "test_replicas.py",
    "test_outages.py",
)

POLICY = {
    "version": "tests-1",
    "rules": [
        {"id": "no", "match": {"agentIds": ["denied-*"]}, "decision": "deny", "reason": "not you"},
        {
            "id": "ask",
            "match": {"actions": ["tool:execute"], "tools": ["send_payment"]},
            "decision": "require_approval",
            "reason": "ask a person",
        },
        {"id": "yes", "match": {"agentIds": ["agent-*"]}, "decision": "allow", "reason": "allowed"},
    ],
}
TOOLS = {
    "denylist": ["shell_*"],
    "tools": [
        {"name": "get_weather", "argumentSchema": {"location": {"type": "string", "required": True}}},
        {"name": "limited", "rateLimitPerMinute": 2},
        {"name": "send_payment"},
    ],
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest first, then what starts servers, which wait while others compute."""
    items.sort(key=lambda item: (_place(item.path.name), "sidecar" not in item.path.parts))


def _place(name: str) -> int:
    return LONGEST.index(name) if name in LONGEST else len(LONGEST)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape halves of characters in what a test has logged: between processes a report is sent as UTF-8."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with `POLICY` and `TOOLS`, an audit file and a list of revoked tokens at `revoked` beside it."""
    folder = tmp_path_factory.mktemp("server")
    write(folder / "policy.json", POLICY)
    write(folder / "tools.json", TOOLS)
    (folder / "revoked").write_text("# none yet\n")
    with running(
        folder,
        policy_path=str(folder / "policy.json"),
        tools_path=str(folder / "tools.json"),
        revoked_tokens_path=str(folder / "revoked"),
        policy_watch="true",
        policy_watch_interval_ms="50",
    ) as started:
        yield started


def write(path: Path, value: object) -> None:
    """Write JSON."""
    path.write_text(json.dumps(value))
