"""A load that never was, for those who watch loads: its profile, its summary, its batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xml_extractor.profiling.clocks import StageClocks
from xml_extractor.profiling.observer import CommittedBatch, WatchedLoad
from xml_extractor.profiling.profile import InsertClocks, Latency, LoadProfile, Sample, WorkerProfile
from xml_extractor.profiling.summary import DocumentCounts, LoadSummary

DATABASE = {"system": "postgresql", "name": "lending", "server": "db.example", "port": 6432}


def sample(**given: Any) -> Sample:
    values: dict[str, Any] = {
        "seconds": 2.0, "documents": 90, "batches": 3, "queue_documents": 7, "queue_bytes": 7_000,
        "memory_bytes": 80_000_000, "cpu_seconds": 1.5, "insert": Latency(), "clocks": StageClocks(),
        "batch_size": 500, "insert_threads": 2,
    }  # fmt: skip
    return Sample(**{**values, **given})


def profile(**given: Any) -> LoadProfile:
    workers = (
        WorkerProfile("w1", 50, StageClocks(1.0, 2.0, 0.25, 0.5)),
        WorkerProfile("w2", 50, StageClocks(1.5, 2.5, 0.25, 0.5)),
    )
    values: dict[str, Any] = {
        "started_at": "2026-01-02T03:04:05.000+00:00", "seconds": 2.5,
        "samples": (sample(), sample(memory_bytes=None, queue_documents=9)), "workers": workers,
        "inserting": InsertClocks(0.5, 0.25, {"app_base": 0.75, "app_note": 0.5}, 0.125, 0.0625),
        "insert_latency": Latency(), "insert_histogram": (), "document_latency": Latency(),
        "document_histogram": (), "slowest": (), "cpu_seconds": 3.25, "queue_capacity_documents": 2_000,
        "queue_capacity_bytes": 64_000_000,
    }  # fmt: skip
    return LoadProfile(**{**values, **given})


def summary(**given: Any) -> LoadSummary:
    rows = {"app_base": 90, "app_note": 180}
    values: dict[str, Any] = {
        "documents": DocumentCounts(100, 80, 4, 5, 1, 10), "rows": rows, "loaded_rows": dict(rows),
        "seconds": 2.0, "held_seconds": 0.5, "load_id": 12, "executor": "thread", "workers": 2,
        "insert_threads": 1, "insert_path": "copy", "batches": 3, "retries": 2, "truncated_values": 6,
        "changed": 8, "replaced": 7, "quarantine_reasons": {"not_convertible": 3, "too_long": 2},
    }  # fmt: skip
    return LoadSummary(**{**values, **given})


def batch(**given: Any) -> CommittedBatch:
    values: dict[str, Any] = {
        "thread": "xml-extractor-insert-1", "ended_at": 1_700_000_000.5, "seconds": 0.25,
        "clocks": InsertClocks(), "documents": 40, "rows": {"app_base": 38, "app_note": 76}, "attempts": 1,
        "loaded": 38, "quarantined": 2,
    }  # fmt: skip
    return CommittedBatch(**{**values, **given})


def watched(
    the_profile: LoadProfile | None = None,
    the_summary: LoadSummary | None = None,
    database: Mapping[str, Any] = DATABASE,
    *,
    dry_run: bool = False,
) -> WatchedLoad:
    return WatchedLoad(lambda: the_profile or profile(), lambda: the_summary or summary(), database, dry_run)


def unreadable() -> WatchedLoad:
    """A load whose figures cannot be read."""

    def fail() -> Any:
        raise ValueError("unreadable")

    return WatchedLoad(fail, fail, DATABASE)
