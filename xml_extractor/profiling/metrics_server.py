"""Serves a load's metrics over HTTP while it runs: what ``--metrics-port`` does."""

from __future__ import annotations

import errno
import logging
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Final

from xml_extractor.errors import UsageError
from xml_extractor.profiling.live_figures import LiveFigures
from xml_extractor.profiling.metrics import Metrics
from xml_extractor.profiling.observer import CommittedBatch, LoadObserver, WatchedLoad
from xml_extractor.profiling.summary import LoadSummary
from xml_extractor.threads import Thread

logger = logging.getLogger(__name__)

REQUEST_SECONDS: Final = 10.0
"""How long a request may take in all: Prometheus's own patience with us."""

MOST_REQUESTS: Final = 8
"""Requests at the same time; a further one is turned away.  One or two Prometheus servers make one each."""

GRACE_SECONDS: Final = 0.5
"""How long the end waits for answers on their way; then their connections are cut."""

POLL_SECONDS: Final = 0.05
"""How often the server looks whether it is to end."""

_PLAIN: Final = "text/plain; charset=utf-8"
_POINTER: Final = b"xml-extractor is loading; its metrics are at /metrics\n"


class MetricsServer(LoadObserver):
    """Serves ``/metrics`` from its making to the end of the load.

    Args:
        host: address to listen at.
        port: 0 takes a free one; :attr:`url` has it.
        contract: name of the load's contract, which labels every metric.

    Raises:
        UsageError: the address or port cannot be had.
    """

    def __init__(self, host: str, port: int, contract: str, figures: LiveFigures | None = None) -> None:
        self._figures = figures or LiveFigures()
        metrics = Metrics(self._figures, {"contract": contract})
        self._server = _open(host, port, metrics.page)
        self._thread = Thread(self._serve, name="metrics-server")
        try:
            self._thread.start()
        except BaseException:
            self._server.server_close()
            raise
        self._ended = False

    @property
    def url(self) -> str:
        """Where the metrics are."""
        host, port = map(str, self._server.server_address[:2])
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/metrics"

    def begin(self, load: WatchedLoad) -> None:
        """The load is about to run."""
        self._figures.begin(load)

    def batch(self, batch: CommittedBatch) -> None:
        """A batch was committed."""
        self._figures.batch(batch)

    def end(self, summary: LoadSummary) -> None:
        """Close the port and all connections; only the first call counts."""
        if self._ended:
            return
        self._ended = True
        try:
            self._figures.end(summary)
        finally:
            self._server.end()
            self._thread.join(REQUEST_SECONDS)

    def _serve(self) -> None:
        self._server.serve_forever(POLL_SECONDS)


def _open(host: str, port: int, page: Callable[[str], tuple[bytes, str]]) -> _Server:
    named = f"--metrics-port {port}"
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError):
        raise UsageError(
            f"--metrics-host {host}: no address of that name is known; name one of this machine's, or leave "
            "the flag out for 127.0.0.1"
        ) from None
    try:
        return _Server(family, address, page)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if error.errno == errno.EADDRINUSE:
            advice = f"{named}: another program listens there; name another port, or 0 for a free one"
        elif isinstance(error, PermissionError):
            advice = f"{named} may not be opened by this user; name one of 1024 or above, or 0 for a free one"
        elif error.errno == errno.EADDRNOTAVAIL:
            advice = f"--metrics-host {host} is no address of this machine; name one that is"
        else:
            advice = f"{named} at {host} cannot be opened; name another port or --metrics-host"
        raise UsageError(f"{advice} ({reason})") from None


class _Server(socketserver.TCPServer):
    """One thread a request; requests that take too long, or too many of them, are cut off."""

    # Elsewhere this only means that a port can be had again at once; on Windows, that it can be shared.
    allow_reuse_address = sys.platform != "win32"

    def __init__(self, family: int, address: Any, page: Callable[[str], tuple[bytes, str]]) -> None:
        self.address_family = family
        self.page = page
        self._requests: dict[socket.socket, tuple[Thread, float]] = {}
        self._lock = threading.Lock()
        super().__init__(address, _Handler)
        # A client that has gone between two system calls must not hold the server up.
        self.socket.setblocking(False)

    def get_request(self) -> tuple[Any, Any]:
        """Take the connection that waits; one that cannot be had, for want of files, is not asked for at once
        again."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(POLL_SECONDS)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own."""
        with self._lock:
            if len(self._requests) >= MOST_REQUESTS:
                refused = True
            else:
                refused = False
                thread = Thread(self._answer, args=(request, client_address), name="metrics-request")
                self._requests[request] = thread, time.monotonic()
        if refused:
            self.shutdown_request(request)
            return
        try:
            thread.start()
        except (RuntimeError, MemoryError):
            self._forget(request)

    def _answer(self, request: Any, client_address: Any) -> None:
        try:
            request.settimeout(REQUEST_SECONDS)
            self.finish_request(request, client_address)
        except OSError:
            pass  # the client has gone, or was cut off
        except Exception as error:
            logger.debug("a request for metrics failed", exc_info=error)
        finally:
            self._forget(request)

    def _forget(self, request: Any) -> None:
        with self._lock:
            self._requests.pop(request, None)
        self.shutdown_request(request)

    def service_actions(self) -> None:
        """Cut off what takes too long; called twenty times a second."""
        self._cut(before=time.monotonic() - REQUEST_SECONDS)

    def _cut(self, before: float) -> list[Thread]:
        with self._lock:
            late = [
                (request, thread) for request, (thread, since) in self._requests.items() if since < before
            ]
        for request, _ in late:
            try:
                request.shutdown(socket.SHUT_RDWR)  # its thread, which waits for it, closes it
            except OSError:
                continue
        return [thread for _, thread in late]

    def end(self) -> None:
        """Listen no longer, give answers on their way a moment, and then cut all connections."""
        self.shutdown()
        self.server_close()
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline:
            with self._lock:
                if not self._requests:
                    return
            time.sleep(0.01)
        for thread in self._cut(before=time.monotonic()):
            thread.join(GRACE_SECONDS)


class _Handler(BaseHTTPRequestHandler):
    """Answers one request; a connection is closed after its answer (HTTP/1.0), so that none idles."""

    server: _Server

    def do_GET(self) -> None:
        """Answer with the metrics, or say where they are."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            try:
                page, content_type = self.server.page(self.headers.get("Accept", ""))
            except Exception as error:
                logger.debug("no metrics can be told", exc_info=error)
                self._reply(HTTPStatus.INTERNAL_SERVER_ERROR, b"the figures cannot be read at the moment\n")
                return
            self._reply(HTTPStatus.OK, page, content_type)
        elif path == "/":
            self._reply(HTTPStatus.OK, _POINTER)
        else:
            self._reply(HTTPStatus.NOT_FOUND, b"there is nothing here; metrics are at /metrics\n")

    def do_HEAD(self) -> None:
        """Answer as to GET, without the body."""
        self.do_GET()

    def _reply(self, status: HTTPStatus, body: bytes, content_type: str = _PLAIN) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        """Name the program, not the versions of what it is built on."""
        return "xml-extractor"

    def log_message(self, *_: object) -> None:
        """Log nothing: a line a scrape would bury everything else."""
