"""Documents of many megabytes: what is read of them, and what memory that takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.support.document_text import text_of
from tests.support.plans import SOURCE
from tests.support.tables import portable
from xml_extractor.contract.plan import SourcePlan
from xml_extractor.contract.types import parse_type
from xml_extractor.engines.base import Engine, RepeatedKey, Session
from xml_extractor.engines.postgresql_documents import DocumentReading
from xml_extractor.errors import SourceError
from xml_extractor.mapping.records import Key
from xml_extractor.source.reader import SourceReader

MEBIBYTE = 2**20


def test_large_documents_are_read_in_pieces(
    engine: Engine, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole, whatever characters a piece ends in, beside small ones, text and bytes."""
    if engine.name == "postgresql":
        monkeypatch.setattr("xml_extractor.engines.postgresql_documents.LARGE_BYTES", 1000)
        monkeypatch.setattr("xml_extractor.engines.postgresql_documents.PIECE_BYTES", 7)
    for statement in engine.staging_statements(SOURCE, parse_type("int")):
        session.execute(statement)
    texts = {
        1: "<a/>",
        2: "<a>" + "é漢🎵x" * 300 + "</a>",
        3: None,
        4: "x" * 1000,
        5: "x" * 1001,
        6: "é" * 700,
        7: "",
    }
    session.execute_many(f"INSERT INTO {engine.quote('app_xml')} VALUES (?, ?)", list(texts.items()))
    for most in (None, 10**7):
        found = session.documents(SOURCE, [*texts, 8], most)
        assert {document.key: text_of(document) for document in found} == texts
    if engine.name == "postgresql":
        session.execute("CREATE TABLE raw (app_id int PRIMARY KEY, app_xml bytea)")
        raws = {1: b"<a/>", 2: bytes(range(256)) * 5, 3: None, 4: b""}
        session.execute_many("INSERT INTO raw VALUES (?, ?)", list(raws.items()))
        raw = SourcePlan(name=None, table="raw", key="app_id", document="app_xml", where=None, columns=())
        assert {d.key: (d.content, d.is_text) for d in session.documents(raw, list(raws), 10**6)} == {
            key: (value, False) for key, value in raws.items()
        }


def test_a_large_document_that_goes_while_it_is_read_hides_no_other(
    engine: Engine, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine.name != "postgresql":
        pytest.skip("reads a document by one statement")
    monkeypatch.setattr("xml_extractor.engines.postgresql_documents.LARGE_BYTES", 100)
    for statement in engine.staging_statements(SOURCE, parse_type("int")):
        session.execute(statement)
    texts = {1: "x" * 200, 2: "y" * 200, 3: "<a/>"}
    session.execute_many(f"INSERT INTO {engine.quote('app_xml')} VALUES (?, ?)", list(texts.items()))
    in_pieces = DocumentReading._in_pieces

    def after_it_has_gone(self: DocumentReading, key: Key) -> bytes | None:
        if key == 1:
            session.execute(f"DELETE FROM {engine.quote('app_xml')} WHERE {engine.quote('app_id')} = 1")
        return in_pieces(self, key)

    monkeypatch.setattr(DocumentReading, "_in_pieces", after_it_has_gone)
    assert [document.key for document in session.documents(SOURCE, [1, 2, 3], 50)] == [2]


def test_a_large_documents_key_that_is_not_unique_is_told(
    engine: Engine, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of a small one is: rows can come to share a key while they are loaded."""
    monkeypatch.setattr("xml_extractor.engines.postgresql_documents.LARGE_BYTES", 100)
    monkeypatch.setattr("xml_extractor.engines.postgresql_documents.PIECE_BYTES", 30)
    session.execute(portable(engine.name, "CREATE TABLE app_xml (app_id {name}, app_xml {text})"))
    rows = [
        ("a", "<a/>"),
        ("b", "x" * 200),
        ("c", "<a/>"),
        ("c", "x"),
        ("b", "y" * 200),
        ("d", "x"),
        ("d", "z" * 200),
    ]
    session.execute_many("INSERT INTO app_xml VALUES (?, ?)", rows)
    reader = SourceReader(engine, SOURCE)
    reader.open()
    try:
        assert [text_of(document) for document in reader.documents(["a"])] == ["<a/>"]
        for key in "bcd":
            with pytest.raises(SourceError, match=f"app_xml is not unique .more than one row has '{key}'."):
                reader.documents(["a", key])
    finally:
        reader.close()
    if engine.name == "postgresql":  # which reads them in pieces, of all rows of a key: it must say so itself
        with pytest.raises(RepeatedKey) as repeated:
            session.documents(SOURCE, ["b"], 50)
        assert repeated.value.key == "b"


def test_a_large_document_is_told_from_one_whose_key_the_column_takes_for_equal(
    engine: Engine, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine.name != "postgresql":
        pytest.skip("reads a document by one statement")
    monkeypatch.setattr("xml_extractor.engines.postgresql_documents.LARGE_BYTES", 100)
    monkeypatch.setattr("xml_extractor.engines.postgresql_documents.PIECE_BYTES", 30)
    try:
        session.execute(
            "CREATE COLLATION ignoring_case "
            "(provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
        )
    except psycopg.errors.FeatureNotSupported as error:
        pytest.skip(f"this server has no such collation: {error}")
    session.execute("CREATE TABLE app_xml (app_id text COLLATE ignoring_case, app_xml text)")
    session.execute('CREATE UNIQUE INDEX ON app_xml (app_id COLLATE "C")')
    session.execute_many("INSERT INTO app_xml VALUES (?, ?)", [("a", "x" * 200), ("A", "y" * 200)])
    reader = SourceReader(engine, SOURCE)
    reader.open()
    try:
        reader.check()
        for keys in (["A", "a"], ["a"], ["A"]):
            found = [document for part in reader.slices(keys) for document in part.documents]
            assert [(d.key, text_of(d)) for d in found] == [
                (key, ("x" if key == "a" else "y") * 200) for key in keys
            ]
    finally:
        reader.close()


MEASURE = """
import sys
from time import monotonic
from xml_extractor.contract.plan import SourcePlan
from xml_extractor.engines import open_engine
from xml_extractor.mapping.data_mapper import DocumentParser
from xml_extractor.mapping.document_hash import document_hash
from xml_extractor.source.reader import SourceReader

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

source = SourcePlan(name=None, table="app_xml", key="app_id", document="app_xml", where=None, columns=())
reader = SourceReader(open_engine(sys.argv[1]), source)
reader.open()
parser = DocumentParser()
parser.parse(reader.documents([1])[0].content)
before = peak()
for slice_ in reader.slices([1, 2, 3, 4]):
    print(len(slice_.documents), peak() - before, end=" ")
    for document in slice_.documents:
        document_hash(document)
        parser.parse(document.content, is_text=document.is_text)
    print(peak() - before)
    del document, slice_
reader.close()
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from /proc")
def test_memory_is_bounded_by_the_largest_document(
    engine: Engine, session: Session, database_url: str
) -> None:
    """Several large documents in a row take what one of them takes, and that is but a few times its size:
    reading, at most twice (SQLite holds a row's value while it is taken); parsing, itself and its tree."""
    if engine.name == "mssql":
        pytest.skip("drivers hand values over whole, as UTF-16")
    for statement in engine.staging_statements(SOURCE, parse_type("int")):
        session.execute(statement)
    size = 40 * MEBIBYTE
    text = "<a>" + ("<b>" + "é" * (2 * MEBIBYTE) + "</b>") * 10 + "</a>"  # in few nodes: the tree is as large
    session.execute_many(
        f"INSERT INTO {engine.quote('app_xml')} VALUES (?, ?)", [(1, "<a/>"), (2, text), (3, text), (4, text)]
    )
    session.close()
    out = subprocess.run(
        [sys.executable, "-c", MEASURE, database_url], capture_output=True, text=True, timeout=300, check=True
    ).stdout
    lines = [[int(word) for word in line.split()] for line in out.splitlines()]
    assert [line[0] for line in lines] == [2, 1, 1]  # the small one with the first, then one at a time
    assert max(line[2] for line in lines) < 2.7 * size, [[part / size for part in line] for line in lines]
