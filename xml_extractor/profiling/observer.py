"""Who may watch a load while it runs: metrics, traces, whoever else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from xml_extractor.profiling.profile import InsertClocks, LoadProfile
from xml_extractor.profiling.summary import LoadSummary


@dataclass(frozen=True, slots=True)
class CommittedBatch:
    """One batch, just committed."""

    thread: str  # name of the insert thread
    ended_at: float  # time.time()
    seconds: float  # from its first statement to the end of its last commit
    clocks: InsertClocks  # of this batch; ``wait`` is the wait before it
    documents: int  # settled by it
    rows: Mapping[str, int]  # table → rows committed
    attempts: int  # transactions begun: 1, unless something was retried or bisected, or only looked at (0)
    loaded: int
    quarantined: int


@dataclass(frozen=True, slots=True)
class WatchedLoad:
    """What an observer may ask, at any time and from any thread, until :meth:`LoadObserver.end`.

    Both calls are cheap enough for once a second, and cost nothing while nobody makes them.
    """

    profile: Callable[[], LoadProfile]
    summary: Callable[[], LoadSummary]  # figures so far
    database: Mapping[str, Any]
    """Of the target, for labels and attributes: ``system`` (as OpenTelemetry's conventions name it, such as
    ``postgresql`` or ``microsoft.sql_server``), ``name`` (database), ``server`` (host), and ``port`` where it
    is not the usual one, as far as there are such."""
    dry_run: bool = False
    """Nothing is committed: batches tell what would be."""


class LoadObserver:
    """Watches a load; this class itself does nothing.

    An observer must not raise: what goes wrong in it is logged once, and the load goes on without it.
    """

    def begin(self, load: WatchedLoad) -> None:
        """The load is about to run."""

    def batch(self, batch: CommittedBatch) -> None:
        """A batch was committed; called in the insert thread that did it, so be quick.  Thread-safe."""

    def end(self, summary: LoadSummary) -> None:
        """The load has ended, well or not (``summary.error``); called once, also where it never began."""
