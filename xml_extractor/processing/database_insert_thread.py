"""The background thread that commits batches to the target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

from xml_extractor import failpoints
from xml_extractor.processing.insert_queue import BatchLimits, InsertQueue
from xml_extractor.processing.pipeline_state import PipelineState, PipelineStopped
from xml_extractor.target.base import BatchResult, BatchWriter
from xml_extractor.target.ranges import FinishedRange
from xml_extractor.threads import Thread


class DatabaseInsertThread:
    """Takes batches from the queue and commits each in one transaction, over a connection of its own.

    It converts nothing: records arrive in the form that the target takes.  When the target fails for
    good, the thread ends the pipeline, which wakes every worker that waits on the full queue.

    Args:
        number: counted from 1, for the thread's name.
        open_writer: opens the target; called in this thread.
        limits: when a batch closes.
        on_commit: told of every batch, in this thread: its result and the time (``perf_counter``) of
            its commit.
        take_finished: returns the ranges of keys that have been finished since it was last asked.
    """

    def __init__(
        self,
        number: int,
        open_writer: Callable[[], BatchWriter],
        queue: InsertQueue,
        limits: BatchLimits,
        state: PipelineState,
        on_commit: Callable[[BatchResult, float], None],
        take_finished: Callable[[], Sequence[FinishedRange]],
    ) -> None:
        self._open_writer = open_writer
        self._queue = queue
        self._limits = limits
        self._state = state
        self._on_commit = on_commit
        self._take_finished = take_finished
        self._writer: BatchWriter | None = None
        self.waiting_seconds = 0.0
        """How long it has waited for records: the target's idle time."""
        self.thread = Thread(self._run, name=f"xml-extractor-insert-{number}")
        state.on_end(self._abort)

    def _run(self) -> None:
        try:
            self._writer = writer = self._open_writer()
            while True:
                waiting = perf_counter()
                batch = self._queue.take_batch(self._limits)
                started = perf_counter()
                self.waiting_seconds += started - waiting
                if batch is None:
                    return
                failpoints.hit("queue_take")
                self._on_commit(writer.commit_batch(batch), perf_counter())
                if finished := self._take_finished():
                    writer.record_ranges(finished)
                failpoints.hit("after_acknowledge")
        except PipelineStopped:
            return
        except BaseException as error:  # noqa: BLE001 - whatever it is, the pipeline must hear of it
            self._state.fail(error)
        finally:
            if self._writer is not None:
                self._writer.close()

    def _abort(self) -> None:
        writer = self._writer
        if writer is not None:
            writer.abort()
