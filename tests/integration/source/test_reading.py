"""The source reader on each engine."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from tests.support.document_text import text_of
from tests.support.tables import portable
from xml_extractor.contract.plan import SourcePlan
from xml_extractor.contract.types import parse_type
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import Engine, Session
from xml_extractor.errors import SourceError
from xml_extractor.mapping.records import Key
from xml_extractor.source.reader import SourceReader


@pytest.fixture
def engine(database_url: str) -> Engine:
    return open_engine(database_url)


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    session = engine.connect(write=True, application="test")
    yield session
    session.close()


def source(table: str = "app_xml", **changes: Any) -> SourcePlan:
    values: dict[str, Any] = {
        "name": None,
        "table": table,
        "key": "k",
        "document": "d",
        "where": None,
        "columns": (),
    }
    return SourcePlan(**{**values, **changes})


def fill(session: Session, engine: Engine, plan: SourcePlan, keys: list[Any], type_: str = "int") -> None:
    for statement in engine.staging_statements(plan, parse_type(type_)):
        session.execute(statement)
    name = engine.quote(plan.table)
    session.execute_many(f"INSERT INTO {name} VALUES (?, ?)", [(key, f"<a>{key}</a>") for key in keys])


def open_reader(engine: Engine, plan: SourcePlan, **options: Any) -> SourceReader:
    reader = SourceReader(engine, plan, retry_seconds=0.5, **options)
    reader.open()
    return reader


def all_keys(
    reader: SourceReader, start: Key | None = None, end: Key | None = None, *, page_size: int = 3
) -> list[Key]:
    pages = list(reader.key_pages(start, end, page_size))
    assert all(1 <= len(page) <= page_size for page in pages)
    return [key for page in pages for key in page]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 6, 7])
def test_pages_of_every_fill(engine: Engine, session: Session, count: int) -> None:
    keys = [-5, 0, 3, 4, 100, 2**31 - 2, 2**31 - 1][:count]
    fill(session, engine, source(), list(reversed(keys)))
    reader = open_reader(engine, source())
    reader.check()
    assert all_keys(reader) == keys
    assert reader.count() == count
    reader.close()


def test_ranges_gaps_and_filters(engine: Engine, session: Session) -> None:
    fill(session, engine, source(), list(range(0, 100, 7)))
    reader = open_reader(engine, source())
    assert all_keys(reader, 7, 28) == [7, 14, 21, 28]
    assert all_keys(reader, 8, 27) == [14, 21]
    assert all_keys(reader, None, 10) == [0, 7]
    assert all_keys(reader, 90) == [91, 98]
    assert all_keys(reader, 1000) == []
    assert reader.count(8, 27) == 2
    reader.close()
    odd = source(where="k % 2 = 1 AND d LIKE '%?%' OR k % 2 = 1")
    filtered = open_reader(engine, odd)
    filtered.check()
    assert all_keys(filtered) == [7, 21, 35, 49, 63, 77, 91]
    assert filtered.count(20) == 6
    filtered.close()


@pytest.mark.parametrize("table", ["Odd Name", "select", 'a"b', "Δelta"])
def test_odd_table_names(engine: Engine, session: Session, table: str) -> None:
    name = '"' + table.replace('"', '""') + '"' if '"' in table else table
    fill(session, engine, source(name), [1, 2])
    reader = open_reader(engine, source(name))
    reader.check()
    assert all_keys(reader) == [1, 2]
    assert [text_of(d) for d in reader.documents([2])] == ["<a>2</a>"]
    reader.close()


def test_string_keys_of_any_case_and_script(engine: Engine, session: Session) -> None:
    keys = ["a", "A", "b", "B", "ab", "aB", "é", "e", "z", "Ω", "𠮷", "1", "10", "2", " a", "a b", "it's"]
    fill(session, engine, source(), keys, "nvarchar(20)")
    reader = open_reader(engine, source())
    reader.check()
    found = all_keys(reader)
    assert sorted(map(str, found)) == sorted(keys)
    assert len(found) == len(keys)
    assert {d.key: text_of(d) for d in reader.documents(found)} == {key: f"<a>{key}</a>" for key in keys}
    reader.close()


def test_documents_come_with_columns_as_text_and_vanished_keys_are_left_out(
    engine: Engine, session: Session
) -> None:
    ddl = "CREATE TABLE t (k integer PRIMARY KEY, d {text}, n numeric(9,2), s {text}, z integer)"
    session.execute(portable(engine.name, ddl))
    session.execute("INSERT INTO t VALUES (1, '<a/>', 5, 'x', NULL), (2, NULL, 7.25, '', 4)")
    reader = open_reader(engine, source("t", columns=("n", "s", "z")))
    documents = reader.documents([1, 2, 3])
    assert [(d.key, text_of(d)) for d in documents] == [(1, "<a/>"), (2, None)]
    assert documents[1].columns == ("7.25", "", "4")
    assert documents[0].columns[1:] == ("x", None)
    reader.close()


def test_null_and_duplicate_keys_are_found_before_anything_is_read(engine: Engine, session: Session) -> None:
    session.execute(portable(engine.name, "CREATE TABLE t (k integer, d {text})"))
    session.execute("INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    reader = open_reader(engine, source("t"))
    reader.check()
    session.execute("INSERT INTO t VALUES (2, 'c')")
    with pytest.raises(SourceError, match="more than once"):
        reader.check()
    with pytest.raises(SourceError, match="not unique"):
        all_keys(reader)
    # A page that ends between the two cannot show it: their documents do.
    assert all_keys(reader, page_size=2) == [1, 2]
    with pytest.raises(SourceError, match="not unique"):
        reader.documents([1, 2])
    session.execute("UPDATE t SET k = NULL WHERE d = 'c'")
    with pytest.raises(SourceError, match="NULL"):
        reader.check()
    with pytest.raises(SourceError, match="NULL"):
        all_keys(reader, page_size=10)
    reader.close()


def test_a_source_that_is_not_as_the_contract_says(engine: Engine, session: Session) -> None:
    session.execute(portable(engine.name, "CREATE TABLE t (k integer PRIMARY KEY, other {text})"))
    for plan, missing in ((source("t"), "no column d"), (source("gone"), "gone does not exist")):
        reader = open_reader(engine, plan)
        with pytest.raises(SourceError, match=missing) as caught:
            reader.check()
        assert caught.value.exit_code == 4
        reader.close()


def test_the_source_cannot_be_written(engine: Engine, session: Session) -> None:
    fill(session, engine, source(), [1])
    reader = open_reader(engine, source())
    with pytest.raises(Exception, match=r"(?i)read"):
        reader._connected().execute("DELETE FROM app_xml")
    assert all_keys(reader) == [1]
    reader.close()


def test_a_lost_connection_is_made_again(engine: Engine, session: Session) -> None:
    fill(session, engine, source(), list(range(10)))
    reader = open_reader(engine, source())
    pages = reader.key_pages(page_size=4)
    assert next(pages) == [0, 1, 2, 3]
    reader._connected().abort()
    assert [key for page in pages for key in page] == [4, 5, 6, 7, 8, 9]
    reader._connected().abort()
    assert len(reader.documents([1, 2])) == 2
    reader.close()


def test_rows_that_come_and_go_shift_nothing(engine: Engine, session: Session) -> None:
    fill(session, engine, source(), list(range(10)))
    reader = open_reader(engine, source())
    pages = reader.key_pages(page_size=4)
    next(pages)
    session.execute("DELETE FROM app_xml WHERE k IN (0, 1, 5)")
    session.execute("INSERT INTO app_xml VALUES (20, '<a/>')")
    assert [key for page in pages for key in page] == [4, 6, 7, 8, 9, 20]
    reader.close()


def test_a_first_connection_that_fails_ends_at_once() -> None:
    for url in ("sqlite:////nowhere/at/all.db", "postgresql://nobody@127.0.0.1:9/none"):
        reader = SourceReader(open_engine(url), source(), retry_seconds=60)
        started = monotonic()
        with pytest.raises(SourceError, match="cannot connect to the source"):
            reader.open()
        assert monotonic() - started < 10
        reader.close()


@pytest.mark.postgresql
def test_a_right_that_is_missing_is_named_once_with_what_will_not_help(postgresql_url: str) -> None:
    engine = open_engine(postgresql_url)
    session = engine.connect(write=True, application="tests")
    role = f"weak_{secrets.token_hex(4)}"
    try:
        session.execute("CREATE TABLE app_xml (k integer PRIMARY KEY, d text)")
        session.execute(f"CREATE ROLE {role} LOGIN")
        url = make_url(postgresql_url).set(username=role, password=None)
        weak = open_engine(url.render_as_string(hide_password=False))
        reader = open_reader(weak, source())
        with pytest.raises(SourceError) as caught:
            all_keys(reader)
        reader.close()
    finally:
        session.execute(f"DROP ROLE {role}")
        session.close()
    said = str(caught.value)
    assert "permission denied for table app_xml (42501); trying again cannot cure this" in said
    assert said.count(weak.display) == 1
