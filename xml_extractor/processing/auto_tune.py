"""``--auto-tune``: adjusts batch size and insert threads while a load runs.

:class:`~xml_extractor.processing.hill_climb.HillClimber` decides; here is what connects it with a load.
Batches report themselves from insert threads; decisions are taken and carried out by the coordinator's
thread, whenever it looks.  What bounds a load goes on bounding it: a batch closes at its bytes and seconds,
the queue is full at its bytes, and insert threads are never more than the target takes or the memory holds.
The queue's bound in documents is raised so that it holds two batches, and one more for each further insert
thread; it is never lowered, because workers that wait for room would look as if they were slow."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import replace
from time import perf_counter
from typing import Final

from xml_extractor.errors import LoaderError
from xml_extractor.processing.hill_climb import Bounds, HillClimber, Setting
from xml_extractor.processing.insert_queue import BatchSettings, InsertQueue
from xml_extractor.processing.insert_threads import InsertThreads
from xml_extractor.processing.memory_budget import Limit, insert_threads_that_fit
from xml_extractor.processing.tuning_windows import BatchTimes
from xml_extractor.settings import ExecutorChoice, LoadOptions
from xml_extractor.target.base import BatchResult

logger = logging.getLogger(__name__)

MOST_BATCH: Final = 50_000
"""Documents.  What a transaction costs beside its rows is by then spread so thin that no larger batch can
be a tenth faster, and a batch that is refused or retried is the more to do again."""

MOST_THREADS: Final = 16
"""Connections of a database that others use, too.  Who wants to give more says so: ``--insert-threads``."""


class AutoTune:
    """Tunes one load.

    Args:
        settings: what is in force; changed here.
        threads: the load's insert threads; None where a single thread does everything.
        bounds: the most that may be tried.
    """

    def __init__(
        self, settings: BatchSettings, queue: InsertQueue, threads: InsertThreads | None, bounds: Bounds
    ) -> None:
        start = Setting(settings.limits.documents, 1 if threads is None else settings.insert_threads)
        self._settings = settings
        self._queue = queue
        self._threads = threads
        self._climber = HillClimber(start, bounds)
        self._wanted = start
        self._is_in_force = False
        self._has_failed = False
        self._batches: deque[BatchTimes] = deque()
        self._last_commit: float | None = None  # of the single thread
        self._queue.make_room(_room(start))

    def batch(self, result: BatchResult, committed_at: float, waited: float) -> None:
        """Take note of a committed batch; in the thread that committed it.

        Args:
            committed_at: perf_counter time.
            waited: seconds that the thread waited for the batch.
        """
        if self._has_failed:
            return  # nobody takes it from here
        worked = result.seconds
        if self._threads is None:
            # Reading and mapping are this thread's, too: a load is faster only if the whole of it is.
            before, self._last_commit = self._last_commit, committed_at
            worked = 0.0 if before is None else committed_at - before
        documents = result.loaded + result.already_loaded + result.quarantined + result.skipped
        left = self._queue.depth().now
        retries = max(0, result.attempts - 1)
        self._batches.append(BatchTimes(documents, waited, worked, committed_at, left, retries))

    def look(self) -> None:
        """Decide, and carry out what is decided.  Called every now and then by the coordinator's thread.

        A mistake in here ends the tuning: the load does as well with what is in force.
        """
        if self._has_failed:
            return
        try:
            self._look()
        except Exception as error:
            self._has_failed = True
            logger.warning(
                "auto-tune ends (%s); the load goes on with %s",
                type(error).__name__, self._wanted, exc_info=error,
            )  # fmt: skip

    def _look(self) -> None:
        said: list[str] = []
        if self._threads is not None and (error := self._threads.refusal()) is not None:
            why = str(error) if isinstance(error, LoaderError) else type(error).__name__
            said += self._climber.refuse_threads(self._threads.count, why)
        while self._batches:
            said += self._climber.add(self._batches.popleft())
        for line in said:
            logger.info("auto-tune: %s", line)
        if self._climber.setting != self._wanted:
            self._wanted = self._climber.setting
            self._carry_out(self._wanted)
        if not self._is_in_force and (self._threads is None or self._threads.is_settled()):
            self._is_in_force = True
            self._climber.in_force(perf_counter())

    def outcome(self) -> str:
        """What came of it, as a recommendation."""
        climber = self._climber
        if self._has_failed:
            return (
                f"--auto-tune ended early, at {self._wanted}, by a mistake of this program; please report it "
                "with the log"
            )
        if not climber.rate:
            return f"--auto-tune kept {climber.held}: the load was over before there was enough to measure"
        found = f"{climber.held} ({climber.rate:,.0f} documents/s, {climber.waiting})"
        if climber.rounds:
            return f"--auto-tune settled on {found}; begin with them next time"
        return (
            f"--auto-tune had not tried everything when the load ended; best so far {found}; begin with them"
        )

    def _carry_out(self, setting: Setting) -> None:
        self._is_in_force = False
        self._queue.make_room(_room(setting))
        self._settings.limits = replace(self._settings.limits, documents=setting.batch_size)
        self._settings.insert_threads = setting.insert_threads
        if self._threads is not None:
            self._threads.resize(setting.insert_threads)


def auto_tune(
    options: LoadOptions,
    executor: ExecutorChoice,
    memory: Limit,
    settings: BatchSettings,
    queue: InsertQueue,
    threads: InsertThreads | None,
    most_threads: int | None,
) -> AutoTune | None:
    """Return what tunes a load, or None where it is not to be tuned.

    Args:
        options: as they were made to fit into ``memory``.
        executor: what is used; not auto.
        threads: None where a single thread does everything.
        most_threads: how many insert threads the target takes; None = any number.
    """
    if not options.auto_tune or options.dry_run:
        return None
    least = settings.insert_threads
    most = max(least, MOST_THREADS if most_threads is None else min(MOST_THREADS, most_threads))
    bounds = Bounds(
        batch_size=max(MOST_BATCH, options.batch_size),
        insert_threads=insert_threads_that_fit(options, executor, memory, least, most),
    )
    return AutoTune(settings, queue, threads, bounds)


def _room(setting: Setting) -> int:
    """Documents that the queue has to hold, so that no insert thread finds less than a batch."""
    return (setting.insert_threads + 1) * setting.batch_size
