"""Summaries and profiles of loads that never ran, of any size."""

from __future__ import annotations

import math
from typing import Any

from xml_extractor.profiling.clocks import StageClocks
from xml_extractor.profiling.profile import (
    Bucket,
    InsertClocks,
    Latency,
    LoadProfile,
    Sample,
    SlowDocument,
    WorkerProfile,
)
from xml_extractor.profiling.summary import DocumentCounts, LoadSummary, QueueFigures

LATENCY = Latency(12.5, 48.25, 97.5, 812.0, 60)


def sample(at: int, **changes: Any) -> Sample:
    """The sample of second ``at`` of a steady load of 1,000 documents a second."""
    figures: dict[str, Any] = {
        "seconds": float(at),
        "documents": 1000 * at,
        "batches": at,
        "queue_documents": int(1000 + 900 * math.sin(at)),
        "queue_bytes": 2**20 * (at % 40),
        "memory_bytes": None if at % 3 else (200 + at) * 2**20,
        "cpu_seconds": 1.7 * at,
        "insert": LATENCY if at % 2 else Latency(),
        "clocks": StageClocks(0.5 * at, 0.9 * at, 2.2 * at, 0.4 * at),
        "batch_size": 1000,
        "insert_threads": 1,
    }
    return Sample(**{**figures, **changes})


def buckets(number: int) -> tuple[Bucket, ...]:
    """Buckets that grow by a fifth each, the first from nought."""
    return tuple(
        Bucket(0.0 if at == 0 else 1.2**at, 1.2 ** (at + 1), (at * 37) % 101 + 1) for at in range(number)
    )


def profile(samples: int = 60, workers: int = 4, tables: int = 3, **changes: Any) -> LoadProfile:
    """A profile of so many samples (one a second), workers and tables."""
    clocks = StageClocks(10, 20, 60, 10)
    figures: dict[str, Any] = {
        "started_at": "2026-03-01T09:30:00.125+00:00",
        "seconds": float(max(samples, 1)),
        "samples": tuple(sample(at) for at in range(1, samples + 1)),
        "workers": tuple(
            WorkerProfile(f"xml-extractor-worker-{at}", 100 * at, clocks) for at in range(1, workers + 1)
        ),
        "inserting": InsertClocks(4.0, 6.0, {f"app_{at}": 1.0 + at for at in range(tables)}, 5.0, 1.0),
        "insert_latency": LATENCY,
        "insert_histogram": buckets(30),
        "document_latency": Latency(0.4, 1.5, 4.0, 80.0, 9_950),
        "document_histogram": buckets(20),
        "slowest": tuple(SlowDocument(f"key-{at}", 0.1 / (at + 1)) for at in range(20)),
        "cpu_seconds": 102.0,
        "queue_capacity_documents": 2000,
        "queue_capacity_bytes": 64 * 2**20,
    }
    return LoadProfile(**{**figures, **changes})


def summary(**changes: Any) -> LoadSummary:
    """A summary of a load that finished with some documents in quarantine."""
    rows = {"app_base": 9_900, "app_contact": 20_111, "app_empty": 0}
    figures: dict[str, Any] = {
        "documents": DocumentCounts(read=10_000, loaded=9_900, already_loaded=50, quarantined=48, skipped=2),
        "rows": rows,
        "loaded_rows": dict(rows),
        "seconds": 60.25,
        "clocks": StageClocks(40, 80, 240, 40),
        "insert_ms": {"p50": 12.5, "p95": 48.25, "p99": 97.5, "max": 812.0, "count": 60},
        "queue": QueueFigures(2000, 812.5, 2000),
        "bottleneck": "The target: workers waited 60% of their time for room in the insert queue.",
        "load_id": 7,
        "executor": "process",
        "executor_reason": "2 threads map 1.1 times as fast as one",
        "workers": 4,
        "insert_threads": 1,
        "batches": 60,
        "retries": 3,
        "unknown_elements": {"Note": 4},
        "quarantine_reasons": {"too_long": 40, "not_well_formed": 8},
        "notes": ["executor process: as measured"],
        "peak_memory_bytes": 300 * 2**20,
        "settings": {
            "source": "sqlite:///in.db", "target": "sqlite:///out.db", "contract": "orders.yaml",
            "workers": 4, "batch_size": 1000, "queue_bytes": 67108864, "dry_run": False, "throttle": None,
            "retry_seconds": 30.0,
        },
        "versions": {"xml-extractor": "0.1.0", "Python": "3.12.1"},
        "profile": profile(),
    }  # fmt: skip
    return LoadSummary(**{**figures, **changes})


def empty(**changes: Any) -> LoadSummary:
    """A summary of a load that did nothing, with no profile."""
    return LoadSummary(
        **{"documents": DocumentCounts(), "rows": {}, "loaded_rows": {}, "seconds": 0.0, **changes}
    )
