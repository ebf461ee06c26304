"""What only a database in a file has to get right."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.document_text import text_of
from tests.support.plans import SOURCE
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import Engine


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "x.db"


@pytest.fixture
def engine(file: Path) -> Engine:
    return open_engine(f"sqlite:///{file}")


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_reading_leaves_the_source_as_it_is(engine: Engine, file: Path, journal: str) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.execute("CREATE TABLE app_xml (app_id INTEGER PRIMARY KEY, app_xml TEXT)")
        connection.execute("INSERT INTO app_xml VALUES (1, '<a/>')")
    connection.close()
    before = file.read_bytes()
    session = engine.connect(write=False, application="tests")
    assert engine.key_problem(session, SOURCE) is None
    assert text_of(session.documents(SOURCE, [1])[0]) == "<a/>"
    session.close()
    assert file.read_bytes() == before


def test_source_and_target_in_one_file(engine: Engine) -> None:
    writer = engine.connect(write=True, application="tests")
    writer.execute("CREATE TABLE app_xml (app_id INTEGER PRIMARY KEY, app_xml TEXT)")
    writer.execute_many("INSERT INTO app_xml VALUES (?, ?)", [(i, "<a/>") for i in range(100)])
    writer.execute("CREATE TABLE t (a INTEGER)")
    reader = engine.connect(write=False, application="tests")
    writer.begin()
    writer.execute("INSERT INTO t VALUES (1)")
    started = time.monotonic()
    assert reader.key_page(SOURCE, 89, None, None, 100) == list(range(90, 100))
    writer.commit()
    assert time.monotonic() - started < 1
    reader.close()
    writer.close()


def test_close_folds_the_log_into_the_file(engine: Engine, file: Path) -> None:
    writer = engine.connect(write=True, application="tests")
    reader = engine.connect(write=False, application="tests")
    writer.execute("CREATE TABLE t (a INTEGER)")
    writer.execute_many("INSERT INTO t VALUES (?)", [(i,) for i in range(1000)])
    log = Path(f"{file}-wal")
    assert log.stat().st_size > 0
    writer.close()
    # The reader keeps the log from being removed; what was in it has been written home all the same.
    assert log.stat().st_size == 0
    reader.close()
    assert sqlite3.connect(f"file:{file}?immutable=1", uri=True).execute(
        "SELECT count(*) FROM t"
    ).fetchall() == [(1000,)]


def test_a_killed_writer_leaves_whole_transactions(engine: Engine, file: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from xml_extractor.engines import open_engine\n"
        f"s = open_engine('sqlite:///{file.as_posix()}').connect(write=True, application='tests')\n"
        "s.execute('CREATE TABLE t (a INTEGER)')\n"
        "s.execute_many('INSERT INTO t VALUES (?)', [(i,) for i in range(1000)])\n"
        "s.begin()\n"
        "s.execute('INSERT INTO t SELECT a FROM t')\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        writer.kill()
    session = engine.connect(write=True, application="tests")
    assert session.query("SELECT count(*) FROM t") == [(1000,)]
    assert session.query("PRAGMA integrity_check") == [("ok",)]
    session.close()


def test_settings_of_a_writer(engine: Engine) -> None:
    session = engine.connect(write=True, application="tests")
    pragmas = {
        name: session.query(f"PRAGMA {name}")[0][0]
        for name in ("journal_mode", "synchronous", "foreign_keys")
    }
    assert pragmas == {"journal_mode": "wal", "synchronous": 1, "foreign_keys": 1}
    session.close()


def test_a_trigger_does_not_mislead_about_what_was_inserted(engine: Engine) -> None:
    """Some hundred rows go into a statement: those before one that is there are in, however much a trigger
    has written beside them; one given twice is no row that was there."""
    session = engine.connect(write=True, application="tests")
    session.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
    session.execute("CREATE TABLE log (a INTEGER)")
    session.execute("CREATE TRIGGER more AFTER INSERT ON t BEGIN INSERT INTO log VALUES (1), (2); END")
    session.insert_new("t", ("a", "b"), [(700, "before")])
    session.begin()
    rows = [(number, "new") for number in range(1000)]
    assert session.insert_mostly_new("t", ("a", "b"), rows) == {700}
    session.commit()
    assert session.query("SELECT b, COUNT(*) FROM t GROUP BY b ORDER BY b") == [("before", 1), ("new", 999)]
    session.begin()
    with pytest.raises(sqlite3.IntegrityError):
        session.insert_mostly_new("t", ("a", "b"), [(number, "") for number in (2000, 2001, 2000)])
    session.rollback()
    session.close()


def test_text_that_is_not_utf8_comes_as_bytes(engine: Engine) -> None:
    """One bad document must not make its whole page unreadable."""
    session = engine.connect(write=True, application="tests")
    session.execute("CREATE TABLE app_xml (app_id INTEGER PRIMARY KEY, app_xml TEXT)")
    session.execute("INSERT INTO app_xml VALUES (1, '<a/>'), (2, CAST(x'3cff3e' AS TEXT)), (3, 7)")
    assert [text_of(d) for d in session.documents(SOURCE, [1, 2, 3])] == ["<a/>", b"<\xff>", "7"]
    session.close()


def test_further_text_that_is_not_utf8_is_no_text(engine: Engine) -> None:
    """Bytes it must not come as: those of a BLOB are taken for its hexadecimal digits."""
    session = engine.connect(write=True, application="tests")
    session.execute("CREATE TABLE app_xml (app_id INTEGER PRIMARY KEY, app_xml TEXT, kind TEXT)")
    session.execute("INSERT INTO app_xml VALUES (1, '<a/>', CAST(x'61ff' AS TEXT)), (2, '<a/>', x'61ff')")
    found = session.documents(replace(SOURCE, columns=("kind",)), [1, 2])
    assert [d.columns for d in found] == [("a\udcff",), (b"a\xff",)]
    session.close()


def test_a_key_that_is_not_utf8_is_refused(engine: Engine) -> None:
    session = engine.connect(write=True, application="tests")
    session.execute("CREATE TABLE app_xml (app_id TEXT PRIMARY KEY, app_xml TEXT)")
    session.execute("INSERT INTO app_xml VALUES ('a', '<a/>'), (CAST(x'61ff' AS TEXT), '<a/>')")
    assert session.key_page(SOURCE, None, None, None, 1) == ["a"]
    with pytest.raises(sqlite3.DataError, match="neither an integer nor text in UTF-8"):
        session.key_page(SOURCE, "a", None, None, 1)
    session.close()


@pytest.mark.parametrize("collation", ["BINARY", "NOCASE", "RTRIM"])
@pytest.mark.parametrize("index", ["", "BINARY", "NOCASE"])
def test_no_key_is_stepped_over_whatever_the_collation(engine: Engine, collation: str, index: str) -> None:
    session = engine.connect(write=True, application="tests")
    session.execute(f"CREATE TABLE app_xml (app_id TEXT COLLATE {collation}, app_xml TEXT)")
    keys = ["A", "B", "b ", "c"] if index == "NOCASE" else ["A", "B", "a", "b", "b ", "c"]
    if index:
        session.execute(f"CREATE UNIQUE INDEX u ON app_xml (app_id COLLATE {index})")
    session.execute_many("INSERT INTO app_xml VALUES (?, ?)", [(key, key) for key in reversed(keys)])
    assert engine.key_problem(session, SOURCE) is None
    found: list[object] = []
    while page := session.key_page(SOURCE, found[-1] if found else None, None, None, 1):  # type: ignore[arg-type]
        found += page
    assert found == keys
    assert [(d.key, text_of(d)) for d in session.documents(SOURCE, keys)] == [(key, key) for key in keys]
    assert [d.key for d in session.documents(SOURCE, ["A"])] == ["A"]
    session.close()


@pytest.mark.parametrize(
    ("values", "expected"),
    [("(1), ('a')", "integer and text"), ("(1.5)", "real"), ("(x'00')", "blob")],
)
def test_keys_that_are_neither_integers_nor_text(engine: Engine, values: str, expected: str) -> None:
    session = engine.connect(write=True, application="tests")
    session.execute("CREATE TABLE app_xml (app_id, app_xml)")
    session.execute(f"INSERT INTO app_xml (app_id) VALUES {values}")
    assert f"of type {expected}" in (engine.key_problem(session, SOURCE) or "")
    session.close()


def test_a_key_index_under_another_collation_does_not_hide_duplicates(engine: Engine) -> None:
    session = engine.connect(write=True, application="tests")
    session.execute("CREATE TABLE app_xml (app_id TEXT, app_xml TEXT)")
    session.execute("CREATE UNIQUE INDEX u ON app_xml (app_id) WHERE app_xml IS NOT NULL")
    session.execute("CREATE UNIQUE INDEX w ON app_xml (app_id, app_xml)")
    session.execute("INSERT INTO app_xml VALUES ('a', NULL), ('a', 'x')")
    assert "more than once" in (engine.key_problem(session, SOURCE) or "")
    session.close()


@pytest.mark.parametrize(
    "ddl",
    [
        "CREATE TABLE app_xml (app_id INTEGER PRIMARY KEY, app_xml TEXT) WITHOUT ROWID",
        "CREATE TABLE app_xml (app_id INTEGER PRIMARY KEY DESC, app_xml TEXT)",
        "CREATE TABLE app_xml (app_id INT PRIMARY KEY, app_xml TEXT)",
    ],
)
def test_a_key_that_looks_like_the_rowid_is_read_before_it_is_trusted(engine: Engine, ddl: str) -> None:
    session = engine.connect(write=True, application="tests")
    session.execute(ddl)
    session.execute("INSERT INTO app_xml VALUES (1, 'x'), ('one', 'x')")
    assert "integer and text" in (engine.key_problem(session, SOURCE) or "")
    session.close()


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16le", "UTF-16be"])
def test_text_is_the_same_whatever_a_file_holds_it_as(engine: Engine, file: Path, encoding: str) -> None:
    text = "<?xml version='1.0' encoding='utf-16'?><a>é漢🎵\0</a>"
    with sqlite3.connect(file) as connection:
        connection.execute(f"PRAGMA encoding = '{encoding}'")
        connection.execute("CREATE TABLE app_xml (app_id INTEGER PRIMARY KEY, app_xml, n)")
        connection.executemany(
            "INSERT INTO app_xml VALUES (?, ?, ?)",
            [(1, text, "é"), (2, text.encode(), b"\xff"), (3, None, None), (4, 1.5, 7), (5, "", "")],
        )
    connection.close()
    session = engine.connect(write=False, application="tests")
    found = session.documents(replace(SOURCE, columns=("n",)), [1, 2, 3, 4, 5])
    assert [(text_of(d), d.columns) for d in found] == [
        (text, ("é",)), (text.encode(), (b"\xff",)), (None, (None,)), ("1.5", (7,)), ("", ("",)),
    ]  # fmt: skip
    assert [d.is_text for d in found] == [d.key in (1, 5) and encoding == "UTF-8" for d in found]
    session.close()
