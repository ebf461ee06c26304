"""Bulk copy notices when a server stores other values than it was given."""

from __future__ import annotations

import datetime
import logging
import secrets
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.support.plans import column, plan, table
from xml_extractor.contract.plan import Table
from xml_extractor.contract.types import SqlType, parse_type
from xml_extractor.engines.mssql.bulkcopy import (
    CAREFUL_WRITES,
    MOST_LOST,
    VERIFIED_ROWS,
    BulkCopyWriter,
    BulkEncoder,
    is_trusted,
    reasons_against,
    try_out,
)
from xml_extractor.engines.mssql.core_wire import CoreWire
from xml_extractor.engines.mssql.encoders import Unstorable
from xml_extractor.engines.mssql.errors import BulkCopyMisread, CoreFailure, UnstorableText
from xml_extractor.engines.mssql.insert_paths import LOCK_ESCALATION_ROWS
from xml_extractor.engines.mssql.wires import OpenRows, Wire

ONE = table("dbo.one", column("id", "int", nullable=False), column("name", "nvarchar(20)"))


class FakeCore(CoreWire):
    """Stores what is copied, after ``spoil`` has been at it, and gives it back whatever is selected."""

    def __init__(self, spoil: Any = None) -> None:
        self.spoil = spoil or (lambda columns, row: row)
        self.copies: list[tuple[str, list[str], int, bool]] = []
        self.stored: list[tuple[Any, ...]] = []
        self.last = 0
        self.statements: list[str] = []
        self.lost = 0
        self.fails: Exception | None = None

    def run(self, sql: str) -> None:
        self.statements.append(sql)

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        self.statements.append(sql)
        if "@@ROWCOUNT" in sql:
            return [(self.last - self.lost,)]
        if "COUNT_BIG" in sql:
            return [(len(self.stored) - self.lost,)]
        return self.stored

    def bulk_copy(
        self, table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]], **more: Any
    ) -> None:
        if self.fails is not None:
            raise self.fails
        copied = [tuple(self.spoil(columns, row)) for row in rows]
        self.copies.append((table, list(columns), len(copied), more.get("keep_identity", False)))
        self.last = len(copied)
        by_name = [dict(zip(columns, row, strict=True)) for row in copied]
        order = sorted(columns, key=lambda name: (name != "id", name != "other", len(name), name))
        self.stored += [tuple(row[name] for name in order) for row in by_name]

    def close(self) -> None: ...


class JsonWriter:
    def __init__(self) -> None:
        self.table_seconds: dict[str, float] = {}
        self.written: list[tuple[str, list[Any]]] = []

    def write_tables(self, wire: Wire, tables: Sequence[tuple[Table, Sequence[Any]]]) -> list[int]:
        self.written += [(table.name, list(pieces)) for table, pieces in tables]
        return [sum(piece.count("[") for piece in pieces) for _, pieces in tables]


def writer(by_json: JsonWriter | None = None, **more: Any) -> BulkCopyWriter:
    options: dict[str, Any] = {
        "load": secrets.token_hex(4), "counts_rows": True, "schema": None, "keep_identity": (),
        "avoid_lock_escalation": False, "timeout_seconds": 5.0, **more,
    }  # fmt: skip
    return BulkCopyWriter(by_json or JsonWriter(), **options)


ROWS = [(1, "a"), (2, None), (3, "")]


def test_rows_are_copied_and_the_first_copy_is_read_back() -> None:
    wire = FakeCore()
    writes = writer()
    assert writes.write_tables(wire, [(ONE, [ROWS[:2], (), ROWS[2:]])]) == [3]
    assert wire.copies == [("[dbo].[one]", ["id", "name"], 3, False)]
    assert sum("SELECT [id], [name] FROM [dbo].[one] WHERE" in sql for sql in wire.statements) == 1
    wire.stored.clear()  # the second is not read back
    assert writes.write_tables(wire, [(ONE, [[(4, "d")]])]) == [1]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda columns, row: (row[0], "other"),
        lambda columns, row: (row[0], row[1] or None),  # '' becomes NULL
        lambda columns, row: (row[0], row[1] and row[1] + " "),
    ],
)
def test_other_values_than_given_are_noticed_and_the_next_attempt_goes_by_json(
    spoil: Any, caplog: pytest.LogCaptureFixture
) -> None:
    by_json = JsonWriter()
    writes = writer(by_json)
    with caplog.at_level(logging.WARNING), pytest.raises(BulkCopyMisread, match=r"dbo\.one"):
        writes.write_tables(FakeCore(spoil), [(ONE, [ROWS])])
    assert "--insert-path openjson" in caplog.text
    assert by_json.written == []
    assert writes.write_tables(FakeCore(spoil), [(ONE, [ROWS])]) == [3]
    assert by_json.written == [("dbo.one", ['[1,"a"],[2,null],[3,""]'])]


def server_error(text: str) -> Exception:
    """As the library raises what the server says."""
    return RuntimeError(f"Sql Error: {text} on SERVER in  at line 1")


@pytest.mark.parametrize(
    "error",
    [
        server_error("4002: Class 16: State 1: The TDS protocol stream is incorrect."),
        ValueError("Type mismatch for column 'v'"),
    ],
)
def test_a_copy_that_fails_by_itself_is_tried_again_by_json(error: Exception) -> None:
    by_json, wire = JsonWriter(), FakeCore()
    wire.fails = error
    writes = writer(by_json)
    with pytest.raises(BulkCopyMisread, match=r"bulk copy into dbo\.one fails"):
        writes.write_tables(wire, [(ONE, [ROWS])])
    assert writes.write_tables(wire, [(ONE, [ROWS])]) == [3]
    assert [name for name, _ in by_json.written] == ["dbo.one"]


def test_what_the_data_are_at_fault_for_is_not_blamed_on_bulk_copy() -> None:
    by_json, wire = JsonWriter(), FakeCore()
    writes = writer(by_json)
    wire.fails = server_error("2627: Class 14: State 1: Violation of PRIMARY KEY constraint 'PK_one'.")
    with pytest.raises(RuntimeError, match="2627"):
        writes.write_tables(wire, [(ONE, [ROWS])])
    # Each copy that fails costs the connection: who is at fault is looked for by JSON, for a while.
    wire.fails = None
    for _ in range(CAREFUL_WRITES):
        assert not wire.copies
        assert writes.write_tables(wire, [(ONE, [ROWS])]) == [3]
    assert len(by_json.written) == CAREFUL_WRITES
    assert writes.write_tables(wire, [(ONE, [ROWS])]) == [3]
    assert wire.copies


def test_connections_lost_twice_end_bulk_copy_for_the_load(caplog: pytest.LogCaptureFixture) -> None:
    by_json, load = JsonWriter(), secrets.token_hex(4)
    for lost in range(1, MOST_LOST + 1):
        wire = FakeCore()
        wire.fails = CoreFailure("mssql_py_core failed inside")
        with caplog.at_level(logging.WARNING), pytest.raises(CoreFailure):
            writer(by_json, load=load).write_tables(wire, [(ONE, [ROWS])])
        assert is_trusted(load) is (lost < MOST_LOST)
    assert "--insert-path openjson" in caplog.text
    # The next connection is the driver's own.
    assert writer(by_json, load=load).write_tables(OtherWire(), [(ONE, [ROWS])]) == [3]
    assert is_trusted(secrets.token_hex(4))


def test_a_copy_that_fails_with_the_statement_after_it_counts_too() -> None:
    class Late(FakeCore):
        def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
            raise CoreFailure("the stream is incorrect")

    load = secrets.token_hex(4)
    for _ in range(MOST_LOST):
        with pytest.raises(CoreFailure):
            writer(load=load).write_tables(Late(), [(ONE, [ROWS])])
    assert not is_trusted(load)


class OtherWire(Wire):
    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        raise AssertionError(sql)

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> OpenRows:
        raise AssertionError(sql)

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        raise AssertionError(sql)

    def cancel(self) -> None: ...

    def close(self) -> None: ...


def test_a_row_that_is_missing_is_noticed() -> None:
    wire = FakeCore()
    wire.lost = 1
    assert writer().write_tables(wire, [(ONE, [ROWS])]) == [2]  # the batch writer compares


def test_rows_are_counted_by_key_where_the_servers_count_is_wrong() -> None:
    by_json, wire = JsonWriter(), FakeCore()
    writes = writer(by_json, counts_rows=False)
    writes._verified.add("dbo.one")
    assert writes.write_tables(wire, [(ONE, [ROWS])]) == [3]
    counting = [sql for sql in wire.statements if "COUNT_BIG" in sql]
    assert counting == ["SELECT COUNT_BIG(*) FROM [dbo].[one] WHERE [id] IN (1, 2, 3)"]
    assert not any("@@ROWCOUNT" in sql for sql in wire.statements)
    # Whatever the reason for another count, nothing of the copy is kept, and the next attempt is by JSON.
    with pytest.raises(BulkCopyMisread, match=r"dbo\.one holds 6 rows of the documents that brought 3"):
        writes.write_tables(wire, [(ONE, [ROWS])])
    assert writes.write_tables(wire, [(ONE, [ROWS])]) == [3]
    assert len(by_json.written) == 1


def test_tables_by_json_are_written_in_their_turn() -> None:
    by_json, wire = JsonWriter(), FakeCore()
    two, three = table("two", column("id", "int")), table("three", column("id", "int"))
    counts = writer(by_json).write_tables(wire, [(two, ["[1],[2]"]), (ONE, [ROWS]), (three, ["[3]"])])
    assert counts == [2, 3, 1]
    assert [name for name, _ in by_json.written] == ["two", "three"]


def test_statements_stay_small_where_asked_and_identities_are_kept_where_given() -> None:
    wire = FakeCore()
    rows = [(i, "x") for i in range(LOCK_ESCALATION_ROWS + 5)]
    writes = writer(avoid_lock_escalation=True, keep_identity={"dbo.one"})
    wire.stored = []
    writes._verified.add("dbo.one")
    assert writes.write_tables(wire, [(ONE, [rows])]) == [len(rows)]
    assert [copy[2:] for copy in wire.copies] == [(LOCK_ESCALATION_ROWS, True), (5, True)]


def test_a_text_that_must_not_be_stored_is_refused() -> None:
    encoded, _ = BulkEncoder.of(plan(ONE), ())(([(1, "a\0b")],))
    assert encoded == (Unstorable("dbo.one", "name"),)
    with pytest.raises(UnstorableText, match=r"dbo\.one\.name"):
        writer().write_tables(FakeCore(), [(ONE, list(encoded))])


def test_encoding_leaves_out_what_the_server_numbers_and_makes_json_where_told() -> None:
    numbered = table(
        "n", column("id", "int", nullable=False, server_generated=True), column("d", "decimal(9,2)"),
        primary_key=(0,),
    )  # fmt: skip
    encode = BulkEncoder.of(plan(ONE, numbered), {"n"})
    encoded, size = encode(([(1, "a")], [(None, None)]))
    assert encoded == ([(1, "a")], "[null]")
    assert size > 0
    assert encode(([], [])) == (((), ""), sys.getsizeof(""))
    assert reasons_against(plan(ONE, numbered), {parse_type("int"), parse_type("nvarchar(20)")}) == {
        "n": "bulk copy does not keep decimal(9,2) as it is"
    }
    decimals = {parse_type("decimal(9,2)")}
    assert "no column carries the source key" in reasons_against(plan(numbered), decimals)["n"]
    keyed = replace(numbered, key_column=1)
    assert "its primary key is not" in reasons_against(plan(keyed), decimals)["n"]


# ------------------------------------------------------------------------------------- trial

KINDS = [
    parse_type(name)
    for name in (
        "bit", "tinyint", "bigint", "decimal(38,18)", "money", "float", "real", "date", "time(7)",
        "datetime2(7)", "datetime", "smalldatetime", "datetimeoffset(7)", "uniqueidentifier", "varbinary(9)",
        "binary(4)", "nvarchar(50)", "nvarchar(max)", "varchar(9)", "char(5)", "nchar(3)",
    )
]  # fmt: skip


class Trial(FakeCore):
    """A server that keeps what it is given, but what ``spoil`` changes, or fails at a type."""

    def __init__(self, spoil: Any = None, fails_with: str | None = None) -> None:
        super().__init__(spoil)
        self.fails_with = fails_with
        self.created = ""

    def run(self, sql: str) -> None:
        super().run(sql)
        if sql.startswith("CREATE TABLE"):
            self.created = sql
            self.stored.clear()

    def bulk_copy(
        self, table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]], **more: Any
    ) -> None:
        if self.fails_with is not None and f" {self.fails_with} " in self.created:
            raise CoreFailure("it panics")
        super().bulk_copy(table, columns, rows, **more)


def served(wire: Trial) -> set[str]:
    return {str(kind) for kind in try_out(lambda: wire, KINDS, 5.0).types}


ALL = {str(kind) for kind in KINDS}


def test_a_server_that_keeps_everything_serves_every_type_but_xml() -> None:
    assert served(Trial()) == ALL
    xml: SqlType = parse_type("xml")
    assert try_out(Trial, [xml], 5.0).types == frozenset()
    wire = Trial()
    served(wire)
    assert wire.statements[0] == "BEGIN TRANSACTION"
    assert wire.statements[-1] == "ROLLBACK TRANSACTION"


def test_a_server_that_cannot_copy_into_temporary_tables_is_tried_in_another() -> None:
    class NoTemporary(Trial):
        def bulk_copy(self, table: str, columns: Sequence[str], rows: Any, **more: Any) -> None:
            if table.startswith("#"):
                raise RuntimeError("no such procedure")
            super().bulk_copy(table, columns, rows, **more)

    wire = NoTemporary()
    assert served(wire) == ALL
    tables = {name for name, *_ in wire.copies}
    assert len(tables) == 1
    assert tables.pop().startswith("[xml_extractor_trial_")
    assert (
        sum("CREATE" in sql for sql in wire.statements) + 1
        == sum("BEGIN" in sql for sql in wire.statements) + 1
    )


def test_a_type_that_fails_is_found_out_and_its_connection_left_behind() -> None:
    opened: list[Trial] = []

    def connect() -> Trial:
        opened.append(Trial(fails_with="money"))
        return opened[-1]

    service = try_out(connect, KINDS, 5.0)
    assert {str(kind) for kind in service.types} == ALL - {"money"}
    assert len(opened) == 3  # the copy of all failed, and the copy of money


def test_a_wrong_count_is_noticed() -> None:
    wire = Trial()
    assert try_out(lambda: wire, KINDS, 5.0).counts_rows
    wire.lost = 1
    service = try_out(lambda: wire, KINDS, 5.0)
    assert (len(service.types), service.counts_rows) == (len(KINDS), False)


def test_columns_that_are_exchanged_are_noticed() -> None:
    def by_position(columns: Sequence[str], row: tuple[Any, ...]) -> Iterable[Any]:
        return reversed(row)

    assert served(Trial(by_position)) == set()


def test_values_that_change_are_noticed_type_by_type() -> None:
    def without_seventh_digit(columns: Sequence[str], row: tuple[Any, ...]) -> Iterable[Any]:
        return [v.replace("1234567", "123456") if isinstance(v, str) else v for v in row]

    assert served(Trial(without_seventh_digit)) == ALL - {"time(7)", "datetime2(7)", "datetimeoffset(7)"}

    def blank_for_empty(columns: Sequence[str], row: tuple[Any, ...]) -> Iterable[Any]:
        return [None if v == "" else v for v in row]

    assert ALL - served(Trial(blank_for_empty)) == {"nvarchar(50)", "nvarchar(max)", "varchar(9)"}


def test_samples_are_few_enough_to_be_read_back_at_once() -> None:
    assert VERIFIED_ROWS >= 10


# ------------------------------------------------------------------------------------- the wire


class Library:
    """Stands for ``mssql_py_core``: a connection and its cursor in one."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fails: BaseException | None = None
        self.unread: list[tuple[Any, ...]] = []

    def cursor(self) -> Library:
        return self

    def execute(self, sql: str) -> None:
        self.calls.append(sql)

    def fetchall(self) -> list[tuple[Any, ...]]:
        return [(3,)]

    def fetchmany(self, count: int) -> list[tuple[Any, ...]]:
        some, self.unread = self.unread[:count], self.unread[count:]
        return some

    def bulkcopy(self, table: str, rows: Any, **options: Any) -> dict[str, Any]:
        self.calls.append(f"copy {table} {list(rows)}")
        self.options = options
        if self.fails is not None:
            raise self.fails
        return {"rows_copied": 0}

    def close(self) -> None:
        self.calls.append("close")


def test_rows_that_are_not_wanted_any_more_are_read_away() -> None:
    library = Library()
    library.unread = [(None,), (datetime.date(2024, 2, 29),), (3,), (4,)]
    rows = CoreWire(library).rows("SELECT a FROM t WHERE b = ?", (5,))
    assert rows.fetch(3) == [(None,), ("2024-02-29",), (3,)]
    rows.close()
    assert library.unread == []
    assert library.calls == ["SELECT a FROM t WHERE b = 5"]


def test_a_connection_is_given_up_after_a_copy_that_failed() -> None:
    library = Library()
    wire = CoreWire(library)
    wire.bulk_copy("[t]", ["a"], [(1,)], timeout_seconds=5)
    assert (library.options["check_constraints"], library.options["fire_triggers"]) == (True, True)
    assert (library.options["keep_nulls"], library.options["use_internal_transaction"]) == (True, False)
    assert wire.execute("DELETE FROM t WHERE a = ?", ("x",)) == 3
    library.fails = server_error("2627: Class 14: State 1: Violation of PRIMARY KEY constraint.")
    with pytest.raises(RuntimeError, match="2627"):
        wire.bulk_copy("[t]", ["a"], [(1,)], timeout_seconds=5)
    assert library.calls[-1] == "close"  # with which the server rolls back
    for call in (lambda: wire.run("ROLLBACK"), lambda: wire.bulk_copy("[t]", ["a"], [], timeout_seconds=5)):
        with pytest.raises(CoreFailure, match="given up"):
            call()
    assert library.calls[-1] == "close"


def test_a_panic_is_an_error_like_others() -> None:
    class PanicException(BaseException):
        """As the library's: no Exception."""

    library = Library()
    library.fails = PanicException("dest is out of bounds")
    with pytest.raises(CoreFailure, match="failed inside"):
        CoreWire(library).bulk_copy("[t]", ["a"], [(1,)], timeout_seconds=5)
