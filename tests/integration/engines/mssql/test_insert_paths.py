"""Every way in, by every driver: what is written is what the server then has, all of it or nothing."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from tests.integration.engines.test_round_trip import CASES, TEXTS
from tests.support.mssql_gaps import SIX_DIGITS
from tests.support.mssql_run import has_gap
from tests.support.mssql_servers import MssqlServer
from tests.support.plans import column, plan, table
from xml_extractor.contract.plan import Plan
from xml_extractor.contract.types import Family, parse_type
from xml_extractor.engines.base import EngineOptions, FaultKind, table_specs
from xml_extractor.engines.encoding import written_columns
from xml_extractor.engines.mssql import openjson, rowwise
from xml_extractor.engines.mssql.bulkcopy import reasons_against, try_out
from xml_extractor.engines.mssql.connection import ConnectionSettings, from_url
from xml_extractor.engines.mssql.core_wire import CoreWire
from xml_extractor.engines.mssql.ddl import create_statements
from xml_extractor.engines.mssql.errors import UnstorableText, classify
from xml_extractor.engines.mssql.insert_paths import BULKCOPY, EXECUTEMANY, FAST_EXECUTEMANY, OPENJSON
from xml_extractor.engines.mssql.mssqlpython_wire import MssqlPythonWire
from xml_extractor.engines.mssql.names import quote_identifier, quote_table
from xml_extractor.engines.mssql.openjson import OpenJsonWriter, openjson_gaps
from xml_extractor.engines.mssql.path_choice import PathChoice, encoder, row_writer
from xml_extractor.engines.mssql.pyodbc_wire import PyodbcWire
from xml_extractor.engines.mssql.wires import Wire

WAYS = [
    (BULKCOPY, "core"), (OPENJSON, "core"),
    *((path, by) for path in (OPENJSON, FAST_EXECUTEMANY, EXECUTEMANY) for by in ("pyodbc", "mssqlpython")),
]  # fmt: skip


@pytest.fixture(scope="module")
def database(mssql: MssqlServer) -> Iterator[str]:
    """One database for all of this file; each test has tables of its own."""
    with mssql.database() as url:
        yield url


Connect = Callable[[str], Wire]


@pytest.fixture(scope="module")
def idle(database: str) -> Iterator[dict[str, Wire]]:
    """A connection by each driver that no test is using."""
    wires: dict[str, Wire] = {}
    yield wires
    for wire in wires.values():
        wire.close()


@pytest.fixture
def connect(database: str, idle: dict[str, Wire]) -> Iterator[Connect]:
    """Gives a connection by a driver, for this test alone; one that outlives it whole serves the next."""
    place = from_url(make_url(database))
    used: list[tuple[str, Wire]] = []

    def wire_by(driver: str) -> Wire:
        wire = idle.pop(driver, None)
        if wire is None:
            wire = _open(place, driver)
            wire.execute("SET XACT_ABORT ON")
        used.append((driver, wire))
        return wire

    yield wire_by
    for driver, wire in used:
        if driver not in idle and _is_whole(wire):
            idle[driver] = wire
        else:
            wire.close()


def _open(place: ConnectionSettings, driver: str) -> Wire:
    if driver == "core":
        return CoreWire.open(place, application="tests", connect_seconds=8)
    kind = PyodbcWire if driver == "pyodbc" else MssqlPythonWire
    return kind.open(place, application="tests", connect_seconds=8, statement_seconds=60)


def _is_whole(wire: Wire) -> bool:
    try:
        return wire.query("SELECT @@TRANCOUNT") == [(0,)]
    except Exception:  # noqa: BLE001 - each driver has its own
        return False


@pytest.fixture
def reader(connect: Connect) -> Wire:
    """What tables are made with and read back by, whatever they were written by."""
    return connect("pyodbc")


@dataclass
class Way:
    """A path over a driver."""

    path: str
    wire: Wire
    reader: Wire
    connect: Connect
    options: EngineOptions = field(default_factory=EngineOptions)

    def write(
        self, written: Plan, *documents: Sequence[Sequence[Any]], keep_identity: frozenset[str] = frozenset()
    ) -> list[int]:
        """Write documents, each given by its rows per table, in one transaction."""
        choice = self.choice(written, keep_identity)
        encode = encoder(choice, written)
        encoded = [encode(tuple(list(rows) for rows in document))[0] for document in documents]
        writer = row_writer(choice, self.options)
        self.wire.execute("BEGIN TRANSACTION")
        try:
            taken = writer.write_tables(
                self.wire,
                [(t, [pieces[i] for pieces in encoded]) for i, t in enumerate(written.tables)],
            )
        except BaseException:
            self.wire.execute("IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION")
            raise
        self.wire.execute("COMMIT TRANSACTION")
        return taken

    def connect_core(self) -> CoreWire:
        wire = self.connect("core")
        assert isinstance(wire, CoreWire)
        return wire

    def choice(self, written: Plan, keep_identity: frozenset[str] = frozenset()) -> PathChoice:
        gaps = openjson_gaps(self.reader)
        if self.path != BULKCOPY:
            return PathChoice(self.path, "", keep_identity, gaps)
        kinds = frozenset(t.columns[i].type for t in written.tables for i in written_columns(t))
        service = try_out(self.connect_core, kinds, 20)
        by_json = frozenset(reasons_against(written, service.types))
        return PathChoice(self.path, "", keep_identity, gaps, by_json, service.counts_rows)

    def create(self, written: Plan) -> None:
        for statement in create_statements(table_specs(written), None):
            self.reader.execute(statement)

    def rows(self, written: Plan, order: str = "1", of: int = 0) -> list[tuple[Any, ...]]:
        read = written.tables[of]
        names = ", ".join(quote_identifier(c.name) for c in read.columns)
        found = self.reader.query(f"SELECT {names} FROM {quote_table(read.name)} ORDER BY {order}")
        return [tuple(canonical(v, c.type) for v, c in zip(row, read.columns, strict=True)) for row in found]


@pytest.fixture(params=WAYS, ids=["-".join(way) for way in WAYS])
def way(request: pytest.FixtureRequest, connect: Connect, reader: Wire) -> Way:
    """Each path over each driver that serves it."""
    path, driver = request.param
    return Way(path, connect(driver), reader, connect)


@pytest.fixture(params=["pyodbc", "mssqlpython"])
def driver(request: pytest.FixtureRequest, connect: Connect) -> Wire:
    """A connection by each driver that takes parameters."""
    return connect(request.param)


_numbers = iter(range(1_000_000))


def name(stem: str = "t") -> str:
    """A table's name that no other test has."""
    return f"{stem}_{next(_numbers)}"


def canonical(value: Any, kind: Any) -> Any:
    """A value in one form, whether given or read: all digits of a second, a real as the double it is."""
    if value is not None and kind.name == "real":
        return struct.unpack("f", struct.pack("f", value))[0]
    if value is None or kind.family not in (Family.TIME, Family.DATETIME, Family.DATETIMEOFFSET):
        return value
    offset = ""
    if kind.family is Family.DATETIMEOFFSET:
        value, offset = value[:-6], value[-6:]
    whole, _, digits = value.partition(".")
    return (f"{whole}.{digits:0<{kind.scale}}" if kind.scale else whole) + offset


# ------------------------------------------------------------------------------------- values

MORE_CASES: list[tuple[str, list[Any]]] = [
    ("decimal(38,18)", [Decimal("12345678901234567890.123456789012345678"), Decimal("-1E-18")]),
    ("datetimeoffset(7)", ["9999-12-31 23:59:59.9999999+00:00", "0001-01-01 00:00:00.0000001+00:00"]),
    ("datetime", ["2024-03-01 23:59:59.993", "1899-12-31 12:00:00.003"]),
    ("nvarchar(4000)", ["漢" * 4000, "🎵" * 2000, " " * 4000, "x"]),
    ("varchar(8000)", ["é" * 8000, " " * 8000, ""]),
    ("varbinary(8000)", [bytes(range(250)) * 32, b"\0" * 8000, b""]),
    ("nvarchar(300)", [*TEXTS, "x" * 300]),
]  # fmt: skip


def storable_in_code_page(value: Any) -> bool:
    try:
        value.encode("cp1252")
    except UnicodeError:
        return False
    return True


@pytest.mark.parametrize(
    ("type_", "values"),
    [*CASES, *MORE_CASES],
    ids=[f"{i}-{case[0]}" for i, case in enumerate([*CASES, *MORE_CASES])],
)
def test_values_come_back(request: pytest.FixtureRequest, way: Way, type_: str, values: list[Any]) -> None:
    kind = parse_type(type_)
    if kind.name in ("char", "varchar"):
        values = [value for value in values if storable_in_code_page(value)]
    if kind.scale == 7 and has_gap(request, SIX_DIGITS):
        values = [
            value.replace("9999999", "9999990").replace("4567", "4560").replace("0000001", "0000010")
            for value in values
        ]
    written = plan(table(name(), column("id", "int", nullable=False), column("value", type_)))
    way.create(written)
    rows = [(i, value) for i, value in enumerate([*values, None])]
    assert way.write(written, *([[row]] for row in rows)) == [len(rows)]
    rows = [(i, canonical(value, kind)) for i, value in rows]
    found = way.rows(written)
    assert found == rows
    # Exact to the last digit, where equality would let 1.1 pass for 1.10.
    assert [str(value) for _, value in found] == [str(value) for _, value in rows]


def test_doubles_come_back_to_the_last_bit(way: Way) -> None:
    chance = random.Random(20_240_229)
    doubles = [struct.unpack("d", chance.randbytes(8))[0] for _ in range(300)]
    # SQL Server's float has no subnormal numbers, no NaN and no infinity.
    doubles = [x for x in doubles if 2.3e-308 < abs(x) < 1.79e308] + [0.1, 1 / 3, 2**53 + 1.0, -1e-300, 9e15]
    written = plan(table(name(), column("id", "int", nullable=False), column("value", "float")))
    way.create(written)
    rows = list(enumerate(doubles))
    assert way.write(written, [rows]) == [len(rows)]
    assert [struct.pack("d", value) for _, value in way.rows(written)] == [
        struct.pack("d", x) for x in doubles
    ]


def test_long_values_come_back(way: Way) -> None:
    text = "\\\n" + "x漢\t🎵\"\\n'" * 131_072  # a megabyte and more
    written = plan(
        table(
            name(), column("id", "int", nullable=False), column("text", "nvarchar(max)"),
            column("latin", "varchar(max)"),
            column("data", "varbinary(max)"), column("note", "nvarchar(max)"),
        )
    )  # fmt: skip
    way.create(written)
    rows = [
        (1, text, "é\r\n" * 400_000, bytes(range(256)) * 5000, None),
        (2, None, "", b"", "short"),
        (3, "x" * 4000, "y" * 8001, b"z" * 8001, ""),
        (4, "🎵" * 2001, None, None, " "),
    ]  # fmt: skip
    assert way.write(written, [rows[:1]], [rows[1:]]) == [4]
    assert way.rows(written) == rows


CELLS = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(CELLS, CELLS), max_size=5))
def test_any_text_comes_back(way: Way, rows: list[tuple[Any, ...]]) -> None:
    written = plan(
        table(
            name(),
            column("n", "int", nullable=False),
            column("a", "nvarchar(400)"),
            column("b", "nvarchar(max)"),
        )
    )
    way.create(written)
    numbered = [(i, *row) for i, row in enumerate(rows)]
    assert way.write(written, [numbered]) == [len(rows)]
    assert way.rows(written) == numbered


@pytest.mark.parametrize("text", ["a\0b", "\0", "half \ud83c of a pair", "\udfb5"])
def test_what_nobody_could_read_is_refused(way: Way, text: str) -> None:
    written = plan(table(name(), column("id", "int", nullable=False), column("text", "nvarchar(max)")))
    way.create(written)
    with pytest.raises(UnstorableText) as raised:
        way.write(written, [[(1, "fine")]], [[(2, "\\u0000"), (3, text)]])
    fault = classify(raised.value, "the server")
    assert (fault.kind, fault.table, fault.column) == (FaultKind.DATA, written.tables[0].name, "text")
    assert way.rows(written) == []
    assert way.write(written, [[(2, "\\u0000 \\\0".replace("\0", "0"))]]) == [1]  # looks like it, and is not


# ------------------------------------------------------------------------------------- all or nothing


def test_a_row_that_is_refused_takes_all_with_it(way: Way) -> None:
    # The server goes on with an array after the row that failed, outside of the transaction that it undid.
    written = plan(
        table(name("first"), column("id", "int", nullable=False)),
        table(name("second"), column("id", "int", nullable=False), column("v", "nvarchar(20)")),
        table(name("third"), column("id", "int", nullable=False)),
    )
    way.create(written)
    second = [(i, "x") for i in range(60)]
    second[10] = (9, "twice")
    with pytest.raises(Exception) as raised:
        way.write(written, [[(1,)], second, [(1,)]])
    fault = classify(raised.value, "the server")
    assert (fault.kind, fault.code) == (FaultKind.DATA, "unique_violation")
    assert [way.rows(written, of=i) for i in range(3)] == [[], [], []]
    assert way.write(written, [[(1,)], second[:10], [(1,)]]) == [1, 10, 1]


@pytest.mark.parametrize("path", [FAST_EXECUTEMANY, EXECUTEMANY])
def test_no_row_goes_in_outside_of_a_transaction(
    driver: Wire, reader: Wire, connect: Connect, path: str
) -> None:
    written = plan(table(name(), column("id", "int", nullable=False)))
    way = Way(path, driver, reader, connect)
    way.create(written)
    choice = way.choice(written)
    encoded, _ = encoder(choice, written)(([(1,), (2,)],))
    with pytest.raises(Exception) as raised:
        row_writer(choice, way.options).write_tables(driver, [(written.tables[0], [encoded[0]])])
    assert classify(raised.value, "the server").kind is FaultKind.TRANSIENT
    assert way.rows(written) == []


def test_parents_go_first_and_rows_are_counted(way: Way) -> None:
    parent = table(name("parent"), column("id", "int", nullable=False), column("v", "nvarchar(20)"))
    child = table(
        name("child"), column("id", "int", nullable=False), column("n", "int", nullable=False),
        column("t", "nvarchar(max)"), primary_key=(0, 1), parent=0, foreign_key=((0, 0),),
    )  # fmt: skip
    written = plan(parent, child)
    way.create(written)
    texts = ['quo"ted', "plain", None, "back\\slash"]
    documents = [([(k, texts[k % 4])], [(k, i, texts[i % 4]) for i in range(k % 7)]) for k in range(100)]
    assert way.write(written, *documents) == [100, sum(len(d[1]) for d in documents)]
    assert way.rows(written) == [row for d in documents for row in d[0]]
    assert way.rows(written, "1, 2", of=1) == [row for d in documents for row in d[1]]


def test_no_rows_are_no_rows(way: Way) -> None:
    written = plan(
        table(name(), column("id", "int", nullable=False)), table(name(), column("id", "int", nullable=False))
    )
    way.create(written)
    assert way.write(written, [[], [(1,)]], [[], []]) == [0, 1]
    assert way.write(written, [[], []]) == [0, 0]


# ------------------------------------------------------------------------------------- tables as they are


def test_null_stays_null_and_other_columns_are_left_alone(way: Way) -> None:
    t = name()
    way.reader.execute(
        f"CREATE TABLE {t} (extra varchar(9) NOT NULL DEFAULT 'mine', v int NULL DEFAULT 7, "
        "id int NOT NULL PRIMARY KEY, twice AS id * 2)"
    )
    written = plan(table(t, column("id", "int", nullable=False), column("v", "int")))
    assert way.write(written, [[(1, None), (2, 3)]]) == [2]
    assert way.reader.query(f"SELECT id, v, extra, twice FROM {t} ORDER BY id") == [
        (1, None, "mine", 2), (2, 3, "mine", 4),
    ]  # fmt: skip


def test_triggers_fire_and_do_not_disturb_the_count(way: Way) -> None:
    written = plan(table(name(), column("id", "int", nullable=False)))
    way.create(written)
    t, log = written.tables[0].name, name("log")
    way.reader.execute(f"CREATE TABLE {log} (id int)")
    way.reader.execute(
        f"CREATE TRIGGER {t}_trigger ON {t} AFTER INSERT AS "
        f"INSERT INTO {log} SELECT id FROM inserted UNION ALL SELECT -id FROM inserted"
    )
    assert way.write(written, [[(1,), (2,)]], [[(3,)]]) == [3]
    assert way.reader.query(f"SELECT id FROM {log} ORDER BY id") == [(-3,), (-2,), (-1,), (1,), (2,), (3,)]


def test_what_the_server_numbers(way: Way) -> None:
    written = plan(
        table(
            name(), column("no", "bigint", nullable=False, server_generated=True), column("v", "varchar(9)")
        )
    )
    way.create(written)
    assert way.write(written, [[(None, "a"), (None, "b")]]) == [2]
    assert sorted(v for _, v in way.rows(written)) == ["a", "b"]
    assert {number for number, _ in way.rows(written)} == {1, 2}


def test_identity_values_that_the_contract_gives(way: Way) -> None:
    names = [name(), name()]
    for t in names:
        way.reader.execute(f"CREATE TABLE {t} (id int IDENTITY NOT NULL PRIMARY KEY, v varchar(9))")
    written = plan(*(table(t, column("id", "int", nullable=False), column("v", "varchar(9)")) for t in names))
    kept = frozenset(names)
    assert way.write(written, [[(7, "a"), (3, "b")], [(5, "c")]], keep_identity=kept) == [2, 1]
    with pytest.raises(Exception):  # noqa: B017 - each driver has its own
        way.write(written, [[(8, "a"), (8, "b")], [(6, "c")]], keep_identity=kept)
    # The first table's setting must not be left on for the second.
    assert way.write(written, [[], [(6, "d")]], keep_identity=kept) == [0, 1]
    assert way.rows(written) == [(3, "b"), (7, "a")]
    assert way.rows(written, of=1) == [(5, "c"), (6, "d")]


def test_odd_names(way: Way) -> None:
    t = name('"odd.table ""x"" \'?%s ')
    written = plan(table(t + '"', column("select", "int", nullable=False), column("a b?%s'\"", "varchar(9)")))
    way.create(written)
    assert way.write(written, [[(1, "x")]]) == [1]
    assert way.rows(written) == [(1, "x")]


# ------------------------------------------------------------------------------------- requests


@pytest.fixture
def batch() -> tuple[Plan, list[list[list[tuple[Any, ...]]]]]:
    """Three tables and forty documents."""
    written = plan(
        *(table(name(), column("id", "int", nullable=False), column("v", "nvarchar(max)")) for _ in range(3))
    )
    return written, [[[(k, "x" * 50)], [], [(k * 10 + i, None) for i in range(5)]] for k in range(40)]


def test_openjson_makes_one_round_trip(batch: Any, driver: Wire, reader: Wire, connect: Connect) -> None:
    written, documents = batch
    way = Way(OPENJSON, driver, reader, connect)
    way.create(written)
    choice = way.choice(written)
    encode = encoder(choice, written)
    pieces = [encode(tuple(document))[0] for document in documents]
    driver.execute("BEGIN TRANSACTION")
    before = driver.round_trips
    filled = [(t, [piece[i] for piece in pieces]) for i, t in enumerate(written.tables)]
    assert row_writer(choice, way.options).write_tables(driver, filled) == [40, 0, 200]
    # Letting go of the statement that was used longest ago may be another.
    assert driver.round_trips - before <= 2
    driver.execute("COMMIT TRANSACTION")


def test_long_batches_are_sent_in_parts(
    batch: Any, driver: Wire, reader: Wire, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openjson, "REQUEST_CHARACTERS", 1000)
    written, documents = batch
    way = Way(OPENJSON, driver, reader, connect)
    way.create(written)
    before = driver.round_trips
    assert way.write(written, *documents) == [40, 0, 200]
    assert 4 < driver.round_trips - before < 12
    assert len(way.rows(written)) == 40
    assert way.rows(written, of=2) == [row for document in documents for row in document[2]]


def test_statements_stay_below_lock_escalation(driver: Wire, reader: Wire, connect: Connect) -> None:
    written = plan(table(name(), column("id", "int", nullable=False), column("v", "nvarchar(max)")))
    log = name("log")
    way = Way(OPENJSON, driver, reader, connect, EngineOptions(avoid_lock_escalation=True))
    way.create(written)
    t = written.tables[0].name
    reader.execute(f"CREATE TABLE {log} (n int)")
    reader.execute(
        f"CREATE TRIGGER {t}_trigger ON {t} AFTER INSERT AS INSERT INTO {log} SELECT COUNT(*) FROM inserted"
    )
    rows: list[tuple[Any, ...]] = [(i, '],["\\') for i in range(9_500)]
    assert way.write(written, [rows[:100]], [rows[100:9_300]], [rows[9_300:]]) == [9_500]
    assert way.rows(written) == rows
    counts = [n for (n,) in reader.query(f"SELECT n FROM {log}")]
    assert sum(counts) == 9_500
    assert max(counts) <= 4_000


def test_rows_that_answer_with_rows_are_told(driver: Wire, reader: Wire, connect: Connect) -> None:
    written = plan(table(name(), column("id", "int", nullable=False)))
    way = Way(OPENJSON, driver, reader, connect)
    way.create(written)
    t = written.tables[0].name
    reader.execute(f"CREATE TRIGGER {t}_trigger ON {t} AFTER INSERT AS SELECT id, id FROM inserted")
    with pytest.raises(Exception, match=f"(?i)trigger|{t}"):
        way.write(written, [[(1,), (2,)]])
    assert way.rows(written) == []


def test_arrays_are_cut_by_their_memory(
    driver: Wire, reader: Wire, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rowwise, "ARRAY_BYTES", 20_000)
    written = plan(
        table(
            name(),
            column("id", "int", nullable=False),
            column("v", "nvarchar(max)"),
            column("w", "nvarchar(3000)"),
        )
    )
    way = Way(FAST_EXECUTEMANY, driver, reader, connect)
    way.create(written)
    rows: list[tuple[Any, ...]] = [(i, "x" * (i * 50 % 6000), "é" * (i % 90) or None) for i in range(300)]
    before = driver.round_trips
    assert way.write(written, [rows[:100]], [rows[100:]]) == [300]
    assert driver.round_trips - before > 10
    assert way.rows(written) == rows


def test_gaps_are_found_and_closed(reader: Wire, connect: Connect) -> None:
    written = plan(
        table(
            name(),
            column("id", "int", nullable=False),
            column("v", "nvarchar(max)"),
            column("b", "varbinary(9)"),
        )
    )
    Way(OPENJSON, reader, reader, connect).create(written)
    encode = encoder(PathChoice(OPENJSON, "not settled"), written)
    rows = [(1, 'a"b', b"\0\xff"), (2, "plain", None), (3, "x" * 4001, None), (4, "🎵" * 2001, None)]
    pieces = [encode(([row],))[0][0] for row in rows]
    for gaps in (frozenset({openjson.ESCAPES, openjson.HEXADECIMAL}), openjson_gaps(reader)):
        reader.execute("BEGIN TRANSACTION")
        assert OpenJsonWriter(gaps=gaps).write_tables(reader, [(written.tables[0], pieces)]) == [4]
        found = reader.query(f"SELECT * FROM {written.tables[0].name} ORDER BY id")
        reader.execute("ROLLBACK TRANSACTION")
        assert found == rows
