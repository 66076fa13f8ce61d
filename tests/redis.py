"""A Redis of the tests' own: a real server, on a loopback port, that can be stopped, held up and started again."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis.backoff import NoBackoff
from redis.retry import Retry

import redis
from tests.support import PATIENCE_SECONDS, ROOT, free_port

PROGRAM = ROOT / ".services" / "redis-server"


class RedisServer:
    """A server process on `port`, keeping nothing on disk. `options` are those of the command line."""

    def __init__(self, folder: Path, *options: str) -> None:
        assert PROGRAM.exists(), "there is no Redis for the tests: run `make services`"
        self.port = free_port()
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.client = redis.Redis(port=self.port, socket_timeout=60, decode_responses=True, retry=Retry(NoBackoff(), 0))

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start, with nothing in it, and wait until it answers."""
        fixed = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"]
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(PROGRAM), *fixed, "--enable-debug-command", "local", *self._options],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
            )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                self.client.ping()
                return
            except redis.AuthenticationError:
                return
            except redis.ConnectionError:
                assert self._process.poll() is None, (self._folder / "redis.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def hold(self) -> None:
        """Stop it where it is: it answers no more, and its connections stay."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash would. It is gone when this returns."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(PATIENCE_SECONDS)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


@contextmanager
def redis_server(folder: Path, *options: str) -> Iterator[RedisServer]:
    """A server that is running, and is gone afterwards."""
    server = RedisServer(folder, *options)
    server.start()
    try:
        yield server
    finally:
        server.client.close()
        server.kill()
