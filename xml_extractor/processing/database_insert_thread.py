"""The background thread that commits batches to the target."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from time import perf_counter

from xml_extractor import failpoints
from xml_extractor.processing.insert_queue import BatchSettings, InsertQueue
from xml_extractor.processing.pipeline_state import PipelineState, PipelineStopped
from xml_extractor.profiling.profile import InsertClocks
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
        settings: when a batch closes; read for each of them.
        on_commit: told of every batch, in this thread: its result, the time (``perf_counter``) of
            its commit, and the seconds that it was waited for.
        on_bookkeeping: told what was spent outside of batches.
        take_finished: returns the ranges of keys that have been finished since it was last asked.
        on_refused: for a thread that the load can do without: told, in this thread, if the target does not
            let it in; it then ends without having taken a batch, and the pipeline goes on.
    """

    def __init__(
        self,
        number: int,
        open_writer: Callable[[], BatchWriter],
        queue: InsertQueue,
        settings: BatchSettings,
        state: PipelineState,
        on_commit: Callable[[BatchResult, float, float], None],
        on_bookkeeping: Callable[[InsertClocks], None],
        take_finished: Callable[[], Sequence[FinishedRange]],
        on_refused: Callable[[Exception], None] | None = None,
    ) -> None:
        self._open_writer = open_writer
        self._queue = queue
        self._settings = settings
        self._state = state
        self._on_commit = on_commit
        self._on_bookkeeping = on_bookkeeping
        self._take_finished = take_finished
        self._on_refused = on_refused
        self._leaving = threading.Event()
        self.at_work = threading.Event()
        """Set once it takes batches."""
        self._writer: BatchWriter | None = None
        self.thread = Thread(self._run, name=f"xml-extractor-insert-{number}")
        state.on_end(self._abort)

    def leave(self) -> None:
        """End after the batch in hand; one that is still filling is committed as it is."""
        self._leaving.set()
        self._queue.wake()

    def leave_unconnected(self) -> bool:
        """End without having taken a batch, if it only connects and the load can do without it.

        Returns:
            Whether it does: nothing depends on it any more, however long the target says nothing to it.
        """
        if self._on_refused is None:
            return False
        self.leave()
        if self.at_work.is_set():  # it may have taken a batch before; from now on it takes none
            return False
        self._abort()
        return True

    def _run(self) -> None:
        try:
            self._writer = writer = self._open_writer()
            if not self._is_let_in(writer):
                return
            self.at_work.set()
            while True:
                waiting = perf_counter()
                batch = self._queue.take_batch(self._settings.limits, self._leaving)
                waited = perf_counter() - waiting
                if batch is None:
                    self._on_bookkeeping(InsertClocks(wait=waited))
                    return
                failpoints.hit("queue_take")
                result = writer.commit_batch(batch)
                self._on_commit(result, perf_counter(), waited)
                if finished := self._take_finished():
                    started = perf_counter()
                    writer.record_ranges(finished)
                    self._on_bookkeeping(InsertClocks(claim=perf_counter() - started))
                failpoints.hit("after_acknowledge")
        except PipelineStopped:
            return
        except BaseException as error:  # noqa: BLE001 - whatever it is, the pipeline must hear of it
            self._state.fail(error)
        finally:
            if self._writer is not None:
                self._writer.close()
            self._state.off_end(self._abort)

    def _is_let_in(self, writer: BatchWriter) -> bool:
        """Connect at once, where being refused is no failure; others do so at their first batch, with
        retries."""
        if self._on_refused is None:
            return True
        try:
            # Nobody may have met the writer to abort it.
            if self._state.ended.is_set() or self._leaving.is_set():
                raise PipelineStopped
            writer.connect()
        except PipelineStopped:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the load goes on without this thread
            self._on_refused(error)
            return False
        return True

    def _abort(self) -> None:
        writer = self._writer
        if writer is not None:
            writer.abort()
