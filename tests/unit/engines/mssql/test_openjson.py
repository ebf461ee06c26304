"""Rows as JSON: the SQL, how requests are cut, and what goes by parameters on servers with gaps."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from tests.support.plans import column, plan, table
from xml_extractor.engines.mssql import openjson
from xml_extractor.engines.mssql.encoders import JsonEncoder, Unstorable
from xml_extractor.engines.mssql.errors import UnstorableText
from xml_extractor.engines.mssql.openjson import (
    ESCAPES,
    HEXADECIMAL,
    LONG_TEXTS,
    OpenJsonWriter,
    openjson_gaps,
)
from xml_extractor.engines.mssql.wires import OpenRows, Size, Wire
from xml_extractor.errors import TargetError


class CountingWire(Wire):
    """Answers an insert with the number of rows that each parameter holds."""

    def __init__(self) -> None:
        self.queries: list[tuple[str, list[Any]]] = []
        self.log: list[str] = []
        self.many: list[list[Any]] = []

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        self.queries.append((sql, [json.loads(parameter) for parameter in parameters]))
        self.log.append("query")
        return [tuple(len(json.loads(parameter)) for parameter in parameters)]

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> OpenRows:
        raise AssertionError("nothing is streamed")

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        self.log.append(sql)
        return 0

    def execute_many(
        self, sql: str, rows: Iterable[Sequence[Any]], *, sizes: Sequence[Size] = (), fast: bool = False
    ) -> None:
        columns = len(re.findall(r"\], \[", sql)) + 1
        self.many.append([tuple(row[i : i + columns]) for row in rows for i in range(0, len(row), columns)])
        self.log.append("many")

    def cancel(self) -> None: ...

    def close(self) -> None: ...


PARENT = table("app_base", column("id", "int"), column("b", "bit"), column("m", "smallmoney"))
CHILD = table(
    "dbo.[odd]]name]",
    column("no", "bigint", server_generated=True),
    column("a?b", "varchar(20)"),
    column("v", "varbinary(8)"),
    column("x", "xml"),
    column("at", "datetimeoffset(3)"),
)


def test_all_tables_go_in_one_request() -> None:
    wire = CountingWire()
    taken = OpenJsonWriter("s").write_tables(
        wire,
        [(PARENT, ["[1,true,null]", "", "[2,null,null],[3,null,null]"]), (CHILD, ['["a","00ff",null,null]'])],
    )
    assert taken == [3, 1]
    [(sql, parameters)] = wire.queries
    assert sql.splitlines() == [
        "SET NOCOUNT ON;",
        "DECLARE @n0 bigint, @n1 bigint;",
        "INSERT INTO [s].[app_base] ([id], [b], [m]) SELECT c0, c1, c2 FROM OPENJSON(?) "
        "WITH (c0 int '$[0]', c1 bit '$[1]', c2 decimal(10,4) '$[2]'); SET @n0 = @@ROWCOUNT;",
        "INSERT INTO [dbo].[odd]]name] ([a?b], [v], [x], [at]) "
        "SELECT c0, CONVERT(varbinary(8), c1, 2), CONVERT(xml, c2, 1), c3 FROM OPENJSON(?) "
        "WITH (c0 nvarchar(20) '$[0]', c1 varchar(16) '$[1]', c2 nvarchar(max) '$[2]', "
        "c3 datetimeoffset(3) '$[3]'); SET @n1 = @@ROWCOUNT;",
        "SET NOCOUNT OFF;",
        "SELECT @n0, @n1;",
    ]
    assert parameters == [[[1, True, None], [2, None, None], [3, None, None]], [["a", "00ff", None, None]]]


def test_nothing_is_sent_for_nothing() -> None:
    wire = CountingWire()
    assert OpenJsonWriter().write_tables(wire, [(PARENT, ["", ""]), (CHILD, [])]) == [0, 0]
    assert wire.log == []


def test_nothing_is_sent_where_a_text_must_not_be_stored() -> None:
    wire = CountingWire()
    with pytest.raises(UnstorableText):
        OpenJsonWriter().write_tables(wire, [(PARENT, ["[1,true,null]"]), (CHILD, [Unstorable("c", "a")])])
    assert wire.log == []


def test_requests_are_cut_by_their_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openjson, "REQUEST_CHARACTERS", 60)
    wire = CountingWire()
    pieces = [f"[{number},null,null]" for number in range(10, 40)]
    assert OpenJsonWriter().write_tables(wire, [(PARENT, pieces[:25]), (CHILD, pieces[25:])]) == [25, 5]
    assert all(sum(len(json.dumps(p, separators=(",", ":"))) for p in ps) <= 62 for _, ps in wire.queries)
    assert len(wire.queries) == 9
    assert [row[0] for _, parameters in wire.queries for p in parameters for row in p] == list(range(10, 40))


def test_a_piece_longer_than_a_request_goes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openjson, "REQUEST_CHARACTERS", 20)
    wire = CountingWire()
    long = ",".join(["[1,null,null]"] * 5)
    assert OpenJsonWriter().write_tables(wire, [(PARENT, ["[0,null,null]", long, "[2,null,null]"])]) == [7]
    assert [[len(p) for p in parameters] for _, parameters in wire.queries] == [[1], [5], [1]]


def test_requests_are_cut_by_their_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openjson, "MOST_PARAMETERS", 2)
    wire = CountingWire()
    assert OpenJsonWriter().write_tables(wire, [(PARENT, ["[1,null,null]"])] * 5) == [1] * 5
    assert [len(parameters) for _, parameters in wire.queries] == [2, 2, 1]


NOTES = table("t", column("id", "int"), column("v", "nvarchar(max)"))


@pytest.mark.parametrize("documents", [1, 7, 9_000])
def test_statements_stay_below_lock_escalation(documents: int) -> None:
    rows: list[tuple[Any, ...]] = [(i, '],["') for i in range(9_000)]
    step = len(rows) // documents
    encode = JsonEncoder.of(plan(NOTES))
    pieces = [encode((rows[first : first + step],))[0][0] for first in range(0, len(rows), step)]
    wire = CountingWire()
    assert OpenJsonWriter(avoid_lock_escalation=True).write_tables(wire, [(NOTES, pieces)]) == [9_000]
    [(sql, parameters)] = wire.queries
    assert all(len(parameter) <= 4_000 for parameter in parameters)
    assert sql.count("INSERT INTO") == len(parameters)
    assert [tuple(row) for parameter in parameters for row in parameter] == rows
    assert len(OpenJsonWriter().write_tables(wire, [(NOTES, pieces)])) == 1
    assert len(wire.queries[-1][1]) == 1


def test_identity_columns_are_opened_and_closed() -> None:
    wire = CountingWire()
    writer = OpenJsonWriter("s", keep_identity={"app_base", "other"})
    writer.write_tables(wire, [(PARENT, ["[1,null,null]"]), (NOTES, ['[1,"x"]'])])
    settings = re.findall(r"SET IDENTITY_INSERT [^;]*;|INSERT INTO \S+", wire.queries[0][0])
    assert settings == [
        "SET IDENTITY_INSERT [s].[other] OFF;", "SET IDENTITY_INSERT [s].[app_base] ON;",
        "INSERT INTO [s].[app_base]", "SET IDENTITY_INSERT [s].[app_base] OFF;", "INSERT INTO [s].[t]",
    ]  # fmt: skip
    assert writer.write_tables(wire, [(NOTES, ['[1,"x"]'])]) == [1]
    assert "IDENTITY" not in wire.queries[-1][0]


@pytest.mark.parametrize("answer", [[], [(1, 2)], [(1,), (1,)]])
def test_rows_of_a_trigger_are_told(answer: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    wire = CountingWire()
    monkeypatch.setattr(wire, "query", lambda sql, parameters: answer)
    with pytest.raises(TargetError, match=r"app_base.*trigger"):
        OpenJsonWriter().write_tables(wire, [(PARENT, ["[1,null,null]"])])


# ------------------------------------------------------------------------------------- gaps


class Answering:
    """A session that answers the probe."""

    def __init__(self, **changes: Any) -> None:
        self.changes = changes

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        [[text, data, long]] = json.loads(parameters[0])
        answer = {"text": text, "data": bytes.fromhex(data), "long": long} | self.changes
        return [tuple(answer.values())]


def test_gaps_are_found() -> None:
    assert openjson_gaps(Answering()) == set()
    assert openjson_gaps(Answering(text='a\\"')) == {ESCAPES}
    assert openjson_gaps(Answering(data=b"00ff")) == {HEXADECIMAL}
    assert openjson_gaps(Answering(long="x" * 4000)) == {LONG_TEXTS}
    assert openjson_gaps(Answering(text=None, data=None, long=None)) == {ESCAPES, HEXADECIMAL, LONG_TEXTS}


def test_what_would_suffer_goes_by_parameters_and_parents_first() -> None:
    wire = CountingWire()
    pieces = ['[1,"plain"]', '[2,"a\\nb"]', '[3,"plain"]']
    writer = OpenJsonWriter(gaps={ESCAPES})
    assert writer.write_tables(
        wire, [(NOTES, pieces), (PARENT, ["[1,true,null]"]), (NOTES, pieces[1:2])]
    ) == [3, 1, 1]
    assert wire.many == [[(2, "a\nb")], [(2, "a\nb")]]
    assert wire.queries[0][1] == [[[1, "plain"], [3, "plain"]]]
    assert wire.log == ["query", "many", "query", "many"]


def test_bytes_go_by_parameters() -> None:
    wire = CountingWire()
    pieces = ['["a","00ff",null,null],["b",null,null,null]']
    assert OpenJsonWriter(gaps={HEXADECIMAL}).write_tables(
        wire, [(CHILD, pieces), (PARENT, ["[1,true,null]"])]
    ) == [2, 1]
    assert wire.many == [[("a", b"\x00\xff", None, None), ("b", None, None, None)]]
    assert len(wire.queries) == 1


def test_bits_are_numbers_among_parameters() -> None:
    wire = CountingWire()
    both = table("t", column("b", "bit"), column("v", "varbinary(max)"))
    OpenJsonWriter(gaps={HEXADECIMAL}).write_tables(wire, [(both, ['[true,""],[false,null]'])])
    assert [[(type(b), b, v) for b, v in rows] for rows in wire.many] == [[(int, 1, b""), (int, 0, None)]]


@pytest.mark.parametrize(
    ("text", "is_long"),
    [("x" * 4000, False), ("x" * 4001, True), ("é" * 4000, False), ("🎵" * 2000, False), ("🎵" * 2001, True)],
)
def test_long_texts_go_by_parameters(text: str, is_long: bool) -> None:
    wire = CountingWire()
    piece = JsonEncoder.of(plan(NOTES))(([(1, text)],))[0][0]
    assert OpenJsonWriter(gaps={LONG_TEXTS}).write_tables(wire, [(NOTES, [piece])]) == [1]
    assert bool(wire.many) == is_long
    short = table("t", column("id", "int"), column("v", "nvarchar(4000)"))
    assert OpenJsonWriter(gaps={LONG_TEXTS}).write_tables(wire, [(short, ['[1,"' + "x" * 3000 + '"]'])]) == [
        1
    ]
    assert len(wire.many) == is_long


def test_without_gaps_nothing_goes_by_parameters() -> None:
    wire = CountingWire()
    pieces = ['[1,"a\\nb"]', f'[2,"{"x" * 9000}"]']
    assert OpenJsonWriter().write_tables(wire, [(NOTES, pieces), (CHILD, ['["a","00",null,null]'])]) == [2, 1]
    assert wire.log == ["query"]
