"""Baselines of invented runs."""

from __future__ import annotations

import random
from typing import Any

from performance_tuning.baseline.document import (
    Baseline,
    Circumstances,
    ContractRecord,
    RunRecord,
    SourceRecord,
    TargetRecord,
)
from performance_tuning.baseline.figures import BY_NAME
from performance_tuning.measuring.machine import GitState, Machine
from performance_tuning.measuring.statistics import Estimate
from xml_extractor.settings import LoadOptions

MACHINE = Machine(4, "A processor", 16 * 2**30, "Linux x86_64", "6.1", "CPython 3.12.1")
TYPICAL = 100.0


def circumstances(**changes: Any) -> Circumstances:
    machine = changes.pop("machine", MACHINE)
    return Circumstances(
        **{
            "machine": machine,
            "fingerprint": machine.fingerprint,
            "versions": {"Python": "3.12.1", "lxml": "6.1"},
            "git": GitState("a" * 40, dirty=False),
            "contract": ContractRecord(name="loan_application", version=1, digest="d" * 64),
            "source": SourceRecord(description="300 documents", documents=300, generated=True),
            "target": TargetRecord(engine="SQLite", way="a new file"),
            "settings": LoadOptions().model_dump(mode="json"),
            **changes,
        }
    )


def baseline(
    runs: int = 10, *, factors: dict[str, float] | None = None, seed: int = 1, yardstick: float = 50.0,
    noise: float = 0.01, of: Circumstances | None = None, remarks: tuple[str, ...] = (),
) -> Baseline:  # fmt: skip
    """Runs whose figures are 100 each, times a factor by name, times some noise."""
    draw = random.Random(seed)
    records = [
        RunRecord(
            started_at="2026-01-01T00:00:00+00:00",
            figures={
                name: TYPICAL * (factors or {}).get(name, 1.0) * draw.gauss(1, noise) for name in BY_NAME
            },
            rows={"app_base": 300},
            executor="thread",
            insert_path=None,
            yardstick_us=yardstick * draw.gauss(1, 0.005),
            others_share=0.01,
        )
        for _ in range(runs)
    ]
    return Baseline(
        recorded_at="2026-01-01T00:00:00+00:00",
        circumstances=of or circumstances(),
        warm_up=1,
        runs_wanted=runs,
        runs=tuple(records),
        # Readers' own; comparisons go by the runs.
        estimates=dict.fromkeys(BY_NAME, Estimate(runs, 100.0, 1.0, 0.5, 98.0, 102.0, 99.0, 101.0)),
        remarks=remarks,
    )
