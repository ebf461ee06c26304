"""The metrics over HTTP: who is answered what, and that nobody can hold up the end of a load."""

from __future__ import annotations

import errno
import http.client
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from tests.support import watched
from tests.support.exposition import check_openmetrics, families, samples
from xml_extractor.errors import ExitCode, UsageError
from xml_extractor.profiling import metrics_server
from xml_extractor.profiling.metrics_server import MetricsServer
from xml_extractor.profiling.profile import LoadProfile

OURS = ("metrics-server", "metrics-request")


@pytest.fixture
def server() -> Iterator[MetricsServer]:
    made = MetricsServer("127.0.0.1", 0, "loan")
    made.begin(watched.watched())
    yield made
    made.end(watched.summary())
    assert not [thread.name for thread in threading.enumerate() if thread.name in OURS]


def ask(
    server: MetricsServer, path: str = "/metrics", method: str = "GET", **headers: str
) -> tuple[int, str]:
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def connect(server: MetricsServer) -> socket.socket:
    address = urlsplit(server.url)
    return socket.create_connection((address.hostname, address.port), timeout=10)


def test_metrics_are_served(server: MetricsServer) -> None:
    server.batch(watched.batch())
    status, page = ask(server)
    assert status == 200
    families(page)
    assert samples(page)["xml_extractor_insert_duration_seconds_count", "contract", "loan"] == 1
    status, page = ask(server, Accept="application/openmetrics-text; version=1.0.0")
    check_openmetrics(page)


def test_only_metrics_are_served(server: MetricsServer) -> None:
    status, page = ask(server, "/")
    assert status == 200
    assert "/metrics" in page
    assert ask(server, "/metrics?name[]=x")[0] == 200
    for path in ("/metrics/", "/../etc/passwd", "/favicon.ico"):
        assert ask(server, path)[0] == 404
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "NONSENSE"):
        assert ask(server, method=method)[0] == 501
    assert ask(server, method="HEAD") == (200, "")


def test_answers_do_not_tell_what_they_are_made_with(server: MetricsServer) -> None:
    with connect(server) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        head = client.recv(400).decode()
    assert "Server: xml-extractor\r\n" in head
    assert "Python" not in head


def test_rubbish_harms_nobody(server: MetricsServer, capfd: pytest.CaptureFixture[str]) -> None:
    for rubbish in (
        b"\x16\x03\x01\x02\x00" * 50,
        b"GET " + b"a" * 70_000,
        b"\r\n\r\n",
        b"GET / HTTP/9\r\n\r\n",
    ):
        with connect(server) as client:
            client.sendall(rubbish)
            client.shutdown(socket.SHUT_WR)
            with suppress(ConnectionResetError):
                while client.recv(4096):
                    pass
    assert ask(server)[0] == 200
    assert capfd.readouterr().err == ""


def test_figures_that_cannot_be_read_are_no_end() -> None:
    broken = [True]

    def profile() -> LoadProfile:
        if broken:
            raise KeyError("a document's value")
        return watched.profile()

    server = MetricsServer("127.0.0.1", 0, "loan")
    server.begin(replace(watched.watched(), profile=profile))
    status, page = ask(server)
    assert status == 500
    assert "value" not in page
    broken.clear()
    assert ask(server)[0] == 200
    server.end(watched.summary())


def test_many_at_once_all_see_counters_that_only_rise(server: MetricsServer) -> None:
    failures: list[BaseException] = []

    def scrape() -> None:
        try:
            before: dict[tuple[str, ...], float] = {}
            for _ in range(15):
                status, page = ask(server)
                assert status == 200
                families(page)
                now = {name: value for name, value in samples(page).items() if "_total" in name[0]}
                assert all(now[name] >= value for name, value in before.items())
                before = now
        except BaseException as error:  # noqa: BLE001 - raised below, where it is seen
            failures.append(error)

    threads = [threading.Thread(target=scrape) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        server.batch(watched.batch())
        time.sleep(0.001)
    assert not failures


# ------------------------------------------------------------------------------------- those who hang


@pytest.mark.parametrize("sent", [b"", b"GET /metrics HTTP/1.1\r\nHost: "])
def test_who_hangs_holds_up_neither_others_nor_the_end(sent: bytes) -> None:
    server = MetricsServer("127.0.0.1", 0, "loan")
    server.begin(watched.watched())
    with ExitStack() as stack:
        hanging = [stack.enter_context(connect(server)) for _ in range(3)]
        for client in hanging:
            client.sendall(sent)
        assert ask(server)[0] == 200
        began = time.monotonic()
        server.end(watched.summary())
        assert time.monotonic() - began < 5
        for client in hanging:
            try:
                assert client.recv(1) == b""
            except ConnectionError:
                continue
    assert not [thread.name for thread in threading.enumerate() if thread.name in OURS]
    with pytest.raises(OSError):
        connect(server)


def test_who_takes_too_long_is_cut_off(server: MetricsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "REQUEST_SECONDS", 0.3)
    with connect(server) as client:
        deadline = time.monotonic() + 10
        with pytest.raises(OSError):  # noqa: PT012 - cut off while it drips
            while time.monotonic() < deadline:
                client.sendall(b"x")
                time.sleep(0.05)
        assert time.monotonic() < deadline


def test_too_many_at_once_are_turned_away(server: MetricsServer) -> None:
    with ExitStack() as stack:
        for _ in range(metrics_server.MOST_REQUESTS):
            client = stack.enter_context(connect(server))
            client.sendall(b"GET ")
        time.sleep(0.3)
        with connect(server) as another:
            another.settimeout(5)
            with suppress(ConnectionError):
                assert another.recv(1) == b""  # at once, without an answer
    deadline = time.monotonic() + 10
    while True:
        try:
            assert ask(server)[0] == 200
            return
        except (ConnectionError, http.client.HTTPException):
            assert time.monotonic() < deadline


def test_a_connection_that_cannot_be_taken_does_not_keep_a_core_busy(
    server: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where files are exhausted it stays announced, and is asked for again and again."""
    attempts: list[float] = []

    def accept(_: object) -> None:
        attempts.append(time.monotonic())
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch, connect(server):
        patch.setattr("socketserver.TCPServer.get_request", accept)
        with connect(server):
            time.sleep(0.5)
    assert 0 < len(attempts) < 50
    assert ask(server)[0] == 200


def test_the_port_can_be_had_again_at_once(server: MetricsServer) -> None:
    assert ask(server)[0] == 200
    server.end(watched.summary())
    again = MetricsServer("127.0.0.1", int(urlsplit(server.url).port or 0), "loan")
    assert again.url == server.url
    again.end(watched.summary())


# ------------------------------------------------------------------------------------- addresses


def refusal(host: str, port: int) -> str:
    with pytest.raises(UsageError) as caught:
        MetricsServer(host, port, "loan")
    assert caught.value.exit_code is ExitCode.USAGE
    return str(caught.value)


def test_a_port_in_use_is_said(server: MetricsServer) -> None:
    port = int(urlsplit(server.url).port or 0)
    said = refusal("127.0.0.1", port)
    assert f"--metrics-port {port}" in said
    assert "another program listens there" in said


def test_addresses_that_cannot_be_had_are_said() -> None:
    assert "--metrics-host no.such.host.invalid" in refusal("no.such.host.invalid", 0)
    assert "--metrics-host" in refusal("a" * 300, 0)
    assert "is no address of this machine" in refusal("192.0.2.7", 0)


def test_a_port_that_is_not_allowed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    if hasattr(os, "geteuid") and os.geteuid() != 0 and os.name == "posix":
        said = refusal("127.0.0.1", 1)
    monkeypatch.setattr(metrics_server._Server, "server_bind", refuse)
    said = refusal("127.0.0.1", 80)
    assert "1024 or above" in said


def test_an_address_of_version_6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    server = MetricsServer("::1", 0, "loan")
    try:
        assert server.url.startswith("http://[::1]:")
        assert ask(server)[0] == 200
    finally:
        server.end(watched.summary())
