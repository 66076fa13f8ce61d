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

from benches.load.bodies import PROMPT, TOOL, Body, bodies

from tests.support import ATTACK

CHECKS = 4000
CONNECTIONS = 8


def prompt(text: str) -> bytes:
    """The body of a check of one message."""
    return json.dumps({"messages": [{"role": "user", "content": text}]}).encode()


def kinds() -> dict[str, tuple[int, Body]]:
    """Kind -> how often among a hundred, and what. Long prompts are others for each number, so that all are read."""
    long = bodies()
    call = json.dumps({"toolName": "search_docs", "arguments": {"query": "holidays"}}).encode()
    short = prompt("What is the weather in Oslo tomorrow, and do I need a coat?")
    return {
        "short": (50, Body("short", "", PROMPT, "", short)),
        "attack": (5, Body("attack", "", PROMPT, "", json.dumps(ATTACK).encode())),
        "tool": (20, Body("tool", "", TOOL, "", call)),
        "4 KB": (15, long["medium"]),
        "55 KB": (10, long["long"]),
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
        sent = kinds()
        weights = [weight for weight, _ in sent.values()]
        names = random.Random(number).choices(list(sent), weights, k=CHECKS // CONNECTIONS)
        chosen = [(name, sent[name][1]) for name in names]
        self._send([(name, body.path, body.numbered(CHECKS * number + at)) for at, (name, body) in enumerate(chosen)])

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
