"""Reading app_xml from SQL Server: keys of every type and collation, documents of every type."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from typing import Any

import pytest

from tests.support.document_text import text_of
from tests.support.mssql_servers import MssqlServer
from xml_extractor.contract.plan import SourcePlan
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import EngineOptions
from xml_extractor.mapping.records import Key
from xml_extractor.source.column_text import column_text
from xml_extractor.source.reader import SourceReader

WORDS = [
    "a", "B", "c", "-z", "_x", "a-b", "ab", "aa", "a b", "A1", "a1b", "Z", "zz", "co-op", "coop", "'q", "1",
    "10", "9", "é", "Ä", "ß", "ez", "az", "ÿ", "ñ", "nz",
]  # fmt: skip
"""A word sort passes over hyphens, SQL collations of varchar do not, binary ones go by code points."""

KEYS: list[tuple[str, list[Any]]] = [
    ("tinyint", [0, 1, 254, 255]),
    ("smallint", [-(2**15), -1, 0, 7, 2**15 - 1]),
    ("int", [-(2**31), -5, 0, 1, 2, 10, 100, 2**31 - 1]),
    ("bigint", [-(2**63), -5, 0, 1, 2**31, 2**62, 2**63 - 1]),
    ("decimal(19,0)", [-(10**18), -5, 0, 3, 20, 10**18]),
    ("uniqueidentifier", [str(uuid.UUID(int=n * 0x0123456789ABCDEF0123456789AB)) for n in range(1, 30)]),
    ("nvarchar(40) COLLATE Latin1_General_CI_AS", [*WORDS, "漢字", "日本", "🎵", "Ω", "я"]),
    ("nvarchar(40) COLLATE SQL_Latin1_General_CP1_CI_AS", [*WORDS, "漢字", "日本", "Ω", "я"]),
    ("nvarchar(40) COLLATE Latin1_General_CS_AS", [*WORDS, "b", "C", "AB", "Ab"]),
    ("nvarchar(40) COLLATE Latin1_General_BIN2", [*WORDS, "b", "C", "AB", "漢字", "🎵", "ﬀ", "e\u0301"]),
    ("nvarchar(450)", [*WORDS, "x" * 450, "y" * 449]),
    ("nvarchar(max)", [*WORDS, "x" * 5000]),
    ("varchar(40) COLLATE SQL_Latin1_General_CP1_CI_AS", WORDS),
    ("varchar(40) COLLATE Latin1_General_CI_AS", WORDS),
    ("varchar(40) COLLATE Latin1_General_BIN2", [*WORDS, "b", "C", "AB"]),
    ("varchar(max) COLLATE Latin1_General_CI_AS", WORDS),
    ("nchar(6)", [word.ljust(6) for word in WORDS]),
    ("char(6) COLLATE SQL_Latin1_General_CP1_CI_AS", [word.ljust(6) for word in WORDS]),
]  # fmt: skip


def source(**changes: Any) -> SourcePlan:
    values: dict[str, Any] = {
        "name": None, "table": "app_xml", "key": "k", "document": "d", "where": None, "columns": (),
    }  # fmt: skip
    return SourcePlan(**{**values, **changes})


def fill(server: MssqlServer, url: str, key_type: str, keys: list[Any]) -> list[Any]:
    """Write a source table past the product; return the keys as the server orders them."""
    with closing(server.connect(url)) as connection:
        connection.execute(f"CREATE TABLE app_xml (k {key_type} NOT NULL, d nvarchar(max))")
        for key in reversed(keys):
            value = Decimal(key) if key_type.startswith("decimal") else key
            connection.execute("INSERT INTO app_xml VALUES (?, ?)", value, f"<a>{key}</a>")
        documents = [row[0] for row in connection.execute("SELECT d FROM app_xml ORDER BY k").fetchall()]
    by_document = {f"<a>{key}</a>": key for key in keys}
    return [by_document[document] for document in documents]


@pytest.fixture
def open_reader(mssql_url: str) -> Iterator[Any]:
    readers: list[SourceReader] = []

    def opened(plan: SourcePlan, **options: Any) -> SourceReader:
        engine = open_engine(mssql_url, options=EngineOptions(**options))
        readers.append(SourceReader(engine, plan, retry_seconds=0.5))
        readers[-1].open()
        return readers[-1]

    yield opened
    for reader in readers:
        reader.close()


def pages(reader: SourceReader, size: int, start: Key | None = None, end: Key | None = None) -> list[Key]:
    return [key for page in reader.key_pages(start, end, size) for key in page]


@pytest.mark.parametrize(("key_type", "keys"), KEYS, ids=[key_type for key_type, _ in KEYS])
def test_every_key_is_read_once_in_the_columns_own_order(
    mssql: MssqlServer, mssql_url: str, open_reader: Any, key_type: str, keys: list[Any]
) -> None:
    ordered = fill(mssql, mssql_url, key_type, keys)
    assert sorted(map(str, ordered)) == sorted(map(str, keys))
    reader = open_reader(source())
    reader.check()
    for size in (1, 2, 5, 1000):
        assert pages(reader, size) == ordered
    middle = ordered[1:-1]
    assert pages(reader, 2, middle[0], middle[-1]) == middle
    assert reader.count(middle[0], middle[-1]) == len(middle)
    assert reader.count() == len(keys)
    assert {d.key: text_of(d) for d in reader.documents(keys)} == {key: f"<a>{key}</a>" for key in keys}
    assert [d.key for d in reader.documents(ordered[::-2])] == ordered[::-2][::-1]


def test_keys_with_trailing_blanks_are_read_as_they_are(
    mssql: MssqlServer, mssql_url: str, open_reader: Any
) -> None:
    keys = ["a ", "b", "c   ", "d", " e "]
    ordered = fill(mssql, mssql_url, "nvarchar(20)", keys)
    reader = open_reader(source())
    reader.check()
    for size in (1, 2, 100):
        assert pages(reader, size) == ordered
    assert {d.key for d in reader.documents(keys)} == set(keys)


def test_many_documents_in_one_request(mssql: MssqlServer, mssql_url: str, open_reader: Any) -> None:
    """More than the 2,100 parameters that a statement may have."""
    with closing(mssql.connect(mssql_url)) as connection:
        connection.execute("CREATE TABLE app_xml (k varchar(20) NOT NULL PRIMARY KEY, d nvarchar(max))")
        connection.execute(
            "INSERT INTO app_xml SELECT TOP 5000 CONCAT('key ', ROW_NUMBER() OVER (ORDER BY a.object_id)), "
            "'<a/>' FROM sys.all_columns a CROSS JOIN sys.all_columns b"
        )
    reader = open_reader(source())
    keys = pages(reader, 10_000)
    assert len(keys) == 5000
    found = reader.documents(keys)
    assert [d.key for d in found] == keys
    assert {text_of(d) for d in found} == {"<a/>"}


TEXT = "<a b='1'>é ü ß €</a>"
UNICODE = "<a b='1'>漢字 🎵 Ω</a>"


@pytest.mark.parametrize(
    ("declared", "written", "read"),
    [
        ("nvarchar(max)", [UNICODE, "", None, "<broken"], [UNICODE, "", None, "<broken"]),
        ("nvarchar(4000)", [UNICODE, "", None], [UNICODE, "", None]),
        ("varchar(max)", [TEXT, "", None], [TEXT, "", None]),
        ("varbinary(max)", [UNICODE.encode(), UNICODE.encode("utf-16"), b"", b"\x00\xff", None],
         [UNICODE.encode(), UNICODE.encode("utf-16"), b"", b"\x00\xff", None]),
    ],
)  # fmt: skip
def test_documents_of_every_type(
    mssql: MssqlServer, mssql_url: str, open_reader: Any, declared: str, written: list[Any], read: list[Any]
) -> None:
    with closing(mssql.connect(mssql_url)) as connection:
        connection.execute(f"CREATE TABLE app_xml (k int PRIMARY KEY, d {declared})")
        for key, document in enumerate(written):
            connection.execute(
                f"INSERT INTO app_xml VALUES (?, CAST(? AS {declared}))",
                key,
                b"" if document == b"" else document,
            )
    reader = open_reader(source())
    reader.check()
    assert [text_of(d) for d in reader.documents(list(range(len(written))))] == read


def test_documents_of_type_xml(mssql: MssqlServer, mssql_url: str, open_reader: Any) -> None:
    with closing(mssql.connect(mssql_url)) as connection:
        connection.execute("CREATE TABLE app_xml (k int PRIMARY KEY, d xml)")
        for key, document in enumerate([UNICODE.replace("'", '"'), None, "<r><x/>text</r>"]):
            connection.execute("INSERT INTO app_xml VALUES (?, ?)", key, document)
    reader = open_reader(source())
    reader.check()
    contents = [text_of(d) for d in reader.documents([0, 1, 2])]
    assert contents == [UNICODE.replace("'", '"'), None, "<r><x/>text</r>"]


@pytest.mark.parametrize("declared", ["nvarchar(max)", "varchar(max)", "varbinary(max)", "xml"])
def test_big_documents_whole(mssql: MssqlServer, mssql_url: str, open_reader: Any, declared: str) -> None:
    text = "<a>" + "".join(f"<b>{number}</b>" for number in range(300_000)) + "</a>"
    assert len(text) > 3_000_000
    binary = declared == "varbinary(max)"
    with closing(mssql.connect(mssql_url)) as connection:
        connection.execute(f"CREATE TABLE app_xml (k int PRIMARY KEY, d {declared})")
        for key in range(3):
            connection.execute("INSERT INTO app_xml VALUES (?, ?)", key, text.encode() if binary else text)
    found = open_reader(source()).documents([0, 1, 2])
    assert [text_of(d) == (text.encode() if binary else text) for d in found] == [True] * 3


def test_further_columns_of_every_type_as_text(mssql: MssqlServer, mssql_url: str, open_reader: Any) -> None:
    columns = {
        "i": ("int", "-5", "-5"), "b": ("bit", "1", "1"), "m": ("money", "1.5", "1.5000"),
        "n": ("decimal(12,3)", "1.50", "1.500"), "f": ("float", "0.1", "0.1"), "day": ("date", "'2024-02-29'",
        "2024-02-29"), "t": ("datetime2(3)", "'2024-02-29T12:00:00.120'", None),
        "v": ("varchar(9)", "'ab '", "ab "), "u": ("nvarchar(9)", "N'é漢'", "é漢"),
        "e": ("varchar(9)", "''", ""),
        "g": ("uniqueidentifier", "'6F9619FF-8B86-D011-B42D-00C04FC964FF'",
              "6f9619ff-8b86-d011-b42d-00c04fc964ff"),
    }  # fmt: skip
    with closing(mssql.connect(mssql_url)) as connection:
        declared = ", ".join(f"{name} {type_}" for name, (type_, _, _) in columns.items())
        connection.execute(f"CREATE TABLE app_xml (k int PRIMARY KEY, d nvarchar(max), {declared})")
        values = ", ".join(value for _, value, _ in columns.values())
        connection.execute(f"INSERT INTO app_xml VALUES (1, '<a/>', {values})")
        connection.execute("INSERT INTO app_xml (k, d) VALUES (2, '<a/>')")
    reader = open_reader(source(columns=tuple(columns)))
    first, second = reader.documents([1, 2])
    for (name, (_, _, expected)), found in zip(columns.items(), first.columns, strict=True):
        if expected is not None:
            assert found == expected, name
        else:
            assert str(found).startswith("2024-02-29"), name
    assert second.columns == (None,) * len(columns)
    assert column_text(None) is None


@pytest.mark.parametrize("options", [{"read_only_intent": True}, {"snapshot": True}], ids=str)
def test_options_of_reading(
    mssql: MssqlServer, mssql_url: str, open_reader: Any, options: dict[str, bool]
) -> None:
    if not mssql.is_babelfish:  # which always has it
        name = mssql_url.partition("?")[0].rpartition("/")[2]
        mssql.administer(f"ALTER DATABASE [{name}] SET ALLOW_SNAPSHOT_ISOLATION ON")
    ordered = fill(mssql, mssql_url, "int", [1, 2, 3])
    reader = open_reader(source(), **options)
    reader.check()
    assert pages(reader, 2) == ordered
    assert len(reader.documents([1, 3])) == 2


def test_a_snapshot_does_not_wait_for_writers(mssql: MssqlServer, mssql_url: str, open_reader: Any) -> None:
    if not mssql.is_babelfish:
        name = mssql_url.partition("?")[0].rpartition("/")[2]
        mssql.administer(f"ALTER DATABASE [{name}] SET ALLOW_SNAPSHOT_ISOLATION ON")
    fill(mssql, mssql_url, "int", [1, 2, 3])
    with closing(mssql.connect(mssql_url, autocommit=False)) as writer:
        writer.execute("UPDATE app_xml SET d = '<changed/>'")
        reader = open_reader(source(), snapshot=True)
        assert [text_of(d) for d in reader.documents([1, 2, 3])] == ["<a>1</a>", "<a>2</a>", "<a>3</a>"]
        writer.commit()
    assert [text_of(d) for d in reader.documents([1, 2, 3])] == ["<changed/>"] * 3


@pytest.mark.parametrize(
    "name",
    ["[dbo].[order]", 'dbo."my table"', "[sel.ect]", "Ünïcödé", "[it's]", "archive.app_xml", "app_xml"],
)
def test_odd_table_names(mssql: MssqlServer, mssql_url: str, open_reader: Any, name: str) -> None:
    check_table_name(mssql, mssql_url, open_reader, name)


def test_a_table_name_with_a_closing_bracket(mssql: MssqlServer, mssql_url: str, open_reader: Any) -> None:
    check_table_name(mssql, mssql_url, open_reader, "[dbo].[order]]s]")


def check_table_name(mssql: MssqlServer, mssql_url: str, open_reader: Any, name: str) -> None:
    with closing(mssql.connect(mssql_url)) as connection:
        if name.startswith("archive"):
            connection.execute("CREATE SCHEMA archive")
        connection.execute(f"CREATE TABLE {name} ([the key] int PRIMARY KEY, [select] nvarchar(max))")
        connection.execute(f"INSERT INTO {name} VALUES (2, '<b/>'), (1, '<a/>')")
    reader = open_reader(source(table=name, key="the key", document="select"))
    reader.check()
    assert pages(reader, 1) == [1, 2]
    assert [text_of(d) for d in reader.documents([2])] == ["<b/>"]
    assert reader.count() == 2
