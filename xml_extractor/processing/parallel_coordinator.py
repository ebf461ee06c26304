"""Runs a load: starts every stage, watches over them, and counts what came of it.

    keys ──chunks──▶ workers (threads or processes) ──records──▶ InsertQueue ──batches──▶ insert threads

Who waits for whom: the dispatcher waits when the workers have enough chunks, the workers when the queue
is full or no documents have arrived, the insert threads when no batch is ready.  Every one of these waits
ends when the pipeline does (:class:`PipelineState`), whoever ended it.  The calling thread starts the
stages, shows progress and waits; it is the one that signals reach.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain

from xml_extractor import failpoints
from xml_extractor.contract.plan import Plan
from xml_extractor.engines.base import Engine
from xml_extractor.errors import HaltedError, LoaderError, WorkerError
from xml_extractor.mapping.records import Key, Previous
from xml_extractor.processing.auto_tune import AutoTune, auto_tune
from xml_extractor.processing.channel import Channel
from xml_extractor.processing.chunks import Chunk
from xml_extractor.processing.circuit_breaker import CircuitBreaker
from xml_extractor.processing.database_insert_thread import DatabaseInsertThread
from xml_extractor.processing.drift_guard import DriftGuard
from xml_extractor.processing.executor_choice import ExecutorChoice, choose_executor
from xml_extractor.processing.insert_queue import BatchLimits, BatchSettings, InsertQueue
from xml_extractor.processing.insert_threads import InsertThreads, Refused
from xml_extractor.processing.key_stage import KeyStage
from xml_extractor.processing.load_counts import LoadCounts
from xml_extractor.processing.load_figures import LoadFigures, committed_batch
from xml_extractor.processing.look_ahead import LookAhead, documents_to_time, look_ahead
from xml_extractor.processing.mapping_documents import OUT_OF_MEMORY, is_out_of_memory
from xml_extractor.processing.memory_budget import fitted_options, memory_limit, processes_fit
from xml_extractor.processing.pending_keys import GivenKeys, PendingKeys
from xml_extractor.processing.pipeline_state import PipelineState, PipelineStopped
from xml_extractor.processing.process_workers import ProcessWorkers
from xml_extractor.processing.ranges import RangeTracker
from xml_extractor.processing.serial_run import SerialCalls, SerialRun
from xml_extractor.processing.thread_workers import ThreadWorkers
from xml_extractor.processing.throttle import Throttle
from xml_extractor.processing.watch import Watch
from xml_extractor.processing.worker_setup import WorkerSetup
from xml_extractor.profiling.profile import LoadProfile
from xml_extractor.profiling.progress import Progress
from xml_extractor.profiling.recorder import Recorder
from xml_extractor.profiling.summary import LoadSummary
from xml_extractor.settings import ExecutorChoice as ExecutorSetting
from xml_extractor.settings import KeysWhen, LoadOptions
from xml_extractor.source.reader import SourceReader
from xml_extractor.target.base import BatchResult, BatchWriter, LoadHandle, Target
from xml_extractor.target.files import CountingWriter
from xml_extractor.target.owed_keys import key_tables
from xml_extractor.target.ranges import FinishedRange
from xml_extractor.threads import Thread

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.1
"""How often the calling thread looks at the stages: also the longest that a signal waits on platforms
where a blocked main thread does not see it."""

LET_GO_SECONDS = 2.0
"""How long a load that is done waits for insert threads that it no longer wants and that still connect."""

END_SECONDS = 8.0
"""How long the stages may take to end after the pipeline has: less than the 10 s of law 6."""


class ParallelCoordinator:
    """Runs one load from pending keys to committed batches.

    Args:
        source: the database that holds the documents; the caller has checked that it can be read safely
            (``SourceReader.check``), before the target was prepared.
        load: the prepared target (``Target.prepare``); the caller finishes and closes it.
        keys: instead of all pending keys of the source: these, with what the ledger says of them.
        recorder: keeps the load's profile; it begins and ends with :meth:`run`.

    :meth:`stop` and :meth:`abort` may be called from any thread and from signal handlers; everything else
    belongs to one thread.
    """

    def __init__(
        self,
        source: Engine,
        target: Target,
        load: LoadHandle,
        plan: Plan,
        options: LoadOptions,
        progress: Progress | None = None,
        keys: Iterable[tuple[Key, Previous]] | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self._target = target
        self._load = load
        self._plan = plan
        self._options = options
        self._progress = progress or Progress()
        self._keys = keys
        self._state = PipelineState()
        self._throttle = Throttle(options.throttle, self._state.stopping.wait)
        self._counts = LoadCounts([table.name for table in plan.tables])
        # What is named by the caller is in quarantine already, and a dry run puts nothing there.
        watched = keys is None and not options.dry_run
        self._breaker = CircuitBreaker(options.max_quarantined if watched else None)
        self._ranges = RangeTracker()
        self._queue = InsertQueue(self._state, options.queue_size, options.queue_bytes)
        self._setup = WorkerSetup(
            source=source,
            plan=plan,
            load_started_at=load.started_at,
            encoder=load.encoder,
            needs_hash=target.needs_hash,
            retry_seconds=options.retry_seconds,
        )
        self._memory = memory_limit(options)
        most = target.max_insert_threads
        self._insert_threads = options.insert_threads if most is None else min(options.insert_threads, most)
        self._auto_tune: AutoTune | None = None
        self._recorder = recorder or Recorder()
        self._figures = LoadFigures(
            load, options, self._recorder, self._counts, self._throttle, most, self._queue,
            self._batch_settings(),
        )  # fmt: skip

    # ---------------------------------------------------------------------------------- control

    def stop(self, signal_number: int) -> None:
        """Stop gracefully: dispatch nothing more, commit what is in flight, then end."""
        self._figures.stopped_by = signal_number
        self._state.stopping.set()

    def abort(self) -> None:
        """Stop at once: batches that are not committed are rolled back; they stay pending."""
        self._state.abort()

    # ---------------------------------------------------------------------------------- the run

    def run(self) -> LoadSummary:
        """Run the load and return its figures, checked (law 3).

        Raises:
            SourceError, TargetError, WorkerError: a stage failed for good; what was committed stays, and
                :meth:`summary` still tells what that is.
            HaltedError: the drift guard or the circuit breaker ended the load; likewise.
        """
        self._figures.started = time.perf_counter()
        reader = self._setup.make_reader()
        self._state.on_end(reader.abort)
        self._state.on_end(self._load.abort)
        try:
            self._recorder.begin(self._figures)
            reader.open()
            options = self._options
            pending = self._figures.pending = (
                PendingKeys(
                    reader,
                    self._load,
                    options,
                    self._plan.digest,
                    self._state,
                    self._throttle,
                    self._ranges,
                    self._show_progress,
                )
                if self._keys is None
                else GivenKeys(self._keys, self._state, self._throttle)
            )
            total = pending.total()
            self._progress.start(total)
            chunks = iter(pending)
            ahead = self._look_ahead(chunks)
            self._try_sample(reader, ahead)
            self._note_what_has_no_effect()
            self._choose(reader, ahead, total)
            self._fit_memory()
            todo = chain(ahead.chunks, chunks)
            if self._figures.choice.executor == ExecutorSetting.SERIAL.value or not self._run_in_parallel(
                todo
            ):
                self._run_serially(reader, todo)
            self._build_keys(reader)
            if self._keys is None:  # else they are counted, as far as they were named
                self._figures.newer_in_quarantine = self._load.newer_in_quarantine()
        except (PipelineStopped, LoaderError):
            # What fails because the pipeline has ended is not the cause of its end.
            if not self._state.ended.is_set():
                raise
        except BaseException as error:
            self._state.fail(error)  # whatever has been started ends with it
            raise
        finally:
            self._recorder.end()  # first: it does not raise, and nobody else ends its thread
            if self._auto_tune is not None:
                self._note(self._auto_tune.outcome())
            reader.close()
            self._progress.finish()
        failure = self._state.failure
        if failure is not None and is_out_of_memory(failure):
            raise WorkerError(OUT_OF_MEMORY) from failure
        if failure is not None:
            raise failure
        summary = self.summary()
        summary.check(complete=not self._state.stopping.is_set())
        if self._breaker.tripped:
            raise self._breaker.error(*self._counts.refusals())
        return summary

    def _look_ahead(self, chunks: Iterator[Chunk]) -> LookAhead:
        """Return the first pending documents, if anybody is to judge the load by them."""
        sampled = self._options.drift_sample if self._keys is None else 0
        if not sampled and self._options.executor is not ExecutorSetting.AUTO:
            return LookAhead()
        return look_ahead(chunks, sampled)

    def _try_sample(self, reader: SourceReader, ahead: LookAhead) -> None:
        """Halt before the first document where a sample says that too many would be refused."""
        options = self._options
        if self._keys is not None or not options.drift_sample:
            return  # a replay's documents are in quarantine already
        guard = DriftGuard(self._setup, reader, self._load, options, self._state, self._throttle)
        report = guard.judge(ahead.chunks, is_all=ahead.is_all)
        if report is not None:
            if not options.dry_run:
                raise HaltedError(report.text())
            self._note(f"without --dry-run this load would be {report.headline()}")

    def _note_what_has_no_effect(self) -> None:
        """Say which settings this target has no use for."""
        target, options = self._target, self._options
        if self._insert_threads < options.insert_threads:
            self._note(
                f"{target.display} takes {self._insert_threads} insert thread(s) at most, "
                f"not {options.insert_threads}"
            )
        if options.keys_when is KeysWhen.AFTER and not target.has_keys:
            self._note(f"--keys after has no effect: {target.display} has no keys")

    def _choose(self, reader: SourceReader, ahead: LookAhead, total: int | None) -> None:
        """Settle on an executor."""
        options = self._options
        if options.executor is not ExecutorSetting.AUTO:
            return
        if options.workers > 1 and not processes_fit(options, self._insert_threads, self._memory):
            self._figures.choice = ExecutorChoice("thread", "two worker processes do not fit into the memory")
            self._note(f"executor thread: {self._figures.choice.reason}")
            return
        sample = documents_to_time(reader, ahead, self._throttle)
        assert self._figures.pending is not None
        estimate = self._figures.pending.pending_estimate(total)
        with Watch(options.worker_timeout, self._state) as watch:
            self._figures.choice = choose_executor(
                self._setup, sample, estimate, options.workers, options.throttle, self._state, watch
            )
        if self._figures.choice.workers is not None:
            options = options.model_copy(update={"workers": self._figures.choice.workers})
            self._options = self._figures.options = options
        if ahead.chunks:
            self._note(f"executor {self._figures.choice.executor}: {self._figures.choice.reason}")

    def _fit_memory(self) -> None:
        """Make queue, batches and workers small enough for the memory that the load may take."""
        options = self._options
        wanted = ExecutorSetting(self._figures.choice.executor)
        options, executor, steps = fitted_options(options, wanted, self._insert_threads, self._memory)
        for step in steps:
            self._note(step)
        if executor is not wanted:
            self._figures.choice = ExecutorChoice(
                executor.value, "worker processes do not fit into the memory"
            )
        self._options = self._figures.options = options
        self._queue = InsertQueue(self._state, options.queue_size, options.queue_bytes)
        self._figures.queue, self._figures.settings = self._queue, self._batch_settings()

    def _batch_settings(self) -> BatchSettings:
        options = self._options
        limits = BatchLimits(options.batch_size, options.batch_bytes, options.batch_seconds)
        return BatchSettings(limits, self._insert_threads)

    def _count(self, result: BatchResult, committed_at: float, waited: float) -> None:
        """Count a committed batch, from whichever thread committed it.

        Args:
            committed_at: perf_counter time.
            waited: seconds that the thread waited for the batch.
        """
        self._ranges.settle(result.settled)
        self._counts.add_batch(result, committed_at)
        self._recorder.batch(committed_batch(result, waited, self._plan))
        if self._auto_tune is not None:
            self._auto_tune.batch(result, committed_at, waited)
        if self._breaker.look(*self._counts.refusals()):
            self._state.stopping.set()  # as after a signal: what is in flight is still committed

    def _note_vanished(self, keys: Collection[Key]) -> None:
        self._ranges.vanish(keys)
        self._counts.add_vanished(len(keys))

    def take_finished_ranges(self) -> list[FinishedRange]:
        """Return ranges of keys that were finished and that no insert thread has written down."""
        return self._ranges.take_finished()

    def _note(self, text: str) -> None:
        logger.info("%s", text)
        self._figures.notes.append(text)

    # ---------------------------------------------------------------------------------- in parallel

    def _run_in_parallel(self, chunks: Iterable[Chunk]) -> bool:
        """Run all stages; false: the system has no threads for them, and nothing was done."""
        options, state = self._options, self._state
        channel: Channel[Chunk] = Channel(
            state, capacity_items=options.workers, capacity_bytes=options.workers
        )
        pool_class = ProcessWorkers if self._figures.choice.executor == "process" else ThreadWorkers
        watch = Watch(options.worker_timeout, state)
        workers = pool_class(
            options.workers, self._setup, channel, self._queue, state, self._note_vanished, watch,
            self._figures.notes.append,
        )  # fmt: skip
        self._figures.pool = workers
        inserters = InsertThreads(self._inserter, may_be_refused=options.auto_tune)
        self._tune(inserters)
        dispatcher = Thread(self._dispatch, args=(chunks, channel), name="xml-extractor-dispatcher")
        connecting: list[Thread] = []
        try:
            with watch:
                try:
                    inserters.start(self._insert_threads)
                    workers.start()
                    dispatcher.start()
                except (RuntimeError, MemoryError) as error:
                    self._note(f"no threads can be started for a parallel load ({error}): it runs serially")
                    self._figures.choice = ExecutorChoice(
                        ExecutorSetting.SERIAL.value, "no threads can be started"
                    )
                    channel.close()
                self._wait([dispatcher, *workers.threads], self._auto_tune)
                self._queue.close()
                connecting = inserters.dismiss_unconnected()
                self._wait(inserters.threads)
        except BaseException as error:
            state.fail(error)
            raise
        finally:
            self._see_off([dispatcher, *workers.threads, *inserters.threads])
            self._let_go(connecting)
        return dispatcher.ident is not None

    def _inserter(self, number: int, on_refused: Refused | None) -> DatabaseInsertThread:
        return DatabaseInsertThread(
            number, lambda: self._open_writer(number), self._queue, self._figures.settings, self._state,
            self._count, self._recorder.charge, self._ranges.take_finished, on_refused,
        )  # fmt: skip

    def _tune(self, inserters: InsertThreads | None) -> None:
        """Have the load tuned from now on, if that is wanted."""
        self._auto_tune = auto_tune(
            self._options, ExecutorSetting(self._figures.choice.executor), self._memory,
            self._figures.settings, self._queue, inserters, self._target.max_insert_threads,
        )  # fmt: skip
        if self._options.auto_tune and self._auto_tune is None:
            self._note("--auto-tune: a dry run inserts nothing, so there is nothing to tune")

    def _open_writer(self, number: int) -> BatchWriter:
        if self._options.dry_run:
            return CountingWriter(len(self._plan.tables))
        return self._load.writer(number)

    def _dispatch(self, chunks: Iterable[Chunk], channel: Channel[Chunk]) -> None:
        try:
            for chunk in chunks:
                if not chunk.keys:
                    continue
                failpoints.hit("dispatcher")
                if not self._throttle.take(len(chunk.keys)) or self._state.stopping.is_set():
                    break
                channel.put(chunk, 1)
                self._counts.dispatched(len(chunk.keys))
            channel.close()
        except PipelineStopped:
            return
        except BaseException as error:  # noqa: BLE001 - whatever it is, the pipeline must hear of it
            self._state.fail(error)

    def _wait(self, threads: Sequence[threading.Thread], auto_tune: AutoTune | None = None) -> None:
        """Wait until all these threads have ended, or the pipeline has; tune it meanwhile."""
        for thread in threads:
            while thread.is_alive() and not self._state.ended.is_set():
                thread.join(POLL_SECONDS)
                self._show_progress()
                if auto_tune is not None:
                    auto_tune.look()
        if self._state.ended.is_set():
            raise PipelineStopped

    def _see_off(self, threads: list[threading.Thread]) -> None:
        """After the pipeline has ended: give its threads a bounded time to notice."""
        deadline = time.monotonic() + END_SECONDS
        for thread in threads:
            if thread.ident is None:
                continue  # it was never started
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                # Daemon threads: they cannot keep the program alive, and have nothing left to commit.
                logger.error("%s has not ended within %.0f s and is left behind", thread.name, END_SECONDS)

    def _let_go(self, connecting: Sequence[Thread]) -> None:
        """Insert threads that ``--auto-tune`` added, and that the target has not let in yet, hold nothing."""
        deadline = time.monotonic() + LET_GO_SECONDS
        for thread in connecting:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                logger.warning(
                    "%s still waits for the target to let it in, and is left behind: it has nothing to "
                    "commit, and ends when the target answers or --connect-seconds are over", thread.name,
                )  # fmt: skip

    # ---------------------------------------------------------------------------------- serially

    def _run_serially(self, reader: SourceReader, chunks: Iterable[Chunk]) -> None:
        """Everything in one thread, one batch after another; this one watches."""
        calls = SerialCalls(
            lambda: self._open_writer(1),
            self._counts.dispatched,
            self._note_vanished,
            self._count,
            self._recorder.charge,
            self._ranges.take_finished,
        )
        options, state = self._options, self._state
        with Watch(options.worker_timeout, state) as watch:
            self._tune(None)
            settings = self._figures.settings
            serial = SerialRun(self._setup, reader, chunks, settings, state, self._throttle, watch, calls)
            self._figures.pool = serial
            try:
                serial.thread.start()
            except RuntimeError:  # the system has no more threads
                serial.run()
            try:
                self._wait([serial.thread], self._auto_tune)
            except BaseException as error:
                state.fail(error)
                raise
            finally:
                self._see_off([serial.thread])

    # ---------------------------------------------------------------------------------- keys

    def _build_keys(self, reader: SourceReader) -> None:
        """Build the keys that tables are owed, unless the run was stopped before all documents were in."""
        owed, options = self._load.owed_keys, self._options
        if options.keys_when is KeysWhen.AFTER and self._load.load_id and not options.dry_run:
            owing = () if owed is None else owed.tables
            others = [name for name in key_tables(self._plan) if name not in owing]
            if others:
                self._note(f"--keys after: {', '.join(others)} were there before, and keep their keys")
        if owed is None or options.dry_run or self._state.stopping.is_set():
            return
        stage = KeyStage(
            owed, options, self._insert_threads, self._state, self._counts, self._figures, self._breaker,
            reader, reads_all=self._keys is None,
        )  # fmt: skip
        try:
            stage.run(self._progress, self._note)
        except BaseException as error:
            self._state.fail(error)
            raise
        finally:
            self._see_off([stage.thread])
        if self._state.ended.is_set():
            raise PipelineStopped

    # ---------------------------------------------------------------------------------- figures

    def _show_progress(self) -> None:
        self._progress.update(self._figures.documents(), self._queue.depth().now)

    def summary(self) -> LoadSummary:
        """Return the figures of the run as it stands.  Thread-safe, at any time."""
        return self._figures.summary()

    def profile(self) -> LoadProfile:
        """Return the run's profile, as far as it has come.  Thread-safe, at any time."""
        return self._recorder.profile()
