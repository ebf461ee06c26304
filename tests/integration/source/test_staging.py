"""Files, folders, archives and dumps into the source table, on each engine."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path
from typing import Any

import pytest

from xml_extractor.contract import Contract
from xml_extractor.contract.plan import Plan
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import Engine
from xml_extractor.errors import SourceError, UsageError
from xml_extractor.source.staging import StageSummary, stage

CONTRACT = """
contract: c
version: 1
source: {{table: {table}, key: k, document: d}}
document: {{root: [/r, /other]}}
{stage}
tables:
  base: {{primary_key: k, columns: {{k: {{from: $key, type: {type}}}}}}}
"""


def plan(
    *, stage: str = 'stage: {record: r, key: "@id"}', type_: str = "int", table: str = "app_xml"
) -> Plan:
    return Contract.from_text(CONTRACT.format(stage=stage, type=type_, table=table)).plan


NUMBERED = "stage: {record: r}"


@pytest.fixture
def engine(database_url: str) -> Engine:
    return open_engine(database_url)


def rows(engine: Engine, table: str = "app_xml", columns: str = "k, d") -> list[tuple[Any, ...]]:
    session = engine.connect(write=False, application="test")
    try:
        return session.query(f"SELECT {columns} FROM {table} ORDER BY 1")
    finally:
        session.close()


def dump(records: int, first: int = 1) -> bytes:
    inside = "".join(f'<r id="{i}">é 𠮷 {i}</r>\n' for i in range(first, first + records))
    return f"<dump>{inside}</dump>".encode()


def document(number: int) -> str:
    return f'<r id="{number}">é 𠮷 {number}</r>'


def sums_hold(summary: StageSummary) -> bool:
    parts = summary.staged + summary.already_staged + summary.differing + summary.refused
    return summary.documents == parts


@pytest.mark.parametrize("stage_", ['stage: {record: r, key: "@id"}', NUMBERED])
@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_a_dump_is_split_and_staged_once(engine: Engine, tmp_path: Path, stage_: str, batch: int) -> None:
    path = tmp_path / "dump.xml.gz"
    path.write_bytes(gzip.compress(dump(20)))
    first = stage(engine, plan(stage=stage_), [path], batch_documents=batch)
    assert (first.files, first.documents, first.staged, first.needs_a_look) == (1, 20, 20, False)
    assert rows(engine) == [(i, document(i)) for i in range(1, 21)]
    again = stage(engine, plan(stage=stage_), [path], batch_documents=batch)
    assert (again.documents, again.staged, again.already_staged, again.needs_a_look) == (20, 0, 20, False)
    assert rows(engine) == [(i, document(i)) for i in range(1, 21)]


def test_folders_archives_and_single_documents(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "1.xml").write_text(document(1), encoding="utf-8")
    (tmp_path / "sub" / "2.xml").write_text(document(2), encoding="utf-16")
    latin = '<?xml version="1.0" encoding="ISO-8859-1"?>\n<!DOCTYPE r><r id="3">é</r>\n'
    (tmp_path / "3.xml").write_bytes(latin.encode("latin-1"))
    (tmp_path / "dump.xml").write_bytes(dump(2, 10))
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/4.xml", document(4))
        archive.writestr("dump.xml.gz", gzip.compress(dump(2, 20)))
    summary = stage(engine, plan(), [tmp_path])
    assert (summary.files, summary.staged) == (6, 8)
    staged = dict(rows(engine))
    assert staged[3] == latin  # as it stands
    assert {k: d for k, d in staged.items() if k != 3} == {k: document(k) for k in (1, 2, 4, 10, 11, 20, 21)}


def test_a_key_that_is_there_with_other_content_is_reported_and_left(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "old.xml").write_bytes(dump(3))
    stage(engine, plan(), [tmp_path / "old.xml"])
    new = '<dump><r id="2">new</r><r id="4">four</r><r id="4">four</r><r id="4">4</r></dump>'
    (tmp_path / "new.xml").write_text(new)
    summary = stage(engine, plan(), [tmp_path / "new.xml"])
    assert (summary.staged, summary.already_staged, summary.differing) == (1, 1, 2)
    assert summary.differing_keys == [2, 4]
    assert summary.needs_a_look
    assert sums_hold(summary)
    assert dict(rows(engine)) == {1: document(1), 2: document(2), 3: document(3), 4: '<r id="4">four</r>'}


def test_equal_documents_without_keys_are_documents_of_their_own(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<r/>")
    (tmp_path / "b.xml").write_text("<r/>")
    (tmp_path / "d.xml").write_text("<dump><r/><r/></dump>")
    summary = stage(engine, plan(stage=NUMBERED), [tmp_path])
    assert summary.staged == 4
    assert rows(engine) == [(i, "<r/>") for i in range(1, 5)]
    # The same files packed otherwise are the same files.
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        archive.writestr("in/a.xml", "<r/>")
        archive.writestr("d.xml.gz", gzip.compress(b"<dump><r/><r/><r>new</r></dump>"))
    summary = stage(engine, plan(stage=NUMBERED), [tmp_path / "packed.zip"])
    assert (summary.staged, summary.already_staged) == (1, 3)
    assert rows(engine)[4:] == [(5, "<r>new</r>")]


def test_numbers_go_on_from_the_largest_key(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_bytes(dump(1))
    stage(engine, plan(stage=NUMBERED), [tmp_path / "a.xml"])
    session = engine.connect(write=True, application="test")
    session.execute("UPDATE app_xml SET k = 41")
    session.close()
    (tmp_path / "b.xml").write_bytes(dump(2))
    stage(engine, plan(stage=NUMBERED), [tmp_path / "b.xml"])
    assert [key for key, _ in rows(engine)] == [41, 42, 43]
    assert [row[0] for row in rows(engine, "load_staged", "source_key, file_name")] == [1, 42, 43]


def test_without_a_record_every_file_is_a_document(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_bytes(dump(3))
    (tmp_path / "b.xml").write_text("<r")
    assert stage(engine, plan(stage=""), [tmp_path]).staged == 2
    assert rows(engine) == [(1, dump(3).decode()), (2, "<r")]


def test_broken_documents_are_staged_as_they_are_and_what_has_no_text_or_key_is_refused(
    engine: Engine, tmp_path: Path
) -> None:
    (tmp_path / "1.xml").write_text('<r id="1"><broken>')
    (tmp_path / "2.xml").write_bytes(b'<r id="2">\xff</r>')
    (tmp_path / "3.xml").write_text("hello")
    (tmp_path / "4.xml").write_text("<r/>")
    (tmp_path / "5.xml").write_text("")
    (tmp_path / "6.xml").write_text('<r id="6">\0</r>')
    (tmp_path / "7.xml").write_text('<other id="7"/>')
    (tmp_path / "d.xml").write_text('<dump><r id="8"/><r id="x"/><r/><r id="9"/></dump>')
    summary = stage(engine, plan(), [tmp_path])
    assert dict(rows(engine)) == {
        1: '<r id="1"><broken>', 7: '<other id="7"/>', 8: '<r id="8"/>', 9: '<r id="9"/>',
    }  # fmt: skip
    assert summary.refused == 7
    assert [(Path(r.file).name, r.record) for r in summary.refusals] == [
        ("2.xml", 1), ("3.xml", 1), ("4.xml", 1), ("5.xml", 1), ("6.xml", 1), ("d.xml", 2), ("d.xml", 3),
    ]  # fmt: skip
    assert sums_hold(summary)


@pytest.mark.parametrize("stage_", ['stage: {record: r, key: "@id"}', NUMBERED])
def test_a_dump_cut_short_is_completed_without_repeating_anything(
    engine: Engine, tmp_path: Path, stage_: str
) -> None:
    whole = gzip.compress(dump(5000), compresslevel=1)
    path = tmp_path / "dump.xml.gz"
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(SourceError, match=r"dump\.xml\.gz ends in the middle"):
        stage(engine, plan(stage=stage_), [path])
    part = len(rows(engine))
    assert 1000 < part < 5000
    path.write_bytes(whole)
    summary = stage(engine, plan(stage=stage_), [path])
    assert (summary.staged, summary.already_staged) == (5000 - part, part)
    assert rows(engine) == [(i, document(i)) for i in range(1, 5001)]


def test_a_broken_dump_names_the_place_and_keeps_what_was_before_it(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "d.xml").write_text('<dump>\n<r id="1"/>\n<r id="2"/>\n<r id="3"></dump>')
    for already in (0, 2):
        with pytest.raises(SourceError, match=r"d\.xml is not well-formed at line 4"):
            stage(engine, plan(), [tmp_path / "d.xml"])
        assert [key for key, _ in rows(engine)] == [1, 2], already


def test_mistakes_of_the_operator_are_said(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        stage(engine, plan(), [tmp_path / "gone.xml"])
    with pytest.raises(UsageError, match="holds no"):
        stage(engine, plan(), [tmp_path])
    (tmp_path / "d.xml").write_text("<dump><x/></dump>")
    with pytest.raises(SourceError, match="holds no element r"):
        stage(engine, plan(), [tmp_path])


def test_what_the_database_refuses_is_said_and_not_tried_again(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text('<dump><r id="1"/></dump>')
    stage(engine, plan(), [tmp_path / "a.xml"])
    session = engine.connect(write=True, application="tests")
    session.begin()
    session.execute("DROP TABLE app_xml")
    session.execute("CREATE TABLE app_xml (unlike integer PRIMARY KEY)")
    session.commit()
    session.close()
    (tmp_path / "b.xml").write_text('<dump><r id="2"/></dump>')
    for paths in ([tmp_path / "a.xml"], [tmp_path]):  # the database stops a folder at once too
        with pytest.raises(SourceError, match="failed to write to app_xml"):  # not: to begin a transaction
            stage(engine, plan(), paths, batch_documents=1)


def test_files_that_cannot_be_staged_do_not_stop_the_others(engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in (1, 9):
        (folder / f"{number}.xml").write_text(f'<dump><r id="{number}"/></dump>')
    (folder / "2.xml").write_text("<stray><x/></stray>")
    (folder / "3.xml").write_text('<dump><r id="3"/><r id="4"></dump>')
    cut = gzip.compress(b"".join(b"%d" % number for number in range(20_000)))
    (folder / "4.xml.gz").write_bytes(cut[:-20])
    (folder / "5.xml.gz").write_bytes(b"no gzip")
    (folder / "6.zip").write_bytes(b"PK\x03\x04 and nothing more")
    with zipfile.ZipFile(folder / "7.zip", "w") as archive:
        archive.writestr("a.txt", "no XML")
    with zipfile.ZipFile(folder / "8.zip", "w") as archive:
        archive.writestr("a.xml", '<dump><r id="8"/>')
        archive.writestr("b.xml", '<dump><r id="81"/></dump>')
    reasons = {
        "6.zip": "is damaged", "7.zip": "holds no", "2.xml": "holds no element r (its root element is stray)",
        "3.xml": "is not well-formed at line 1", "4.xml.gz": "ends in the middle",
        "5.xml.gz": "is not a gzip file", "8.zip!a.xml": "is not well-formed",
    }  # fmt: skip
    for paths in ([folder], sorted(folder.iterdir())):
        summary = stage(engine, plan(), paths)
        assert [key for key, _ in rows(engine)] == [1, 3, 8, 9, 81]
        assert {Path(refused.file).name for refused in summary.refused_files} == reasons.keys()
        for refused in summary.refused_files:
            assert reasons[Path(refused.file).name] in refused.reason
        assert (summary.files, summary.files_refused, summary.needs_a_look) == (10, 7, True)
        assert summary.documents == 5
        assert sums_hold(summary)
    assert summary.already_staged == 5


def test_a_truncated_document_is_not_counted_as_one(engine: Engine, tmp_path: Path) -> None:
    """Without a record each file is a document, and read whole."""
    (tmp_path / "a.xml").write_text("<r/>")
    (tmp_path / "b.xml.gz").write_bytes(gzip.compress(b"<r>" + bytes(range(65, 90)) * 99 + b"</r>")[:-9])
    summary = stage(engine, plan(stage=""), [tmp_path])
    assert (summary.documents, summary.staged, summary.files_refused) == (1, 1, 1)
    assert sums_hold(summary)


def test_a_mistake_among_the_paths_is_found_before_anything_is_staged(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text('<r id="1"/>')
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no"):
        stage(engine, plan(), [tmp_path / "a.xml", tmp_path / "empty"])
    assert stage(engine, plan(), [tmp_path / "a.xml"]).staged == 1  # and not: already staged


@pytest.mark.parametrize("table", ["Odd Name", "select"])
def test_odd_table_names_and_text_keys(engine: Engine, tmp_path: Path, table: str) -> None:
    (tmp_path / "d.xml").write_text('<dump><r id="ab"/><r id="AB"/><r id="a b"/><r id="é"/></dump>')
    odd = plan(type_="nvarchar(20)", table=table)
    assert stage(engine, odd, [tmp_path / "d.xml"]).staged == 4
    assert stage(engine, odd, [tmp_path / "d.xml"]).already_staged == 4
    found = rows(engine, engine.quote(table))
    assert {key for key, _ in found} == {"ab", "AB", "a b", "é"}


def test_numbering_needs_integer_keys(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "d.xml").write_text('<dump><r id="ab"/></dump>')
    stage(engine, plan(type_="nvarchar(20)"), [tmp_path / "d.xml"])
    with pytest.raises(SourceError, match=r"not an integer.*stage\.key"):
        stage(engine, plan(type_="nvarchar(20)", stage=NUMBERED), [tmp_path / "d.xml"])


def test_progress_is_told_after_each_transaction(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "d.xml").write_bytes(dump(25))
    told: list[int] = []
    stage(engine, plan(), [tmp_path / "d.xml"], batch_documents=10, progress=lambda s: told.append(s.staged))
    assert told == [10, 20, 25]


def test_entities_in_a_dump_stay_out(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("SECRET")
    entity = f'<!DOCTYPE dump [<!ENTITY x SYSTEM "{(tmp_path / "secret").as_uri()}">]>'
    (tmp_path / "d.xml").write_text(f'{entity}<dump><r id="1">&x;</r></dump>')
    with pytest.raises(SourceError, match="never expanded"):
        stage(engine, plan(), [tmp_path / "d.xml"])
    # A file that is one document goes in as it stands; loading it puts it into quarantine.
    (tmp_path / "r.xml").write_text(f'{entity}<r id="1">&x;</r>')
    stage(engine, plan(), [tmp_path / "r.xml"])
    assert rows(engine) == [(1, f'{entity}<r id="1">&x;</r>')]
