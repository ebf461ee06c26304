"""Old rows: found by their key, counted, and deleted in groups."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.target_plans import plan
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import Session
from xml_extractor.errors import TargetError
from xml_extractor.mapping.records import Key
from xml_extractor.target import replacement
from xml_extractor.target.replacement import OldRows, RowCounts, RowsDifferError

Documents = dict[Key, RowCounts]


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    engine = open_engine(f"sqlite:///{tmp_path / 'target.db'}")
    session = engine.connect(write=True, application="tests")
    session.execute("CREATE TABLE base (id TEXT COLLATE NOCASE, name TEXT)")
    session.execute("CREATE TABLE contact (id TEXT, no INTEGER)")
    yield session
    session.close()


@pytest.fixture
def old_rows(tmp_path: Path) -> OldRows:
    engine = open_engine(f"sqlite:///{tmp_path / 'target.db'}")
    return OldRows(engine, plan(key_type="nvarchar(20)"), "call somebody")


def fill(session: Session, documents: Documents) -> None:
    for key, counts in documents.items():
        session.execute_many("INSERT INTO base VALUES (?, 'n')", [(key,)] * counts["base"])
        session.execute_many("INSERT INTO contact VALUES (?, 1)", [(key,)] * counts["contact"])


def left(session: Session) -> tuple[list[object], list[object]]:
    base, contact = (session.query(f"SELECT id FROM {name} ORDER BY id") for name in ("base", "contact"))
    return [key for (key,) in base], [key for (key,) in contact]


@pytest.mark.parametrize(("documents", "rows"), [(500, 20_000), (2, 20_000), (500, 4), (1, 1)])
def test_rows_of_many_documents_go_in_groups(
    session: Session, old_rows: OldRows, monkeypatch: pytest.MonkeyPatch, documents: int, rows: int
) -> None:
    monkeypatch.setattr(replacement, "GROUP_DOCUMENTS", documents)
    monkeypatch.setattr(replacement, "GROUP_ROWS", rows)
    loaded: Documents = {f"k{number}": {"base": 1, "contact": number % 4} for number in range(9)}
    fill(session, {**loaded, "other": {"base": 1, "contact": 2}})
    assert old_rows.delete(session, loaded, exact=True) == 9 + sum(number % 4 for number in range(9))
    assert left(session) == (["other"], ["other", "other"])


def test_keys_that_the_column_does_not_tell_apart_stop_it(session: Session, old_rows: OldRows) -> None:
    fill(session, {"a": {"base": 1, "contact": 0}, "A": {"base": 1, "contact": 0}})
    with pytest.raises(TargetError, match=r"base holds .* of key (a|A).*call somebody"):
        old_rows.delete(session, {"a": {"base": 1, "contact": 0}})
    session.execute("DELETE FROM base WHERE id = 'a' COLLATE BINARY")
    with pytest.raises(TargetError, match=r"of key A, which id there does not tell"):
        old_rows.delete(session, {"a": {"base": 1, "contact": 0}})
    assert left(session) == (["A"], [])


def test_what_was_taken_away_from_a_document_is_borne_unless_it_must_be_exact(
    session: Session, old_rows: OldRows
) -> None:
    loaded: Documents = {"a": {"base": 1, "contact": 3}}
    fill(session, {"a": {"base": 1, "contact": 1}})
    with pytest.raises(TargetError, match="contact holds 1 rows of key a, and 3 were loaded"):
        old_rows.delete(session, loaded, exact=True)
    assert old_rows.delete(session, loaded) == 2
    with pytest.raises(TargetError, match="of the 4 rows that were loaded for key a none is in"):
        old_rows.delete(session, loaded)


def test_rows_in_a_table_that_the_contract_does_not_have_stop_it(session: Session, old_rows: OldRows) -> None:
    fill(session, {"a": {"base": 1, "contact": 1}})
    with pytest.raises(TargetError, match="the rows of key a in gone cannot be found"):
        old_rows.delete(session, {"a": {"base": 1, "contact": 1, "gone": 2}})
    assert left(session) == (["a"], ["a"])


def test_every_document_that_differs_is_named_at_once(session: Session, old_rows: OldRows) -> None:
    keys = [f"k{number}" for number in range(30)]
    fill(session, {key: {"base": 1, "contact": 0} for key in keys})
    with pytest.raises(RowsDifferError) as caught:
        old_rows.delete(session, {key: {"base": 1, "contact": 1} for key in keys}, exact=True)
    assert sorted(caught.value.differences) == sorted(keys)
    text = str(caught.value)
    assert "contact holds 0 rows of key k0, and 1 were loaded" in text
    assert "Nothing of this batch was changed" in text
    assert "29 more documents that differ, with key k1, k2, " in text
    assert text.endswith("k19, …")
