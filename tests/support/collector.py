"""A collector of OpenTelemetry's, as far as tests need one: it takes what is sent over HTTP, and keeps it."""

from __future__ import annotations

import gzip
import http.server
import threading

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector(http.server.ThreadingHTTPServer):
    """Listens at a free port of this machine.

    Args:
        status: of all answers.
        silent: answer nothing until :meth:`close`.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, status: int = 200, *, silent: bool = False) -> None:
        self.status = status
        self.speaks = threading.Event()
        if not silent:
            self.speaks.set()
        self.received: list[tuple[str, dict[str, str], bytes]] = []
        super().__init__(("127.0.0.1", 0), Receiver)
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def close(self) -> None:
        self.speaks.set()
        self.shutdown()
        self.thread.join()
        self.server_close()

    def traces(self) -> list[ExportTraceServiceRequest]:
        return [
            ExportTraceServiceRequest.FromString(body) for path, _, body in self.received if "traces" in path
        ]

    def metrics(self) -> list[ExportMetricsServiceRequest]:
        return [
            ExportMetricsServiceRequest.FromString(body)
            for path, _, body in self.received
            if "metrics" in path
        ]


class Receiver(http.server.BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.received.append((self.path, dict(self.headers), body))
        self.server.speaks.wait(30)
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass
