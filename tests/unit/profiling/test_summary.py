from __future__ import annotations

import io
import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from xml_extractor.errors import ExitCode
from xml_extractor.profiling.clocks import StageClocks
from xml_extractor.profiling.summary import DocumentCounts, LoadSummary, QueueFigures, SumsDifferError
from xml_extractor.profiling.summary_text import print_summary, summary_text

COUNTS = DocumentCounts(read=10_000, loaded=9_900, already_loaded=50, quarantined=48, skipped=2)


def summary(**changes: Any) -> LoadSummary:
    figures: dict[str, Any] = {
        "documents": COUNTS,
        "rows": {"app_base": 9_900, "app_contact": 20_111},
        "loaded_rows": {"app_base": 9_900, "app_contact": 20_111},
        "seconds": 4.0,
        "clocks": StageClocks(1, 2, 3, 4),
        "insert_ms": {"p50": 12.5, "p95": 20.0, "p99": 1234.5, "max": 1300.0, "count": 10},
        "queue": QueueFigures(2000, 812.5, 2000),
        "bottleneck": "The target: it is slow.",
        "load_id": 7,
        "quarantine_reasons": {"too_long": 48},
    }
    return LoadSummary(**{**figures, **changes})


def test_the_shape_that_checks_rely_on() -> None:
    data = json.loads(json.dumps(summary(settings={"workers": 4}).to_json()))
    assert data["documents"] == {
        "read": 10_000, "loaded": 9_900, "already_loaded": 50, "quarantined": 48, "skipped": 2,
        "unfinished": 0,
    }  # fmt: skip
    assert data["rows"] == {"app_base": 9_900, "app_contact": 20_111}
    assert data["seconds"] == 4.0
    assert data["documents_per_second"] == (9_900 + 48 + 2) / 4
    assert data["insert_ms"].keys() == {"p50", "p95", "p99", "max", "count"}
    assert data["worker_time"].keys() == {"parse", "map", "blocked", "idle"}
    assert sum(data["worker_time"].values()) == pytest.approx(1)
    assert data["worker_seconds"] == 10
    assert data["queue"] == {"max_depth": 2000, "mean_depth": 812.5, "capacity": 2000}
    assert data["bottleneck"] == "The target: it is slow."
    assert data["settings"] == {"workers": 4}
    assert data["insert_path"] is None


def test_the_way_in_is_told_where_there_was_a_choice() -> None:
    told = summary(insert_path="openjson")
    assert told.to_json()["insert_path"] == "openjson"
    [line] = [line for line in summary_text(told).splitlines() if "insert path" in line]
    assert line.split() == ["insert", "path", "openjson"]
    assert "insert path" not in summary_text(summary())


def test_shares_are_nought_when_nothing_was_done() -> None:
    data = LoadSummary(DocumentCounts(), {}, {}, 0.0).to_json()
    assert set(data["worker_time"].values()) == {0}
    assert data["documents_per_second"] == 0
    assert data["insert_ms"]["count"] == 0


def test_sums_that_hold() -> None:
    summary().check()
    summary(documents=DocumentCounts(read=5, loaded=2, unfinished=3)).check()


def test_a_run_that_nobody_stopped_leaves_nothing_unfinished() -> None:
    summary(documents=DocumentCounts(read=5, loaded=5)).check(complete=True)
    with pytest.raises(SumsDifferError, match=r"5 documents were read, but .* unfinished 3 = 5"):
        summary(documents=DocumentCounts(read=5, loaded=2, unfinished=3)).check(complete=True)


@pytest.mark.parametrize("name", ["read", "loaded", "already_loaded", "quarantined", "skipped", "unfinished"])
def test_a_document_that_is_not_accounted_for_is_told_with_both_numbers(name: str) -> None:
    wrong = replace(COUNTS, **{name: getattr(COUNTS, name) + 1})
    with pytest.raises(SumsDifferError) as caught:
        summary(documents=wrong).check()
    assert f"{wrong.read:,} documents were read" in str(caught.value)
    assert f"= {wrong.settled + wrong.unfinished:,}" in str(caught.value)
    assert caught.value.exit_code is ExitCode.BUG


@pytest.mark.parametrize("rows", [{"app_base": 9_899, "app_contact": 20_111}, {"app_base": 9_900}])
def test_a_row_that_is_not_accounted_for_is_told_with_both_numbers(rows: dict[str, int]) -> None:
    with pytest.raises(SumsDifferError) as caught:
        summary(rows=rows).check()
    table = "app_contact" if "app_contact" not in rows else "app_base"
    assert f"table {table}: {rows.get(table, 0):,} rows were committed" in str(caught.value)
    assert f"{summary().loaded_rows[table]:,}" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"documents": DocumentCounts(read=1, loaded=1)}, 0),
        ({}, 3),
        ({"documents": DocumentCounts(read=1, already_loaded=1), "loaded_under_another_plan": 1}, 3),
        ({"documents": DocumentCounts(read=1, already_loaded=1), "newer_in_quarantine": 1}, 3),
        ({"stopped_by_signal": signal.SIGINT}, 130),
        ({"stopped_by_signal": signal.SIGTERM}, 143),
        ({"error": "gone", "error_code": ExitCode.TARGET_FAILED}, 5),
    ],
)
def test_exit_codes(changes: dict[str, Any], code: int) -> None:
    assert summary(**changes).exit_code == code
    assert summary(**changes).to_json()["exit_code"] == code


def test_the_plain_text_is_aligned_and_complete() -> None:
    text = summary_text(summary(peak_memory_bytes=300 * 2**20))
    lines = text.splitlines()
    assert lines[0] == "Loaded 9,900 documents in 4.0 s."
    read, loaded = (
        next(line for line in lines if line.split()[0:1] == [word]) for word in ("read", "loaded")
    )
    assert read.endswith("10,000")
    assert loaded.endswith("9,900")
    assert len(read) == len(loaded)
    for expected in (
        "already loaded", "quarantined", "skipped", "unfinished", "app_contact", "20,111", "1,234.5 ms",
        "300 MiB",
        "all tables", "30,011", "Bottleneck: The target: it is slow.", "too_long 48", "quarantine list",
        "mean 812, max 2,000 of 2,000",
    ):  # fmt: skip
        assert expected in text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"documents": DocumentCounts(read=5, already_loaded=5)}, "Nothing to do: all 5 documents"),
        ({"documents": DocumentCounts(read=6, already_loaded=5, quarantined=1)}, "Nothing new to load"),
        ({"documents": DocumentCounts()}, "Nothing to do: the source holds no documents"),
        (
            {"stopped_by_signal": 2, "documents": DocumentCounts(read=7, loaded=4, unfinished=3)},
            ": 4 documents loaded, 3 unfinished; run the same command again for the rest.",
        ),
        (
            {"stopped_by_signal": 2, "documents": DocumentCounts(read=4, loaded=4)},
            ": 4 documents loaded; run the same command again for the rest.",
        ),
        ({"error": "gone", "error_code": ExitCode.TARGET_FAILED}, "Failed after"),
        ({"truncated_values": 3}, "3 values were shortened"),
        ({"unknown_elements": {"Extra": 4}}, "Extra (4)"),
        ({"seconds": 0.31}, "Loaded 9,900 documents in 0.3 s."),
        ({"seconds": 0.004}, "Loaded 9,900 documents in less than 0.1 s."),
        ({"seconds": 9.96}, "Loaded 9,900 documents in 10 s."),
        ({"seconds": 75.4}, "Loaded 9,900 documents in 1 min 15 s."),
        ({"documents": DocumentCounts(read=1, loaded=1)}, "Loaded 1 document in"),
        (
            {"documents": DocumentCounts(read=1, already_loaded=1)},
            "Nothing to do: 1 document is already loaded",
        ),
        (
            {"loaded_under_another_plan": 9},
            "9 documents were loaded or skipped under another version of the contract; "
            "--on-plan-change reload settles them anew.",
        ),
        (
            {"newer_in_quarantine": 1},
            "1 document of this source is loaded in an older version, and its newer one is in quarantine; ",
        ),
        (
            {"documents": DocumentCounts(read=2, already_loaded=2), "newer_in_quarantine": 2},
            "2 documents of this source are loaded in an older version, and their newer ones are in quar",
        ),
        (
            {"documents": DocumentCounts(read=2, already_loaded=2), "newer_in_quarantine": 1},
            "Nothing new to load: 2 documents are already loaded.",
        ),
        ({"quarantine_reasons": {}}, "48 documents are in quarantine; "),
        ({}, "48 documents are in quarantine (too_long 48); "),
        (
            {"quarantine_reasons": {"too_long": 1, "x": 2}},
            "48 documents are in quarantine, 3 of them from this run (x 2, too_long 1); ",
        ),
        ({"changed": 5, "replaced": 5}, "of what they hold; the old rows of 5 were replaced.\n"),
        (
            {"changed": 5, "replaced": 2},
            "; the old rows of 2 were replaced; the others had none, or keep theirs.\n",
        ),
        ({"changed": 5}, "of what they hold; no old rows were replaced.\n"),
        ({"retries": 1}, "1 further transaction was needed"),
        ({"notes": ["the target takes one insert thread"]}, "\nThe target takes one insert thread."),
    ],
)
def test_what_deserves_attention_is_said(changes: dict[str, Any], expected: str) -> None:
    assert expected in summary_text(summary(**changes))


def test_a_load_of_which_no_document_is_the_contracts_says_so() -> None:
    other = DocumentCounts(read=40, quarantined=1, skipped=39)
    text = summary_text(summary(documents=other, rows={}, loaded_rows={}))
    assert "39 documents were skipped and none was loaded: what is skipped has another root element" in text
    assert "--on-plan-change reload" in text
    some = summary(documents=DocumentCounts(read=40, already_loaded=1, skipped=39), rows={}, loaded_rows={})
    assert "none was loaded" not in summary_text(some)


def test_newer_versions_in_quarantine_are_no_part_of_the_sums() -> None:
    told = summary(newer_in_quarantine=7)
    told.check(complete=True)
    assert told.to_json()["newer_in_quarantine"] == 7
    assert told.to_json()["documents"]["quarantined"] == 48
    assert "older version" not in summary_text(summary())


def test_a_run_that_finds_nothing_to_do_is_short_about_it() -> None:
    idle = summary(
        documents=DocumentCounts(read=9, already_loaded=8, quarantined=1), clocks=StageClocks(idle=1.0),
        rows={"app_base": 0}, quarantine_reasons={},
    )  # fmt: skip
    text = summary_text(idle)
    assert "app_base" not in text
    assert "Bottleneck" not in text
    assert "1 document is in quarantine" in text
    assert idle.documents_per_second == 0


def test_what_null_counts_was_not_loaded() -> None:
    text = summary_text(summary(settings={"target": "null:"}))
    assert text.startswith("Mapped 9,900 documents in 4.0 s; nothing was written.")
    assert "Rows mapped, not written" in text
    assert "insert" not in text
    assert "Loaded" not in text


def test_a_dry_run_says_that_nothing_was_written() -> None:
    text = summary_text(summary(), dry_run=True)
    assert "nothing was written" in text
    assert "Rows mapped, not written" in text
    assert "insert" not in text
    assert "48 documents would be in quarantine after such a load (too_long 48)." in text
    assert "quarantine list" not in text


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("null:", "48 documents were refused (too_long 48); null: keeps no list of them."),
        ("jsonl:out", "48 documents were refused (too_long 48); out/_quarantine.jsonl has them"),
    ],
)
def test_what_has_no_quarantine_to_list_is_not_said_to_have_one(target: str, expected: str) -> None:
    text = summary_text(summary(settings={"target": target}))
    assert expected in text
    assert "quarantine list" not in text


@pytest.mark.parametrize("width", [60, 120])
def test_the_terminal_shows_the_same_figures(width: int) -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=width, color_system=None)
    print_summary(summary(), console)
    for expected in ("10,000", "9,900", "app_contact", "30,011", "1,234.5 ms", "The target: it is slow."):
        assert expected in stream.getvalue()


def test_a_pipe_gets_no_escape_codes() -> None:
    stream = io.StringIO()
    print_summary(summary(), Console(file=stream))
    assert stream.getvalue() == summary_text(summary()) + "\n"
    assert "\x1b" not in stream.getvalue()


def test_the_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "summary.json"
    summary(notes=["naïve – ☃"]).write(path)
    assert json.loads(path.read_text(encoding="utf-8"))["notes"] == ["naïve – ☃"]
    assert [file.name for file in path.parent.iterdir()] == ["summary.json"]
