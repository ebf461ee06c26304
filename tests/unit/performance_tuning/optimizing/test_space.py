"""What can be set, what means the same, and what is refused before anything is measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from performance_tuning.optimizing.space import SERIAL, Setting, Space, make_space
from xml_extractor.errors import UsageError


def space_of(documents: int = 10_000, threads: int | None = None, paths: Any = (), **asked: str) -> Space:
    return make_space(
        {name: text.split(",") for name, text in asked.items()},
        documents=documents, max_insert_threads=threads, insert_paths=paths,
    )  # fmt: skip


def test_the_defaults_are_those_of_the_operators_plan() -> None:
    ranges = space_of().ranges
    assert ranges["workers"] == (2, 4, 6, 8)
    assert ranges["batch_size"] == (50, 100, 200, 500, 1000, 2000)
    assert ranges["queue_size"] == (500, 1000, 2000, 5000)
    assert ranges["executor"] == ("thread", "process", "serial")
    assert ranges["insert_threads"] == (1, 2, 4)
    assert ranges["insert_path"] == (None,)


def test_a_serial_load_is_measured_once_whatever_workers_queue_and_threads() -> None:
    settings = space_of(executor="serial", batch_size="50,100").settings()
    assert [setting.batch_size for setting in settings] == [50, 100]
    assert all(setting.flags() == ["--batch-size", str(setting.batch_size), "--executor", "serial"]
               for setting in settings)  # fmt: skip


def test_insert_threads_are_clamped_to_what_the_target_can_use() -> None:
    assert space_of(threads=1).ranges["insert_threads"] == (1,)
    assert space_of(threads=3).ranges["insert_threads"] == (1, 2, 3)
    both = space_of(threads=1, executor="thread", workers="4", batch_size="50", queue_size="500")
    assert len(both.settings()) == 1


def test_a_batch_or_queue_that_holds_all_documents_is_measured_once() -> None:
    space = space_of(documents=300, executor="thread", workers="4", insert_threads="1",
                     batch_size="100,500,1000", queue_size="200,1000,5000")  # fmt: skip
    found = {(setting.batch_size, setting.queue_size) for setting in space.settings()}
    assert found == {(100, 200), (100, 1000), (500, 1000)}


def test_a_queue_below_a_batch_is_no_setting() -> None:
    space = space_of(executor="thread", workers="4", insert_threads="1", batch_size="100,1000")
    assert all(setting.queue_size >= setting.batch_size for setting in space.settings())
    assert {s.queue_size for s in space.settings() if s.batch_size == 1000} == {1000, 2000, 5000}


def test_insert_paths_are_those_that_the_engine_offers() -> None:
    space = space_of(paths=("bulkcopy", "openjson"), executor="thread", workers="4", insert_threads="1",
                     batch_size="100", queue_size="500")  # fmt: skip
    assert [setting.insert_path for setting in space.settings()] == ["bulkcopy", "openjson"]
    assert space.settings()[0].flags()[-2:] == ["--insert-path", "bulkcopy"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"workers": "0"}, "--workers: '0' is not a whole number from 1 to 256"),
        ({"workers": "2,x"}, "--workers: 'x' is not a whole number"),
        ({"workers": "٣"}, "is not a whole number"),
        ({"workers": "1.5"}, "'1.5' is not a whole number"),
        ({"workers": ""}, "--workers: '' is not"),
        ({"insert_threads": "65"}, "--insert-threads: '65' is not a whole number from 1 to 64"),
        ({"executor": "fork"}, "--executor: there is no 'fork'; known are thread, process, serial"),
        ({"executor": "auto"}, "--executor auto stands for one of the others"),
        ({"batch_size": "1000,10000"}, "--batch-size 10000: above the largest queue, --queue-size 5000"),
        ({"batch_size": "1000", "queue_size": "500"}, "--batch-size 1000: above the largest queue"),
        ({"batch_size": "1000", "queue_size": "500,2000"}, "--queue-size 500: smaller than the smallest"),
        ({"insert_path": "openjson"}, "--insert-path: the target has but one way in"),
    ],
)
def test_ranges_that_cannot_be_are_refused(asked: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        space_of(**asked)
    assert said in str(refused.value)


def test_a_deviation_changes_one_value_and_is_a_setting() -> None:
    space = space_of()
    base = Setting("thread", 4, 1000, 1000, 1)
    deviations = space.deviations(base)
    assert all(deviation.setting in space.settings() for deviation in deviations)
    by_name = {(deviation.name, deviation.value): deviation.setting for deviation in deviations}
    assert by_name["workers", 8] == replace(base, workers=8)
    assert by_name["batch_size", 2000] == replace(base, batch_size=2000, queue_size=2000)
    assert ("queue_size", 500) not in by_name
    assert by_name["executor", SERIAL].flags() == ["--batch-size", "1000", "--executor", "serial"]


@given(st.data())
def test_what_a_setting_stands_for_does_not_depend_on_how_it_was_met(data: st.DataObject) -> None:
    space = space_of(documents=data.draw(st.integers(1, 6000)), threads=data.draw(st.sampled_from([None, 1])))
    settings = space.settings()
    assert len(set(settings)) == len(settings)
    values = [data.draw(st.sampled_from(space.ranges[name]), name) for name in (
        "executor", "workers", "batch_size", "queue_size", "insert_threads", "insert_path")]  # fmt: skip
    found = space.find(Setting(*values))
    if found is not None:
        assert found in settings
        assert space.find(found) == found


def test_the_start_is_closest_to_the_loaders_own_defaults() -> None:
    assert space_of().nearest(
        {"workers": 4, "batch_size": 1000, "queue_size": 2000, "insert_threads": 1}
    ) == (Setting("thread", 4, 1000, 2000, 1))
    start = space_of(batch_size="5000").nearest({"workers": 4, "batch_size": 1000, "queue_size": 2000})
    assert (start.batch_size, start.queue_size) == (5000, 5000)
