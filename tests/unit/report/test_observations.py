from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support import made_up_loads as made_up
from xml_extractor.profiling.clocks import StageClocks
from xml_extractor.profiling.profile import InsertClocks, Latency
from xml_extractor.profiling.report.observations import observations

CALM = made_up.profile(
    inserting=InsertClocks(1, 1, {"app_base": 5.0}, 1.0), insert_latency=Latency(10, 20, 30, 40, 100)
)
FULL_BY_BYTES = tuple(made_up.sample(at, queue_bytes=64 * 2**20, queue_documents=10) for at in range(1, 9))


@pytest.mark.parametrize(
    ("profile", "summary", "expected"),
    [
        ({}, {}, None),
        ({"inserting": InsertClocks(1, 1, {}, 1.0, 2.0)}, {"retries": 5}, "50.0% of the inserting went into"),
        ({"insert_latency": Latency(10, 20, 90, 99, 100)}, {}, "p99 90.0 ms, half of them within 10.0 ms"),
        ({"insert_latency": Latency(10, 20, 90, 99, 19)}, {}, None),  # too few to say so
        ({"samples": FULL_BY_BYTES}, {}, "a larger --queue-bytes"),
        ({"samples": FULL_BY_BYTES, "queue_capacity_bytes": 0}, {}, None),
        ({}, {"startup_seconds": 20.0}, "--executor thread may be quicker"),
        ({}, {"startup_seconds": 20.0, "executor": "thread"}, None),
        ({}, {"startup_seconds": 45.0}, None),  # that is the bottleneck, and has been said
    ],
)
def test_what_is_said_beside_the_bottleneck(
    profile: dict[str, Any], summary: dict[str, Any], expected: str | None
) -> None:
    said = list(observations(made_up.summary(**summary), replace(CALM, **profile)))
    if expected is None:
        assert said == []
    else:
        (sentence,) = said
        assert expected in sentence


def test_nothing_is_said_of_a_load_that_did_nothing() -> None:
    profile = replace(CALM, inserting=InsertClocks(0, 0, {}, 0, 5))
    assert list(observations(made_up.empty(clocks=StageClocks()), profile)) == []
