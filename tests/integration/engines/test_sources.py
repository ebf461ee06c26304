"""Reading app_xml: keys in order and in pages, documents by keys, and sources that cannot be read safely."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.support.document_text import text_of
from tests.support.plans import SOURCE
from tests.support.tables import portable
from xml_extractor.contract.plan import SourcePlan
from xml_extractor.contract.types import parse_type
from xml_extractor.engines.base import Engine, FaultKind, Session

Connect = Callable[..., Session]


def all_pages(session: Session, source: SourcePlan, limit: int, **bounds: Any) -> list[Any]:
    keys: list[Any] = []
    while True:
        page = session.key_page(
            source, keys[-1] if keys else None, bounds.get("start"), bounds.get("end"), limit
        )
        assert len(page) <= limit
        keys.extend(page)
        if len(page) < limit:
            return keys


def fill(
    engine: Engine, session: Session, key_type: str, keys: list[Any], source: SourcePlan = SOURCE
) -> None:
    for statement in engine.staging_statements(source, parse_type(key_type)):
        session.execute(statement)
    session.execute_many(
        f"INSERT INTO {engine.quote(source.table)} VALUES (?, ?)", [(key, f"<a n='{key}'/>") for key in keys]
    )


@pytest.mark.parametrize("key_type", ["int", "nvarchar(40)"])
@pytest.mark.parametrize("columns", [(), ("app_id",)])
def test_no_more_documents_than_asked_for(
    engine: Engine, session: Session, key_type: str, columns: tuple[str, ...]
) -> None:
    """Memory is bounded by bytes, whatever the documents' sizes, and there is always one."""
    source = replace(SOURCE, columns=columns)
    keys: list[Any] = list(range(10, 30))
    if key_type != "int":
        keys = [f"k{key}" for key in keys]
    fill(engine, session, key_type, keys)
    sql = f"UPDATE {session.table('app_xml')} SET app_xml = ? WHERE app_id = ?"
    texts: dict[Any, str | None] = {
        key: "<a>" + "é" * (number % 7) * 40 + "</a>" for number, key in enumerate(keys)
    }
    texts[keys[3]] = None
    for key, text in texts.items():
        session.execute(sql, [text, key])
    for most in (1, 100, 700, 10**6):
        left = [*keys, 999 if key_type == "int" else "none"]
        found: dict[Any, Any] = {}
        while left:
            documents = session.documents(source, left, most)
            if not documents:
                break
            sizes = [len((text_of(d) or "").encode()) for d in documents]
            if engine.name != "mssql":  # which judges by those that it has read
                assert sum(sizes[:-1]) < most
            assert [d.columns for d in documents] == [(d.key,) * len(columns) for d in documents]
            found |= {d.key: text_of(d) for d in documents}
            left = [key for key in left if key not in found]
        assert len(left) == 1
        assert found == texts


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
def test_pages_of_integer_keys(engine: Engine, session: Session, connect: Connect, limit: int) -> None:
    keys = [-(2**63), -5, 0, 1, 2, 10, 2**63 - 1]
    fill(engine, session, "bigint", keys[::-1])
    reader = connect(write=False)
    assert engine.key_problem(reader, SOURCE) is None
    assert all_pages(reader, SOURCE, limit) == keys
    assert all_pages(reader, SOURCE, limit, start=-5, end=2) == [-5, 0, 1, 2]
    assert all_pages(reader, SOURCE, limit, start=11) == [2**63 - 1]
    assert reader.count_keys(SOURCE, None, None) == 7
    assert reader.count_keys(SOURCE, -5, 2) == 4


def test_bounds_beyond_the_key_column(engine: Engine, session: Session) -> None:
    fill(engine, session, "int", [1, 2])
    assert all_pages(session, SOURCE, 10, start=-(2**40), end=2**40) == [1, 2]
    assert session.documents(SOURCE, [2**40]) == []


TEXT_KEYS = ["", "10", "9", "A", "B", "Straße", "a", "a b", "a-b", "ab", "ä", "é", "ﬀ", "🎵"]


@pytest.mark.parametrize("limit", [1, 4, 100])
def test_pages_of_text_keys_are_in_binary_order(engine: Engine, session: Session, limit: int) -> None:
    fill(engine, session, "nvarchar(40)", TEXT_KEYS[::-1])
    assert engine.key_problem(session, SOURCE) is None
    order = sorted(TEXT_KEYS)
    if engine.name == "mssql":  # by units of UTF-16, where 🎵 comes before ﬀ: whatever the server itself says
        order = [key for (key,) in session.query("SELECT app_id FROM app_xml ORDER BY app_id")]
        assert order[:-2] == sorted(TEXT_KEYS)[:-2]
    assert all_pages(session, SOURCE, limit) == order
    assert all_pages(session, SOURCE, limit, start="A", end="a") == ["A", "B", "Straße", "a"]
    assert [d.key for d in session.documents(SOURCE, TEXT_KEYS[::-1])] == order


def test_documents_by_key(engine: Engine, session: Session) -> None:
    fill(engine, session, "int", list(range(3000)))
    found = session.documents(SOURCE, [2999, 5, 7, 99_999, *range(1000, 2500)])
    assert [d.key for d in found[:3]] == [5, 7, 1000]
    assert text_of(found[0]) == "<a n='5'/>"
    assert found[0].columns == ()
    assert len(found) == 1503
    assert session.documents(SOURCE, []) == []


def test_the_filter_and_further_columns(engine: Engine, session: Session) -> None:
    ddl = "CREATE TABLE app_xml (app_id integer PRIMARY KEY, app_xml {text}, kind {text}, n integer)"
    session.execute(portable(engine.name, ddl))
    session.execute_many(
        "INSERT INTO app_xml VALUES (?, ?, ?, ?)",
        [(i, None if i == 4 else "<a/>", "50%?" if i % 2 else "b", i) for i in range(8)],
    )  # fmt: skip
    source = replace(SOURCE, where="kind LIKE '50%' OR kind = 'x?'", columns=("kind", "n"))
    assert engine.key_problem(session, source) is None
    assert all_pages(session, source, 2) == [1, 3, 5, 7]
    assert all_pages(session, source, 2, start=2, end=6) == [3, 5]
    assert session.count_keys(source, 2, 6) == 2
    assert [(d.key, text_of(d), d.columns) for d in session.documents(source, [1, 4])] == [
        (1, "<a/>", ("50%?", 1)), (4, None, ("b", 4)),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["order", 'we"ird table', "Mixed Case"])
def test_odd_table_names(engine: Engine, session: Session, name: str) -> None:
    source = replace(SOURCE, table=name, key="select", document="the document")
    fill(engine, session, "int", [2, 1], source)
    assert engine.key_problem(session, source) is None
    assert all_pages(session, source, 5) == [1, 2]
    assert text_of(session.documents(source, [1])[0]) == "<a n='1'/>"


def test_bytes_and_null_documents(engine: Engine, session: Session) -> None:
    session.execute(
        portable(engine.name, "CREATE TABLE app_xml (app_id integer PRIMARY KEY, app_xml {bytes})")
    )
    session.execute_many("INSERT INTO app_xml VALUES (?, ?)", [(1, b"\xff\xfe<"), (2, None), (3, b"")])
    assert [text_of(d) for d in session.documents(SOURCE, [1, 2, 3])] == [b"\xff\xfe<", None, b""]


def test_staging_refuses_a_key_twice(engine: Engine, session: Session) -> None:
    fill(engine, session, "nvarchar(40)", ["a"])
    with pytest.raises(Exception) as caught:
        session.execute("INSERT INTO app_xml VALUES ('a', 'x')")
    fault = engine.classify(caught.value)
    assert (fault.kind, fault.code) == (FaultKind.DATA, "unique_violation")


def problem(engine: Engine, session: Session, ddl: str, rows: list[Any], source: SourcePlan = SOURCE) -> str:
    session.execute(portable(engine.name, ddl))
    if rows:
        marks = ", ".join("?" * len(rows[0]))
        session.execute_many(f"INSERT INTO app_xml VALUES ({marks})", rows)
    return engine.key_problem(session, source) or ""


@pytest.mark.parametrize(
    ("ddl", "rows", "expected"),
    [
        ("CREATE TABLE other (a integer)", [], "source table app_xml does not exist"),
        ("CREATE TABLE app_xml (id integer, app_xml {text})", [], "no column app_id"),
        ("CREATE TABLE app_xml (app_id integer, doc {text})", [], "no column app_xml"),
        ("CREATE TABLE app_xml (app_id integer, app_xml {text})", [(1, "x"), (None, "y")], "1 row has NULL"),
        ("CREATE TABLE app_xml (app_id {name} {unique}, app_xml {text})",
         [(None, "x"), (None, "y")], "2 rows"),
        ("CREATE TABLE app_xml (app_id integer, app_xml {text})", [(1, "x"), (1, "y")], "1 key occurs"),
        ("CREATE TABLE app_xml (app_id {name} NOT NULL, app_xml {text})", [("b", "x"), ("b", "y")], "1 key"),
        ("CREATE TABLE app_xml (app_id integer NOT NULL, app_xml {name} NOT NULL, "
         "PRIMARY KEY (app_id, app_xml))",
         [(1, "x"), (1, "y")], "more than once"),
    ],
)  # fmt: skip
def test_sources_that_cannot_be_read(
    engine: Engine, session: Session, ddl: str, rows: list[Any], expected: str
) -> None:
    assert expected in problem(engine, session, ddl, rows)


@pytest.mark.parametrize(
    ("ddl", "rows"),
    [
        ("CREATE TABLE app_xml (app_id integer PRIMARY KEY, app_xml {text})", [(1, "x")]),
        ("CREATE TABLE app_xml (app_id integer, app_xml {text})", [(1, "x"), (2, "x")]),
        ("CREATE TABLE app_xml (app_id {name} {unique}, app_xml {text})", [("a", "x"), ("A", "x")]),
        ("CREATE TABLE app_xml (app_id {name}, app_xml {text})", []),
    ],
)
def test_sources_that_can(engine: Engine, session: Session, ddl: str, rows: list[Any]) -> None:
    assert problem(engine, session, ddl, rows) == ""


def test_the_filter_leaves_out_what_would_be_refused(engine: Engine, session: Session) -> None:
    source = replace(SOURCE, where="app_xml <> 'y' AND app_id IS NOT NULL")
    rows = [(1, "x"), (1, "y"), (None, "x")]
    assert (
        problem(engine, session, "CREATE TABLE app_xml (app_id integer, app_xml {text})", rows, source) == ""
    )
    assert all_pages(session, source, 10) == [1]


def test_a_null_key_shows_on_the_first_page(engine: Engine, session: Session) -> None:
    session.execute(portable(engine.name, "CREATE TABLE app_xml (app_id integer, app_xml {text})"))
    session.execute_many("INSERT INTO app_xml VALUES (?, ?)", [(1, "x"), (None, "y")])
    assert None in session.key_page(SOURCE, None, None, None, 10)


def test_a_view_as_source(engine: Engine, session: Session) -> None:
    session.execute(portable(engine.name, "CREATE TABLE t (n integer, doc {text})"))
    session.execute_many("INSERT INTO t VALUES (?, ?)", [(i, "<a/>") for i in range(5)])
    session.execute("CREATE VIEW app_xml AS SELECT n * 10 AS app_id, doc AS app_xml FROM t")
    assert engine.key_problem(session, SOURCE) is None
    assert all_pages(session, SOURCE, 2) == [0, 10, 20, 30, 40]
    assert len(session.documents(SOURCE, [10, 20])) == 2
