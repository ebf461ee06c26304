"""What ``status`` says of loads, ranges, rates, what is left and why documents are in quarantine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.notes import BROKEN, CONTRACT, OF_ANOTHER_CONTRACT, Notes, contract, note
from tests.support.tables import execute, query
from xml_extractor import LoadOptions
from xml_extractor.cli import main
from xml_extractor.engines import open_engine
from xml_extractor.mapping.records import State
from xml_extractor.operations.status import TargetStatus, read_status
from xml_extractor.processing.chunks import CHUNK_DOCUMENTS
from xml_extractor.target import ranges, runs

DOCUMENTS = 500


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Notes:
    """Documents of which every hundredth is broken, too long or of another contract."""
    monkeypatch.setattr("xml_extractor.processing.throttle.KEY_PAGE", CHUNK_DOCUMENTS)
    source = Notes(tmp_path)
    odd = {50: BROKEN, 60: OF_ANOTHER_CONTRACT, 70: note("longer than twenty letters")}
    source.put({key: odd.get(key % 100, note(f"n{key}")) for key in range(1, DOCUMENTS + 1)})
    (tmp_path / "notes.yaml").write_text(CONTRACT, encoding="utf-8")
    return source


def loaded_twice(notes: Notes, target: str) -> None:
    """A load that has finished, and one that was broken off."""
    notes.load(target, limit=200, drift_sample=0)
    notes.load(target, limit=200, drift_sample=0)
    execute(target, "UPDATE load_runs SET state = 'running', finished_at = NULL WHERE load_id = 2")


def status(target: str, notes: Notes | None = None, **options: Any) -> TargetStatus:
    return read_status(
        target, LoadOptions(**options), source=None if notes is None else notes.url, contract=contract()
    )


def test_loads_ranges_rates_and_reasons(database_url: str, notes: Notes) -> None:
    loaded_twice(notes, database_url)
    first, second = status(database_url).loads
    assert (first.documents[State.LOADED], first.documents[State.QUARANTINED]) == (194, 4)
    assert first.documents[State.SKIPPED] == 2
    # 200 documents in pages of 64, cut off by the limit; then those 200 over again, and 200 more.
    assert (first.ranges.finished, first.ranges.documents) == (4, 200)
    assert (second.ranges.finished, second.ranges.documents) == (7, 400)
    assert (first.is_unfinished, second.is_unfinished) == (False, True)
    assert [load.quarantine_reasons for load in (first, second)] == [
        {"not_well_formed": 2, "too_long": 2}
    ] * 2
    for load in (first, second):
        assert load.documents_per_second is not None
        assert load.ranges.recent_per_second is not None
        assert min(load.documents_per_second, load.ranges.recent_per_second) > 0


def test_rates_are_documents_by_the_time_that_they_took(sqlite_url: str, notes: Notes) -> None:
    notes.load(sqlite_url, limit=300, drift_sample=0)
    # The ledger: 300 documents from noon to a minute later.  Ranges: 64 a second, the last one of 44.
    execute(
        sqlite_url,
        "UPDATE load_ledger SET committed_at = '2025-01-01 12:01:00.000000'",
        "UPDATE load_ledger SET committed_at = '2025-01-01 12:00:00.000000' WHERE source_key = '1'",
        "UPDATE load_ranges SET finished_at = '2025-01-01 12:00:0' || (range_number / 1099511627776) "
        "|| '.000000'",
    )
    (load,) = status(sqlite_url).loads
    assert load.documents_per_second == 5.0
    assert query(sqlite_url, "SELECT COUNT(*) FROM load_ranges") == [(5,)]
    assert load.ranges.recent_per_second == (3 * 64 + 44) / 4


def test_only_the_last_ranges_say_how_fast_it_is_now(
    sqlite_url: str, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes.load(sqlite_url, limit=300, drift_sample=0)
    execute(
        sqlite_url,
        "UPDATE load_ranges SET finished_at = CASE range_number / 1099511627776 "
        "WHEN 5 THEN '2025-01-01 12:10:02.000000' WHEN 4 THEN '2025-01-01 12:10:00.000000' "
        "ELSE '2025-01-01 12:00:00.000000' END",
    )
    monkeypatch.setattr(ranges, "RECENT_RANGES", 2)
    assert status(sqlite_url).loads[0].ranges.recent_per_second == 44 / 2


def test_a_load_of_one_moment_has_no_rate(sqlite_url: str, notes: Notes) -> None:
    notes.load(sqlite_url, limit=5, drift_sample=0)
    (load,) = status(sqlite_url).loads
    assert (load.documents_per_second, load.ranges.recent_per_second) == (None, None)
    assert load.to_json()["documents_per_second"] is None


def test_what_is_left_where_the_source_is_at_hand_and_why_it_is_unknown_elsewhere(
    database_url: str, notes: Notes
) -> None:
    loaded_twice(notes, database_url)
    left = status(database_url, notes).left
    assert (left.documents, left.contract, left.source_name) == (100, "notes", "notes")
    assert status(database_url).left.documents is None
    assert "no source was named" in str(status(database_url).left.why_unknown)
    other = status(database_url, notes, source_name="elsewhere").left
    assert other.documents is None
    assert "no load of contract notes from elsewhere" in str(other.why_unknown)
    notes.path.rename(notes.path.with_suffix(".away"))
    away = status(database_url, notes).left
    assert away.documents is None
    assert "the source cannot be reached" in str(away.why_unknown)
    assert not notes.path.exists(), "looking creates nothing"


def test_the_command_says_the_same_in_words_and_in_json(
    sqlite_url: str, notes: Notes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded_twice(notes, sqlite_url)
    where = ["--target", sqlite_url, "--source", notes.url, "--contract", str(tmp_path / "notes.yaml")]
    assert main(["status", *where]) == 0
    told = capsys.readouterr().out
    for said in (
        "contract notes version 1, source notes", "running *: running, or interrupted",
        "load 2: 7 ranges finished, 400 documents in them; of late ",
        "left to load of contract notes: 100 (source rows less ledger rows)",
        "in all: 388 loaded, 8 quarantined, 4 skipped",
    ):  # fmt: skip
        assert said in told
    assert "load 1: " not in told, "how far a finished load has come is no question"
    assert main(["status", *where, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["left"]["documents"] == 100
    assert data["loads"][1]["ranges"]["finished"] == 7
    assert data["loads"][1]["quarantine_reasons"] == {"not_well_formed": 2, "too_long": 2}
    assert data["quarantine_reasons"] == {"not_well_formed": 4, "too_long": 4}
    assert main(["status", "--target", sqlite_url]) == 0
    assert "left to load: unknown: no source was named" in capsys.readouterr().out


def test_runs_tell_when_their_first_and_last_documents_were_committed(sqlite_url: str, notes: Notes) -> None:
    notes.load(sqlite_url, limit=20, drift_sample=0)
    times = [str(row[0]) for row in query(sqlite_url, "SELECT committed_at FROM load_ledger")]
    session = open_engine(sqlite_url).connect(write=False, application="tests")
    try:
        (load,) = runs.status(session)
    finally:
        session.close()
    assert load.first_commit is not None
    assert load.last_commit is not None
    assert f"{load.first_commit:%Y-%m-%d %H:%M:%S.%f}" == min(times)
    assert f"{load.last_commit:%Y-%m-%d %H:%M:%S.%f}" == max(times)
