"""What else the figures of a load show beside its bottleneck, which ``bottleneck.py`` names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from xml_extractor.profiling.bottleneck import DOMINANT
from xml_extractor.profiling.profile import LoadProfile
from xml_extractor.profiling.report.formats import milliseconds, plural, seconds, share
from xml_extractor.profiling.summary import LoadSummary

_FEW_BATCHES: Final = 20  # fewer say nothing about how their durations are spread
_SPREAD: Final = 8.0  # p99 this many times the median is no mere scatter
_RETRIED: Final = 0.1  # of the inserting
_STARTING: Final = 0.2  # of the load


def observations(summary: LoadSummary, profile: LoadProfile) -> Iterator[str]:
    """Yield what deserves a look, a sentence each; nothing for a load that did nothing."""
    if not summary.did_work:
        return
    clocks = profile.inserting
    if clocks.retry >= _RETRIED * clocks.busy > 0:
        yield (
            f"{share(clocks.retry / clocks.busy)} of the inserting went into attempts that were rolled back "
            f"({plural(summary.retries, 'further transaction')}): look in quarantine for documents that the "
            "target refuses, and at other sessions that hold locks."
        )
    latency = profile.insert_latency
    if latency.count >= _FEW_BATCHES and latency.p99 >= _SPREAD * max(latency.p50, 1.0):
        yield (
            f"A few batches were far slower than the rest (p99 {milliseconds(latency.p99)}, half of them "
            f"within {milliseconds(latency.p50)}): look for checkpoints, growing files, backups and locks at "
            "the times that the plot of insert latency shows."
        )
    if _is_full_by_bytes(profile):
        yield (
            "The queue was full by its bytes, not by its documents: a larger --queue-bytes lets it hold as "
            "many documents as --queue-size says."
        )
    starting = summary.startup_seconds / max(summary.seconds, 1e-9)
    if summary.executor == "process" and _STARTING <= starting < DOMINANT:  # else it is the bottleneck
        yield (
            f"{seconds(summary.startup_seconds)} of {seconds(summary.seconds)} went by until the first "
            "worker process ran: for loads as short as this one --executor thread may be quicker."
        )


def _is_full_by_bytes(profile: LoadProfile) -> bool:
    """Whether in more than half of the samples the bytes left no room, but the documents would have."""
    full = sum(
        sample.queue_bytes >= 0.95 * profile.queue_capacity_bytes
        and sample.queue_documents < 0.5 * profile.queue_capacity_documents
        for sample in profile.samples
    )
    return profile.queue_capacity_bytes > 0 and 2 * full > len(profile.samples)
