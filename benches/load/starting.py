"""How long our service takes from its start until it says that it is ready."""

import http.client
import json
import subprocess
import time
from pathlib import Path

from tests.support import SECRET, SIDECAR, environment, free_ports, stop

from benches.load.errors import Wrong
from benches.load.measuring import say
from benches.load.servers import POLICY, tool

_PAUSE_SECONDS = 0.005
_PATIENCE_SECONDS = 30.0


def starting(folder: Path, count: int = 5) -> list[float]:
    """Seconds from exec to the first 200 of `/health/ready`, so many times. Raises `Wrong`."""
    say("start")
    tools = folder / "start-tools.json"
    tools.write_text(json.dumps({"tools": [tool("get_weather")]}))
    found = [_start(folder, tools) for _ in range(count)]
    say(f"  {sorted(found)[count // 2]:.2f} s")
    return found


def _start(folder: Path, tools: Path) -> float:
    port, metrics_port = free_ports(2)
    variables = {
        "host": "127.0.0.1",
        "port": str(port),
        "metrics_port": str(metrics_port),
        "token_secret": SECRET,
        "policy_path": str(POLICY),
        "tools_path": str(tools),
        "audit_log_path": str(folder / "start-audit.jsonl"),
        "harden": "true",
        "drain_seconds": "1",
        "log_level": "warning",
    }
    began = time.monotonic()
    process = subprocess.Popen([SIDECAR], env=environment(**variables), stderr=subprocess.DEVNULL)
    try:
        while not _is_ready(port):
            if process.poll() is not None or time.monotonic() - began > _PATIENCE_SECONDS:
                raise Wrong("the service did not get ready")
            time.sleep(_PAUSE_SECONDS)
        return time.monotonic() - began
    finally:
        stop(process)


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
