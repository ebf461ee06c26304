from __future__ import annotations

import pickle

import pytest

from xml_extractor.profiling.bottleneck import bottleneck
from xml_extractor.profiling.clocks import StageClocks, WorkerClock


class FakeTime:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_every_moment_is_charged_to_exactly_one_stage() -> None:
    time = FakeTime()
    clock = WorkerClock(time)
    for seconds, charge in (
        (1.0, clock.charge_idle),
        (2.0, clock.charge_parse),
        (4.0, clock.charge_map),
        (8.0, clock.charge_blocked),
        (16.0, clock.charge_parse),
    ):
        time.now += seconds
        charge()
    assert clock.clocks() == StageClocks(parse=18.0, map=4.0, blocked=8.0, idle=1.0)
    assert clock.clocks().seconds == time.now - 100.0


def test_what_a_put_waited_is_not_mapping() -> None:
    time = FakeTime()
    clock = WorkerClock(time)
    time.now += 5.0
    clock.charge_map(blocked_seconds=3.0)
    assert clock.clocks() == StageClocks(map=2.0, blocked=3.0)


def test_take_starts_again_from_zero() -> None:
    time = FakeTime()
    clock = WorkerClock(time)
    time.now += 5.0
    clock.charge_map()
    assert clock.take().map == 5.0
    assert clock.clocks() == StageClocks()
    time.now += 1.0
    clock.charge_idle()
    assert clock.take() == StageClocks(idle=1.0)


def test_clocks_add_up_and_cross_processes() -> None:
    total = sum([StageClocks(1, 2, 3, 4), StageClocks(10, 20, 30, 40)], StageClocks())
    assert pickle.loads(pickle.dumps(total)) == StageClocks(11, 22, 33, 44)
    assert total.seconds == 110


def test_shares_sum_to_one_or_are_all_nothing() -> None:
    shares = StageClocks(1, 2, 3, 4).shares()
    assert shares == {"parse": 0.1, "map": 0.2, "blocked": 0.3, "idle": 0.4}
    assert set(StageClocks().shares().values()) == {0.0}


@pytest.mark.parametrize(
    ("clocks", "executor", "first_word", "advice"),
    [
        (StageClocks(1, 1, 8, 0), "thread", "The target", "--batch-size"),
        (StageClocks(1, 1, 8, 0), "serial", "The target", "--executor auto"),
        (StageClocks(1, 1, 0, 8), "process", "The source", "more workers will not help"),
        (StageClocks(6, 3, 1, 0), "process", "Parsing", "more --workers"),
        (StageClocks(3, 6, 1, 0), "thread", "Mapping", "--executor process"),
        (StageClocks(3, 6, 0, 0), "serial", "Mapping", "--workers"),
        (StageClocks(), "thread", "Nothing", ""),
    ],
)
def test_the_bottleneck_is_the_stage_with_the_most_time(
    clocks: StageClocks, executor: str, first_word: str, advice: str
) -> None:
    sentence = bottleneck(clocks, workers=4, executor=executor, documents=100)
    assert sentence.startswith(first_word)
    assert advice in sentence
    assert sentence.endswith(".")


@pytest.mark.parametrize(
    ("held_share", "blamed"), [(0.0, False), (0.49, False), (0.5, True), (0.97, True)]
)  # fmt: skip
def test_the_throttle_is_named_where_it_held_the_load_back(held_share: float, blamed: bool) -> None:
    clocks = StageClocks(parse=1, map=1, blocked=0, idle=98)

    sentence = bottleneck(
        clocks, workers=4, executor="thread", documents=100, throttle=0.5, held_share=held_share
    )

    assert ("held back by --throttle 0.5" in sentence) is blamed
    assert sentence.startswith("The source") is not blamed
    assert sentence.startswith("The throttle") is blamed
