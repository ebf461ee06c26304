"""What a session does around its statements: transactions, refusals, and the SQL that it asks with."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest

from xml_extractor.contract.plan import SourcePlan, Table
from xml_extractor.engines.base import EngineOptions, Fault, FaultKind, Session, TimeLimits
from xml_extractor.engines.mssql import driver_thread
from xml_extractor.engines.mssql.errors import ClaimConflict, classify
from xml_extractor.engines.mssql.openjson import ESCAPES, LONG_TEXTS
from xml_extractor.engines.mssql.session import FailedTransaction, MssqlSession, ReadOnlySession
from xml_extractor.engines.mssql.wires import Wire
from xml_extractor.errors import TargetError, UsageError
from xml_extractor.mapping.records import SourceDocument
from xml_extractor.operations import quarantine

Answer = list[tuple[Any, ...]] | Exception


class DuplicateKey(Exception):
    pass


class ConnectionGone(Exception):
    pass


class ScriptedRows:
    """Gives rows piece by piece; an exception among them is raised."""

    def __init__(self, rows: list[Any]) -> None:
        self.left = rows
        self.closed = False

    def fetch(self, count: int) -> list[tuple[Any, ...]]:
        some, self.left = self.left[:count], self.left[count:]
        for row in some:
            if isinstance(row, Exception):
                raise row
        return some

    def close(self) -> None:
        self.closed = True


class ScriptedWire(Wire):
    """Answers by words in the statements, the latest rule first, and keeps what it was asked."""

    def __init__(self) -> None:
        self.log: list[tuple[str, tuple[Any, ...]]] = []
        self.rules: list[tuple[str, Callable[[tuple[Any, ...]], Answer] | Answer]] = []
        self.opened: list[ScriptedRows] = []
        self.closed = False

    def on(self, word: str, answer: Callable[[tuple[Any, ...]], Answer] | Answer) -> None:
        self.rules.insert(0, (word, answer))

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        self.round_trips += 1
        self.log.append((sql, tuple(parameters)))
        for word, answer in self.rules:
            if word in sql:
                found = answer(tuple(parameters)) if callable(answer) else answer
                if isinstance(found, Exception):
                    raise found
                return found
        return []

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> ScriptedRows:
        self.opened.append(ScriptedRows(list(self.query(sql, parameters))))
        return self.opened[-1]

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        return len(self.query(sql, parameters))

    def cancel(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    @property
    def statements(self) -> list[str]:
        return [sql for sql, _ in self.log]

    def asked(self, word: str) -> tuple[str, tuple[Any, ...]]:
        """The latest statement with a word in it."""
        return next((sql, parameters) for sql, parameters in reversed(self.log) if word in sql)


class CountingWriter:
    table_seconds: ClassVar[dict[str, float]] = {}

    def write_tables(self, wire: Wire, tables: Sequence[tuple[Any, Sequence[Any]]]) -> list[int]:
        wire.execute("INSERT BY PATH")
        return [len(rows) for _, rows in tables]


def fault_of(error: BaseException) -> Fault:
    if isinstance(error, DuplicateKey):
        return Fault(FaultKind.DATA, "unique_violation", "a row with the same key is already there")
    if isinstance(error, ConnectionGone):
        return Fault(FaultKind.DISCONNECTED, "connection_lost", "gone")
    return classify(error, "the database")


def json_keeps(wire: ScriptedWire, *gaps: str) -> None:
    """Have the server's OPENJSON give back what it is given, but for gaps."""
    long = "x" * 10 if LONG_TEXTS in gaps else "x" * 4001

    def probe(parameters: tuple[Any, ...]) -> Answer:
        text = json.loads(parameters[0])[0][0]
        return [('a\\"' if ESCAPES in gaps else text, b"\x00\xff", long)]

    wire.on("CONVERT(varbinary(4)", probe)


@pytest.fixture
def wire() -> ScriptedWire:
    wire = ScriptedWire()
    wire.on("compatibility_level", [(150, "db")])
    json_keeps(wire)
    return wire


@pytest.fixture
def connect(wire: ScriptedWire) -> Iterator[Callable[..., MssqlSession]]:
    sessions: list[MssqlSession] = []

    def connect(*, write: bool = True, **options: Any) -> MssqlSession:
        session = MssqlSession(
            lambda: wire,
            application="test",
            write=write,
            options=EngineOptions(**options),
            row_writer=lambda gaps: CountingWriter(),
            classify=fault_of,
        )
        sessions.append(session)
        return session

    yield connect
    for session in sessions:
        session.close()


@pytest.fixture
def session(connect: Callable[..., MssqlSession], wire: ScriptedWire) -> MssqlSession:
    session = connect()
    session.begin()
    session.rollback()
    wire.log.clear()
    return session


# --------------------------------------------------------------------------------------- preparation


def test_one_request_prepares_a_session(connect: Callable[..., MssqlSession], wire: ScriptedWire) -> None:
    connect()
    assert len(wire.log) == 1
    sql = wire.statements[0]
    for setting in (
        "XACT_ABORT ON", "NOCOUNT OFF", "IMPLICIT_TRANSACTIONS", "TEXTSIZE 2147483647", "DATEFORMAT ymd",
        "LOCK_TIMEOUT -1", "ISOLATION LEVEL READ COMMITTED", "QUOTED_IDENTIFIER ON",
    ):  # fmt: skip
        assert setting in sql
    assert sql.index("LANGUAGE") < sql.index("DATEFORMAT"), "a language sets a DATEFORMAT of its own"
    assert "NOLOCK" not in sql
    assert "UNCOMMITTED" not in sql


@pytest.mark.parametrize(("seconds", "milliseconds"), [(1.5, 1500), (0.0001, 1), (None, -1)])
def test_waiting_for_locks_is_bounded_as_set(
    connect: Callable[..., MssqlSession], wire: ScriptedWire, seconds: float | None, milliseconds: int
) -> None:
    connect(limits=TimeLimits(lock_seconds=seconds))
    assert f"SET LOCK_TIMEOUT {milliseconds};" in wire.statements[0]


def test_snapshots_are_for_reading(connect: Callable[..., MssqlSession], wire: ScriptedWire) -> None:
    wire.on("snapshot_isolation_state", [(1,)])
    connect(write=False, snapshot=True)
    assert "ISOLATION LEVEL SNAPSHOT" in wire.statements[0]
    wire.log.clear()
    connect(write=True, snapshot=True)
    assert "ISOLATION LEVEL READ COMMITTED" in wire.statements[0]


@pytest.mark.parametrize("state", [0, 2, 3])
def test_a_database_without_snapshots_is_told_what_to_do(
    connect: Callable[..., MssqlSession], wire: ScriptedWire, state: int
) -> None:
    wire.on("snapshot_isolation_state", [(state,)])
    with pytest.raises(UsageError, match="ALLOW_SNAPSHOT_ISOLATION ON"):
        connect(write=False, snapshot=True)
    assert wire.closed


# ------------------------------------------------------------------------------------- transactions


def test_transactions_are_statements(session: MssqlSession, wire: ScriptedWire) -> None:
    session.begin()
    session.execute("X")
    session.commit()
    session.rollback()
    session.begin()
    session.rollback()
    session.rollback()
    assert wire.statements == [
        "BEGIN TRANSACTION", "X", "COMMIT TRANSACTION",
        "BEGIN TRANSACTION", "IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION",
    ]  # fmt: skip


@pytest.mark.parametrize("fails", ["query", "execute", "execute_many", "write_tables"])
def test_after_a_failure_in_a_transaction_nothing_is_run_but_rollback(
    session: MssqlSession, wire: ScriptedWire, fails: str
) -> None:
    """XACT_ABORT has undone it: what came now would be committed by itself."""
    wire.on("BAD", ValueError("refused"))
    wire.on("BY PATH", ValueError("refused"))
    session.begin()
    with pytest.raises(ValueError, match="refused"):
        {
            "query": lambda: session.query("BAD"),
            "execute": lambda: session.execute("BAD"),
            "execute_many": lambda: session.execute_many("BAD", [(1,)]),
            "write_tables": lambda: session.write_tables([]),
        }[fails]()
    wire.log.clear()
    for call in (
        lambda: session.query("SELECT 1"),
        lambda: session.execute("INSERT"),
        lambda: session.execute_many("INSERT", [(1,)]),
        lambda: session.write_tables([]),
        session.commit,
    ):
        with pytest.raises(FailedTransaction):
            call()
    assert wire.log == []
    session.rollback()
    session.execute("INSERT")
    assert wire.statements == ["IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION", "INSERT"]


def test_a_failure_outside_of_a_transaction_ends_nothing(session: MssqlSession, wire: ScriptedWire) -> None:
    wire.on("BAD", ValueError("refused"))
    with pytest.raises(ValueError, match="refused"):
        session.query("BAD")
    session.execute("X")


def test_a_commit_that_fails_leaves_the_transaction_to_be_rolled_back(
    session: MssqlSession, wire: ScriptedWire
) -> None:
    wire.on("COMMIT", ValueError("3902"))
    session.begin()
    with pytest.raises(ValueError, match="3902"):
        session.commit()
    with pytest.raises(FailedTransaction):
        session.execute("INSERT")
    session.rollback()
    assert wire.statements[-1].endswith("ROLLBACK TRANSACTION")


def test_a_transaction_is_not_begun_twice(session: MssqlSession, wire: ScriptedWire) -> None:
    session.begin()
    with pytest.raises(FailedTransaction, match="open already"):
        session.begin()
    assert wire.statements == ["BEGIN TRANSACTION"]


def test_many_rows_are_all_or_none(session: MssqlSession, wire: ScriptedWire) -> None:
    session.execute_many("X", [(1,), (2,)])
    assert wire.statements == ["BEGIN TRANSACTION", "X", "X", "COMMIT TRANSACTION"]
    wire.log.clear()
    wire.on("X", lambda parameters: ValueError("refused") if parameters == (2,) else [])
    with pytest.raises(ValueError, match="refused"):
        session.execute_many("X", [(1,), (2,), (3,)])
    assert wire.statements == [
        "BEGIN TRANSACTION", "X", "X", "IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION",
    ]  # fmt: skip
    session.begin()
    wire.log.clear()
    session.execute_many("X", [(1,)])
    assert wire.statements == ["X"], "within the transaction that is open"


@pytest.mark.parametrize("fails", ["BY PATH", "COMMIT"])
def test_rows_written_outside_of_a_transaction_have_one_of_their_own(
    session: MssqlSession, wire: ScriptedWire, fails: str
) -> None:
    table = cast("Table", SimpleNamespace(name="one"))
    assert session.write_rows(table, ["a", "b"]) == 2
    assert wire.statements == ["BEGIN TRANSACTION", "INSERT BY PATH", "COMMIT TRANSACTION"]
    wire.on(fails, ValueError("refused"))
    with pytest.raises(ValueError, match="refused"):
        session.write_rows(table, ["a"])
    assert wire.statements[-1] == "IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION"
    assert session.query("SELECT 1") == []


def test_time_is_told_by_table_or_divided_by_rows(session: MssqlSession, wire: ScriptedWire) -> None:
    one, two, three = (cast("Table", SimpleNamespace(name=name)) for name in ("one", "two", "three"))
    session.begin()
    CountingWriter.table_seconds["one"] = 0.0
    try:
        first, second, third = session.write_tables([(one, ["a"]), (two, ["a", "b", "c"]), (three, ["a"])])
    finally:
        CountingWriter.table_seconds.clear()
    assert [first.rows, second.rows, third.rows] == [1, 3, 1]
    assert first.seconds == 0.0
    assert second.seconds == pytest.approx(3 * third.seconds)
    assert third.seconds > 0


def test_rolling_back_a_lost_connection_is_harmless(session: MssqlSession, wire: ScriptedWire) -> None:
    wire.on("ROLLBACK", ConnectionGone())
    session.begin()
    session.rollback()
    wire.on("ROLLBACK", ValueError("something else"))
    session.begin()
    with pytest.raises(ValueError, match="something else"):
        session.rollback()


def test_rolling_back_an_aborted_session_is_harmless(session: MssqlSession, wire: ScriptedWire) -> None:
    session.begin()
    session.abort()
    session.rollback()
    assert wire.statements == ["BEGIN TRANSACTION"]
    with pytest.raises(Exception, match="abort") as caught:
        session.query("SELECT 1")
    assert fault_of(caught.value).kind is FaultKind.DISCONNECTED


def test_a_session_for_reading_writes_nothing(
    connect: Callable[..., MssqlSession], wire: ScriptedWire
) -> None:
    session = connect(write=False)
    wire.log.clear()
    for call in (
        lambda: session.execute("INSERT"),
        lambda: session.execute_many("INSERT", [(1,)]),
        session.begin,
        lambda: session.insert_new("t", ("a",), [(1,)]),
        lambda: session.write_tables([]),
    ):
        with pytest.raises(ReadOnlySession) as caught:
            call()
    assert wire.log == []
    fault = fault_of(caught.value)
    assert (fault.kind, fault.code) == (FaultKind.FATAL, "read_only")


def test_a_stalled_server_does_not_hang_a_session(
    connect: Callable[..., MssqlSession], wire: ScriptedWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    from xml_extractor.engines.mssql import session as module

    monkeypatch.setattr(module, "GRACE_SECONDS", 0.05)
    monkeypatch.setattr(driver_thread, "GRACE_SECONDS", 0.05)
    session = connect(limits=TimeLimits(statement_seconds=0.1))
    release = threading.Event()

    def stall(_: tuple[Any, ...]) -> Answer:
        assert release.wait(10)
        return []

    wire.on("STALL", stall)
    try:
        with pytest.raises(Exception, match="no answer") as caught:
            session.query("STALL")
        assert fault_of(caught.value).kind is FaultKind.DISCONNECTED
        session.rollback()
        session.close()
    finally:
        release.set()


# ---------------------------------------------------------------------------- what the catalogue says


def column(name: str, kind: str, **changes: Any) -> tuple[Any, ...]:
    """A row of the catalogue's, see ``catalogue._described``."""
    row = {
        "name": name, "declared": kind, "base": kind, "max_length": 8, "precision": 0, "scale": 0,
        "nullable": False, "has_default": 0, "generated": 0, "encrypted": 0, "xml_collection": 0,
        "collation": None, "code_page": None,
    }  # fmt: skip
    return tuple({**row, **changes}.values())


def with_table(wire: ScriptedWire, *columns: tuple[Any, ...]) -> None:
    wire.on("sys.objects", [(7,)])
    wire.on("sys.columns", list(columns))


LATIN = {"collation": "Latin1_General_CI_AS", "code_page": 1252}
SOURCE = SourcePlan(None, "docs", "id", "xml", None, ())


@pytest.mark.parametrize(
    ("key", "compared", "page"),
    [
        (column("id", "int"), "CAST(? AS bigint)", [(1,), (2,)]),
        (
            column("id", "decimal", precision=9),
            "CAST(? AS decimal(38,0))",
            [(Decimal(1),), (Decimal(2),)],
        ),
        (
            column("id", "varchar", max_length=20, **LATIN),
            "CAST(? COLLATE Latin1_General_CI_AS AS varchar(8000)) COLLATE Latin1_General_CI_AS",
            [("a",), ("b",)],
        ),
        (
            column("id", "nvarchar", max_length=-1, **LATIN),
            "CAST(? COLLATE Latin1_General_CI_AS AS nvarchar(max)) COLLATE Latin1_General_CI_AS",
            [("a",), ("b",)],
        ),
        (column("id", "uniqueidentifier"), "CAST(? AS uniqueidentifier)", [("a",), ("b",)]),
    ],
)
def test_keys_are_paged_by_the_columns_own_type(
    session: MssqlSession, wire: ScriptedWire, key: tuple[Any, ...], compared: str, page: list[Any]
) -> None:
    with_table(wire, key, column("xml", "xml"))
    wire.on("SELECT TOP", page)
    keys = session.key_page(SOURCE, None, None, None, 2)
    assert keys == [row[0] for row in page]
    assert {type(key) for key in keys} <= {int, str}, "whatever the driver makes of a decimal"
    assert wire.log[-1] == ("SELECT TOP (?) [id] FROM [docs] ORDER BY [id]", (2,))
    before = len(wire.log)
    filtered = replace(SOURCE, where="x = 1 OR y = 2")
    session.key_page(filtered, "c", "a", "z", 5)
    assert wire.log[-1] == (
        f"SELECT TOP (?) [id] FROM [docs] WHERE (x = 1 OR y = 2) AND [id] > {compared} "
        f"AND [id] >= {compared} AND [id] <= {compared} ORDER BY [id]",
        (5, "c", "a", "z"),
    )
    assert len(wire.log) == before + 1, "the catalogue is asked once"
    wire.on("COUNT_BIG", [(3,)])
    assert session.count_keys(SOURCE, "a", None) == 3
    assert wire.log[-1] == (f"SELECT COUNT_BIG(*) FROM [docs] WHERE [id] >= {compared}", ("a",))


def test_documents_are_asked_for_by_lists_of_few_lengths(session: MssqlSession, wire: ScriptedWire) -> None:
    with_table(wire, column("id", "bigint"), column("xml", "xml"), column("at", "datetime2", scale=7))
    source = replace(SOURCE, columns=("at",))
    wire.on("WHERE [id] IN", [(1, "<a/>", "2024-01-02 00:00:00.0000001"), (2, None, None)])
    found = session.documents(source, [1, 2])
    assert found == [
        SourceDocument(1, "<a/>", ("2024-01-02 00:00:00.0000001",)),
        SourceDocument(2, None, (None,)),
    ]
    sql, parameters = wire.log[-1]
    assert sql.startswith("SELECT [id], [xml], CONVERT(varchar(34), [at], 121) FROM [docs] WHERE [id] IN (")
    assert sql.endswith(") ORDER BY [id]")
    assert parameters == (1, *[2] * 9)
    lengths = set()
    for count in (1, 5, 11, 100, 101, 999, 1000):
        session.documents(source, list(range(count)))
        lengths.add(len(wire.log[-1][1]))
    assert lengths == {1, 10, 100, 500, 1000}
    before = len(wire.log)
    session.documents(source, list(range(2001)))
    assert [len(parameters) for _, parameters in wire.log[before:]] == [1000, 1000, 1]
    assert session.documents(source, []) == []


def test_further_columns_keep_the_seventh_digit_of_a_second(
    session: MssqlSession, wire: ScriptedWire
) -> None:
    """Whichever the driver: the server writes them as text."""
    with_table(
        wire, column("id", "bigint"), column("xml", "xml"), column("a", "time"),
        column("b", "datetimeoffset"),
        column("c", "datetime"),
    )  # fmt: skip
    session.documents(replace(SOURCE, columns=("a", "b", "c")), [1])
    text = "CONVERT(varchar(34), [b], 121)"
    # 2024-01-02 03:04:05.1234567 +05:30: the blank is the seventh character from the end.
    assert (
        f"SELECT [id], [xml], CONVERT(varchar(34), [a], 121), STUFF({text}, LEN({text}) - 6, 1, ''), [c] FROM"
        in wire.log[-1][0]
    )


def test_a_table_that_is_not_there_is_named(session: MssqlSession, wire: ScriptedWire) -> None:
    with pytest.raises(UsageError, match="docs"):
        session.key_page(SOURCE, None, None, None, 1)
    with_table(wire, column("other", "int"))
    with pytest.raises(LookupError, match=r"no column id; there are other"):
        session.key_page(SOURCE, None, None, None, 1)


LEDGER = (
    column("digest", "binary", max_length=16),
    column("text", "nvarchar", max_length=-1, **LATIN),
    column("n", "int"),
    column("at", "datetime"),
)


def test_claims_travel_in_one_request(session: MssqlSession, wire: ScriptedWire) -> None:
    with_table(wire, *LEDGER)
    wire.on("INSERT INTO", [(b"a" * 16,)])
    rows = [(b"b" * 16, 'quoted "b"', 2, None), (b"a" * 16, None, 1, "2024-01-02 03:04:05.120")]
    assert session.insert_new("ledger", ("digest", "text", "n", "at"), rows) == {b"b" * 16}
    sql, parameters = wire.asked("INSERT INTO")
    assert parameters[0] == b"a" * 16 + b"b" * 16, "in key order, so that all take the locks in one order"
    assert json.loads(parameters[1]) == [
        [1, 16, None, 1, "2024-01-02T03:04:05.120"], [17, 16, 'quoted "b"', 2, None],
    ]  # fmt: skip
    assert "DECLARE @bytes varbinary(max) = ?" in sql
    assert "CAST(SUBSTRING(@bytes, c0, n0) AS binary(16)) AS c0" in sql
    assert "present.[digest] = CAST(sorted.c0 AS binary(16))" in sql
    assert "ORDER BY c0" in sql
    assert "HOLDLOCK" not in sql


@pytest.mark.parametrize("gap", [ESCAPES, LONG_TEXTS])
def test_what_a_servers_json_would_spoil_goes_by_parameters(
    connect: Callable[..., MssqlSession], wire: ScriptedWire, gap: str
) -> None:
    json_keeps(wire, gap)
    with_table(wire, column("id", "int"), column("text", "nvarchar", max_length=-1, **LATIN))
    session = connect()
    wire.on("INSERT INTO", [(1,), (2,)])
    for text in ('"', "x" * 4001):
        session.insert_new("t", ("id", "text"), [(2, None), (1, text)])
        sql, parameters = wire.asked("INSERT INTO")
        if (gap == ESCAPES) == (text == '"'):
            assert "OPENJSON" not in sql
            assert "VALUES (CAST(? AS bigint), CAST(? AS nvarchar(max)))" in sql
            assert "(CAST(? AS bigint), CAST(NULL AS nvarchar(max)))" in sql
            assert parameters == (1, text, 2)
        else:
            assert "OPENJSON" in sql


def test_parameters_stay_within_the_servers_limits(
    connect: Callable[..., MssqlSession], wire: ScriptedWire
) -> None:
    session = connect()
    wire.on("compatibility_level", [(120, "db")])
    wire.on("FROM OPENJSON(N'[1]')", ValueError("Invalid object name 'OPENJSON'"))
    with_table(wire, column("id", "int"), column("a", "int"), column("b", "int"))
    session.begin()  # is asked before, as the refusal would undo the transaction
    wire.on("INSERT INTO", lambda parameters: [(value,) for value in parameters[::3]])
    rows = [(n, n, n) for n in range(2000)]
    assert session.insert_new("t", ("id", "a", "b"), rows) == set()
    counts = [len(parameters) for sql, parameters in wire.log if "INSERT INTO" in sql]
    assert sum(counts) == 6000
    assert max(counts) <= 2100
    assert not any("OPENJSON" in sql for sql in wire.statements if "INSERT" in sql)
    session.commit()
    before = len(wire.log)
    session.existing("t", ("id",), "id", list(range(4500)))
    assert [len(parameters) for _, parameters in wire.log[before:]] == [2000, 2000, 500]


def rows_of(wire: ScriptedWire, key: int, number: int, *, stay: bool = False) -> list[int]:
    """Have a table hold so many rows of a key, of which a DELETE TOP takes some at a time; return what each
    statement said that it deleted.

    Args:
        stay: whether a trigger runs INSTEAD OF the DELETE, and deletes nothing.
    """
    left = number
    said: list[int] = []

    def delete(_: tuple[Any, ...]) -> Answer:
        nonlocal left
        top = re.search(r"DELETE TOP \((\d+)\)", wire.statements[-1])
        said.append(min(left, int(top[1])) if top else left)
        left -= 0 if stay else said[-1]
        return [(said[-1],)]

    with_table(wire, column("id", "int"), column("owner", "int"))
    wire.on("DELETE", delete)
    wire.on("GROUP BY", lambda _: [(key, left)] if left else [])
    return said


@pytest.mark.parametrize(
    ("rows", "statements"),
    [
        (0, [0]),
        (3_999, [3_999]),
        (4_000, [4_000, 0]),
        (8_000, [4_000, 4_000, 0]),
        (9_500, [4_000, 4_000, 1_500]),
    ],
)
def test_deletions_stay_below_lock_escalation_too(
    connect: Callable[..., MssqlSession], wire: ScriptedWire, rows: int, statements: list[int]
) -> None:
    session = connect(avoid_lock_escalation=True)
    said = rows_of(wire, 7, rows)
    assert session.delete_rows("t", "owner", [7]) == rows
    assert said == statements


def test_deletions_go_in_one_statement_where_nobody_is_in_the_way(
    session: MssqlSession, wire: ScriptedWire
) -> None:
    said = rows_of(wire, 7, 9_500)
    assert session.delete_rows("t", "owner", [7]) == 9_500
    assert said == [9_500]


def test_rows_that_a_trigger_keeps_are_not_deleted_for_ever(
    connect: Callable[..., MssqlSession], wire: ScriptedWire
) -> None:
    session = connect(avoid_lock_escalation=True)
    said = rows_of(wire, 7, 9_500, stay=True)
    assert session.delete_rows("t", "owner", [7]) > 9_500, "which the caller takes for what it is"
    assert len(said) == 4


def test_keys_of_text_are_claimed_and_found_by_the_columns_rules(
    session: MssqlSession, wire: ScriptedWire
) -> None:
    with_table(wire, column("id", "varchar", max_length=20, **LATIN))
    wire.on("INSERT INTO", [("b",)])
    # 'A' is refused: under this collation it is the 'a' that is there.
    assert session.insert_new("t", ("id",), [("b",), ("A",)]) == {"A"}
    sql, _ = wire.asked("INSERT INTO")
    compared = "CAST(sorted.c0 COLLATE Latin1_General_CI_AS AS varchar(8000)) COLLATE Latin1_General_CI_AS"
    assert f"present.[id] = {compared}" in sql
    assert "DECLARE @new TABLE (k varchar(20) COLLATE Latin1_General_CI_AS)" in sql
    assert "c0 nvarchar(4000)" in sql, "longer than the column, so that it refuses what is too long"
    wire.on("SELECT DISTINCT", [("a",)])
    assert session.existing("t", ("id",), "id", ["A", "a"]) == [("a",)]


def test_a_column_that_changes_its_keys_is_noticed(session: MssqlSession, wire: ScriptedWire) -> None:
    with_table(wire, column("id", "varchar", max_length=20, **LATIN))
    wire.on("INSERT INTO", [("?",)])
    with pytest.raises(TargetError, match="does not keep the keys"):
        session.insert_new("t", ("id",), [("ж",)])


GUID = "abcdef00-0000-0000-0000-000000000001"


@pytest.mark.parametrize(
    ("key", "given", "stored"),
    [
        (column("id", "uniqueidentifier"), GUID.upper(), GUID),
        (column("id", "char", max_length=5, **LATIN), "ab", "ab   "),
        (column("id", "binary", max_length=4), b"ab", b"ab\0\0"),
    ],
)  # fmt: skip
def test_keys_come_back_as_they_were_given(
    session: MssqlSession, wire: ScriptedWire, key: tuple[Any, ...], given: Any, stored: Any
) -> None:
    with_table(wire, key)
    wire.on("INSERT INTO", [(stored,)])
    assert session.insert_new("t", ("id",), [(given,)]) == set()
    wire.on("INSERT INTO", [])
    assert session.insert_new("t", ("id",), [(given,)]) == {given}


def test_a_key_that_another_session_committed_meanwhile_is_a_conflict(
    session: MssqlSession, wire: ScriptedWire
) -> None:
    with_table(wire, column("id", "int"))
    wire.on("INSERT INTO", DuplicateKey())
    wire.on("SELECT DISTINCT", [(1,)])
    session.begin()
    with pytest.raises(ClaimConflict) as caught:
        session.insert_new("t", ("id",), [(1,)])
    assert fault_of(caught.value).kind is FaultKind.TRANSIENT
    with pytest.raises(FailedTransaction):
        session.query("SELECT 1")
    session.rollback()
    session.query("SELECT 1")


@pytest.mark.parametrize("in_transaction", [True, False])
def test_what_another_index_refuses_is_no_conflict(
    session: MssqlSession, wire: ScriptedWire, in_transaction: bool
) -> None:
    with_table(wire, column("id", "int"))
    wire.on("INSERT INTO", DuplicateKey())
    if in_transaction:
        session.begin()
    with pytest.raises(DuplicateKey):
        session.insert_new("t", ("id",), [(1,)])
    if in_transaction:
        with pytest.raises(FailedTransaction):
            session.query("SELECT 1")
        session.rollback()
    session.query("SELECT 1")


def test_long_rows_are_sent_in_parts(
    session: MssqlSession, wire: ScriptedWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xml_extractor.engines.mssql import given

    monkeypatch.setattr(given, "REQUEST_CHARACTERS", 100)
    with_table(wire, column("id", "int"), column("text", "nvarchar", max_length=-1, **LATIN))
    wire.on("INSERT INTO", lambda parameters: [(row[0],) for row in json.loads(parameters[-1])])
    rows = [(n, "x" * 40) for n in range(5)] + [(5, "x" * 300)]
    assert session.insert_new("t", ("id", "text"), rows) == set()
    sent = [json.loads(p[-1]) for sql, p in wire.log if "INSERT INTO" in sql]
    assert [[row[0] for row in part] for part in sent] == [[0, 1], [2, 3], [4], [5]]


def test_tables_are_listed_in_the_schema_that_was_set(
    connect: Callable[..., MssqlSession], wire: ScriptedWire
) -> None:
    wire.on("sys.objects", [("a",), ("b",)])
    assert connect().table_names() == {"a", "b"}
    assert wire.log[-1][1] == ()
    session = connect(schema="stage]d")
    session.table_names()
    assert wire.log[-1][1] == ("stage]d",)
    assert session.table("t") == "[stage]]d].[t]"
    assert session.table("dbo.t") == "[dbo].[t]"


# ------------------------------------------------------------------------------------------ streams


def test_quarantine_is_read_in_pages_and_counted_however_large_it_is(
    session: MssqlSession, wire: ScriptedWire
) -> None:
    def ask(question: Callable[[Session], Any]) -> Any:
        return question(session)

    wire.on("COUNT_BIG(*)", [(2**31,)])
    wanted = quarantine.QuarantineFilter(code="unique_violation")
    assert quarantine.count_quarantined(ask, wanted) == 2**31
    assert quarantine.list_quarantined(ask, wanted, 20) == []
    sql, parameters = wire.asked("ORDER BY q.quarantined_at DESC")
    assert sql.endswith(" OFFSET 0 ROWS FETCH NEXT 20 ROWS ONLY")
    assert parameters == ("unique_violation",)
    assert list(quarantine.quarantine_pages(ask, wanted)) == []
    sql, _ = wire.asked("ORDER BY q.digest")
    assert sql.endswith(f" OFFSET 0 ROWS FETCH NEXT {quarantine.PAGE_DOCUMENTS} ROWS ONLY")


def test_a_stream_closes_its_cursor(session: MssqlSession, wire: ScriptedWire) -> None:
    wire.on("FROM t", [(n,) for n in range(5)])
    assert list(session.stream("SELECT a FROM t", rows_per_chunk=2)) == [[(0,), (1,)], [(2,), (3,)], [(4,)]]
    stream = session.stream("SELECT a FROM t", rows_per_chunk=2)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert [rows.closed for rows in wire.opened] == [True, True]


def test_a_stream_that_fails_closes_its_cursor(session: MssqlSession, wire: ScriptedWire) -> None:
    wire.on("FROM t", [(1,), cast("tuple[Any, ...]", ConnectionGone())])
    with pytest.raises(ConnectionGone):
        list(session.stream("SELECT a FROM t", rows_per_chunk=1))
    assert [rows.closed for rows in wire.opened] == [True]


def test_an_aborted_stream_leaves_the_cursor_to_the_thread(session: MssqlSession, wire: ScriptedWire) -> None:
    wire.on("FROM t", [(n,) for n in range(5)])
    stream = session.stream("SELECT a FROM t", rows_per_chunk=2)
    next(stream)
    session.abort()
    with pytest.raises(driver_thread.Aborted):
        next(stream)
