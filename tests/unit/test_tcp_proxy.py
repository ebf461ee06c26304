"""The proxy that the tests of faults rely on: it delays, stalls and cuts when it says so."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.tcp_proxy import Moment, TcpProxy, Trap, _Line

WAIT = 5.0


class Echo:
    """Answers each message of eight bytes with the same, and remembers what it got."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            while data := client.recv(8, socket.MSG_WAITALL):
                self.got.append(data)
                client.sendall(data)


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.listener.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[TcpProxy]:
    between = TcpProxy("127.0.0.1", echo.port)
    yield between
    between.close()


@contextlib.contextmanager
def client_of(proxy: TcpProxy, timeout: float = WAIT) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=timeout) as client:
        yield client


def receive(client: socket.socket, size: int) -> bytes:
    """So many bytes, fewer where the connection ends before."""
    data = b""
    while len(data) < size and (more := client.recv(size - len(data))):
        data += more
    return data


def ask(client: socket.socket, message: bytes) -> bytes:
    """The answer, b"" where the connection is broken instead."""
    try:
        client.sendall(message)
        return receive(client, 8)
    except ConnectionError:
        return b""


def within(seconds: float, true: object) -> bool:
    assert callable(true)
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_everything_is_forwarded_in_order(proxy: TcpProxy) -> None:
    with client_of(proxy) as client:
        sent = b"".join(b"%08d" % i for i in range(50_000))
        threading.Thread(target=client.sendall, args=(sent,), daemon=True).start()
        assert receive(client, len(sent)) == sent
    assert proxy.connections == 1


def test_latency_delays_each_direction_and_does_not_narrow_the_line(echo: Echo) -> None:
    proxy = TcpProxy("127.0.0.1", echo.port, latency_ms=60)
    with client_of(proxy) as client:
        start = time.monotonic()
        assert ask(client, b"11111111") == b"11111111"
        assert 0.12 <= time.monotonic() - start < 1
        start = time.monotonic()
        for i in range(20):
            client.sendall(b"%08d" % i)
            time.sleep(0.005)
        assert receive(client, 160) == b"".join(b"%08d" % i for i in range(20))
        assert time.monotonic() - start < 1.2  # one after the other they would take 2.4
    proxy.close()


def test_a_stalled_line_goes_on_afterwards(proxy: TcpProxy, echo: Echo) -> None:
    with client_of(proxy, timeout=0.3) as client:
        assert ask(client, b"before..") == b"before.."
        proxy.stall()
        with pytest.raises(TimeoutError):
            ask(client, b"stalled.")
        assert b"stalled." not in echo.got
        proxy.restore()
        client.settimeout(WAIT)
        assert receive(client, 8) == b"stalled."


def test_a_cut_breaks_all_connections_and_refuses_new_ones_if_told_to(proxy: TcpProxy) -> None:
    with client_of(proxy) as first, client_of(proxy) as second:
        assert ask(first, b"11111111")
        assert ask(second, b"22222222")
        proxy.cut(refuse=True)
        assert ask(first, b"11111111") == b""
        assert ask(second, b"22222222") == b""
    with client_of(proxy) as refused:
        assert ask(refused, b"33333333") == b""
    proxy.restore()
    with client_of(proxy) as again:
        assert ask(again, b"44444444") == b"44444444"


@pytest.mark.parametrize(("moment", "arrives"), list(zip(Moment, [False, True, True], strict=True)))
def test_a_connection_is_cut_where_a_text_passes(
    proxy: TcpProxy, echo: Echo, moment: Moment, arrives: bool
) -> None:
    trap = proxy.cut_at("XyZ", moment)
    with client_of(proxy) as client, client_of(proxy) as bystander:
        assert ask(client, b"harmless") == b"harmless"
        assert not trap.sprung.is_set()
        assert ask(client, b"x\0y\0z\0..") == b""
        assert trap.sprung.wait(WAIT)
        assert ask(bystander, b"goes on.") == b"goes on."
        assert within(WAIT, lambda: not arrives or b"x\0y\0z\0.." in echo.got)
        assert arrives or b"x\0y\0z\0.." not in echo.got
        # Once is enough.
        assert ask(bystander, b"x\0y\0z\0..") == b"x\0y\0z\0.."
    assert trap.count == 1


@pytest.mark.parametrize("stall", [False, True])
def test_an_answer_that_is_faster_than_the_trap_does_not_slip_through(
    proxy: TcpProxy, echo: Echo, monkeypatch: pytest.MonkeyPatch, stall: bool
) -> None:
    spring = _Line._spring

    def late(line: _Line, trap: Trap) -> None:
        time.sleep(0.2)
        spring(line, trap)

    monkeypatch.setattr(_Line, "_spring", late)
    trap = (proxy.stall_at if stall else proxy.cut_at)(b"commit", Moment.DURING)
    with client_of(proxy, timeout=0.5) as client:
        with pytest.raises(TimeoutError) if stall else contextlib.nullcontext():
            assert ask(client, b"COMMIT 1") == b""
        assert trap.sprung.is_set()
        assert echo.got == [b"COMMIT 1"]


@pytest.mark.parametrize("moment", list(Moment))
def test_a_connection_is_stalled_where_a_text_passes(proxy: TcpProxy, echo: Echo, moment: Moment) -> None:
    trap = proxy.stall_at(b"commit", moment)
    with client_of(proxy, timeout=0.3) as client, client_of(proxy) as bystander:
        with pytest.raises(TimeoutError):
            ask(client, b"COMMIT 1")
        assert trap.sprung.is_set()
        assert (b"COMMIT 1" in echo.got) is (moment is not Moment.BEFORE)
        assert ask(bystander, b"goes on.") == b"goes on."
        proxy.restore()
        client.settimeout(WAIT)
        assert receive(client, 8) == b"COMMIT 1"


def test_a_text_in_two_pieces_is_seen_and_the_first_ones_let_through(proxy: TcpProxy) -> None:
    trap = proxy.cut_at(b"12345678abcd", passes=2)
    with client_of(proxy) as client:
        for _ in range(2):
            assert ask(client, b"12345678") == b"12345678"
            assert ask(client, b"abcd....") == b"abcd...."
        assert ask(client, b"12345678") == b"12345678"
        assert ask(client, b"abcd....") == b""
    assert trap.count == 1
