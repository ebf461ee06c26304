"""Faults over a real connection: whatever is cut, stalled, killed or locked, SQL finds each key once.

Batches are committed as a load commits them, over every kind of connection that there is, and through a
proxy that breaks it at a chosen moment.  All tests share one database; each has keys of its own.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import multiprocessing
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.managers import BaseManager, NamespaceProxy
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.engine import make_url

from tests.support import target_plans
from tests.support.mssql_gaps import BULK_COPY
from tests.support.mssql_run import has_gap
from tests.support.mssql_servers import MssqlServer
from tests.support.target_plans import loaded, plan
from tests.support.tcp_proxy import Moment, TcpProxy
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import EngineOptions, Fault, FaultKind, TimeLimits
from xml_extractor.engines.mssql.engine import MssqlEngine
from xml_extractor.engines.mssql.insert_paths import BULKCOPY, FAST_EXECUTEMANY, OPENJSON
from xml_extractor.engines.mssql.path_choice import PathChoice
from xml_extractor.errors import TargetError, UsageError
from xml_extractor.mapping.records import DocumentRecord
from xml_extractor.target.base import BatchResult
from xml_extractor.target.batch_writer import DatabaseBatchWriter
from xml_extractor.target.database_target import DatabaseTarget
from xml_extractor.target.ledger import DocumentDigests

if TYPE_CHECKING:
    import pyodbc

PLAN = plan()
DIGESTS = DocumentDigests(target_plans.SOURCE, PLAN.contract)
PATIENT = TimeLimits(connect_seconds=30)
STEP = 100_000
"""From one test's keys to the next one's."""


@dataclass(frozen=True)
class Way:
    """How rows get to the server."""

    path: str
    driver: str
    by_json: bool = False
    """Over bulk copy's connection, but by OPENJSON: a server need not serve bulk copy for it."""

    def __str__(self) -> str:
        return f"{self.path}-{self.driver}{'-by-json' if self.by_json else ''}"


JSON = Way(OPENJSON, "pyodbc")
HELD = Way(BULKCOPY, "core", by_json=True)
COPY = Way(BULKCOPY, "core")
CONNECTIONS = [JSON, Way(OPENJSON, "mssqlpython"), HELD]
FAST = Way(FAST_EXECUTEMANY, "pyodbc")
WAYS = [*CONNECTIONS, FAST, COPY]


@pytest.fixture(scope="module")
def database(mssql: MssqlServer) -> Iterator[str]:
    """The URL of this file's database, with the tables of the plan."""
    with mssql.database() as url:
        yield make_url(url).update_query_dict({"Encrypt": "no"}).render_as_string(hide_password=False)


@pytest.fixture(scope="module")
def load_id(database: str) -> int:
    """The load that the batches belong to; makes the tables."""
    handle = DatabaseTarget(
        open_engine(database, options=EngineOptions(PATIENT)), retry_seconds=30
    ).prepare(
        PLAN, source_name=target_plans.SOURCE, source_name_explicit=False, create_tables=True,
        dry_run=False, on_plan_change="report", settings={},
    )  # fmt: skip
    handle.close()
    return handle.load_id


@pytest.fixture(scope="module")
def served(mssql: MssqlServer, database: str, load_id: int) -> PathChoice | None:
    """What is settled for bulk copy; ``None`` = the server does not serve it."""
    engine = open_engine(database, options=EngineOptions(PATIENT, insert_path=BULKCOPY))
    session = engine.connect(write=True, application="tests")
    try:
        settled = engine.settled(session, PLAN)
    except UsageError:
        assert mssql.is_babelfish
        return None
    finally:
        session.close()
    assert isinstance(settled, MssqlEngine)
    assert settled.choice is not None
    assert settled.choice.path == BULKCOPY
    assert not settled.choice.by_json
    return settled.choice


@pytest.fixture(scope="module")
def sql(mssql: MssqlServer, database: str) -> Iterator[pyodbc.Connection]:
    """A connection past the product, to look what is there."""
    with contextlib.closing(mssql.connect(database)) as connection:
        yield connection


class FarTrap(NamespaceProxy):
    """A trap in another process; what it counts can be read."""

    _exposed_ = ("__getattribute__",)


class FarProxy(NamespaceProxy):
    """A TCP proxy in another process."""

    _exposed_ = ("__getattribute__", "cut_at", "stall_at", "close")

    def cut_at(self, *arguments: Any, **more: Any) -> Any:
        return self._callmethod("cut_at", arguments, more)

    def stall_at(self, *arguments: Any, **more: Any) -> Any:
        return self._callmethod("stall_at", arguments, more)

    def close(self) -> None:
        self._callmethod("close")


class Proxies(BaseManager):
    """The process in which they run."""


Proxies.register("trap", proxytype=FarTrap, create_method=False)
Proxies.register("proxy", TcpProxy, FarProxy, method_to_typeid={"cut_at": "trap", "stall_at": "trap"})

FAR = pytest.mark.parametrize("proxy", ["far"], indirect=True)
"""A proxy in a process of its own: bulk copy, and pyodbc while it has parameters described, keep all other
threads of their process from running, so that a proxy among these would never pass anything on."""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Proxies]:
    with Proxies(ctx=multiprocessing.get_context("spawn")) as manager:
        yield manager


@pytest.fixture
def proxy(database: str, request: pytest.FixtureRequest) -> Iterator[TcpProxy]:
    """A proxy before the server."""
    place = make_url(database)
    assert place.host is not None
    make_proxy = TcpProxy
    if getattr(request, "param", "near") == "far":
        make_proxy = request.getfixturevalue("elsewhere").proxy
    with contextlib.closing(make_proxy(place.host, place.port or 1433)) as proxy:
        yield proxy


@pytest.fixture
def through(proxy: TcpProxy, database: str, request: pytest.FixtureRequest) -> Callable[..., MssqlEngine]:
    """Makes engines whose connections go through the proxy."""

    def engine(way: Way, limits: TimeLimits = PATIENT) -> MssqlEngine:
        driver = "pyodbc" if way.driver == "core" else way.driver
        url = make_url(database).set(drivername=f"mssql+{driver}", host="127.0.0.1", port=proxy.port)
        opened = open_engine(
            url.render_as_string(hide_password=False), options=EngineOptions(limits, insert_path=way.path)
        )
        assert isinstance(opened, MssqlEngine)
        if way != COPY:
            tables = frozenset(table.name for table in PLAN.tables)
            return replace(
                opened, choice=PathChoice(way.path, "test", by_json=tables if way.by_json else frozenset())
            )
        choice = request.getfixturevalue("served")
        if choice is None:
            assert has_gap(request, BULK_COPY)
            pytest.skip(f"this server: {BULK_COPY.reason}")
        # Another load, as this one's lost connections would count against bulk copy in the next test.
        return replace(opened, choice=replace(choice, load=secrets.token_hex(8)))

    return engine


Through = Callable[..., MssqlEngine]


@pytest.fixture
def writing(load_id: int) -> Iterator[Callable[..., DatabaseBatchWriter]]:
    """Opens writers, and sees to it that nothing of them is left."""
    writers: list[DatabaseBatchWriter] = []

    def open_writer(engine: MssqlEngine, *, retry_seconds: float = 60) -> DatabaseBatchWriter:
        writers.append(DatabaseBatchWriter(engine, PLAN, DIGESTS, load_id, retry_seconds, "tests writer"))
        return writers[-1]

    yield open_writer
    for writer in writers:
        writer.close()


Writing = Callable[..., DatabaseBatchWriter]

_numbers = itertools.count(STEP, STEP)


@pytest.fixture
def first_key() -> int:
    """Where this test's keys begin."""
    return next(_numbers)


def contacts_of(key: int) -> int:
    return key % 4


def make(engine: MssqlEngine, keys: Sequence[int], contacts: int | None = None) -> list[DocumentRecord]:
    encoder = engine.encoder(PLAN)
    return [loaded(encoder, key, contacts_of(key) if contacts is None else contacts) for key in keys]


def expect_once(
    sql: pyodbc.Connection, first_key: int, keys: Sequence[int], contacts: int | None = None
) -> None:
    """All rows of these documents are there, none twice, and nothing else of this test."""
    between = f"BETWEEN {first_key} AND {first_key + STEP - 1}"

    def rows(statement: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in sql.execute(statement).fetchall()]

    assert [
        (key, name, str(amount))
        for key, name, amount in rows(f"SELECT id, name, amount FROM base WHERE id {between} ORDER BY id")
    ] == [(key, f"n{key}", "1.10") for key in keys]
    assert rows(f"SELECT id, no, phone FROM contact WHERE id {between} ORDER BY id, no") == [
        (key, number, f"0{number}")
        for key in keys
        for number in range(1, (contacts_of(key) if contacts is None else contacts) + 1)
    ]
    states = rows("SELECT source_key, state FROM load_ledger")
    assert sorted((int(key), state) for key, state in states if first_key <= int(key) < first_key + STEP) == [
        (key, "loaded") for key in keys
    ]


def expect_all(result: BatchResult, records: Sequence[DocumentRecord]) -> None:
    """Each record was loaded by this batch, and counted once."""
    rows = tuple(map(sum, zip(*(record.row_counts for record in records), strict=True)))
    assert (result.loaded, result.already_loaded, result.quarantined) == (len(records), 0, 0)
    assert result.rows == result.document_rows == rows


@contextlib.contextmanager
def gone_afterwards(bound_seconds: float = 30) -> Iterator[None]:
    """No thread that drives a connection outlives what is done here."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + bound_seconds
    while left := [
        thread for thread in threading.enumerate() if thread not in before and "driver" in thread.name
    ]:
        assert all(thread.daemon for thread in left), "it would keep the process alive"
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


# ---------------------------------------------------------------------------------------- connections cut


@FAR
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_cut_at_the_commit(
    way: Way, proxy: TcpProxy, through: Through, writing: Writing, sql: pyodbc.Connection, first_key: int
) -> None:
    """Not sent, sent and unanswered, answered and the answer lost: the next attempt asks the ledger."""
    engine = through(way)
    writer = writing(engine)
    moments = (Moment.BEFORE, Moment.DURING, Moment.ANSWERED)
    for number, moment in enumerate(moments):
        records = make(engine, range(first_key + number * 20, first_key + number * 20 + 20))
        trap = proxy.cut_at("COMMIT TRANSACTION", moment)
        result = writer.commit_batch(records)
        assert trap.count == 1
        assert result.attempts >= 2
        expect_all(result, records)
    expect_once(sql, first_key, range(first_key, first_key + 60))


@FAR
@pytest.mark.parametrize("way", [JSON, HELD, FAST, COPY], ids=str)
def test_cut_in_the_middle_of_what_is_written(
    way: Way, proxy: TcpProxy, through: Through, writing: Writing, sql: pyodbc.Connection, first_key: int
) -> None:
    engine = through(way)
    keys = range(first_key, first_key + 100)
    records = make(engine, keys, contacts=30)
    writer = writing(engine)
    # The name of a document in the middle; the ledger, which goes first, has only its number.
    trap = proxy.cut_at(f"n{keys[50]}")
    result = writer.commit_batch(records)
    assert trap.count == 1
    assert result.attempts >= 2
    expect_all(result, records)
    expect_once(sql, first_key, keys, contacts=30)


@FAR
def test_what_was_copied_before_a_failure_is_not_there(
    proxy: TcpProxy, through: Through, writing: Writing, sql: pyodbc.Connection, first_key: int
) -> None:
    """The second table's copy is refused, for one document, and later cut off."""
    engine = through(COPY)
    writer = writing(engine)
    keys = range(first_key, first_key + 10)
    bad = first_key + 50
    base, contacts = target_plans.rows(bad)
    poison = loaded(engine.encoder(PLAN), bad, document_rows=(base, [*contacts, contacts[0]]))
    result = writer.commit_batch([*make(engine, keys), poison])
    assert (result.loaded, result.quarantined) == (10, 1)
    [rejected] = result.rejected
    assert rejected.rejection.code == "unique_violation"
    assert sql.execute(f"SELECT COUNT(*) FROM base WHERE id = {bad}").fetchval() == 0
    sql.execute(f"DELETE FROM load_ledger WHERE source_key = '{bad}'")

    writer.close()
    writer = writing(engine, retry_seconds=0)
    trap = proxy.cut_at("INSERT BULK", passes=1)
    with pytest.raises(TargetError, match="did not come back in time"):
        writer.commit_batch(make(engine, range(first_key + 60, first_key + 70)))
    assert trap.count == 1
    expect_once(sql, first_key, keys)


@pytest.mark.parametrize("way", CONNECTIONS, ids=str)
def test_killed_in_mid_batch(
    way: Way, mssql: MssqlServer, proxy: TcpProxy, through: Through, writing: Writing, database: str,
    sql: pyodbc.Connection, first_key: int,
) -> None:  # fmt: skip
    """An administrator ends the session between the ledger's rows and the data's."""
    engine = through(way)
    writer = writing(engine)
    records = make(engine, range(first_key, first_key + 20))
    trap = proxy.stall_at("INSERT INTO [base]")
    mine = int(sql.execute("SELECT @@SPID").fetchval())

    def kill() -> None:
        if trap.sprung.wait(60):
            for session in mssql.sessions(str(make_url(database).database)):
                if session != mine:
                    mssql.kill(session)
            proxy.restore()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    result = writer.commit_batch(records)
    killer.join(60)
    assert result.attempts >= 2
    expect_all(result, records)
    expect_once(sql, first_key, range(first_key, first_key + 20))


# ------------------------------------------------------------------------------------- servers that stall

SHORT = TimeLimits(connect_seconds=30, statement_seconds=6)


@pytest.mark.parametrize("way", CONNECTIONS, ids=str)
def test_a_stalled_connection_is_given_up_for_another(
    way: Way, proxy: TcpProxy, through: Through, writing: Writing, sql: pyodbc.Connection, first_key: int
) -> None:
    """Whether it is in is the ledger's to say: at one commit it is not, at the other it is."""
    with gone_afterwards():
        engine = through(way, SHORT)
        writer = writing(engine, retry_seconds=90)
        warm = make(engine, [first_key])
        expect_all(writer.commit_batch(warm), warm)
        for number, moment in enumerate((Moment.BEFORE, Moment.ANSWERED)):
            records = make(engine, range(first_key + 1 + number * 20, first_key + 21 + number * 20))
            trap = proxy.stall_at("COMMIT TRANSACTION", moment)
            release = threading.Thread(target=_released, args=(proxy, trap.sprung), daemon=True)
            release.start()
            result = writer.commit_batch(records)
            release.join(60)
            assert trap.count == 1
            assert result.attempts >= 2
            expect_all(result, records)
        writer.close()
        proxy.close()
    expect_once(sql, first_key, range(first_key, first_key + 41))


def _released(proxy: TcpProxy, sprung: threading.Event) -> None:
    """Cut what has stalled once the loader must have given it up, as a server's keepalive does: as long
    as the server takes the client for alive, an open transaction keeps its keys."""
    if sprung.wait(90):
        time.sleep(SHORT.statement_seconds + 4)
        proxy.cut()


@pytest.mark.parametrize("way", CONNECTIONS, ids=str)
def test_a_server_that_stalls_for_good_is_not_waited_for(way: Way, proxy: TcpProxy, through: Through) -> None:
    limits = TimeLimits(connect_seconds=30, statement_seconds=2)
    with gone_afterwards():
        engine = through(way, limits)
        session = engine.connect(write=True, application="tests")
        assert session.query("SELECT 1") == [(1,)]
        proxy.stall()
        for bound in (2 + 8, 1):  # once it is given up, nothing waits for it again
            started = time.monotonic()
            with pytest.raises(Exception) as caught:
                session.query("SELECT 1")
            assert time.monotonic() - started < bound
            fault = engine.classify(caught.value)
            assert (fault.kind, fault.code) == (FaultKind.DISCONNECTED, "no_answer")
            assert "no answer within" in fault.message
        started = time.monotonic()
        session.rollback()
        session.close()
        assert time.monotonic() - started < 3
        proxy.close()


@FAR
def test_a_copy_that_stalls_is_given_up(
    proxy: TcpProxy, through: Through, writing: Writing, sql: pyodbc.Connection, first_key: int
) -> None:
    """Nothing else of the process runs while the library copies; its own time limit ends that."""
    engine = through(COPY, SHORT)
    writer = writing(engine, retry_seconds=0)
    trap = proxy.stall_at("INSERT BULK")
    started = time.monotonic()
    with pytest.raises(TargetError, match="--retry-seconds"):
        writer.commit_batch(make(engine, range(first_key, first_key + 5)))
    took = time.monotonic() - started
    assert trap.count == 1
    # Connecting, the ledger and the two tables' descriptions come first.
    assert took < 30 + SHORT.statement_seconds + 10
    started = time.monotonic()
    writer.close()
    assert time.monotonic() - started < SHORT.statement_seconds + 3
    proxy.close()
    expect_once(sql, first_key, [])


@pytest.mark.parametrize("way", CONNECTIONS, ids=str)
def test_an_abort_ends_a_wait_for_a_stalled_server_at_once(
    way: Way, proxy: TcpProxy, through: Through, writing: Writing, sql: pyodbc.Connection, first_key: int
) -> None:
    with gone_afterwards():
        engine = through(way)
        writer = writing(engine)
        trap = proxy.stall_at("INSERT INTO [base]")
        ended: list[tuple[float, BaseException]] = []

        def commit() -> None:
            try:
                writer.commit_batch(make(engine, range(first_key, first_key + 5)))
            except BaseException as error:  # noqa: BLE001 - looked at below
                ended.append((time.monotonic(), error))

        thread = threading.Thread(target=commit, daemon=True)
        thread.start()
        assert trap.sprung.wait(60)
        time.sleep(0.2)
        aborted = time.monotonic()
        writer.abort()
        thread.join(30)
        [(moment, error)] = ended
        assert moment - aborted < 3
        assert isinstance(error, TargetError)
        assert "the run ended" in str(error)
        writer.close()
        proxy.close()
    expect_once(sql, first_key, [])


# ------------------------------------------------------------------------------- connections not to be had


def refusal(engine: MssqlEngine) -> tuple[Fault, float]:
    """How connecting fails, and after how many seconds."""
    started = time.monotonic()
    with pytest.raises(Exception) as caught:
        engine.connect(write=True, application="tests").close()
    return engine.classify(caught.value), time.monotonic() - started


@pytest.mark.parametrize("way", CONNECTIONS, ids=str)
def test_a_login_that_is_refused(way: Way, through: Through) -> None:
    engine = through(way)
    wrong = replace(engine, settings=replace(engine.settings, password="Geheim+Wort=1"))
    fault, seconds = refusal(wrong)
    assert (fault.kind, fault.code) == (FaultKind.FATAL, "authentication_failed")
    assert "Geheim" not in repr(fault)
    assert seconds < 10 + 20  # 10 where the machine is not busy with other things


@pytest.mark.parametrize("way", CONNECTIONS, ids=str)
def test_a_database_that_is_not_there(way: Way, through: Through) -> None:
    engine = through(way)
    elsewhere = replace(engine, settings=replace(engine.settings, database="no_such_thing"))
    fault, _ = refusal(elsewhere)
    assert fault.code == "no_such_database"
    assert "no_such_thing" in fault.message


@pytest.mark.parametrize("way", CONNECTIONS, ids=str)
def test_a_port_where_nobody_listens(way: Way, through: Through) -> None:
    engine = through(way, TimeLimits(connect_seconds=4))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    fault, seconds = refusal(replace(engine, settings=replace(engine.settings, server=f"127.0.0.1,{port}")))
    assert fault.kind is FaultKind.DISCONNECTED
    assert fault.code in ("connection_refused", "connect_timeout")
    assert seconds < 10


@pytest.mark.parametrize("way", CONNECTIONS, ids=str)
def test_a_server_that_takes_connections_and_says_nothing(
    way: Way, proxy: TcpProxy, through: Through
) -> None:
    proxy.stall()
    with gone_afterwards():
        fault, seconds = refusal(through(way, TimeLimits(connect_seconds=3)))
        assert fault.kind is FaultKind.DISCONNECTED
        assert fault.code in ("connect_timeout", "no_answer")
        assert seconds < 3 + 7
        proxy.close()


# ------------------------------------------------------------------------------------------ locks


@pytest.fixture
def rival(mssql: MssqlServer, database: str) -> Iterator[pyodbc.Connection]:
    """A second connection, for transactions that stand in the loader's way."""
    with contextlib.closing(mssql.connect(database, autocommit=False)) as connection:
        # Whoever has to give way in a deadlock, it is not this one.
        connection.execute("SET DEADLOCK_PRIORITY HIGH")
        connection.commit()
        yield connection
        connection.rollback()


@pytest.mark.parametrize("way", [JSON, HELD], ids=str)
def test_the_victim_of_a_deadlock_tries_again(
    way: Way, proxy: TcpProxy, through: Through, writing: Writing, sql: pyodbc.Connection,
    rival: pyodbc.Connection, first_key: int, load_id: int, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    engine = through(way)
    writer = writing(engine)
    keys = range(first_key, first_key + 10)
    # The rival holds a row of base and wants one of the ledger; the loader the other way round.
    rival.execute("INSERT INTO base (id, name) VALUES (?, 'rival')", keys[3])
    trap = proxy.stall_at("INSERT INTO [base]")
    wants = threading.Event()

    def want() -> None:
        try:
            rival.execute(
                "INSERT INTO load_ledger (digest, source_key, state, load_id, batch, row_counts, "
                "committed_at) VALUES (?, ?, 'loaded', ?, 1, '', SYSDATETIME())",
                DIGESTS.digest(keys[5]), str(keys[5]), load_id,
            )  # fmt: skip
            wants.set()
        finally:
            rival.rollback()

    other = threading.Thread(target=want, daemon=True)

    def close_the_ring() -> None:
        if trap.sprung.wait(60):
            other.start()
            # Where the last to wait is the one who finds the ring and gives way, that is the loader.
            time.sleep(3)
            proxy.restore()

    ring = threading.Thread(target=close_the_ring, daemon=True)
    ring.start()
    records = make(engine, keys)
    with caplog.at_level(logging.WARNING, "xml_extractor"):
        result = writer.commit_batch(records)
    ring.join(60)
    other.join(60)
    assert wants.is_set(), "the rival has got what it wanted"
    assert "1205" in caplog.text
    assert result.attempts >= 2
    expect_all(result, records)
    expect_once(sql, first_key, keys)


@pytest.mark.parametrize("way", [JSON, HELD], ids=str)
def test_a_lock_that_is_not_had_in_time_is_asked_for_again(
    way: Way, through: Through, writing: Writing, sql: pyodbc.Connection, rival: pyodbc.Connection,
    first_key: int, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    engine = through(way, replace(PATIENT, lock_seconds=1))
    writer = writing(engine)
    keys = range(first_key, first_key + 10)
    rival.execute("INSERT INTO base (id, name) VALUES (?, 'rival')", keys[3])
    records = make(engine, keys)
    results: list[BatchResult] = []
    with caplog.at_level(logging.WARNING, "xml_extractor"):
        thread = threading.Thread(target=lambda: results.append(writer.commit_batch(records)), daemon=True)
        thread.start()
        deadline = time.monotonic() + 60
        while "lock" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not results
        rival.rollback()
        thread.join(60)
    assert "lock" in caplog.text
    [result] = results
    assert result.attempts >= 2
    expect_all(result, records)
    expect_once(sql, first_key, keys)
