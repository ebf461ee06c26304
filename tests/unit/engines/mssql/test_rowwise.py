"""Rows as parameters: the statements, what is declared to the driver, and how arrays are cut."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from tests.support.plans import column, plan, table
from xml_extractor.engines.base import Fault, FaultKind
from xml_extractor.engines.mssql import rowwise
from xml_extractor.engines.mssql.encoders import TextTupleEncoder, Unstorable
from xml_extractor.engines.mssql.error_texts import ROW_NOT_TAKEN, TRANSACTION_GONE, number_by_text
from xml_extractor.engines.mssql.errors import UnstorableText, classify
from xml_extractor.engines.mssql.rowwise import (
    SQL_BIGINT,
    SQL_DOUBLE,
    SQL_VARBINARY,
    SQL_WVARCHAR,
    ExecuteManyWriter,
    ValuesWriter,
)
from xml_extractor.engines.mssql.wires import OpenRows, Size, Wire


class RecordingWire(Wire):
    """Takes everything and remembers it."""

    def __init__(self) -> None:
        self.executed: list[str] = []
        self.many: list[tuple[str, list[Any], list[Size], bool]] = []

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        raise AssertionError("nothing is asked")

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> OpenRows:
        raise AssertionError("nothing is streamed")

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        self.executed.append(sql)
        return 0

    def execute_many(
        self, sql: str, rows: Iterable[Sequence[Any]], *, sizes: Sequence[Size] = (), fast: bool = False
    ) -> None:
        self.many.append((sql, list(rows), list(sizes), fast))

    def cancel(self) -> None: ...

    def close(self) -> None: ...


TABLE = table(
    "dbo.[odd]]name]",
    column("no", "int", server_generated=True),
    column("id", "int"),
    column("b", "bit"),
    column("f", "real"),
    column("d", "decimal(38,18)"),
    column("m", "money"),
    column("at", "datetime"),
    column("g", "uniqueidentifier"),
    column("v", "varbinary(16)"),
    column("s", "varchar(20)"),
    column("x", "xml"),
)
ROW = (None, 1, True, 0.5, None, None, None, None, b"\0", "é", "<x/>")


def test_the_statement_and_its_parameters() -> None:
    encoded, _ = TextTupleEncoder.of(plan(TABLE))(([ROW, ROW],))
    wire = RecordingWire()
    assert ExecuteManyWriter(fast=True).write_tables(wire, [(TABLE, [encoded[0], encoded[0]])]) == [4]
    [(sql, rows, sizes, fast)] = wire.many
    assert sql.splitlines() == [
        "IF @@TRANCOUNT = 0 THROW 51701, N'the transaction is gone', 1;",
        "INSERT INTO [dbo].[odd]]name] ([id], [b], [f], [d], [m], [at], [g], [v], [s], [x]) VALUES ("
        "CAST(? AS int), CAST(? AS bit), CAST(? AS real), CAST(? AS decimal(38,18)), "
        "CAST(? AS decimal(19,4)), CAST(? AS datetime), CAST(? AS uniqueidentifier), "
        "CAST(? AS varbinary(16)), CAST(? AS nvarchar(20)), CONVERT(xml, CAST(? AS nvarchar(max)), 1));",
        "IF @@ROWCOUNT <> 1 THROW 51702, N'a row was not taken', 1;",
    ]
    assert rows == [(1, 1, 0.5, None, None, None, None, b"\0", "é", "<x/>")] * 4
    assert sizes == [
        (SQL_BIGINT, 19, 0), (SQL_BIGINT, 19, 0), (SQL_DOUBLE, 53, 0), (SQL_WVARCHAR, 41, 0),
        (SQL_WVARCHAR, 22, 0), (SQL_WVARCHAR, 36, 0), (SQL_WVARCHAR, 36, 0), (SQL_VARBINARY, 16, 0),
        (SQL_WVARCHAR, 20, 0), (SQL_WVARCHAR, 64, 0),
    ]  # fmt: skip
    assert fast


def test_the_schema_goes_in_front_of_names_without_one() -> None:
    wire = RecordingWire()
    bare = table("t", column("id", "int"))
    ExecuteManyWriter("odd.schema", fast=False).write_tables(wire, [(bare, [[(1,)]]), (TABLE, [])])
    assert "INSERT INTO [odd.schema].[t] " in wire.many[0][0]
    assert len(wire.many) == 1


LONG = table(
    "t",
    column("id", "int"),
    column("a", "nvarchar(max)"),
    column("b", "nvarchar(3000)"),
    column("c", "varbinary(max)"),
)


def written(
    rows: list[tuple[Any, ...]], *, fast: bool = True
) -> list[tuple[str, list[Any], list[Size], bool]]:
    wire = RecordingWire()
    assert ExecuteManyWriter(fast=fast).write_tables(wire, [(LONG, [rows])]) == [len(rows)]
    return wire.many


def test_room_is_made_for_the_longest_value_that_there_is() -> None:
    [(_, _, sizes, _)] = written([(1, "x" * 65, "é" * 100, None), (2, None, "", b"x" * 8000)])
    assert [size for _, size, _ in sizes] == [19, 128, 256, 8000]
    [(_, _, sizes, _)] = written([(1, "x" * 4000, "é" * 3000, None)])
    assert [size for _, size, _ in sizes] == [19, 4000, 3000, 64]


@pytest.mark.parametrize(
    "wide", [(7, "x" * 4001, None, None), (7, "🎵" * 2001, None, None), (7, "", "", b"x" * 8001)]
)
def test_what_no_array_can_hold_goes_one_by_one(wide: tuple[Any, ...]) -> None:
    narrow = [(1, "x", None, None), (2, "y" * 4000, None, None)]
    arrays, single = written([narrow[0], wide, narrow[1]])
    assert (arrays[1], arrays[3]) == (narrow, True)
    assert (single[1], single[3]) == ([wide], False)
    assert [size for _, size, _ in single[2]] == [19, 0, 3000, 0]


def test_one_by_one_everything_is_declared_as_the_contract_has_it() -> None:
    [(_, rows, sizes, fast)] = written([(1, "x", None, None), (2, "x" * 9000, None, None)], fast=False)
    assert (len(rows), fast) == (2, False)
    assert [size for _, size, _ in sizes] == [19, 0, 3000, 0]


def test_arrays_are_cut_by_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rowwise, "ARRAY_BYTES", 10_000)
    rows = [(i, "x" * 100, None, None) for i in range(30)]
    many = written(rows)
    # 16 bytes for the number; 128 and 64 UTF-16 units, 64 bytes, and a length of 8 bytes for each.
    row_bytes = 16 + (256 + 8) + (128 + 8) + (64 + 8)
    assert [len(array) for _, array, _, _ in many] == [10_000 // row_bytes, 30 - 10_000 // row_bytes]
    assert [row for _, array, _, _ in many for row in array] == rows
    monkeypatch.setattr(rowwise, "ARRAY_BYTES", 1)
    assert len(written(rows)) == 30


def test_many_rows_a_statement() -> None:
    wire = RecordingWire()
    rows: list[tuple[Any, ...]] = [(i, "x" * 5000, None, b"") for i in range(250)]
    assert ValuesWriter().write_tables(wire, [(LONG, [rows[:50], rows[50:]])]) == [250]
    assert [len(many[1]) for many in wire.many] == [1, 1, 1]
    assert [sql.count("CAST(? AS int)") for sql, _, _, _ in wire.many] == [100, 100, 50]
    for sql, [flat], sizes, fast in wire.many:
        count = len(flat) // 4
        assert f"IF @@ROWCOUNT <> {count} THROW" in sql
        assert (sql.count("?"), len(sizes), fast) == (len(flat), len(flat), False)
        assert (
            sizes
            == [(SQL_BIGINT, 19, 0), (SQL_WVARCHAR, 0, 0), (SQL_WVARCHAR, 3000, 0), (SQL_VARBINARY, 0, 0)]
            * count
        )
    values = [value for many in wire.many for value in many[1][0]]
    assert list(zip(*[iter(values)] * 4, strict=True)) == rows


def test_many_rows_have_no_more_parameters_than_the_server_takes() -> None:
    wire = RecordingWire()
    broad = table("t", *(column(f"c{i}", "int") for i in range(1_023)))
    assert ValuesWriter().write_tables(wire, [(broad, [[tuple(range(1_023))] * 3])]) == [3]
    assert [len(many[2]) for many in wire.many] == [1_023] * 3


def test_nothing_is_sent_where_a_text_must_not_be_stored() -> None:
    wire = RecordingWire()
    with pytest.raises(UnstorableText):
        ExecuteManyWriter(fast=True).write_tables(
            wire, [(LONG, [[(1, "x", None, None)]]), (LONG, [Unstorable("t", "a")])]
        )
    assert wire.many == []


def test_identity_columns_are_opened_and_closed() -> None:
    wire = RecordingWire()
    one, other = table("one", column("id", "int")), table("dbo.other", column("id", "int"))
    writer = ExecuteManyWriter("s", keep_identity={"one", "dbo.other"}, fast=True)
    plain = table("plain", column("id", "int"))
    writer.write_tables(wire, [(one, [[(1,)]]), (other, [[(1,)]]), (plain, [[(1,)]]), (one, [])])
    # The other table's setting goes off first: a statement that failed may have left it on.
    assert wire.executed == [
        "SET IDENTITY_INSERT [dbo].[other] OFF; SET IDENTITY_INSERT [s].[one] ON;",
        "SET IDENTITY_INSERT [s].[one] OFF;",
        "SET IDENTITY_INSERT [s].[one] OFF; SET IDENTITY_INSERT [dbo].[other] ON;",
        "SET IDENTITY_INSERT [dbo].[other] OFF;",
    ]
    assert len(wire.many) == 3


class PyodbcError(Exception):
    """Stands for pyodbc's: they are known by their module, so that this test needs no ODBC library."""

    __module__ = "pyodbc"


def fault(*records: tuple[str, int]) -> Fault:
    prefix = "[42000] [Microsoft][ODBC Driver 18 for SQL Server][SQL Server]"
    text = "; ".join(f"{prefix}{words} ({number}) (SQLExecute)" for words, number in records)
    return classify(PyodbcError("42000", text), "the server")


def test_what_the_statements_own_errors_mean() -> None:
    gone, not_taken = ("the transaction is gone", TRANSACTION_GONE), ("a row was not taken", ROW_NOT_TAKEN)
    duplicate = (
        "Violation of PRIMARY KEY constraint 'pk'. Cannot insert duplicate key in object 'dbo.t'.",
        2627,
    )
    assert (fault(gone).kind, fault(gone).code) == (FaultKind.TRANSIENT, "transaction_gone")
    assert (fault(not_taken).kind, fault(not_taken).code) == (FaultKind.FATAL, "row_not_taken")
    # What undid the transaction is what counts.
    assert fault(duplicate, gone, gone).code == "unique_violation"
    # mssql-python passes no number on: the words have to do.
    assert [number_by_text(words) for words, _ in (gone, not_taken)] == [TRANSACTION_GONE, ROW_NOT_TAKEN]
    statement = written([(1, None, None, None)])[0][0]
    assert all(f"{number}, N'{words}'" in statement for words, number in (gone, not_taken))
