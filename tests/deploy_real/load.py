"""A bounded load of mixed sizes, for `real_minimal.py`, which runs it in the container's network:

    python -m tests.deploy_real.load URL TOKEN

Prints as JSON how often each kind was answered with which status, and the longest wait. Every check is sent once; one
that is not answered ends the run.
"""

import http.client
import json
import random
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from benches.load.bodies import bodies as sent_by_make_load

from tests.support import ATTACK

CHECKS = 4000
CONNECTIONS = 8
LONG = sent_by_make_load()


def prompt(text: str) -> bytes:
    """The body of a check of one message."""
    return json.dumps({"messages": [{"role": "user", "content": text}]}).encode()


def bodies(number: int) -> dict[str, tuple[int, str, bytes]]:
    """Kind -> how often among a hundred, path, body. Long prompts are others for each number, so that all are read."""
    call = {"toolName": "search_docs", "arguments": {"query": "holidays"}}
    return {
        "short": (50, "/v1/prompt/check", prompt("What is the weather in Oslo tomorrow, and do I need a coat?")),
        "attack": (5, "/v1/prompt/check", json.dumps(ATTACK).encode()),
        "tool": (20, "/v1/tool/check", json.dumps(call).encode()),
        "4 KB": (15, "/v1/prompt/check", LONG["medium"].numbered(number)),
        "55 KB": (10, "/v1/prompt/check", LONG["long"].numbered(number)),
    }


class Load:
    """The connections and what came back: (kind, status) -> how often."""

    def __init__(self, url: str, token: str) -> None:
        self._address = urlsplit(url).netloc
        self._head = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self.answers: Counter[tuple[str, int]] = Counter()
        self.longest = 0.0

    def mixed(self, number: int) -> None:
        """One connection's part, in an order of its own."""
        kinds = bodies(0)
        weights = [weight for weight, _, _ in kinds.values()]
        names = random.Random(number).choices(list(kinds), weights, k=CHECKS // CONNECTIONS)
        self._send([(name, *bodies(CHECKS * number + at)[name][1:]) for at, name in enumerate(names)])

    def _send(self, checks: list[tuple[str, str, bytes]]) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=120)
        for name, path, body in checks:
            began = time.monotonic()
            connection.request("POST", path, body, self._head)
            answer = connection.getresponse()
            answer.read()
            self.longest = max(self.longest, time.monotonic() - began)
            self.answers[name, answer.status] += 1
        connection.close()


def main() -> None:
    load = Load(*sys.argv[1:])
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        running = [pool.submit(load.mixed, number) for number in range(CONNECTIONS)]
        for part in running:
            part.result()
    answers = [[name, status, count] for (name, status), count in sorted(load.answers.items())]
    print(json.dumps({"answers": answers, "longest": load.longest}))


if __name__ == "__main__":
    main()
