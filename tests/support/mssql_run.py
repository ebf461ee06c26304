"""One SQL Server for a whole run of the tests, and what the run says about it at its end.

Under pytest-xdist the process that directs the others starts the server, when the first of them asks for
it, and stops it when the run is over: the others may end long before.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections import Counter
from collections.abc import Generator
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Listener
from typing import Any

import pytest

from tests.support import mssql_gaps
from tests.support.mssql_gaps import Gap
from tests.support.mssql_servers import ENVIRONMENT, MssqlServer, known, mssql_server, why_none
from tests.support.servers import NotToBeHad

REQUIRE = "XML_EXTRACTOR_REQUIRE_MSSQL"
NAME = "sqlserver-run"
_GAP = "sqlserver_gap"
_SERVER = "sqlserver_server"
_NOT_RUN = "SQL Server: not run: "


class SqlServerRun:
    """The plugin that conftest registers."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._source: _Here | _Elsewhere
        offered = getattr(config, "workerinput", {}).get("sqlserver")
        self._source = _Here() if offered is None else _Elsewhere(*offered)
        self._not_run = 0
        self._server: MssqlServer | None = None
        self._failure: str | None = None
        if offered is None and os.environ.get(REQUIRE) and (reason := why_none()) is not None:
            raise pytest.UsageError(f"{REQUIRE} is set, and there is no SQL Server: {reason}")

    def server(self) -> MssqlServer:
        """The run's server, started if need be; ends the test if there is none."""
        if self._server is None and self._failure is None:
            try:
                url, origin = self._source.obtain()
                self._server = known(url, origin)
            except (NotToBeHad, OSError, EOFError) as error:  # each test says it, without trying again
                self._failure = str(error)
        if self._server is not None:
            return self._server
        if os.environ.get(ENVIRONMENT) or os.environ.get(REQUIRE):
            pytest.fail(f"SQL Server: {self._failure}", pytrace=False)
        pytest.skip(_NOT_RUN + str(self._failure))

    # ------------------------------------------------------------------ which tests

    @pytest.hookimpl(wrapper=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> Generator[None, None, None]:
        for item in items:
            if {"mssql", "mssql_url"} & set(getattr(item, "fixturenames", ())):
                item.add_marker(pytest.mark.sqlserver)
        yield  # here -m and -k choose
        chosen = [item for item in items if item.get_closest_marker("sqlserver")]
        if not chosen or why_none() is None:
            return
        self._not_run = len(chosen)
        left_out = set(chosen)
        items[:] = [item for item in items if item not in left_out]
        self._config.hook.pytest_deselected(items=chosen)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if item.get_closest_marker("sqlserver") is None:
            return
        server = self.server()
        if not any(name == _SERVER for name, _ in item.user_properties):
            item.user_properties.append((_SERVER, server.display))
        gap = mssql_gaps.gap_of(item.nodeid, server)
        if gap is None:
            return
        note_gap(item, gap)
        if not gap.runs:
            pytest.skip(f"this server: {gap.reason}")
        item.add_marker(pytest.mark.xfail(reason=f"this server: {gap.reason}", strict=True))

    # ------------------------------------------------------------------ under xdist

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        assert isinstance(self._source, _Here)
        node.workerinput["sqlserver"] = self._source.address()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        self._not_run = max(self._not_run, getattr(node, "workeroutput", {}).get("sqlserver_not_run", 0))

    def pytest_sessionfinish(self) -> None:
        output = getattr(self._config, "workeroutput", None)
        if output is not None:
            output["sqlserver_not_run"] = self._not_run

    def pytest_unconfigure(self) -> None:
        if self._server is not None:
            self._server.close()
        self._source.close()

    # ------------------------------------------------------------------ what the run says

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        reports = [
            report
            for group in terminalreporter.stats.values()
            for report in group
            if isinstance(report, pytest.TestReport)
        ]
        skipped = [str(r.longrepr[2]) for r in reports if r.skipped and isinstance(r.longrepr, tuple)]
        reasons = [text.partition(_NOT_RUN)[2] for text in skipped if _NOT_RUN in text]
        not_run = self._not_run + len(reasons)
        if not_run:
            reason = reasons[0] if reasons else f"no server ({why_none()})"
            terminalreporter.write_line(
                f"SQL Server: {not_run} tests not run: {reason}. Set {ENVIRONMENT}=mssql+pyodbc://… "
                "or start Docker; see docs/sql-server.md",
                yellow=True,
            )
        servers, gaps = set(), Counter[str]()
        for properties in {report.nodeid: report.user_properties for report in reports}.values():
            servers |= {value for name, value in properties if name == _SERVER}
            gaps.update({str(value) for name, value in properties if name == _GAP})
        for server in sorted(map(str, servers)):
            terminalreporter.write_line(f"SQL Server: tests ran on {server}")
        if gaps:
            terminalreporter.write_line("SQL Server: exceptions on this server (tests touched):")
            for reason, count in sorted(gaps.items()):
                terminalreporter.write_line(f"  {reason} ({count})")


def run_of(config: pytest.Config) -> SqlServerRun:
    """The run that a test belongs to."""
    plugin = config.pluginmanager.get_plugin(NAME)
    assert isinstance(plugin, SqlServerRun)
    return plugin


def note_gap(item: pytest.Item, gap: Gap) -> None:
    """Have the run's last lines name a gap."""
    if (_GAP, gap.reason) not in item.user_properties:
        item.user_properties.append((_GAP, gap.reason))


def has_gap(request: pytest.FixtureRequest, gap: Gap) -> bool:
    """Whether the server has a gap, for a test that then goes without some of its values."""
    applies = gap.on(run_of(request.config).server())
    if applies:
        note_gap(request.node, gap)
    return applies


class _Here:
    """The server of this process, and the window at which other processes ask for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stack = contextlib.ExitStack()
        self._answer: tuple[str, str] | None = None
        self._failure: NotToBeHad | None = None
        self._window: Listener | None = None
        self._closed = False

    def obtain(self) -> tuple[str, str]:
        """Return (URL, origin) of the running server."""
        with self._lock:
            if self._failure is not None:
                raise self._failure
            if self._answer is None:
                try:
                    server = self._stack.enter_context(mssql_server())
                except NotToBeHad as error:
                    self._failure = error
                    raise
                self._answer = server.url, server.origin
            return self._answer

    def address(self) -> tuple[str, int, str]:
        """Where another process asks for the server: host, port and a word that nobody else knows."""
        if self._window is None:
            self._word = secrets.token_hex(16)
            self._window = Listener(("127.0.0.1", 0), authkey=self._word.encode())
            threading.Thread(target=self._answer_all, args=(self._window,), daemon=True).start()
        host, port = self._window.address
        return str(host), int(port), self._word

    def close(self) -> None:
        self._closed = True
        if self._window is not None:
            self._window.close()
        self._stack.close()

    def _answer_all(self, window: Listener) -> None:
        while not self._closed:
            with contextlib.suppress(OSError, EOFError, AuthenticationError), window.accept() as asker:
                try:
                    asker.send(self.obtain())
                except NotToBeHad as error:
                    asker.send(str(error))


class _Elsewhere:
    """The server as a process learns of it that somebody else directs."""

    def __init__(self, host: str, port: int, word: str) -> None:
        self._address, self._word = (host, port), word

    def obtain(self) -> tuple[str, str]:
        with Client(self._address, authkey=self._word.encode()) as window:
            answer = window.recv()
        if isinstance(answer, str):
            raise NotToBeHad(answer)
        url, origin = answer
        return url, origin

    def close(self) -> None:
        """Nothing: the server belongs to the other process."""
