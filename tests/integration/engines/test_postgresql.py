"""What only PostgreSQL has to get right."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.document_text import text_of
from tests.support.plans import SOURCE
from tests.support.servers import PostgresqlServer, conninfo
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import Engine, FaultKind, Session
from xml_extractor.engines.postgresql_arrays import array_text
from xml_extractor.engines.postgresql_session import PostgresqlSession


@pytest.fixture
def engine(postgresql_url: str) -> Engine:
    return open_engine(postgresql_url)


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    session = engine.connect(write=True, application="tests")
    yield session
    session.close()


def test_insert_new_keeps_the_order_given(session: Session) -> None:
    """Loaders that sort their keys must not meet each other in another order: that is a deadlock."""
    session.execute("CREATE TABLE t (a integer PRIMARY KEY)")
    keys = [(7 * i) % 1000 for i in range(1000)]
    session.insert_new("t", ("a",), [(key,) for key in keys])
    assert [a for (a,) in session.query("SELECT a FROM t ORDER BY ctid")] == keys


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("text[]", ["", "NULL", "null", " a b ", "{}", 'say "x"', "\\", '\\"', "a,b", "ä\n\t\u2028😀", "'"]),
        ("bytea[]", [b"", b'\x00\xff\\"', bytes(range(256))]),
        ("bigint[]", [0, -1, 2**63 - 1, -(2**63)]),
        ("integer[]", []),
    ],
)
def test_arrays_arrive_as_they_were_sent(session: Session, kind: str, values: list[object]) -> None:
    sent = [*values, None, *values]
    assert session.query(f"SELECT ?::{kind}", [array_text(sent)]) == [(sent,)]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_arrays_of_any_text_arrive_as_they_were_sent(session: Session, values: list[str | None]) -> None:
    assert session.query("SELECT ?::text[]", [array_text(values)]) == [(values,)]


def test_arrays_of_other_things_are_refused() -> None:
    with pytest.raises(TypeError, match="no array of bool"):
        array_text([True])


def test_text_keys_in_a_column_that_sorts_by_language(session: Session) -> None:
    # Which collations there are depends on how the server was built; without one that sorts otherwise, what
    # is checked is that the question is put in binary order.
    found = session.query("SELECT collname FROM pg_collation WHERE collname IN ('en-x-icu', 'en_US.utf8')")
    collation = found[0][0] if found else "C"
    session.execute(f'CREATE TABLE app_xml (app_id text COLLATE "{collation}" PRIMARY KEY, app_xml text)')
    keys = ["B", "C", "a", "a-b", "ab", "b"]
    session.execute_many("INSERT INTO app_xml VALUES (?, ?)", [(key, key) for key in keys])
    pages: list[object] = []
    while page := session.key_page(SOURCE, pages[-1] if pages else None, None, None, 2):  # type: ignore[arg-type]
        pages += page
    assert pages == keys
    assert [d.key for d in session.documents(SOURCE, keys)] == keys
    assert isinstance(session, PostgresqlSession)
    assert session._range(SOURCE, "a", None, None) == (
        ' WHERE "app_id" COLLATE "C" > $1::text', ["a"], '"app_id" COLLATE "C"',
    )  # fmt: skip


@pytest.mark.parametrize(
    ("declared", "keys"),
    [
        ("smallint", [-1, 5]), ("integer", [-1, 5]), ("varchar(4)", ["a", "abcd"]),
        ("char(4)", ["a   ", "abcd"]),
        ("uuid", ["00000000-0000-0000-0000-00000000000a", "ffffffff-ffff-ffff-ffff-ffffffffffff"]),
    ],
)  # fmt: skip
def test_key_columns_of_every_type(
    engine: Engine, session: Session, declared: str, keys: list[object]
) -> None:
    session.execute(f"CREATE TABLE app_xml (app_id {declared} PRIMARY KEY, app_xml text)")
    session.execute_many("INSERT INTO app_xml VALUES (?, ?)", [(key, "<a/>") for key in keys])
    assert engine.key_problem(session, SOURCE) is None
    first = session.key_page(SOURCE, None, None, None, 1)
    assert first + session.key_page(SOURCE, first[0], None, None, 9) == keys
    assert [d.key for d in session.documents(SOURCE, keys)] == keys  # type: ignore[arg-type]
    assert session.count_keys(SOURCE, keys[1], keys[1]) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("declared", ["numeric(9)", "date", "boolean", "bytea", "double precision"])
def test_key_columns_that_are_refused(engine: Engine, session: Session, declared: str) -> None:
    session.execute(f"CREATE TABLE app_xml (app_id {declared} PRIMARY KEY, app_xml text)")
    assert "a key has to be an integer" in (engine.key_problem(session, SOURCE) or "")


@pytest.mark.parametrize(
    "index",
    [
        "CREATE UNIQUE INDEX ON app_xml (app_id) WHERE app_id > 5",
        "CREATE UNIQUE INDEX ON app_xml (app_id, app_xml)",
        "CREATE UNIQUE INDEX ON app_xml ((app_id + length(app_xml)))",
        "CREATE INDEX ON app_xml (app_id)",
    ],
)
def test_indexes_that_do_not_make_the_key_unique(engine: Engine, session: Session, index: str) -> None:
    session.execute("CREATE TABLE app_xml (app_id integer NOT NULL, app_xml text)")
    session.execute(index)
    session.execute("INSERT INTO app_xml VALUES (1, 'a'), (1, 'bb')")
    assert "more than once" in (engine.key_problem(session, SOURCE) or "")


def test_too_many_connections(postgresql: PostgresqlServer, postgresql_url: str) -> None:
    if not postgresql.local:
        pytest.skip("would take all connections of a server that others use")
    taken = []
    try:
        with contextlib.suppress(psycopg.OperationalError):
            while len(taken) < 200:
                taken.append(psycopg.connect(conninfo(postgresql_url)))
        engine = open_engine(postgresql_url)
        with pytest.raises(psycopg.OperationalError) as caught:
            engine.connect(write=False, application="tests")
        fault = engine.classify(caught.value)
        assert (fault.kind, fault.code) == (FaultKind.TRANSIENT, "too_many_connections")
    finally:
        for connection in taken:
            connection.close()


def test_password_from_a_file_of_libpq(
    postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a password in the settings libpq's own places are asked, as PostgreSQL's users expect."""
    passfile = tmp_path / "pgpass"
    passfile.write_text("*:*:*:*:from the file\n")
    passfile.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(passfile))
    session = open_engine(postgresql_url).connect(write=False, application="tests")
    assert isinstance(session, PostgresqlSession)
    assert session._connection.pgconn.password == b"from the file"
    session.close()


@pytest.mark.parametrize("large_bytes", [4, 1000], ids=["in pieces", "at once"])
@pytest.mark.parametrize("declared", ["text", "varchar(90)"])
def test_text_that_is_not_utf8_comes_as_bytes(
    declared: str, large_bytes: int, postgresql: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database whose encoding is SQL_ASCII keeps any bytes; one bad document must not end a load."""
    monkeypatch.setattr("xml_extractor.engines.postgresql_documents.LARGE_BYTES", large_bytes)
    monkeypatch.setattr("xml_extractor.engines.postgresql_documents.PIECE_BYTES", 3)
    with postgresql.database(options="ENCODING 'SQL_ASCII' TEMPLATE template0") as url:
        session = open_engine(url).connect(write=True, application="tests")
        session.execute(f"CREATE TABLE app_xml (app_id text PRIMARY KEY, app_xml {declared}, kind text)")
        for key, content in {"ä": "<a>é漢</a>".encode(), "b": b"<\xff>", "c": None, "d": b""}.items():
            sql = "INSERT INTO app_xml VALUES (?, convert_from(?, 'SQL_ASCII'), convert_from(?, 'SQL_ASCII'))"
            session.execute(sql, (key, content, b"\xff" if key == "ä" else "ö".encode()))
        session.execute("INSERT INTO app_xml VALUES ('e', '<a/>')")
        for columns in ((), ("kind",)):
            found = session.documents(replace(SOURCE, columns=columns), ["b", "c", "d", "e", "ä"])
            assert [(d.key, text_of(d)) for d in found] == [
                ("b", b"<\xff>"), ("c", None), ("d", ""), ("e", "<a/>"), ("ä", "<a>é漢</a>"),
            ]  # fmt: skip
            if columns:
                assert [d.columns for d in found] == [("ö",), ("ö",), ("ö",), (None,), ("\udcff",)]
        session.close()
