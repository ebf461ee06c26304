"""Both drivers against a real server: the same questions, the same answers."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from tests.support.mssql_gaps import SIX_DIGITS
from tests.support.mssql_run import has_gap
from tests.support.tcp_proxy import TcpProxy
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import EngineOptions, FaultKind, TimeLimits
from xml_extractor.engines.mssql.connection import from_url
from xml_extractor.engines.mssql.mssqlpython_wire import MssqlPythonWire
from xml_extractor.engines.mssql.native_errors import native_errors
from xml_extractor.engines.mssql.pyodbc_wire import PyodbcWire
from xml_extractor.engines.mssql.wires import Wire

WIRES: dict[str, type[PyodbcWire] | type[MssqlPythonWire]] = {
    "pyodbc": PyodbcWire,
    "mssqlpython": MssqlPythonWire,
}
ODD = "tab\tnewline\r\nquotes '\"`[] back\\slash ? é € 日本 😀  two blanks  "


def open_wire(driver: str, url: str) -> Wire:
    return WIRES[driver].open(
        from_url(make_url(url)), application="tests", connect_seconds=15, statement_seconds=60
    )


@pytest.fixture(params=sorted(WIRES))
def driver(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def wire(driver: str, mssql_url: str) -> Iterator[Wire]:
    wire = open_wire(driver, mssql_url)
    yield wire
    wire.close()


VALUES: tuple[tuple[str, Any], ...] = (
    ("CAST('2024-01-02T03:04:05.120' AS datetime)", "2024-01-02 03:04:05.12"),
    ("CAST('2024-01-02T03:04:00' AS smalldatetime)", "2024-01-02 03:04:00"),
    ("CAST('0001-01-01' AS date)", "0001-01-01"),
    ("CAST('9999-12-31T23:59:59.999999' AS datetime2(6))", "9999-12-31 23:59:59.999999"),
    ("CAST('2024-01-02T03:04:05' AS datetime2(0))", "2024-01-02 03:04:05"),
    ("CAST('03:04:05.1' AS time(3))", "03:04:05.1"),
    ("CAST('2024-01-02T03:04:05.120000-05:30' AS datetimeoffset(6))", "2024-01-02 03:04:05.12-05:30"),
    ("CAST('6F9619FF-8B86-D011-B42D-00C04FC964FF' AS uniqueidentifier)",
     "6f9619ff-8b86-d011-b42d-00c04fc964ff"),
    ("CAST(1 AS bit)", True),
    ("CAST(200 AS tinyint)", 200),
    ("CAST(-9223372036854775808 AS bigint)", -(2**63)),
    ("CAST(0.1 AS float)", 0.1),
    ("CAST('-12345678901234567890.123456789012345678' AS decimal(38,18))",
     Decimal("-12345678901234567890.123456789012345678")),
    ("CAST(-922337203685477.5808 AS money)", Decimal("-922337203685477.5808")),
    ("CAST(N'é€' AS varchar(10))", "é€"),
    ("CAST(N'ab' AS char(4))", "ab  "),
    ("N'日本😀'", "日本😀"),
    ("CAST(N'' AS nvarchar(max))", ""),
    ("CAST(N'<a>ü</a>' AS xml)", "<a>ü</a>"),
    ("CAST(0x00FF AS varbinary(max))", b"\x00\xff"),
    ("CAST(NULL AS datetime2(6))", None),
    ("CAST(NULL AS uniqueidentifier)", None),
    ("CAST(NULL AS varbinary(10))", None),
)  # fmt: skip


def test_values_come_back_in_their_canonical_form(wire: Wire) -> None:
    found = wire.query("SELECT " + ", ".join(sql for sql, _ in VALUES))
    assert list(zip((sql for sql, _ in VALUES), found[0], strict=True)) == list(VALUES)
    assert [type(value) for value in found[0]] == [type(value) for _, value in VALUES]


def test_the_seventh_digit_of_a_second(request: pytest.FixtureRequest, mssql_url: str) -> None:
    if has_gap(request, SIX_DIGITS):
        pytest.skip(SIX_DIGITS.reason)
    wire = open_wire("pyodbc", mssql_url)
    try:
        assert wire.query(
            "SELECT CAST('2024-01-02T03:04:05.1234567' AS datetime2(7)), "
            "CAST('03:04:05.0000001' AS time(7)), "
            "CAST('2024-01-02T03:04:05.1234567+01:00' AS datetimeoffset(7))"
        ) == [("2024-01-02 03:04:05.1234567", "03:04:05.0000001", "2024-01-02 03:04:05.1234567+01:00")]
    finally:
        wire.close()


def test_parameters_arrive_as_they_were_sent(wire: Wire) -> None:
    sent = (ODD, "", "x" * 4001, b"\x00\xff", b"", b"y" * 8001, 2**63 - 1, True, 1e-300, Decimal("-0.10"))
    types = ("nvarchar(max)",) * 3 + ("varbinary(max)",) * 3 + ("bigint", "bit", "float", "decimal(5,2)")
    sql = "SELECT " + ", ".join(f"CAST(? AS {kind})" for kind in types)
    for _ in range(2):  # the second time with what the first has prepared
        assert wire.query(sql, sent) == [sent]
    assert wire.round_trips >= 2


def test_null_goes_where_it_is_wanted(wire: Wire) -> None:
    wire.execute("CREATE TABLE t (a nvarchar(10), b varbinary(10), c int, d varchar(max), e bigint)")
    assert wire.execute("INSERT INTO t VALUES (?, ?, ?, ?, ?)", (None,) * 5) == 1
    assert wire.execute("INSERT INTO t VALUES (?, ?, ?, ?, ?)", ("a", b"b", 1, "é", 2)) == 1
    assert wire.query("SELECT * FROM t ORDER BY c") == [(None,) * 5, ("a", b"b", 1, "é", 2)]


@pytest.mark.parametrize("units", [4_000, 4_001, 5_000_000])
def test_long_texts_go_in_one_request(wire: Wire, units: int) -> None:
    text = "é😀" * (units // 3) + "x" * (units % 3)
    before = wire.round_trips
    assert wire.query("SELECT CAST(? AS nvarchar(max))", (text,)) == [(text,)]
    assert wire.round_trips == before + 1


def test_reading_a_long_text_takes_time_in_proportion(wire: Wire) -> None:
    def seconds(megabytes: int) -> float:
        sql = "SELECT REPLICATE(CAST(N'0123456789' AS nvarchar(max)), ?)"
        best = 60.0
        for _ in range(3):
            started = time.perf_counter()
            assert len(wire.query(sql, (megabytes * 50_000,))[0][0]) == megabytes * 500_000
            best = min(best, time.perf_counter() - started)
        return best

    # Ten times the text: ten times the time, and a hundred times where every piece copied all before it.
    assert seconds(20) < 45 * max(seconds(2), 0.005)


def test_errors_come_with_the_servers_numbers(wire: Wire) -> None:
    wire.execute("CREATE TABLE t (a int NOT NULL PRIMARY KEY)")
    wire.execute("INSERT INTO t VALUES (?)", (1,))

    def numbers(sql: str, parameters: tuple[Any, ...] = ()) -> list[int | None]:
        with pytest.raises(Exception) as caught:  # each driver has classes of its own
            wire.query(sql, parameters)
        return [record.number for record in native_errors(caught.value)]

    assert 2627 in numbers("INSERT INTO t VALUES (?)", (1,))
    assert 515 in numbers("INSERT INTO t VALUES (?)", (None,))
    assert 50123 in numbers("SELECT 1; THROW 50123, 'our own words', 1")


def test_a_batch_is_run_to_its_end(wire: Wire) -> None:
    wire.execute("CREATE TABLE t (a int NOT NULL)")
    assert wire.query("INSERT INTO t VALUES (1); SELECT a FROM t; SELECT 2") == [(1,)]
    assert wire.query("INSERT INTO t VALUES (2)") == []
    with pytest.raises(Exception, match=r"(?i)null"):
        wire.query("SELECT 1; INSERT INTO t VALUES (NULL)")
    with pytest.raises(Exception, match=r"(?i)null"):
        wire.execute("INSERT INTO t VALUES (3); INSERT INTO t VALUES (NULL)")
    assert wire.query("SELECT 7") == [(7,)], "the connection is as good as before"


def test_a_trigger_does_not_change_a_statements_count(wire: Wire) -> None:
    wire.execute("CREATE TABLE t (a int)")
    wire.execute("CREATE TABLE seen (a int)")
    wire.execute(
        "CREATE TRIGGER tr ON t AFTER INSERT AS "
        "INSERT INTO seen SELECT a FROM inserted CROSS JOIN (SELECT 1 AS x UNION ALL SELECT 2) AS y"
    )
    assert wire.execute("INSERT INTO t VALUES (1), (2), (3)") == 3
    assert wire.query("SELECT COUNT(*) FROM seen") == [(6,)]


def test_text_of_code_pages_does_not_depend_on_the_locale(driver: str, mssql_url: str) -> None:
    program = (
        "import sys\n"
        "from tests.integration.engines.mssql.test_wires import open_wire\n"
        "wire = open_wire(sys.argv[1], sys.stdin.read())\n"
        'rows = wire.query("SELECT CAST(NCHAR(233) + NCHAR(8364) AS varchar(10)), CAST(? AS varchar(9))", '
        "(chr(233),))\n"
        "sys.stdout.write(ascii(rows))\n"
        "sys.stdout.flush()\n"
        "wire.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, driver],
        input=mssql_url, capture_output=True, text=True, check=False, timeout=100,
        env={**os.environ, "LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == r"[('\xe9\u20ac', '\xe9')]"


def test_a_stalled_server_is_given_up_in_time(driver: str, mssql_url: str) -> None:
    url = make_url(mssql_url)
    assert url.host is not None
    proxy = TcpProxy(url.host, url.port or 1433)
    through = url.set(drivername=f"mssql+{driver}", host="127.0.0.1", port=proxy.port)
    limits = TimeLimits(connect_seconds=15, statement_seconds=5)
    engine = open_engine(through.render_as_string(hide_password=False), options=EngineOptions(limits))
    try:
        session = engine.connect(write=True, application="stalled")
        session.begin()
        proxy.stall()
        started = time.monotonic()
        with pytest.raises(Exception) as caught:
            session.query("SELECT 1")
        assert engine.classify(caught.value).kind is FaultKind.DISCONNECTED
        session.rollback()
        session.close()
        assert time.monotonic() - started < 12
    finally:
        proxy.close()
    deadline = time.monotonic() + 30
    while any(thread.name == "stalled driver" for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "the thread outlives the broken connection"
        time.sleep(0.1)
