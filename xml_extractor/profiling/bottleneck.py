"""One or two sentences on what holds a load back, and which setting to try, from the clocks of its stages."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from xml_extractor.profiling.clocks import StageClocks
from xml_extractor.profiling.profile import InsertClocks

DOMINANT: Final = 0.5
"""A stage that takes this share of the time is the limit: no other can be larger."""

_WORTH_A_WORD: Final = 0.25
"""What takes such a share of the inserting is named."""

_FREE: Final = 0.3
"""Insert threads that wait so much for batches are not what a target's limit shows in."""

_FULL: Final = 0.8
"""Batches that hold so much of their size on average are closed by it, and not by bytes or at the end."""

_SHORT_BATCH_SECONDS: Final = 0.1
"""In a batch that takes less, round trips and the commit weigh; larger ones share them out."""

_LARGEST_BATCH: Final = 10_000
_MOST_INSERT_THREADS: Final = 8
"""Beyond these, what is gained by more no longer shows, but memory and locks do."""

_SHORT_LOAD_SECONDS: Final = 1.0
"""What takes no longer is over before any setting matters."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a load was run with, and what its clocks say."""

    clocks: StageClocks  # the sum of all workers'
    workers: int
    executor: str  # thread, process or serial, as the run used it
    documents: int  # that went through the workers
    seconds: float = 60.0  # wall, from the first read to the last commit
    startup_seconds: float = 0.0  # of these, waited for the first worker process
    throttle: float | None = None  # documents a second that the operator held the load to
    held_share: float = 0.0  # of the run's time, for which it was held back
    inserting: InsertClocks = field(default_factory=InsertClocks)  # of all insert threads
    insert_threads: int = 1
    most_insert_threads: int | None = None  # that the target can use; None = no limit
    batch_size: int = 1000
    batches: int = 0
    cores: int = 1  # that the load may use
    is_auto: bool = False  # --executor auto chose the executor, and says why itself
    is_tuned: bool = False  # --auto-tune chose batch size and insert threads, and says so itself


def bottleneck(evidence: Evidence) -> str:
    """Name the bottleneck and what to do about it."""
    if evidence.documents == 0 or evidence.clocks.seconds <= 0.0:
        return "Nothing was loaded, so nothing was slow."
    if evidence.throttle is not None and evidence.held_share >= DOMINANT:
        return (
            f"The throttle: the load was held back by --throttle {evidence.throttle:g} (documents a second) "
            f"for {evidence.held_share:.0%} of its time; workers, source and target could do more."
        )
    if evidence.startup_seconds >= DOMINANT * evidence.seconds:
        return (
            f"Starting: {evidence.startup_seconds:.1f} of {evidence.seconds:.1f} s went by before the first "
            "worker process could map; for loads as small as this --executor thread begins at once."
        )
    sentence, advice = _limit(evidence)
    if evidence.seconds < _SHORT_LOAD_SECONDS:
        return (
            f"{sentence}. In a load of {evidence.seconds:.1f} s no setting makes a difference worth having."
        )
    return f"{sentence}{advice}."


def _limit(evidence: Evidence) -> tuple[str, str]:
    """Return what the limit is, and how to go on from there: advice, with what joins it."""
    shares = evidence.clocks.shares()
    working = shares["parse"] + shares["map"]
    if shares["blocked"] >= max(working, shares["idle"]):
        return _target(evidence, shares["blocked"])
    if shares["idle"] >= max(working, shares["blocked"]):
        return _source(evidence, shares["idle"])
    return _workers(evidence, shares)


def _target(evidence: Evidence, blocked: float) -> tuple[str, str]:
    serial = evidence.executor == "serial"
    if serial:
        limit = f"The target: the one worker waited {blocked:.0%} of its time for inserts"
    else:
        limit = f"The target: workers waited {blocked:.0%} of their time for room in the insert queue"
    steps = [*_retries(evidence), *([] if evidence.is_tuned else _settings(evidence))]
    if serial:
        steps.append("let it insert beside the worker (--executor auto)")
    if not steps:
        steps.append("give it a faster disk, or take indexes and triggers off the tables while loading")
    more = "" if serial else "; more workers will not help"
    return f"{limit}{_where(evidence)}", f": {' or '.join(steps)}{more}"


def _where(evidence: Evidence) -> str:
    """Say what takes the inserting's time, where something stands out."""
    clocks = evidence.inserting
    if clocks.busy <= 0.0:
        return ""
    parts = {"bookkeeping": clocks.claim, "commit": clocks.commit, "retries": clocks.retry, **clocks.tables}
    named = sorted(parts.items(), key=lambda part: (-part[1], part[0]))
    words = [
        f"{name} {seconds / clocks.busy:.0%}" for name, seconds in named
        if seconds >= _WORTH_A_WORD * clocks.busy
    ]  # fmt: skip
    return f"; of the inserting took {' and '.join(words)}" if words else ""


def _retries(evidence: Evidence) -> list[str]:
    clocks = evidence.inserting
    if clocks.retry < _WORTH_A_WORD * clocks.busy or clocks.busy <= 0.0:
        return []
    return ["see in the log and in quarantine what it refuses or breaks off, as trying again takes time"]


def _settings(evidence: Evidence) -> list[str]:
    """Return settings to raise, where the evidence is that they could help."""
    clocks, threads = evidence.inserting, evidence.insert_threads
    most = min(evidence.most_insert_threads or _MOST_INSERT_THREADS, _MOST_INSERT_THREADS)
    waiting = clocks.wait / (clocks.wait + clocks.busy) if clocks.busy > 0.0 else 0.0
    steps = []
    if evidence.executor != "serial" and threads < most and waiting < _FREE:
        steps.append(f"raise --insert-threads to {min(2 * threads, most)}")
    full = evidence.batches > 0 and evidence.documents >= _FULL * evidence.batches * evidence.batch_size
    if full and evidence.batch_size < _LARGEST_BATCH:
        commits = clocks.commit >= _WORTH_A_WORD * clocks.busy
        if commits or clocks.busy < _SHORT_BATCH_SECONDS * evidence.batches or not steps:
            larger = min(2 * evidence.batch_size, _LARGEST_BATCH)
            steps.append(f"{'' if steps else 'raise '}--batch-size to {larger}")
    return steps


def _source(evidence: Evidence, idle: float) -> tuple[str, str]:
    needed = max(1, math.ceil(evidence.workers * (1.0 - idle)))
    fewer = f", and --workers {needed} would do as much" if needed < evidence.workers else ""
    return (
        f"The source: workers waited {idle:.0%} of their time for documents",
        f"; look at the source's disk and network; more workers will not help{fewer}",
    )


def _workers(evidence: Evidence, shares: dict[str, float]) -> tuple[str, str]:
    stage = "Parsing" if shares["parse"] > shares["map"] else "Mapping"
    workers, cores = evidence.workers, evidence.cores
    clocks = evidence.inserting
    waited = ""
    if evidence.executor != "serial" and clocks.busy > 0.0:
        waited = f", while inserting waited {clocks.wait / (clocks.wait + clocks.busy):.0%} of its time"
    who = f"{workers:,} workers spent" if workers != 1 else "the one worker spent"
    whose = "their" if workers != 1 else "its"
    sentence = (
        f"{stage}: {who} {shares['parse'] + shares['map']:.0%} "
        f"of {whose} time parsing ({shares['parse']:.0%}) and mapping ({shares['map']:.0%}){waited}"
    )
    if cores == 1:
        advice = "there is one core, and no setting makes another"
    elif evidence.executor == "thread" and evidence.is_auto:
        advice = (
            f"threads share one interpreter ({cores} cores here), and --executor auto took them for the "
            "reason that it gives"
        )
    elif evidence.executor == "thread":
        advice = f"raise speed by --executor process, as threads share one interpreter ({cores} cores here)"
    elif evidence.executor == "serial":
        advice = f"let several workers share it (--executor auto --workers {cores})"
    elif workers < cores:
        advice = f"raise --workers to {cores}, as there are so many cores"
    else:
        advice = f"all {cores} cores have a worker: only more or faster cores help"
    return sentence, f"; {advice}"
