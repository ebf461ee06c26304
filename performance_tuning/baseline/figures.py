"""The figures that a baseline records of each run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final

from performance_tuning.measuring.one_load import LoadFigures


class Better(Enum):
    """Which way a figure is better."""

    HIGHER = 1
    LOWER = -1
    NEITHER = 0


class Family(StrEnum):
    """What a figure depends on beside the program, and so where it can be compared."""

    SPEED = "speed"  # the machine
    BALANCE = "balance"  # how fast the machine's parts are against each other
    MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class FigureKind:
    """One figure of a run."""

    name: str  # in files
    label: str  # in tables
    unit: str
    better: Better
    family: Family
    value: Callable[[LoadFigures], float]
    digits: int = 0
    words: tuple[str, str] = ("better", "worse")


_SPEED_WORDS: Final = ("faster", "slower")


def _insert(percentile: str) -> FigureKind:
    return FigureKind(
        f"insert_{percentile}_ms", f"insert latency {percentile}", "ms", Better.LOWER, Family.SPEED,
        lambda load: load.insert_ms[percentile], 1, _SPEED_WORDS,
    )  # fmt: skip


def _share(whose: str, stage: str, value: Callable[[LoadFigures], float]) -> FigureKind:
    return FigureKind(
        f"{whose}_{stage}_share", f"{whose} {stage}", "%", Better.NEITHER, Family.BALANCE,
        lambda load: 100 * value(load), 1,
    )  # fmt: skip


def _worker(stage: str) -> FigureKind:
    return _share("workers", stage, lambda load: load.worker_shares[stage])


def _inserting(stage: str) -> FigureKind:
    return _share("inserting", stage, lambda load: load.insert_shares[stage])


FIGURES: Final = (
    FigureKind(
        "documents_per_second", "throughput", "documents/s", Better.HIGHER, Family.SPEED,
        lambda load: load.documents_per_second, words=_SPEED_WORDS,
    ),
    FigureKind(
        "documents_per_minute", "throughput", "documents/min", Better.HIGHER, Family.SPEED,
        lambda load: load.documents_per_minute, words=_SPEED_WORDS,
    ),
    FigureKind(
        "steady_documents_per_second", "throughput, start-up apart", "documents/s",
        Better.HIGHER, Family.SPEED,
        lambda load: load.steady_documents_per_second, words=_SPEED_WORDS,
    ),
    *map(_insert, ("p50", "p95", "p99")),
    *map(_worker, ("parse", "map", "blocked", "idle")),
    *map(_inserting, ("wait", "claim", "tables", "commit", "retry")),
    FigureKind(
        "queue_mean_documents", "queue depth, mean", "documents", Better.NEITHER, Family.BALANCE,
        lambda load: load.queue_mean_documents,
    ),
    FigureKind(
        "queue_max_documents", "queue depth, most", "documents", Better.NEITHER, Family.BALANCE,
        lambda load: load.queue_max_documents,
    ),
    FigureKind(
        "queue_mean_mb", "queue, mean", "MB", Better.NEITHER, Family.BALANCE,
        lambda load: load.queue_mean_bytes / 1e6, 1,
    ),
    FigureKind(
        "queue_max_mb", "queue, most", "MB", Better.NEITHER, Family.BALANCE,
        lambda load: load.queue_max_bytes / 1e6, 1,
    ),
    FigureKind(
        "cpu_ms_per_document", "CPU a document, with the server's", "ms", Better.LOWER, Family.SPEED,
        lambda load: load.cpu_ms_per_document, 2,
    ),
    FigureKind(
        "cpu_to_wall", "cores kept busy by the load", "", Better.NEITHER, Family.BALANCE,
        lambda load: load.cpu_to_wall, 2,
    ),
    FigureKind(
        "peak_memory_mb", "peak memory", "MB", Better.LOWER, Family.MEMORY,
        lambda load: load.peak_memory_bytes / 1e6,
    ),
)  # fmt: skip

BY_NAME: Final = {figure.name: figure for figure in FIGURES}
PRIMARY: Final = "documents_per_second"
DERIVED: Final = frozenset({"documents_per_minute"})
"""Multiples of another figure: nothing is learnt from testing them as well."""


def figures_of(load: LoadFigures) -> dict[str, float]:
    """Return the figures of a run by name."""
    return {figure.name: float(figure.value(load)) for figure in FIGURES}


def number(value: float, figure: FigureKind) -> str:
    """Return a value as text, without its unit."""
    return f"{value:,.{figure.digits}f}"
