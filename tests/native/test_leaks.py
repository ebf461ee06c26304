"""Nothing is left of documents: the short form of ``make native-check``."""

from __future__ import annotations

import random

import pytest

from tests.native.leaks import Consumer, encoding, mapping, watch
from tests.native.workloads import Workload, small, workloads
from tests.support.interpreters import needs_native

DOCUMENTS = 20_000


@needs_native
@pytest.mark.parametrize("way", ["mapped", "sqlite", "postgresql"])
def test_nothing_is_left_of_small_documents(way: str) -> None:
    workload = small(random.Random(1))
    growth = watch(workload, _consumer(way, workload), DOCUMENTS)
    assert not growth.is_leak, growth


@needs_native
@pytest.mark.parametrize("name", ["applications", "hostile, ignore_case: false"])
def test_nothing_is_left_of_large_and_hostile_documents(name: str) -> None:
    (workload,) = [workload for workload in workloads(1) if workload.name == name]
    growth = watch(workload, mapping(workload.plan), 1_000)
    assert not growth.is_leak, growth


def _consumer(way: str, workload: Workload) -> Consumer:
    if way == "mapped":
        return mapping(workload.plan)
    return encoding(workload.plan, {"sqlite": "sqlite:///unused.db", "postgresql": "postgresql://u/u"}[way])
