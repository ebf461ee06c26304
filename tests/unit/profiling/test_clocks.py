from __future__ import annotations

import pickle

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
