"""What both drivers' connections have in common, and values as pyodbc's driver has them."""

from __future__ import annotations

import datetime
import struct
import sys
import types
import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xml_extractor.engines.mssql import dbapi_wire, pyodbc_wire
from xml_extractor.engines.mssql.dbapi_wire import DbapiWire
from xml_extractor.engines.mssql.mssqlpython_wire import MssqlPythonWire
from xml_extractor.engines.mssql.pyodbc_wire import PyodbcWire
from xml_extractor.engines.mssql.wires import canonical, declared, fraction, plain, utf16_length

SQL_BIT, SQL_BIGINT, SQL_DOUBLE, SQL_DECIMAL, SQL_VARBINARY, SQL_WVARCHAR = -7, -5, 8, 3, -3, -9


# ---------------------------------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (True, (SQL_BIT, 1, 0)),
        (7, (SQL_BIGINT, 19, 0)),
        (-(2**63), (SQL_BIGINT, 19, 0)),
        (1.5, (SQL_DOUBLE, 53, 0)),
        (Decimal("-1.50"), (SQL_DECIMAL, 38, 2)),
        (Decimal("1E+3"), (SQL_DECIMAL, 38, 0)),
        ("", (SQL_WVARCHAR, 4000, 0)),
        ("x" * 4000, (SQL_WVARCHAR, 4000, 0)),
        ("x" * 4001, (SQL_WVARCHAR, 0, 0)),
        ("😀" * 2000, (SQL_WVARCHAR, 4000, 0)),
        ("😀" * 2001, (SQL_WVARCHAR, 0, 0)),
        (b"", (SQL_VARBINARY, 8000, 0)),
        (b"x" * 8000, (SQL_VARBINARY, 8000, 0)),
        (b"x" * 8001, (SQL_VARBINARY, 0, 0)),
    ],
)
def test_parameters_are_declared_by_kind(value: object, size: tuple[int, int, int]) -> None:
    assert declared(value) == size


@pytest.mark.parametrize("value", [[1], None])
def test_what_no_parameter_can_be_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match=type(value).__name__):
        declared(value)


def test_integers_beyond_bigint_become_decimals() -> None:
    assert plain(2**63) == Decimal(2**63)
    assert isinstance(plain(2**63), Decimal)
    assert plain(2**63 - 1) == 2**63 - 1
    assert isinstance(plain(True), bool)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_texts_are_measured_in_utf16_units(text: str) -> None:
    assert utf16_length(text) == len(text.encode("utf-16-le")) // 2


# ------------------------------------------------------------------------------------------- results


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (datetime.datetime(1, 2, 3, 4, 5, 6), "0001-02-03 04:05:06"),
        (datetime.datetime(2024, 1, 2, 3, 4, 5, 120_000), "2024-01-02 03:04:05.12"),
        (
            datetime.datetime(2024, 1, 2, 3, tzinfo=datetime.timezone(-datetime.timedelta(minutes=330))),
            "2024-01-02 03:00:00-05:30",
        ),
        (datetime.date(33, 4, 5), "0033-04-05"),
        (datetime.time(3, 4, 5, 1), "03:04:05.000001"),
        (uuid.UUID("6F9619FF-8B86-D011-B42D-00C04FC964FF"), "6f9619ff-8b86-d011-b42d-00c04fc964ff"),
        (Decimal("1.50"), Decimal("1.50")),
        (None, None),
        (True, True),
        (b"x", b"x"),
    ],
)  # fmt: skip
def test_values_become_canonical(value: object, text: object) -> None:
    assert canonical(value) == text
    assert type(canonical(value)) is type(text)


@given(st.integers(0, 9_999_999))
def test_fractions_keep_seven_digits(ticks: int) -> None:
    text = fraction(ticks * 100)
    assert round(float(f"0{text}") * 10_000_000) == ticks
    assert not text.endswith(("0", "."))


def converted(number: int, raw: bytes | None) -> str | None:
    return pyodbc_wire._CONVERTERS[number](raw)


TIMESTAMP, DATE, TIME2, OFFSET, GUID = 93, 91, -154, -155, -11


@pytest.mark.parametrize(
    ("number", "raw", "text"),
    [
        # Recorded from Microsoft's driver 18.6.
        (TIMESTAMP, "e807 0100 0200 0300 0400 0500 00ca5b07", "2024-01-02 03:04:05.123456"),
        (TIMESTAMP, "ebb00000 818f3200", "2024-01-02 03:04:05.123"),  # datetime
        (TIMESTAMP, "ebb0 b800", "2024-01-02 03:04:00"),  # smalldatetime
        (DATE, "e807 0100 0200", "2024-01-02"),
        (TIME2, "0300 0400 0500 0000 00ca5b07", "03:04:05.123456"),
        (TIME2, "0300 0400 0500 0000 00000000", "03:04:05"),
        (OFFSET, "e807 0100 0200 0300 0400 0500 00ca5b07 0500 1e00", "2024-01-02 03:04:05.123456+05:30"),
        (OFFSET, "e807 0100 0200 0300 0400 0500 00ca5b07 fbff e2ff", "2024-01-02 03:04:05.123456-05:30"),
        (OFFSET, "e807 0100 0200 0300 0400 0500 00000000 0000 e2ff", "2024-01-02 03:04:05-00:30"),
        (OFFSET, "e807 0100 0200 0300 0400 0500 00000000 0000 0000", "2024-01-02 03:04:05+00:00"),
        (GUID, "ff19966f 868b 11d0 b42d00c04fc964ff", "6f9619ff-8b86-d011-b42d-00c04fc964ff"),
        # Computed: the seventh digit, and both ends of datetime.
        (TIMESTAMP, "0f27 0c00 1f00 1700 3b00 3b00 9cc99a3b", "9999-12-31 23:59:59.9999999"),
        (TIME2, "0000 0000 0000 0000 64000000", "00:00:00.0000001"),
        (TIMESTAMP, "462effff 00000000", "1753-01-01 00:00:00"),
        (TIMESTAMP, "7f242d00 ff818b01", "9999-12-31 23:59:59.997"),
    ],
)
def test_the_drivers_own_values_become_text(number: int, raw: str, text: str) -> None:
    assert converted(number, bytes.fromhex(raw)) == text


def test_null_stays_null() -> None:
    assert [converted(number, None) for number in pyodbc_wire._CONVERTERS] == [None] * 5


@pytest.mark.parametrize(("ticks", "text"), [(1, ".003"), (2, ".007"), (3, ".01"), (299, ".997")])
def test_thirds_of_datetime_are_written_as_the_server_writes_them(ticks: int, text: str) -> None:
    assert converted(TIMESTAMP, struct.pack("=iI", 0, ticks)) == f"1900-01-01 00:00:00{text}"


# -------------------------------------------------------------------------------- what drivers are told


class FakeCursor:
    """Plays results: lists are result sets, integers are counts of rows, exceptions are raised."""

    def __init__(self, connection: FakeConnection) -> None:
        self._connection = connection
        self._results: list[Any] = []
        self.sizes: Any = None
        self.closed = False
        self.cancelled = False
        self.fast_executemany = False

    def setinputsizes(self, sizes: Any) -> None:
        self.sizes = sizes

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        self._connection.log.append((sql, list(parameters), self.sizes))
        if self._connection.script is None:
            raise ConnectionError("refused")
        self._results = list(self._connection.script)
        self._raise()

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        assert self.fast_executemany
        self.execute(sql, rows)

    @property
    def description(self) -> object:
        return [("x",)] if isinstance(self._results[0], list) else None

    @property
    def rowcount(self) -> int:
        return -1 if isinstance(self._results[0], list) else int(self._results[0])

    def fetchall(self) -> list[Any]:
        return list(self._results[0])

    def fetchmany(self, count: int) -> list[Any]:
        some, self._results[0] = self._results[0][:count], self._results[0][count:]
        if some and isinstance(some[-1], Exception):
            raise some[-1]
        return list(some)

    def nextset(self) -> bool:
        self._results.pop(0)
        self._raise()
        return bool(self._results)

    def _raise(self) -> None:
        if self._results and isinstance(self._results[0], Exception):
            raise self._results[0]

    def cancel(self) -> None:
        self.cancelled = True

    def close(self) -> None:
        self.closed = True


class FakeConnection:
    def __init__(self, script: list[Any] | None = None) -> None:
        self.script: list[Any] | None = script or [[]]
        self.log: list[tuple[str, list[Any], Any]] = []
        self.cursors: list[FakeCursor] = []
        self.closed = False

    def cursor(self) -> FakeCursor:
        self.cursors.append(FakeCursor(self))
        return self.cursors[-1]

    def close(self) -> None:
        self.closed = True
        raise ConnectionError("it was gone already")


NULL = object()


@pytest.fixture
def connection() -> FakeConnection:
    return FakeConnection()


@pytest.fixture
def wire(connection: FakeConnection) -> DbapiWire:
    return PyodbcWire(connection, NULL)


def test_the_first_result_set_counts_and_the_batch_is_read_to_its_end(
    wire: DbapiWire, connection: FakeConnection
) -> None:
    connection.script = [3, [(1, "a")], [(2, "b")], -1]
    assert wire.query("…") == [(1, "a")]
    connection.script = [3, -1]
    assert wire.query("…") == []
    connection.script = [[(1,)], ValueError("division by zero")]
    with pytest.raises(ValueError, match="division"):
        wire.query("SELECT 1; SELECT 1/0")
    assert all(cursor.closed for cursor in connection.cursors)


def test_rows_are_read_as_they_are_wanted(wire: DbapiWire, connection: FakeConnection) -> None:
    connection.script = [[(1,), (2,), (3,)]]
    rows = wire.rows("SELECT a FROM t WHERE b = ?", ("x",))
    assert [rows.fetch(2), rows.fetch(2), rows.fetch(2)] == [[(1,), (2,)], [(3,)], []]
    assert connection.log == [("SELECT a FROM t WHERE b = ?", ["x"], [(SQL_WVARCHAR, 4000, 0)])]
    assert not connection.cursors[0].closed
    rows.close()
    assert connection.cursors[0].closed
    connection.script = [[(1,), ValueError("gone")]]
    with pytest.raises(ValueError, match="gone"):
        wire.rows("SELECT a FROM t").fetch(5)
    connection.script = None
    with pytest.raises(ConnectionError):
        wire.rows("SELECT a FROM t")
    assert connection.cursors[-1].closed


def test_a_statements_own_count_comes_after_its_triggers(wire: DbapiWire, connection: FakeConnection) -> None:
    connection.script = [17, [("from a trigger",)], 5]
    assert wire.execute("INSERT") == 5
    connection.script = [-1]
    assert wire.execute("SET XACT_ABORT ON") == 0
    connection.script = [2, ValueError("trigger")]
    with pytest.raises(ValueError, match="trigger"):
        wire.execute("INSERT")


def test_statements_with_parameters_are_kept(wire: DbapiWire, connection: FakeConnection) -> None:
    for value in ("a", "a longer one"):
        wire.query("SELECT ?", (value,))
    assert len(connection.cursors) == 1, "one statement, one preparation"
    assert [sizes for _, _, sizes in connection.log] == [[(SQL_WVARCHAR, 4000, 0)], [(SQL_WVARCHAR, 4000, 0)]]
    assert wire.round_trips == 2


def test_null_has_no_type_that_a_column_could_refuse(wire: DbapiWire, connection: FakeConnection) -> None:
    wire.execute("UPDATE t SET moment = ?, name = ?", (None, "a"))
    assert connection.log == [("UPDATE t SET moment = NULL, name = ?", ["a"], [(SQL_WVARCHAR, 4000, 0)])]
    wire.query("SELECT ?", (None,))
    assert connection.log[1][0] == "SELECT NULL"


def test_pyodbc_gets_the_very_text_that_it_prepared(wire: DbapiWire, connection: FakeConnection) -> None:
    for _ in range(2):
        wire.query("".join(["SELECT ", "?"]), (1,))  # equal texts, two objects
    assert connection.log[0][0] is connection.log[1][0]


def test_only_so_many_statements_are_kept(
    wire: DbapiWire, connection: FakeConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dbapi_wire, "KEPT_STATEMENTS", 2)
    for sql in ("A ?", "B ?", "A ?", "C ?"):
        wire.query(sql, (1,))
    assert [cursor.closed for cursor in connection.cursors] == [False, True, False], "the oldest goes"
    assert wire.round_trips == 5, "and to let go of it is a request"


def test_a_statement_that_failed_is_prepared_anew(wire: DbapiWire, connection: FakeConnection) -> None:
    connection.script = None
    with pytest.raises(ConnectionError):
        wire.query("SELECT ?", (1,))
    assert connection.cursors[0].closed
    connection.script = [[(1,)]]
    assert wire.query("SELECT ?", (1,)) == [(1,)]
    assert len(connection.cursors) == 2


def test_rows_one_by_one_with_types_given(wire: DbapiWire, connection: FakeConnection) -> None:
    connection.script = [1]
    sizes = [(SQL_BIGINT, 19, 0), (SQL_WVARCHAR, 50, 0)]
    wire.execute_many("INSERT", [(1, "a"), (2, None)], sizes=sizes)
    assert connection.log == [("INSERT", [1, "a"], sizes), ("INSERT", [2, NULL], sizes)]
    assert wire.round_trips == 2


def test_rows_as_arrays(wire: DbapiWire, connection: FakeConnection) -> None:
    connection.script = [1]
    wire.execute_many("INSERT", iter([(1,), (2,)]), sizes=[(SQL_BIGINT, 19, 0)], fast=True)
    assert connection.log == [("INSERT", [(1,), (2,)], [(SQL_BIGINT, 19, 0)])]
    assert connection.cursors[0].closed
    wire.execute_many("INSERT", [], fast=True)
    assert (len(connection.log), wire.round_trips) == (1, 1)


def test_cancelling_reaches_what_runs_and_nothing_else(wire: DbapiWire, connection: FakeConnection) -> None:
    wire.cancel()
    wire.query("SELECT ?", (1,))
    wire.cancel()
    assert not connection.cursors[0].cancelled

    class Cancelled(list[Any]):
        def __iter__(self) -> Any:  # while its results are read
            wire.cancel()
            return super().__iter__()

    connection.script = [Cancelled()]
    wire.query("SELECT 2")
    assert connection.cursors[1].cancelled


def test_closing_never_raises(wire: DbapiWire, connection: FakeConnection) -> None:
    wire.close()
    assert connection.closed


# -------------------------------------------------------------------------------- what mssql-python drops


class StatementCursor(FakeCursor):
    """As mssql-python's: a statement that is refused is given up, and its records are gone with it."""

    def __init__(self, connection: FakeConnection) -> None:
        super().__init__(connection)
        self.hstmt: list[tuple[str, str]] | None = None

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        self.hstmt = [("[23000] (2627)", f"{SERVER}Violation of PRIMARY KEY constraint")]
        try:
            super().execute(sql, parameters)
        except Exception:
            self._reset_cursor()
            raise

    def _reset_cursor(self) -> None:
        self.hstmt = []


SERVER = "[Microsoft][ODBC Driver 18 for SQL Server][SQL Server]"


@pytest.mark.parametrize("script", [[ValueError("refused")], [0, ValueError("refused")]])
def test_the_servers_numbers_are_kept(monkeypatch: pytest.MonkeyPatch, script: list[Any]) -> None:
    """Of an error that ``execute`` raises, and of one in a later result."""
    bindings = types.SimpleNamespace(DDBCSQLGetAllDiagRecords=list, DDBCSQLRowCount=lambda hstmt: 0)
    monkeypatch.setitem(sys.modules, "mssql_python.ddbc_bindings", bindings)
    connection = FakeConnection(script)
    monkeypatch.setattr(connection, "cursor", lambda: StatementCursor(connection))
    wire = MssqlPythonWire(connection)
    with pytest.raises(ValueError, match="refused") as caught:
        wire.execute("INSERT")
    assert vars(caught.value)["mssql_diagnostics"] == (
        ("[23000] (2627)", f"{SERVER}Violation of PRIMARY KEY constraint"),
    )
    assert wire._records == [], "the next error has records of its own"


def test_without_the_drivers_undocumented_functions_errors_stay_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "mssql_python.ddbc_bindings", types.SimpleNamespace())
    wire = MssqlPythonWire(FakeConnection([ValueError("refused")]))
    with pytest.raises(ValueError, match="refused") as caught:
        wire.execute("INSERT")
    assert not vars(caught.value)
