"""Answers Prometheus, from the main process, with what all worker processes have counted (`metrics`).

The main process serves no requests, and the files that it reads outlive whoever wrote them, so that the figures stay
right when a worker dies. A connection that is broken off or says nothing costs a thread for some seconds and no line in
the log: anybody who can reach the port could write there.
"""

import io
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any, TextIO
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Metric, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from kalguard.sidecar.metrics import POLICY_INFO

IDLE_SECONDS = 10
STOP_SECONDS = 0.1  # how often the server looks whether it is to stop
_log = logging.getLogger(__name__)


class _LivingWorkers(MultiProcessCollector):
    """Reads what the worker processes counted. What the dead said of themselves, rather than counted, is forgotten."""

    def collect(self) -> Iterable[Metric]:
        for path in Path(self._path).glob("gauge_live*_*.db"):
            pid = path.stem.rpartition("_")[2]
            if not _is_running(int(pid)):
                mark_process_dead(int(pid), self._path)  # type: ignore[no-untyped-call]
                for kept in Path(self._path).glob(f"*_{pid}.db"):
                    _give_back(kept)
        collected: Iterable[Metric] = super().collect()  # type: ignore[no-untyped-call]
        for metric in collected:
            if metric.name == POLICY_INFO:  # a series cannot be taken back, only set to 0
                metric.samples = [sample for sample in metric.samples if sample.value]
            yield metric


def _give_back(path: Path) -> None:
    """Keep what a dead worker counted, but not the room that it had reserved."""
    with path.open("rb") as file:
        used = int.from_bytes(file.read(4), sys.byteorder)
    os.truncate(path, max(used, 8))  # the 8 bytes before the first series; 0 are used if it died before it counted


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):  # its number may be a stranger's by now
        return False
    return True


class HardeningMetrics(Collector):
    """How far `KALGUARD_HARDEN` is in force: 1 for each protection that is, as a whole, 0 for each that is not."""

    def __init__(self, in_force: Mapping[str, str]) -> None:
        self._in_force = in_force

    def collect(self) -> Iterable[Metric]:
        told = GaugeMetricFamily("kalguard_hardening", "Protections that are in force", labels=["protection"])
        for name, extent in self._in_force.items():
            told.add_metric([name], float(extent == "full"))
        yield told


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Note that a connection ended badly."""
        _log.debug("connection for metrics ended: %s", type(sys.exception()).__name__)


class _ServerIPv6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = IDLE_SECONDS

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def get_stderr(self) -> TextIO:
        """Where the traceback of a scrape that failed is written."""
        return _Errors()


class _Errors(io.StringIO):
    """Makes one line of the log of what is written to it."""

    def flush(self) -> None:
        """What was written is complete."""
        if text := self.getvalue():
            _log.error("metrics cannot be told: %s", text)
            self.seek(0)
            self.truncate()


def serve_metrics(host: str, port: int, *own: Collector) -> Callable[[], None]:
    """Answer scrapes for all worker processes from threads of this one, and tell of what is this one's `own`.

    Gives what stops it. Raises `OSError`.
    """
    registry = CollectorRegistry()
    _LivingWorkers(registry)  # type: ignore[no-untyped-call]
    for collector in own:
        registry.register(collector)
    kind = _ServerIPv6 if ":" in host else _Server
    server = make_server(host, port, make_wsgi_app(registry), kind, _Handler)
    thread = threading.Thread(target=server.serve_forever, args=(STOP_SECONDS,), name="metrics", daemon=True)
    thread.start()

    def stop() -> None:
        server.shutdown()
        thread.join()
        server.server_close()

    return stop
