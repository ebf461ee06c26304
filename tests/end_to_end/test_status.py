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
from xml_extractor.mapping.records import State
from xml_extractor.operations.quarantine import QuarantineFilter
from xml_extractor.operations.quarantine_purge import purge
from xml_extractor.operations.status import TargetStatus, read_status
from xml_extractor.processing.chunks import CHUNK_DOCUMENTS
from xml_extractor.target import ranges

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
    say_of_the_run(database_url, "finished", seconds=0.5, documents_per_second=400)
    execute(database_url, "UPDATE load_runs SET state = 'stopped' WHERE load_id = 2")
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
        assert load.documents_per_second is None, "less than a second says nothing"
        assert load.ranges.recent_per_second is not None
        assert load.ranges.recent_per_second > 0


def say_of_the_run(target: str, state: str, **summary: Any) -> None:
    execute(target, f"UPDATE load_runs SET state = '{state}', summary = '{json.dumps(summary)}'")


def spread_batches(target: str, start: str = "12:00", step_seconds: int = 10) -> None:
    """Let each batch have been committed some seconds after the one before; the order is any."""
    batches = [int(row[0]) for row in query(target, "SELECT DISTINCT batch FROM load_ledger ORDER BY batch")]
    execute(
        target,
        *(
            f"UPDATE load_ledger SET committed_at = '2025-01-01 {start}:{index * step_seconds:02}.000000' "
            f"WHERE batch = {batch}"
            for index, batch in enumerate(batches)
        ),
    )


def test_a_load_that_has_ended_has_the_rate_that_its_run_said(database_url: str, notes: Notes) -> None:
    notes.load(database_url, limit=30, drift_sample=0)
    spread_batches(database_url)
    for state in ("finished", "stopped", "failed", "halted"):
        say_of_the_run(database_url, state, seconds=1.5, documents_per_second=797.3)
        assert status(database_url).loads[0].documents_per_second == 797.3
    # Too short to say much; a run that had nothing to do; a summary of an older release; rolled back.
    for summary in ({"seconds": 0.9, "documents_per_second": 7518.0}, {"seconds": 5.0,
                    "documents_per_second": 0.0}, {"documents": 30}):  # fmt: skip
        say_of_the_run(database_url, "finished", **summary)
        assert status(database_url).loads[0].documents_per_second is None
    say_of_the_run(database_url, "rolled_back", seconds=1.5, documents_per_second=797.3)
    assert status(database_url).loads[0].documents_per_second is None


def test_a_load_that_was_killed_has_the_rate_of_its_commits(database_url: str, notes: Notes) -> None:
    notes.load(database_url, limit=35, batch_size=7, drift_sample=0)
    spread_batches(database_url)
    # What the run before said is of no use while the load goes on.
    say_of_the_run(database_url, "running", seconds=1.5, documents_per_second=797.3)
    assert status(database_url).loads[0].documents_per_second == 28 / 40  # the first seven start the clock
    # A purge, a year later, of all of one batch: it is in nobody's rate.
    (last,) = query(database_url, "SELECT MAX(batch) FROM load_ledger")[0]
    execute(
        database_url,
        "UPDATE load_ledger SET state = 'skipped', committed_at = '2026-01-01 00:00:00.000000' "
        f"WHERE batch = {last}",
    )
    assert status(database_url).loads[0].documents_per_second == 21 / 30


def test_a_purge_changes_no_rate(database_url: str, notes: Notes) -> None:
    notes.load(database_url, limit=200, drift_sample=0)
    spread_batches(database_url, step_seconds=1)
    execute(database_url, "UPDATE load_runs SET state = 'running', finished_at = NULL")
    before = status(database_url).loads[0].documents_per_second
    assert before is not None
    purge(database_url, LoadOptions(), QuarantineFilter(), make_pending=False)
    after = status(database_url).loads[0].documents_per_second
    assert after == pytest.approx(before, rel=0.05)  # without the four that were purged


def test_ranges_have_a_rate_by_the_time_that_they_took(sqlite_url: str, notes: Notes) -> None:
    notes.load(sqlite_url, limit=300, drift_sample=0)
    # Ranges: 64 a second, the last one of 44.
    execute(
        sqlite_url,
        "UPDATE load_ranges SET finished_at = '2025-01-01 12:00:0' || (range_number / 1099511627776) "
        "|| '.000000'",
    )
    (load,) = status(sqlite_url).loads
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
