"""A collector of traces of the tests' own: takes OTLP over HTTP, as a real one does, and keeps the spans."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """Keeps every span that it is sent, as a dictionary, and `bodies` as they came.

    While `held` is set nobody is answered.
    """

    def __init__(self, port: int = 0) -> None:
        self.spans: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self.paths: list[str] = []
        self.held = threading.Event()
        self.released = threading.Event()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if collector.held.is_set():
                    collector.released.wait(60)
                collector.take(self.path, body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def take(self, path: str, body: bytes) -> None:
        self.paths.append(path)
        self.bodies.append(body)
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            service = {item.key: item.value.string_value for item in resource.resource.attributes}["service.name"]
            for scope in resource.scope_spans:
                self.spans += [_told(span, service) for span in scope.spans]

    def run(self) -> None:
        self._server.serve_forever(0.05)

    def stop(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


def _told(span: Any, service: str) -> dict[str, Any]:
    attributes = {
        item.key: item.value.int_value if item.value.HasField("int_value") else item.value.string_value
        for item in span.attributes
    }
    return {
        "service": service,
        "name": span.name,
        "kind": span.kind,
        "trace": span.trace_id.hex(),
        "id": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "state": span.trace_state,
        "start": span.start_time_unix_nano,
        "end": span.end_time_unix_nano,
        "failed": span.status.code == 2,
        "attributes": attributes,
    }


@contextmanager
def collector(port: int = 0) -> Iterator[Collector]:
    """A collector that is running, and is gone afterwards."""
    started = Collector(port)
    thread = threading.Thread(target=started.run, daemon=True)
    thread.start()
    try:
        yield started
    finally:
        started.stop()
        thread.join()
