"""The bottleneck in words: the largest share is named, and advice only where it could help."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xml_extractor.profiling.bottleneck import Evidence, bottleneck
from xml_extractor.profiling.clocks import StageClocks
from xml_extractor.profiling.profile import InsertClocks

BLOCKED = StageClocks(1, 1, 8, 0)
IDLE = StageClocks(1, 1, 0, 8)
WORKING = StageClocks(3, 6, 1, 0)
COMMITS = InsertClocks(wait=1, claim=1, tables={"base": 2, "child": 3}, commit=4)
ROWS = InsertClocks(wait=1, claim=1, tables={"base": 2, "child": 6}, commit=1)


def said(clocks: StageClocks, **changes: Any) -> str:
    given: dict[str, Any] = {
        "workers": 4, "executor": "thread", "documents": 10_000, "seconds": 20.0, "cores": 8, "batches": 10,
        "batch_size": 1_000,
    }  # fmt: skip
    sentence = bottleneck(Evidence(clocks, **{**given, **changes}))
    assert sentence.endswith(".")
    assert ".." not in sentence
    return sentence


@pytest.mark.parametrize(
    ("clocks", "executor", "first_word", "advice"),
    [
        (BLOCKED, "thread", "The target", "--batch-size"),
        (BLOCKED, "serial", "The target", "--executor auto"),
        (IDLE, "process", "The source", "more workers will not help"),
        (StageClocks(6, 3, 1, 0), "process", "Parsing", "raise --workers to 8"),
        (WORKING, "thread", "Mapping", "--executor process"),
        (StageClocks(3, 6, 0, 0), "serial", "Mapping", "--workers"),
        (StageClocks(), "thread", "Nothing", ""),
        (StageClocks(2, 2, 3, 3.5), "thread", "Mapping", ""),
        (StageClocks(1, 1, 4.5, 3), "thread", "The target", ""),
    ],
)
def test_the_stage_with_the_most_time_is_named(
    clocks: StageClocks, executor: str, first_word: str, advice: str
) -> None:
    sentence = said(clocks, executor=executor)
    assert sentence.startswith(first_word)
    assert advice in sentence


def test_processes_are_not_advised_where_auto_has_decided_against_them() -> None:
    """Its reason stands beside the sentence, and one would gainsay the other."""
    sentence = said(WORKING, executor="thread", is_auto=True)
    assert "--executor process" not in sentence
    assert "--executor auto took them for the reason that it gives" in sentence


@pytest.mark.parametrize("inserting", [COMMITS, ROWS])
def test_what_auto_tune_has_settled_is_not_advised_against(inserting: InsertClocks) -> None:
    """Its own note says what to begin with; other figures beside it could not be followed."""
    assert "--batch-size" in said(BLOCKED, inserting=COMMITS)
    sentence = said(BLOCKED, inserting=inserting, is_tuned=True)
    assert sentence.startswith("The target")
    assert "--batch-size" not in sentence
    assert "--insert-threads" not in sentence
    assert "disk" in sentence


@pytest.mark.parametrize(
    ("held_share", "blamed"), [(0.0, False), (0.49, False), (0.5, True), (0.97, True)]
)  # fmt: skip
def test_the_throttle_is_named_where_it_held_the_load_back(held_share: float, blamed: bool) -> None:
    sentence = said(IDLE, throttle=0.5, held_share=held_share)
    assert ("held back by --throttle 0.5" in sentence) is blamed
    assert sentence.startswith("The source") is not blamed


def test_both_settings_are_named_where_both_could_help() -> None:
    sentence = said(BLOCKED, inserting=COMMITS)
    assert "workers waited 80% of their time" in sentence
    assert "of the inserting took commit 40% and child 30%" in sentence
    assert "raise --insert-threads to 2 or --batch-size to 2000; more workers will not help" in sentence


def test_a_target_of_one_insert_thread_is_not_told_to_use_more() -> None:
    sentence = said(BLOCKED, inserting=COMMITS, most_insert_threads=1)
    assert "--insert-threads" not in sentence
    assert "raise --batch-size to 2000" in sentence


def test_insert_threads_that_wait_are_not_multiplied() -> None:
    waiting = InsertClocks(wait=9, claim=1, tables={"base": 2}, commit=1)
    assert "--insert-threads" not in said(BLOCKED, inserting=waiting)


def test_batches_that_are_never_full_are_not_made_larger() -> None:
    sentence = said(BLOCKED, inserting=COMMITS, batches=100, most_insert_threads=1)
    assert "--batch-size" not in sentence
    assert "faster disk" in sentence


def test_where_rows_take_the_time_larger_batches_are_no_advice_beside_threads() -> None:
    sentence = said(BLOCKED, inserting=ROWS)
    assert "of the inserting took child 60%" in sentence
    assert "raise --insert-threads to 2;" in sentence
    assert "--batch-size" not in sentence


def test_short_batches_are_made_larger() -> None:
    short = InsertClocks(wait=0.1, claim=0.1, tables={"base": 0.5}, commit=0.05)
    assert "--batch-size to 2000" in said(BLOCKED, inserting=short)


def test_retries_are_told() -> None:
    retries = InsertClocks(wait=0, claim=1, tables={"base": 2}, commit=1, retry=6)
    sentence = said(BLOCKED, inserting=retries)
    assert "retries 60%" in sentence
    assert "quarantine" in sentence


def test_idle_workers_are_told_how_many_would_do() -> None:
    assert "--workers 1 would do as much" in said(IDLE)


def test_one_core_gets_no_advice_that_needs_more() -> None:
    sentence = said(WORKING, cores=1)
    assert "--" not in sentence


def test_process_workers_on_all_cores() -> None:
    sentence = said(WORKING, executor="process", cores=4)
    assert "--workers" not in sentence
    assert "all 4 cores" in sentence


def test_a_tiny_load_gets_no_advice() -> None:
    sentence = said(BLOCKED, seconds=0.3, inserting=COMMITS)
    assert sentence.startswith("The target")
    assert "--" not in sentence
    assert "0.3 s" in sentence


def test_a_load_that_mostly_started_is_told_so() -> None:
    sentence = said(WORKING, executor="process", seconds=1.5, startup_seconds=0.9)
    assert sentence.startswith("Starting: 0.9 of 1.5 s")
    assert "--executor thread" in sentence


SECONDS = st.floats(0, 1e6)


@given(
    clocks=st.builds(StageClocks, SECONDS, SECONDS, SECONDS, SECONDS),
    inserting=st.builds(
        InsertClocks, SECONDS, SECONDS, st.dictionaries(st.text("ab", max_size=2), SECONDS), SECONDS, SECONDS
    ),
    workers=st.integers(1, 256),
    executor=st.sampled_from(["thread", "process", "serial"]),
    documents=st.integers(0, 10**9),
    seconds=SECONDS,
    startup_seconds=SECONDS,
    threads=st.integers(1, 64),
    most=st.none() | st.integers(1, 64),
    batch_size=st.integers(1, 10**6),
    batches=st.integers(0, 10**6),
    cores=st.integers(1, 256),
)
def test_whatever_the_figures_advice_is_upwards_and_within_bounds(
    clocks: StageClocks, inserting: InsertClocks, workers: int, executor: str, documents: int, seconds: float,
    startup_seconds: float, threads: int, most: int | None, batch_size: int, batches: int, cores: int,
) -> None:  # fmt: skip
    sentence = bottleneck(
        Evidence(
            clocks, workers, executor, documents, seconds, startup_seconds, inserting=inserting,
            insert_threads=threads, most_insert_threads=most, batch_size=batch_size, batches=batches,
            cores=cores,
        )
    )  # fmt: skip
    assert sentence.endswith(".")
    for number in re.findall(r"--insert-threads to (\d+)", sentence):
        assert threads < int(number) <= (most or 8)
    for number in re.findall(r"--batch-size to (\d+)", sentence):
        assert batch_size < int(number) <= 10_000
    for number in re.findall(r"raise --workers to (\d+)", sentence):
        assert workers < int(number) == cores
