"""Rolling one load back: exactly what it wrote goes, whatever interrupts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.notes import BROKEN, CONTRACT, OF_ANOTHER_CONTRACT, Notes, contract, note
from tests.support.program import environment, run_command, run_program
from tests.support.tables import Tables, execute, ledger_rows_match_tables, query, read_tables
from xml_extractor import Contract, LoadOptions
from xml_extractor.errors import TargetError, UsageError
from xml_extractor.operations.rollback import Rollback, RolledBack
from xml_extractor.operations.status import read_status
from xml_extractor.settings import ExecutorChoice

Content = tuple[Tables, list[Any], list[Any]]


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path)


@pytest.fixture
def contract_file(tmp_path: Path) -> Path:
    path = tmp_path / "notes.yaml"
    path.write_text(CONTRACT, encoding="utf-8")
    return path


def roll_back(url: str, load_id: int, *, force: bool = False, **options: Any) -> RolledBack:
    settings: dict[str, Any] = {"batch_size": 7, **options}
    with Rollback(url, contract(), load_id, LoadOptions(**settings), force=force) as back:
        return back.run(back.preview())


def content(url: str) -> Content:
    """Data tables, ledger and quarantine, whole, but for times."""
    return (
        read_tables(url, contract().plan),
        sorted(
            query(
                url, "SELECT source_key, state, load_id, batch, document_hash, row_counts FROM load_ledger"
            ),
            key=repr,
        ),
        sorted(query(url, "SELECT source_key, load_id, code, document_hash FROM load_quarantine"), key=repr),
    )


def states(url: str) -> dict[int, str]:
    return {load.run.load_id: load.run.state.value for load in read_status(url).loads}


def ranges_of(url: str, load_id: int) -> int:
    return int(query(url, f"SELECT COUNT(*) FROM load_ranges WHERE load_id = {load_id}")[0][0])


def two_loads(url: str, notes: Notes, count: int = 60) -> Content:
    """Load one half, take note of the target, and load the other half; some of each is put aside."""
    half = count // 2
    notes.put({number: note(f"n{number}", number % 4) for number in range(1, half + 1)})
    notes.put({3: BROKEN, 4: OF_ANOTHER_CONTRACT})
    notes.load(url)
    before = content(url)
    notes.put({number: note(f"n{number}", number % 4) for number in range(half + 1, count + 1)})
    notes.put({count: BROKEN, count - 1: OF_ANOTHER_CONTRACT})
    notes.load(url)
    return before


# --------------------------------------------------------------------------------- what it takes back


def test_a_rollback_takes_back_what_the_load_wrote_and_nothing_else(database_url: str, notes: Notes) -> None:
    before = two_loads(database_url, notes)
    done = roll_back(database_url, 2)
    assert content(database_url) == before
    assert {state.value: number for state, number in done.documents.items()} == {
        "loaded": 28, "quarantined": 1, "skipped": 1,
    }  # fmt: skip
    assert done.rows == 28 + sum(number % 4 for number in range(31, 59))
    assert done.finished
    assert done.batches == 5
    assert states(database_url) == {1: "finished", 2: "rolled_back"}
    assert roll_back(database_url, 2).total == 0, "once more is no mistake"
    summary = notes.load(database_url)
    assert (summary.load_id, summary.documents.loaded) == (3, 28)
    assert read_tables(database_url, contract().plan) == notes.fresh()
    ledger_rows_match_tables(database_url, contract().plan)
    for load_id in (1, 3):
        roll_back(database_url, load_id)
    assert content(database_url) == ({"note": [], "tag": []}, [], [])


def test_a_new_version_that_was_refused_leaves_quarantine(database_url: str, notes: Notes) -> None:
    before = two_loads(database_url, notes)
    notes.put({1: BROKEN, 31: BROKEN, 61: note("new")})
    notes.load(database_url, on_change="replace")
    assert len(content(database_url)[2]) == 4
    # The older version goes with its load; what was refused of the newer one says nothing any more.
    roll_back(database_url, 2)
    found = content(database_url)
    assert {int(row[0]): row[1] for row in found[2]} == {1: 3, 3: 1}
    assert roll_back(database_url, 3).total == 1
    now = content(database_url)
    assert (now[0], now[2]) == (before[0], before[2])
    # The ledger row of 1 was taken over, to keep it, and says what it said but for its batch.
    assert [row[:3] + row[4:] for row in now[1]] == [row[:3] + row[4:] for row in before[1]]


def test_replaced_documents_are_pending_after_a_rollback(database_url: str, notes: Notes) -> None:
    two_loads(database_url, notes)
    notes.put({1: note("new one"), 31: note("new too", 7)})
    notes.load(database_url, on_change="replace")
    with Rollback(database_url, contract(), 3) as back:
        preview = back.preview()
        assert preview.replaced is not None
        assert preview.replaced.documents == 2
        assert "older versions are gone and do not come back" in preview.lines()[-1]
        back.run(preview)
    with Rollback(database_url, contract(), 1) as back:
        assert back.preview().replaced is None
    tables = read_tables(database_url, contract().plan)
    assert not {1, 31} & {row[0] for rows in tables.values() for row in rows}
    assert notes.load(database_url).documents.loaded == 2
    assert read_tables(database_url, contract().plan) == notes.fresh()


def test_what_is_asked_says_how_much_is_deleted(database_url: str, notes: Notes) -> None:
    two_loads(database_url, notes)
    with Rollback(database_url, contract(), 2) as back:
        preview = back.preview()
    tags = sum(number % 4 for number in range(31, 59))
    assert preview.rows == {"tag": tags, "note": 28}
    assert (preview.total, preview.is_done) == (30, False)
    text = "\n".join(preview.lines())
    assert "28 documents loaded, 1 in quarantine and 1 skipped" in text
    assert f"deletes {28 + tags} rows (tag {tags}, note 28)" in text


@pytest.mark.parametrize(("batch_size", "batches"), [(1, 30), (7, 5), (10, 3), (29, 2), (30, 1), (100, 1)])
def test_batches_are_as_large_as_they_should_be(
    database_url: str, notes: Notes, batch_size: int, batches: int
) -> None:
    """Although digests of whole numbers lie all together, in the range of all digests."""
    before = two_loads(database_url, notes)
    done = roll_back(database_url, 2, batch_size=batch_size)
    assert (done.total, done.batches) == (30, batches)
    assert content(database_url) == before


def test_a_load_resumed_after_a_rollback_finds_what_was_rolled_back(database_url: str, notes: Notes) -> None:
    """The finished ranges of an interrupted load hold documents of another load, which are pending now."""
    two_loads(database_url, notes)
    execute(database_url, "UPDATE load_runs SET state = 'stopped', finished_at = NULL WHERE load_id = 2")
    roll_back(database_url, 1)
    summary = notes.load(database_url)
    assert (summary.load_id, summary.documents.loaded) == (2, 28)
    assert read_tables(database_url, contract().plan) == notes.fresh()
    ledger_rows_match_tables(database_url, contract().plan)


# --------------------------------------------------------------------------------------- interrupted


@pytest.mark.parametrize(
    ("place", "hit"),
    [("rollback_before_commit", 1), ("rollback_before_commit", 3), ("rollback_after_commit", 2)],
)
def test_killed_in_the_middle_it_goes_on(
    database_url: str, notes: Notes, contract_file: Path, tmp_path: Path, place: str, hit: int
) -> None:
    before = two_loads(database_url, notes)
    both = content(database_url)
    assert ranges_of(database_url, 2)
    arguments = [
        "rollback", 2, "--yes", "--target", database_url, "--contract", contract_file, "--batch-size", 7,
    ]  # fmt: skip
    killed = run_command(
        *arguments, folder=tmp_path, extra={"XML_EXTRACTOR_FAILPOINTS": f"{place}=kill@{hit}"}
    )
    assert killed.returncode == -signal.SIGKILL
    assert states(database_url)[2] == "rolling_back"
    left = Counter(int(row[2]) for row in content(database_url)[1])
    assert left[1] == 30
    assert (left[2] == 30) == (place == "rollback_before_commit" and hit == 1)
    ledger_rows_match_tables(database_url, contract().plan)
    assert ranges_of(database_url, 2) == (1 if left[2] == 30 else 0), "a claim is never wrong"
    # Meanwhile no load is let in, neither as the one that is going nor as a new one.
    refused = run_program(
        "--source", notes.url, "--target", database_url, "--contract", contract_file, folder=tmp_path
    )
    assert refused.process.returncode == 2
    assert "load 2 is being rolled back" in refused.errors
    finished = run_command(*arguments, "--json", folder=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["finished"] is True
    assert content(database_url) == before
    assert states(database_url) == {1: "finished", 2: "rolled_back"}
    notes.load(database_url)
    assert content(database_url)[0] == both[0]


def test_a_lost_answer_to_a_commit_is_counted_once(
    database_url: str, notes: Notes, contract_file: Path, tmp_path: Path
) -> None:
    before = two_loads(database_url, notes)
    done = run_command(
        "rollback", 2, "--yes", "--json", "--target", database_url, "--contract", contract_file,
        "--batch-size", 7, folder=tmp_path,
        extra={"XML_EXTRACTOR_FAILPOINTS": "rollback_after_commit=lost@2;rollback_before_commit=lost@4"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["documents"] == {"loaded": 28, "quarantined": 1, "skipped": 1}
    assert content(database_url) == before


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT can be sent there")
def test_ctrl_c_ends_after_the_batch_at_hand(
    database_url: str, notes: Notes, contract_file: Path, tmp_path: Path
) -> None:
    before = two_loads(database_url, notes)
    arguments = [
        "rollback", "2", "--yes", "--target", database_url, "--contract", str(contract_file),
        "--batch-size", "7",
    ]  # fmt: skip
    marks = tmp_path / "marks"
    marks.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "xml_extractor", *arguments], cwd=tmp_path, stderr=subprocess.PIPE,
        text=True,
        env=environment(
            {
                "XML_EXTRACTOR_FAILPOINTS": "rollback_before_commit=stall:1.5@2",
                "XML_EXTRACTOR_FAILPOINTS_DIR": str(marks),
            }
        ),
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not list(marks.iterdir()):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=60)[1]
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, errors
    assert "run the same command again to go on" in errors
    assert "Traceback" not in errors
    assert states(database_url)[2] == "rolling_back"
    assert 0 < sum(row[2] == 2 for row in content(database_url)[1]) < 30
    assert run_command(*arguments, folder=tmp_path).returncode == 0
    assert content(database_url) == before


# ------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_documents_with_other_rows_than_were_loaded_are_left(
    database_url: str, notes: Notes, batch_size: int
) -> None:
    before = two_loads(database_url, notes)
    both = content(database_url)
    execute(
        database_url,
        "INSERT INTO tag (id, place, name) VALUES (40, 77, 'foreign')",
        "DELETE FROM tag WHERE id = 41 AND place = 1",
        "DELETE FROM tag WHERE id = 42",
        "DELETE FROM note WHERE id = 42",
    )
    damaged = content(database_url)
    done = roll_back(database_url, 2, batch_size=batch_size)
    assert (done.total, done.left, done.finished) == (27, 3, False)
    reasons = "\n".join(done.reasons)
    for text in (
        "tag holds 1 rows of key 40, and 0 were",
        "tag holds 0 rows of key 41, and 1 were",
        "key 42",
    ):
        assert text in reasons
    now = content(database_url)
    kept = {40, 41, 42}
    assert now[0] == {
        name: [row for row in rows if row in before[0][name] or row[0] in kept]
        for name, rows in damaged[0].items()
    }
    assert now[1] == [row for row in damaged[1] if row[2] == 1 or int(row[0]) in kept]
    assert now[2] == before[2]
    assert states(database_url)[2] == "failed"
    assert not ranges_of(database_url, 2)
    assert roll_back(database_url, 2).left == 3, "once more changes nothing"
    assert (content(database_url), states(database_url)[2]) == (now, "failed")
    # Loads go on, as new ones, and take what is left for loaded.
    summary = notes.load(database_url)
    assert (summary.load_id, summary.documents.loaded) == (3, 25)
    assert states(database_url) == {1: "finished", 2: "failed", 3: "finished"}
    execute(
        database_url,
        "DELETE FROM tag WHERE id = 40 AND place = 77",
        "INSERT INTO tag (id, place, name) VALUES (41, 1, 'any')",
        "DELETE FROM load_ledger WHERE source_key = '42'",
    )
    done = roll_back(database_url, 2)
    assert (done.total, done.left, done.finished) == (2, 0, True)
    assert states(database_url)[2] == "rolled_back"
    assert notes.load(database_url).documents.loaded == 3
    assert read_tables(database_url, contract().plan) == both[0]
    ledger_rows_match_tables(database_url, contract().plan)


def test_a_load_of_damaged_documents_only_stays_what_it_was(database_url: str, notes: Notes) -> None:
    notes.put({number: note(f"n{number}") for number in range(1, 31)})
    notes.load(database_url)
    execute(
        database_url,
        "DELETE FROM tag",
        "DELETE FROM note",
        "UPDATE load_runs SET state = 'stopped', finished_at = NULL",
    )
    before = content(database_url)
    done = roll_back(database_url, 1)
    assert (done.total, done.left, len(done.reasons)) == (0, 30, 20)
    assert content(database_url) == before
    assert states(database_url)[1] == "stopped"
    assert notes.load(database_url).load_id == 1, "nothing was taken away, so it is resumed"


def test_an_interrupted_load_that_is_rolled_back_in_part_is_not_resumed(
    database_url: str, notes: Notes, contract_file: Path, tmp_path: Path
) -> None:
    two_loads(database_url, notes)
    execute(
        database_url,
        "UPDATE load_runs SET state = 'stopped', finished_at = NULL WHERE load_id = 2",
        "INSERT INTO tag (id, place, name) VALUES (40, 77, 'foreign')",
    )
    ended = run_command(
        "rollback", 2, "--yes", "--target", database_url, "--contract", contract_file, folder=tmp_path
    )
    assert ended.returncode == 3, ended.stderr
    assert "1 documents were left as they are" in ended.stdout
    assert "tag holds 1 rows of key 40, and 0 were loaded" in ended.stdout
    assert "load 2 is failed; other loads can start" in ended.stdout
    assert notes.load(database_url).load_id == 3


def test_what_stops_it_says_what_stays_rolled_back(database_url: str, notes: Notes) -> None:
    two_loads(database_url, notes)
    last = max(query(database_url, "SELECT digest, source_key FROM load_ledger WHERE load_id = 2"))[1]
    execute(database_url, f"UPDATE load_ledger SET source_key = '77' WHERE source_key = '{last}'")
    with pytest.raises(TargetError, match=r"key 77 .* 29 documents were rolled back before, and stay so"):
        roll_back(database_url, 2, batch_size=1)
    assert states(database_url)[2] == "rolling_back"


def test_what_cannot_be_rolled_back_is_refused_with_the_reason(database_url: str, notes: Notes) -> None:
    two_loads(database_url, notes)
    before = content(database_url)

    def refused(load_id: int = 2, text: str = CONTRACT) -> str:
        of = Contract.from_text(text, "notes.yaml")
        with Rollback(database_url, of, load_id) as back, pytest.raises(UsageError) as caught:
            back.preview()
        return str(caught.value)

    assert "knows no load 9" in refused(9)
    assert "made with contract notes, not letters" in refused(
        text=CONTRACT.replace("contract: notes", "contract: letters")
    )
    assert "wrote to tag, which the contract does not have" in refused(
        text=CONTRACT[: CONTRACT.index("  tag:")]
    )
    assert "no column of note, tag carries the source key as it is" in refused(
        text=CONTRACT.replace(
            "id: {from: $key, type: int}", "id: {from: $key, type: nvarchar(9), apply: trim}"
        )
    )
    execute(database_url, "UPDATE load_runs SET state = 'running' WHERE load_id = 1")
    assert "load 1 of notes is marked as running" in refused()
    assert content(database_url) == before
    assert roll_back(database_url, 2, force=True).total == 30


def test_a_load_that_was_killed_is_rolled_back_by_force(database_url: str, notes: Notes) -> None:
    before = two_loads(database_url, notes)
    execute(database_url, "UPDATE load_runs SET state = 'running', finished_at = NULL WHERE load_id = 2")
    with pytest.raises(UsageError, match="load 2 of notes is marked as running"):
        roll_back(database_url, 2)
    roll_back(database_url, 2, force=True)
    assert content(database_url) == before
    assert notes.load(database_url).load_id == 3, "it is not resumed"


def test_a_loader_that_ends_late_does_not_bring_the_load_back(database_url: str, notes: Notes) -> None:
    two_loads(database_url, notes)
    notes.put({70: note("late")})
    rolled_back = threading.Event()

    def on_start(_: object) -> None:
        roll_back(database_url, 3, force=True)
        rolled_back.set()

    from xml_extractor import load

    options = LoadOptions(executor=ExecutorChoice.SERIAL, create_tables=True)
    load(notes.url, database_url, contract(), options, on_start=on_start)
    assert rolled_back.is_set()
    assert states(database_url)[3] == "rolled_back"
    assert roll_back(database_url, 3).total == 1, "what was added after it can be taken back, too"
    assert notes.load(database_url).documents.loaded == 1


def test_a_target_that_keeps_no_ledger_is_refused() -> None:
    with pytest.raises(UsageError, match="keeps no ledger"):
        Rollback("null:", contract(), 1)


# ------------------------------------------------------------------------------------------ asking


def test_nobody_is_asked_where_there_is_no_terminal(
    sqlite_url: str, notes: Notes, contract_file: Path, tmp_path: Path
) -> None:
    two_loads(sqlite_url, notes)
    before = content(sqlite_url)
    refused = run_command("rollback", 2, "--target", sqlite_url, "--contract", contract_file, folder=tmp_path)
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    assert content(sqlite_url) == before


@pytest.mark.skipif(os.name == "nt", reason="no pseudo-terminals there")
@pytest.mark.parametrize("answer", ["y", "n", ""])
def test_a_terminal_is_asked(
    sqlite_url: str, notes: Notes, contract_file: Path, tmp_path: Path, answer: str
) -> None:
    import pty

    before = two_loads(sqlite_url, notes)
    both = content(sqlite_url)
    parent, child = pty.openpty()
    try:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "xml_extractor", "rollback", "2", "--target", sqlite_url,
                "--contract", str(contract_file), "--progress", "none",
            ],
            cwd=tmp_path, env=environment(), stdin=child, stdout=subprocess.PIPE, stderr=child, text=True,
        )  # fmt: skip
        os.close(child)
        os.write(parent, f"{answer}\n".encode())
        output = process.communicate(timeout=60)[0]
        shown = " ".join(os.read(parent, 65536).decode().split())
    finally:
        os.close(parent)
    assert process.returncode == 0
    assert "Roll load 2 back? [y/N]" in shown
    assert "28 documents loaded" in shown
    if answer == "y":
        assert output.startswith("Rolled back load 2: ")
        assert content(sqlite_url) == before
    else:
        assert "Nothing was changed" in shown
        assert content(sqlite_url) == both
