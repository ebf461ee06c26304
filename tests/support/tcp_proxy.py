"""A TCP proxy on loopback that tests put between the loader and a server: it cuts, stalls and delays."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from enum import Enum

_CHUNK = 65536
_LINE_CHUNKS = 1024  # in flight in one direction, like the bandwidth-delay product of a real line


class Moment(Enum):
    """When a trap springs that waits for a text on its way to the server."""

    BEFORE = "before"  # the server never gets it
    DURING = "during"  # it is handed to the server, and nobody waits for what the server makes of it
    ANSWERED = "answered"  # the server has answered, and the answer is lost


class Trap:
    """Waits for a text that a client sends, and then cuts or stalls that client's connection."""

    def __init__(self, text: str | bytes, moment: Moment, *, stall: bool, passes: int, times: int) -> None:
        self._pattern = (text.encode("utf-16-le") if isinstance(text, str) else text).lower()
        self._passes, self._times = passes, times
        self._lock = threading.Lock()
        self.moment = moment
        self.stalls = stall
        self.sprung = threading.Event()
        """Set as soon as the trap has sprung once."""
        self.count = 0
        """How often it has sprung."""

    def springs(self, before: bytes, data: bytes) -> bool:
        """Whether the text ends in ``data``, which follows ``before`` on the same connection."""
        length = len(self._pattern) - 1
        if self._pattern not in before[max(0, len(before) - length) :].lower() + data.lower():
            return False
        with self._lock:
            if self._passes > 0:
                self._passes -= 1
                return False
            if self.count == self._times:
                return False
            self.count += 1
        self.sprung.set()
        return True


class TcpProxy:
    """Forwards connections to (host, port) until told to cut, refuse or stall them.

    ``latency_ms``: how much later everything arrives, in milliseconds and each direction; a round trip
    takes twice that.  The line delays and does not narrow: what is sent in a row arrives in a row.
    """

    def __init__(self, host: str, port: int, *, latency_ms: float = 0.0) -> None:
        self._upstream = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.latency_ms = latency_ms
        self.connections = 0
        self._refusing = False
        self._stalled = threading.Event()
        self._lines: set[_Line] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._traps: list[Trap] = []
        threading.Thread(target=self._accept, name="proxy-accept", daemon=True).start()

    def cut(self, *, refuse: bool = False) -> None:
        """Break all connections; with ``refuse`` no new one is let through until :meth:`restore`."""
        self._refusing = refuse
        with self._lock:
            lines, self._lines = self._lines, set()
        for line in lines:
            line.close()

    def stall(self) -> None:
        """Keep connections open but forward nothing."""
        self._stalled.set()

    def cut_at(
        self, text: str | bytes, moment: Moment = Moment.BEFORE, *, passes: int = 0, times: int = 1
    ) -> Trap:
        """Break a connection at the moment when its client sends a text.

        Args:
            text: a ``str`` is looked for as UTF-16, which is how SQL travels in TDS; in any case of letters.
                The connection must not be encrypted.
            passes: so many times that it is sent are let through first.
            times: so many connections are broken.
        """
        return self._set(Trap(text, moment, stall=False, passes=passes, times=times))

    def stall_at(
        self, text: str | bytes, moment: Moment = Moment.BEFORE, *, passes: int = 0, times: int = 1
    ) -> Trap:
        """Keep a connection open but forward nothing more on it, from the moment on; see :meth:`cut_at`.

        What it held goes on after :meth:`restore`; at ``ANSWERED`` the answer does.
        """
        return self._set(Trap(text, moment, stall=True, passes=passes, times=times))

    def restore(self) -> None:
        """Let everything through again, and take the traps away."""
        self._refusing = False
        self._stalled.clear()
        with self._lock:
            self._traps = []
            lines = list(self._lines)
        for line in lines:
            line.held.clear()

    def close(self) -> None:
        self._closed = True
        self._listener.close()
        self.cut(refuse=True)

    def _set(self, trap: Trap) -> Trap:
        with self._lock:
            self._traps.append(trap)
        return trap

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing:
                _close(client)
                continue
            try:
                server = socket.create_connection(self._upstream, timeout=10)
            except OSError:
                _close(client)
                continue
            server.settimeout(None)
            self.connections += 1
            line = _Line(self, client, server)
            with self._lock:
                self._lines.add(line)
            # A cut may have closed the line already; whoever accepts must live on, or nobody connects again.
            try:
                line.start()
            except OSError:
                line.close()

    def sprung(self, before: bytes, data: bytes) -> Trap | None:
        """The trap that springs at what a client has sent."""
        return next((trap for trap in self._traps if trap.springs(before, data)), None)

    def waits(self, line: _Line) -> bool:
        return (self._stalled.is_set() or line.held.is_set()) and not self._closed and not line.closed

    def forget(self, line: _Line) -> None:
        with self._lock:
            self._lines.discard(line)


class _Line:
    """One client's connection: two directions, each with a thread that takes and one that delivers."""

    def __init__(self, proxy: TcpProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._lose_answer: Trap | None = None
        self.held = threading.Event()
        self.closed = False

    def start(self) -> None:
        for source, target in ((self._client, self._server), (self._server, self._client)):
            for sock in (source, target):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            under_way: queue.Queue[tuple[float, bytes]] = queue.Queue(_LINE_CHUNKS)
            threading.Thread(target=self._take, args=(source, under_way), daemon=True).start()
            threading.Thread(target=self._deliver, args=(target, under_way), daemon=True).start()

    def close(self) -> None:
        self.closed = True
        _close(self._client)
        _close(self._server)
        self._proxy.forget(self)

    def _take(self, source: socket.socket, under_way: queue.Queue[tuple[float, bytes]]) -> None:
        data = b"?"
        while data and not self.closed:
            try:
                data = source.recv(_CHUNK)
            except OSError:
                data = b""
            due = time.monotonic() + self._proxy.latency_ms / 1000
            # A stalled line takes no more than this: its clients notice, as they would on a real one.
            while data and self._proxy.waits(self):
                time.sleep(0.02)
            while not self.closed:
                with contextlib.suppress(queue.Full):
                    under_way.put((due, data), timeout=0.2)
                    break
            else:
                with contextlib.suppress(queue.Full):
                    under_way.put_nowait((due, b""))  # wakes up who delivers

    def _deliver(self, target: socket.socket, under_way: queue.Queue[tuple[float, bytes]]) -> None:
        before = b""
        while not self.closed:
            due, data = under_way.get()
            time.sleep(max(0.0, due - time.monotonic()))
            trap = self._before(data, before) if target is self._server else self._answer(data)
            before = (before + data)[-_CHUNK:]
            while data and self._proxy.waits(self):
                time.sleep(0.02)
            with contextlib.suppress(OSError):
                if data and not self.closed:
                    if trap is not None:
                        # First: the server's answer may come before this thread goes on after sending.
                        self.held.set()
                    target.sendall(data)
                    if trap is not None:
                        self._spring(trap)
                    continue
            self.close()

    def _before(self, data: bytes, before: bytes) -> Trap | None:
        """Look at what goes to the server; return the trap that springs once it is there."""
        trap = self._proxy.sprung(before, data) if data else None
        if trap is None:
            return None
        if trap.moment is Moment.BEFORE:
            self._spring(trap)
            return None
        if trap.moment is Moment.ANSWERED:
            self._lose_answer = trap
            return None
        return trap

    def _answer(self, data: bytes) -> None:
        """Look at what comes from the server."""
        trap, self._lose_answer = self._lose_answer, None
        if trap is not None and data:
            self._spring(trap)

    def _spring(self, trap: Trap) -> None:
        if trap.stalls:
            self.held.set()
        else:
            self.close()


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        end.close()
