"""The figures of a running load: what they are made from, and that counters never go down."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import watched
from xml_extractor.errors import ExitCode
from xml_extractor.profiling.live_figures import (
    DURATION_BOUNDS,
    FIGURES,
    MOST_LABELS,
    OTHER,
    Kind,
    LastRun,
    LiveFigures,
    Values,
)
from xml_extractor.profiling.summary import DocumentCounts


def value(values: Values, name: str, **labels: str) -> float:
    (found,) = [number for those, number in values[name] if dict(those) == labels]
    return found


def running(**given: Any) -> LiveFigures:
    figures = LiveFigures()
    figures.begin(watched.watched(the_summary=watched.summary(**given)))
    return figures


def test_the_catalogue_says_of_each_value_what_it_is() -> None:
    figures = running()
    figures.batch(watched.batch())
    figures.end(watched.summary(profile=watched.profile()))
    values = figures.values()
    assert [figure.name for figure in FIGURES] == list(dict.fromkeys(figure.name for figure in FIGURES))
    assert values.keys() == {figure.name for figure in FIGURES}  # all that can be known, once it has ended
    for figure in FIGURES:
        assert all(tuple(labels) == figure.labels for labels, _ in values[figure.name]), figure.name


def test_values_are_those_of_summary_and_profile() -> None:
    values = running().values()
    assert value(values, "documents.read") == 100
    assert value(values, "documents.settled", state="loaded") == 80
    assert value(values, "documents.settled", state="already_loaded") == 4
    assert value(values, "documents.in_flight") == 10
    assert value(values, "documents.quarantined", reason="not_convertible") == 3
    assert value(values, "rows.committed", table="app_note") == 180
    assert value(values, "worker.time", stage="parse") == 2.5
    assert value(values, "worker.time", stage="idle") == 1.0
    assert value(values, "insert.time", stage="insert") == 1.25
    assert value(values, "insert.time", stage="wait") == 0.5
    assert value(values, "insert.table.time", table="app_base") == 0.75
    assert value(values, "cpu.time") == 3.25
    assert value(values, "throttle.time") == 0.5
    assert value(values, "queue.documents") == 9  # the last sample
    assert value(values, "memory.usage") == 80_000_000  # the last one that measured it
    assert value(values, "insert.threads") == 2  # in force, not as set
    assert value(values, "batch.size") == 500
    assert value(values, "load.id") == 12
    assert value(values, "running") == 1


def test_a_dry_run_has_committed_nothing() -> None:
    figures = LiveFigures()
    figures.begin(watched.watched(dry_run=True))
    figures.batch(watched.batch())
    for _ in range(2):
        values = figures.values()
        assert value(values, "documents.read") == 100
        assert not {"rows.committed", "batches.committed", "last_commit.timestamp"} & values.keys()
        assert figures.insert_durations().cumulative[-1] == 0
        figures.end(watched.summary(profile=watched.profile(), settings={"dry_run": True}))


def test_nothing_is_asked_before_the_beginning_nor_after_the_end() -> None:
    asked: list[str] = []
    load = watched.watched()
    spied = replace(
        load,
        profile=lambda: asked.append("profile") or load.profile(),  # type: ignore[func-returns-value]
        summary=lambda: asked.append("summary") or load.summary(),  # type: ignore[func-returns-value]
    )
    figures = LiveFigures()
    assert value(figures.values(), "running") == 0
    figures.begin(spied)
    figures.batch(watched.batch())
    assert not asked  # nor for a batch
    figures.values()
    assert asked == ["profile", "summary"]
    figures.end(watched.summary(profile=watched.profile(cpu_seconds=9.0)))
    assert value(figures.values(), "cpu.time") == 9.0
    assert value(figures.values(), "running") == 0
    assert asked == ["profile", "summary"]


def test_what_fails_after_the_run_leaves_the_figures_of_the_run() -> None:
    figures = running()
    failed = watched.summary(
        documents=DocumentCounts(), rows={}, loaded_rows={}, quarantine_reasons={},
        error="the end could not be recorded", error_code=ExitCode.TARGET_FAILED,
    )  # fmt: skip
    figures.end(failed)
    values = figures.values()
    assert value(values, "documents.settled", state="loaded") == 80
    assert value(values, "rows.committed", table="app_base") == 90
    assert value(values, "last_run.exit_code") == 5


@pytest.mark.parametrize("vanished", [{"documents": DocumentCounts(99, 80, 4, 5, 1, 9)}, {"retries": 0}])
def test_a_count_that_is_taken_back_does_not_go_down(vanished: dict[str, Any]) -> None:
    now = [watched.summary(), watched.summary(**vanished)]
    figures = LiveFigures()
    figures.begin(replace(watched.watched(), summary=lambda: now[0]))
    first = figures.values()
    now.pop(0)
    second = figures.values()
    for name in ("documents.read", "retries"):
        assert value(second, name) == value(first, name)


COUNTS = st.integers(0, 1_000)
SUMMARIES = st.builds(
    lambda counts, rows, reasons: watched.summary(
        documents=DocumentCounts(*counts), rows=rows, quarantine_reasons=reasons
    ),
    st.tuples(*[COUNTS] * 6),
    st.dictionaries(st.sampled_from(["a", "b", "c"]), COUNTS),
    st.dictionaries(st.text(max_size=3), COUNTS, max_size=3),
)


@given(st.lists(SUMMARIES, min_size=2, max_size=6))
def test_no_counter_ever_goes_down(summaries: list[Any]) -> None:
    figures = LiveFigures()
    at = 0
    figures.begin(replace(watched.watched(), summary=lambda: summaries[at]))
    before: dict[Any, float] = {}
    for at in range(len(summaries)):  # noqa: B007 - read by the load above
        values = figures.values()
        for figure in FIGURES:
            if figure.kind is Kind.COUNTER:
                for labels, number in values.get(figure.name, []):
                    place = figure.name, tuple(labels.items())
                    assert number >= before.get(place, 0)
                    before[place] = number


@given(st.lists(st.floats(0, 200), max_size=60))
def test_the_histogram_is_that_of_the_durations(durations: list[float]) -> None:
    figures = LiveFigures()
    for seconds in durations:
        figures.batch(watched.batch(seconds=seconds))
    told = figures.insert_durations()
    bounds = [*DURATION_BOUNDS, float("inf")]
    assert list(told.cumulative) == [sum(one <= bound for one in durations) for bound in bounds]
    assert told.total_seconds == pytest.approx(sum(durations))


def test_a_batch_that_was_only_looked_at_is_no_insert() -> None:
    figures = LiveFigures()
    figures.batch(watched.batch(attempts=0))
    assert figures.insert_durations().cumulative[-1] == 0
    assert "last_commit.timestamp" not in figures.values()
    figures.batch(watched.batch(ended_at=20.0))
    figures.batch(watched.batch(ended_at=10.0))  # another thread's, told later
    assert value(figures.values(), "last_commit.timestamp") == 20.0


def test_labels_have_a_bound_and_keep_their_place() -> None:
    many = {f"table_{number:03}": 1 for number in range(MOST_LABELS + 30)}
    summaries = [watched.summary(rows=many), watched.summary(rows={"late": 5, **many})]
    figures = LiveFigures()
    figures.begin(replace(watched.watched(), summary=lambda: summaries[0]))
    first = figures.values()
    summaries.pop(0)
    second = figures.values()
    for values, others in ((first, 30), (second, 35)):
        assert len(values["rows.committed"]) == MOST_LABELS + 1
        assert value(values, "rows.committed", table=OTHER) == others
        assert value(values, "rows.committed", table="table_000") == 1


# ------------------------------------------------------------------------------------- the last run


EARLIER = LastRun(ended_at=50.0, duration=5.0, exit_code=0, succeeded_at=50.0)


@pytest.mark.parametrize(
    ("given", "succeeded_at"),
    [
        ({"quarantine_reasons": {}, "documents": DocumentCounts(1, 1)}, 120.0),
        ({"documents": DocumentCounts(2, 1, 0, 1)}, 120.0),  # some are in quarantine: it did its work
        ({"error": "x", "error_code": ExitCode.TARGET_FAILED}, 50.0),
        ({"error": "x", "error_code": ExitCode.HALTED}, 50.0),
        ({"stopped_by_signal": 15}, 50.0),
        ({"settings": {"dry_run": True}}, 50.0),
    ],
)
def test_a_success_is_remembered_until_the_next(given: dict[str, Any], succeeded_at: float) -> None:
    clock = [100.0]
    figures = LiveFigures(EARLIER, now=lambda: clock[0])
    clock[0] = 110.0
    figures.begin(watched.watched())
    assert figures.last_run == EARLIER  # while it runs, that is the last one that ended
    clock[0] = 120.0
    outcome = watched.summary(profile=watched.profile(), **given)
    figures.end(outcome)
    assert figures.last_run == LastRun(120.0, 10.0, int(outcome.exit_code), succeeded_at)
    clock[0] = 130.0
    figures.end(watched.summary(error="told twice", error_code=ExitCode.BUG))
    assert figures.last_run.exit_code == int(outcome.exit_code)
    assert value(figures.values(), "heartbeat.timestamp") == 120.0  # nothing is told after the end


def test_a_clock_that_is_set_back_makes_no_negative_duration() -> None:
    clock = [100.0]
    figures = LiveFigures(now=lambda: clock[0])
    figures.begin(watched.watched())
    clock[0] = 40.0
    assert value(figures.values(), "load.duration") == 0
    figures.end(watched.summary(profile=watched.profile()))
    assert figures.last_run.duration == 0
