from __future__ import annotations

import re
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import made_up_loads as made_up
from tests.unit.report.looking import check, figures, parsed, text_of
from xml_extractor.errors import ExitCode
from xml_extractor.profiling.clocks import StageClocks
from xml_extractor.profiling.profile import InsertClocks, Latency, LoadProfile, SlowDocument, WorkerProfile
from xml_extractor.profiling.report import plots
from xml_extractor.profiling.report.blocks import (
    Card,
    Cards,
    Column,
    Legend,
    Page,
    Panels,
    Plot,
    Section,
    Table,
    Text,
)  # fmt: skip
from xml_extractor.profiling.report.load_page import load_page, write_load_report
from xml_extractor.profiling.report.load_plots import timeline
from xml_extractor.profiling.report.page import render
from xml_extractor.profiling.summary import DocumentCounts, KeyFigures, LoadSummary

NOTHING = LoadProfile(
    started_at="2026-03-01T09:30:00Z", seconds=0.0, samples=(), workers=(), inserting=InsertClocks(),
    insert_latency=Latency(), insert_histogram=(), document_latency=Latency(), document_histogram=(),
    slowest=(), cpu_seconds=0.0, queue_capacity_documents=0, queue_capacity_bytes=0,
)  # fmt: skip
ONE = replace(
    NOTHING,
    seconds=0.02,
    samples=(made_up.sample(0),),
    workers=(WorkerProfile("xml-extractor-worker-1", 1, StageClocks(0.001, 0.002, 0, 0.01)),),
    inserting=InsertClocks(0.01, 0.001, {"app_base": 0.001}, 0.001),
    insert_latency=Latency(3, 3, 3, 3, 1),
    insert_histogram=made_up.buckets(1),
    document_latency=Latency(0, 0, 0, 0, 1),
    document_histogram=made_up.buckets(1),
    slowest=(SlowDocument("17", 0.0),),
)
READ = DocumentCounts(read=10_000, loaded=3_000, unfinished=7_000)


def page(summary: LoadSummary) -> str:
    made = render(load_page(summary))
    check(made)
    return made


@pytest.fixture(scope="module")
def ordinary() -> str:
    """The page of an ordinary load, of five minutes."""
    return page(made_up.summary(profile=made_up.profile(samples=300)))


def status(made: str) -> str:
    (shown,) = parsed(made).find_class("status")
    return str(shown.text_content().strip())


ENDINGS: dict[str, tuple[Callable[[], LoadSummary], str]] = {
    "finished": (
        lambda: made_up.summary(documents=DocumentCounts(read=5, loaded=5), quarantine_reasons={}),
        "Finished",
    ),
    "needs a look": (made_up.summary, "Finished, needs a look"),
    "failed": (
        lambda: made_up.summary(documents=READ, error="gone\nfor good", error_code=ExitCode.TARGET_FAILED),
        "Failed",
    ),
    "never begun": (
        lambda: made_up.empty(error="no such table", error_code=ExitCode.USAGE),
        "Failed",
    ),
    "stopped": (lambda: made_up.summary(documents=READ, stopped_by_signal=signal.SIGTERM), "Stopped"),
    "halted": (
        lambda: made_up.empty(error="too many", error_code=ExitCode.HALTED, profile=NOTHING),
        "Halted by a guard",
    ),
    "dry run": (
        lambda: made_up.summary(
            settings={"dry_run": True}, quarantine_reasons={}, documents=DocumentCounts(2, 2)
        ),
        "Dry run: Finished",
    ),
    "empty": (lambda: made_up.empty(profile=NOTHING), "Finished"),
    "one document": (
        lambda: made_up.empty(
            documents=DocumentCounts(read=1, loaded=1), rows={"app_base": 1}, seconds=0.02, profile=ONE,
            clocks=ONE.clocks, executor="serial", workers=1,
        ),
        "Finished",
    ),
    "nothing but quarantine": (
        lambda: made_up.empty(
            documents=DocumentCounts(read=3, quarantined=3), quarantine_reasons={"too_long": 3},
            clocks=StageClocks(0.1, 0.1), seconds=0.2, profile=NOTHING,
        ),
        "Finished, needs a look",
    ),
}  # fmt: skip


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_load_has_a_report_however_it_ended(ending: str) -> None:
    make, shown = ENDINGS[ending]
    summary = make()
    made = page(summary)
    assert status(made) == shown
    assert f"{int(summary.exit_code)}: " in text_of(made)
    if summary.error:
        for line in summary.error.splitlines():
            assert line in text_of(made)


def test_the_figures_are_the_summarys(ordinary: str) -> None:
    told = figures(ordinary)
    data = made_up.summary().to_json()
    assert told.pop("rows.total") == sum(data["rows"].values())
    assert told.pop("profile.cpu_to_wall") == 102 / 300
    expected = {}
    for name in told:
        value: Any = data
        for part in name.split("."):
            value = value[part]
        expected[name] = value
    assert told == expected
    assert told.keys() == {
        "documents.loaded", "documents_per_second", "seconds", "documents.quarantined", "insert_ms.p50",
        "insert_ms.p95", "insert_ms.p99", "queue.max_depth", "peak_memory_bytes", "retries",
    }  # fmt: skip


def test_every_part_is_there(ordinary: str) -> None:
    root = parsed(ordinary)
    names = [element.get("id") for element in root.iter("title") if element.get("id")]
    assert names == [
        f"{name}-title"
        for name in (
            "throughput", "queue", "insert-latency", "worker-time", "memory", "cores", "workers",
            "insert-time", "insert-histogram", "document-histogram",
        )
    ]  # fmt: skip
    captions = [caption.text for caption in root.iter("caption")]
    assert captions == [
        "The time line in figures", "The workers in figures", "Inserting a batch in figures",
        "Parsing and mapping a document in figures", "What became of the documents", "Rows by table",
            "Documents that took longest to parse and map", "Put into quarantine by this run, by reason",
            "How it ran", "Versions", "All settings",
    ]  # fmt: skip
    text = text_of(ordinary)
    for expected in (
        "The target: workers waited 60%", "key-0", "too_long", "not_well_formed", "app_contact", "20,111",
        "Executor process: as measured.", "Elements that the contract does not mention", "orders.yaml",
        "3.12.1", "64.0 MiB", "2026-03-01 09:30:00 UTC", "worker 4",
    ):  # fmt: skip
        assert expected in text, expected
    # A setting that is not set says nothing, and neither does a password, which is in none.
    assert "throttle" not in text


def test_a_dry_run_shows_no_times_of_inserts_that_were_not_made(ordinary: str) -> None:
    made = page(made_up.summary(settings={"dry_run": True}))
    for name in ("Insert p50", "Insert latency", "Inserting a batch", "Insert threads"):
        assert name in ordinary
        assert name not in made
    assert "Parsing and mapping a document" in made


def test_what_auto_tune_changed_is_drawn(ordinary: str) -> None:
    samples = tuple(made_up.sample(at, batch_size=100 * at, insert_threads=1 + at % 2) for at in range(1, 30))
    made = page(made_up.summary(profile=replace(made_up.profile(), samples=samples)))
    assert 'id="batch-size-title"' in made
    assert 'id="insert-threads-title"' in made
    assert 'id="batch-size-title"' not in ordinary


def test_batches_that_come_seldom_do_not_look_like_a_stuttering_load() -> None:
    """A sample sees one batch in ten: its own rate would be nought, or ten times that of the load."""
    samples = tuple(
        made_up.sample(at, documents=10_000 * (at // 10), batches=at // 10, insert=Latency(9, 9, 9, 9, 1))
        for at in range(1, 301)
    )
    plots = timeline(replace(made_up.profile(), samples=samples))
    described = {plot.heading: plot.svg for plot in plots}
    words = r"1,000 on average, between ([\d,]+) and ([\d,]+) in single"
    low, high = (int(rate.replace(",", "")) for rate in re.findall(words, described["Throughput"])[0])
    assert 600 <= low <= high <= 1_400
    latency = next(plot for plot in plots if plot.heading == "Insert latency")
    assert [entry.label for entry in latency.legend] == ["the slowest batch of each moment"]


def test_the_moment_at_the_end_is_no_interval_of_its_own() -> None:
    """A load ends when it ends: what is counted in the last hundredth of a second is not a rate."""
    end = made_up.sample(9, seconds=8.01)
    samples = (*(made_up.sample(at) for at in range(1, 9)), end)
    plots = {plot.heading: plot.svg for plot in timeline(replace(made_up.profile(), samples=samples))}
    assert (
        "at most 3.37" in plots["Cores kept busy"]
    )  # two seconds' 3.4 in 1.01 seconds; alone it would be 170
    assert "between 1,000 and 1,980 in single" in plots["Throughput"]


def test_a_large_load_fits(tmp_path: Any) -> None:
    """Hundreds of samples, workers, tables and reasons: a page that can still be sent by mail."""
    rows = {f"some_table_of_a_contract_{at}": at for at in range(2_000)}
    summary = made_up.summary(
        rows=rows, loaded_rows=rows, profile=made_up.profile(samples=500, workers=256, tables=2_000),
        quarantine_reasons={f"reason_{at}": at + 1 for at in range(100)},
        unknown_elements={f"Element{at}": 1 for at in range(2_000)},
        notes=[f"note {at}" for at in range(100)],
    )  # fmt: skip
    file = tmp_path / "page.html"
    write_load_report(summary, file)
    check(file.read_text(encoding="utf-8"))
    assert file.stat().st_size < 1_000_000
    assert "the 500 largest of 2,000" in text_of(file.read_text(encoding="utf-8"))
    assert "24 of 256 workers" in text_of(file.read_text(encoding="utf-8"))


def test_an_ordinary_report_is_small(ordinary: str) -> None:
    assert len(ordinary.encode()) < 250_000


IDLE = {
    "clocks": StageClocks(), "quarantine_reasons": {}, "notes": [], "retries": 0, "unknown_elements": {},
    "rows": {"app_base": 0}, "profile": made_up.profile(samples=3), "bottleneck": "Nothing was slow.",
}  # fmt: skip


def test_where_nothing_was_pending_the_page_says_so_and_what_the_ledger_holds() -> None:
    """As `make run` makes it the second time: samples were taken, but every plot would be empty."""
    counts = DocumentCounts(read=10_000, already_loaded=9_950, quarantined=48, skipped=2)
    made = page(made_up.summary(documents=counts, **IDLE))
    text = text_of(made)
    for said in (
        "Nothing new to load: 9,950 documents are already loaded.", "What the ledger holds",
        "Nothing was pending", "No document was waiting to be loaded", "99.5% of those read",
        "48 documents had been in quarantine",
    ):  # fmt: skip
        assert said in text, said
    assert figures(made) == {
        "documents.read": 10_000, "documents.already_loaded": 9_950, "documents.quarantined": 48,
        "documents.skipped": 2, "seconds": 60.25,
    }  # fmt: skip
    for absent in (
        'class="plot"',
        "-title",
        "Throughput",
        "Rows by table",
        "Documents per second",
        "What held it back",
    ):
        assert absent not in made, absent
    assert "Settings and versions" in text


def test_an_empty_source_is_told_from_documents_that_are_loaded() -> None:
    text = text_of(page(made_up.summary(documents=DocumentCounts(), **IDLE)))
    assert "The source holds no documents in this range, so there was nothing to load." in text
    assert "the ledger knows each" not in text


def test_the_time_of_keys_that_were_owed_is_not_called_looking() -> None:
    counts = DocumentCounts(read=5, already_loaded=5)
    text = text_of(page(made_up.summary(documents=counts, **IDLE, keys=KeyFigures(built=3, seconds=50.0))))
    assert "to find that out, and to build the keys that were owed" in text
    assert "and to build" not in text_of(page(made_up.summary(documents=counts, **IDLE)))


@pytest.mark.parametrize(("word", "said"), [("ignore", True), ("report", False), ("replace", False)])
def test_that_nobody_looked_for_changes_is_said_where_nobody_did(word: str, said: bool) -> None:
    counts = DocumentCounts(read=5, already_loaded=5)
    text = text_of(page(made_up.summary(documents=counts, **IDLE, settings={"on_change": word})))
    assert ("was not looked at" in text) is said


@pytest.mark.parametrize(
    "changes",
    [
        {"error": "gone", "error_code": ExitCode.TARGET_FAILED},
        {"stopped_by_signal": signal.SIGTERM},
        {"quarantine_reasons": {"empty_document": 3}},  # refused before it could be parsed
        {"clocks": StageClocks(0.1, 0.1)},
    ],
    ids=["failed", "stopped", "refused", "worked"],
)
def test_a_run_that_did_something_is_not_called_idle(changes: dict[str, Any]) -> None:
    made = page(made_up.summary(documents=READ, **{**IDLE, **changes}))
    assert "Nothing was pending" not in text_of(made)
    assert "documents.loaded" in figures(made)


@pytest.mark.parametrize("samples", [0, 1, 2])
def test_a_short_load_has_no_time_line(samples: int) -> None:
    made = page(made_up.summary(profile=made_up.profile(samples=samples)))
    assert ('id="throughput-title"' in made) is (samples >= 2)
    assert ("before it could be looked at twice" in made) is (samples < 2)


def test_samples_that_stand_still_or_go_back_do_no_harm() -> None:
    """Two samples of the same moment, counters that restart with a worker process, a queue of size nought."""
    samples = (
        made_up.sample(1),
        made_up.sample(1),
        made_up.sample(2, cpu_seconds=0.0, documents=0, clocks=StageClocks()),
        made_up.sample(3, queue_documents=0, queue_bytes=0, memory_bytes=None, insert=Latency()),
    )  # fmt: skip
    page(made_up.summary(profile=replace(made_up.profile(), samples=samples, queue_capacity_documents=0)))


# ------------------------------------------------------------------------------------- hostile texts

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title></svg></style></script><h1>",
    "$\\frac{$ {{ 7*7 }} {% raw %}",
    "]]> <!-- &amp; &lt;",
    "a\x00b\x1b[31m\x85\ufffe",
    "lone \ud800 half",
    "\u202egnp.exe",
    "' onmouseover='x",
    "日本語 🙂 " * 50,
]


def hostile(text: str) -> LoadSummary:
    """A load all of whose texts are this one."""
    made = made_up.profile(samples=0, workers=0, tables=0, insert_histogram=(), document_histogram=())
    rows = {text: 5, "other": 1}
    return made_up.summary(
        rows=rows, loaded_rows=rows, bottleneck=text, executor=text, executor_reason=text, insert_path=text,
        unknown_elements={text: 2}, changed=1, changed_keys=[text], notes=[text],
        quarantine_reasons={text: 3},
        settings={text: text, "source": text, "target": text, "contract": text}, versions={text: text},
        error=text, error_code=ExitCode.TARGET_FAILED,
        profile=replace(
            made, started_at=text, workers=(WorkerProfile(text, 3, StageClocks(1, 1, 1, 1)),),
            inserting=InsertClocks(1, 1, {text: 3.0}), slowest=(SlowDocument(text, 0.3),),
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def tags_of_a_harmless_load() -> dict[str, int]:
    return tags(render(load_page(hostile("harmless"))))


def tags(made: str) -> dict[str, int]:
    # An error has a paragraph a line, and blank lines none; a note that is blank is still a point.
    found: dict[str, int] = {}
    for element in parsed(made).iter():
        if element.tag not in ("p", "path", "use"):
            found[str(element.tag)] = found.get(str(element.tag), 0) + 1
    return found


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_shown_and_do_nothing(text: str, tags_of_a_harmless_load: dict[str, int]) -> None:
    made = page(hostile(text))
    assert tags(made) == tags_of_a_harmless_load
    cleaned = re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", "\ufffd", text)
    assert re.sub(r"\s+", " ", cleaned).strip() in text_of(made)


@settings(max_examples=15, deadline=None)
@given(text=st.text(st.characters(codec=None), min_size=1, max_size=60))
def test_no_text_at_all_changes_a_page(text: str) -> None:
    def made(text: str) -> str:
        words = plots.Words("bars", text, text)
        plot = Plot(
            text, plots.ranked_bars([(text, "parse", 1.0, text)], words), [Legend(text, "parse")], text
        )
        table = Table(text, (Column(text), Column(text, "number")), [(text, text)], foot=(text, text))
        parts = [
            Cards([Card(text, text, text, text)]),
            Panels([plot, table]),
            Text([text], [text], heading=text),
        ]
        return render(Page(text, text, [Section(text, parts)], text, facts=[(text, text)], footer=text))

    page = made(f"x{text}x")
    check(page)
    assert tags(page) == tags(made("harmless"))
