"""Keeps a load's profile while it runs: clocks and latencies of batches, samples, and who watches.

The workers' clocks and the queue stay where they are; the recorder asks for them (:class:`Pipeline`) when a
sample is due or somebody wants the profile.  What it keeps is bounded, however long the load.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from xml_extractor.profiling.clocks import StageClocks
from xml_extractor.profiling.cpu import CpuMeter
from xml_extractor.profiling.document_latency import DocumentLatency
from xml_extractor.profiling.observer import CommittedBatch
from xml_extractor.profiling.observers import Observers
from xml_extractor.profiling.percentiles import LatencyHistogram
from xml_extractor.profiling.profile import InsertClocks, Latency, LoadProfile, Sample, WorkerProfile
from xml_extractor.profiling.samples import SampleSeries
from xml_extractor.threads import Thread

logger = logging.getLogger(__name__)

END_SECONDS: Final = 5.0
"""How long the sampler may take to end: what it does takes a millisecond."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a load stands at one moment."""

    documents: int = 0  # settled by this run: loaded, quarantined or skipped
    batches: int = 0
    queue_documents: int = 0
    queue_bytes: int = 0
    queue_capacity_documents: int = 0
    queue_capacity_bytes: int = 0
    batch_size: int = 0  # in force
    insert_threads: int = 0  # in force


class Pipeline(Protocol):
    """What a recorder asks of the load, at any time and from any thread."""

    def standing(self) -> Standing:
        """Return how the load stands."""

    def workers(self) -> Sequence[WorkerProfile]:
        """Return what each worker has done with its time."""

    def document_latency(self) -> DocumentLatency:
        """Return the times of single documents."""

    def process_ids(self) -> Collection[int]:
        """Return the ids of the worker processes."""


class Recorder:
    """The profile of one load in the making.  Thread-safe, save that :meth:`begin` comes before :meth:`end`.

    Args:
        observers: told of every batch.
        memory: returns the memory of all processes, as measured since it was last asked; None: it was not.
        now: the clock, in seconds.
    """

    def __init__(
        self,
        observers: Observers | None = None,
        memory: Callable[[], int | None] = lambda: None,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._observers = observers or Observers()
        self._memory = memory
        self._now = now
        self._pipeline: Pipeline | None = None
        self._cpu: CpuMeter | None = None
        self._started_at = datetime.now(UTC)
        self._started = now()
        self._seconds: float | None = None  # how long the load took; None: it runs
        self._cpu_seconds = 0.0
        self._inserting = InsertClocks()
        self._insert_latency = LatencyHistogram()
        self._interval_latencies = SampleSeries.latencies()
        self._series = SampleSeries()
        self._lock = threading.Lock()  # the clocks and the interval's latencies
        self._sampling = threading.Lock()  # the series and the meter: one sample at a time
        self._done = threading.Event()
        self._thread = Thread(self._run, name="xml-extractor-sampler")

    @property
    def insert_latency(self) -> LatencyHistogram:
        """The latencies of all batches."""
        return self._insert_latency

    @property
    def has_ended(self) -> bool:
        """Whether the profile is complete."""
        return self._seconds is not None

    # ---------------------------------------------------------------------------------- the load's calls

    def begin(self, pipeline: Pipeline) -> None:
        """Start the load's clock and the sampler."""
        self._pipeline = pipeline
        self._cpu = CpuMeter(pipeline.process_ids)
        self._started_at = datetime.now(UTC)
        self._started = self._now()
        self._sample()
        try:
            self._thread.start()
        except (RuntimeError, MemoryError):
            logger.debug("no thread for samples can be started: the profile has none")
        except BaseException:  # a Ctrl-C while the thread starts: nobody would end it
            self._done.set()
            raise

    def batch(self, batch: CommittedBatch) -> None:
        """Take in a committed batch, and tell the observers; in the thread that committed it."""
        # Where all documents were only looked at, nothing was inserted.
        if batch.attempts:
            self._insert_latency.record(batch.seconds)
        with self._lock:
            self._inserting = self._inserting + batch.clocks
            if batch.attempts:
                self._interval_latencies.record(batch.seconds)
        self._observers.batch(batch)

    def charge(self, clocks: InsertClocks) -> None:
        """Add what an insert thread spent outside of batches."""
        with self._lock:
            self._inserting = self._inserting + clocks

    def end(self) -> None:
        """End the sampler and the load's clock; harmless where nothing was begun, or when called again."""
        self._done.set()
        if self._pipeline is None or self.has_ended:
            return
        if self._thread.ident is not None:
            self._thread.join(END_SECONDS)
        self._seconds = self._now() - self._started
        try:
            self._sample()
        except Exception as error:  # the load's own end, good or bad, is the one to tell
            logger.warning("the last sample is missing (%s)", type(error).__name__, exc_info=error)

    # ---------------------------------------------------------------------------------- figures

    def profile(self) -> LoadProfile:
        """Return all figures so far; complete once the load has ended.

        Until then the last sample is of this very moment, without memory and latencies: in a long load the
        others are minutes apart.
        """
        pipeline = self._pipeline
        with self._sampling:
            samples = self._series.samples()
            cpu_seconds = self._cpu_seconds
            if not self.has_ended and self._cpu is not None:
                cpu_seconds = self._cpu.seconds()
        with self._lock:
            inserting = self._inserting
        documents = DocumentLatency() if pipeline is None else pipeline.document_latency()
        document_histogram = documents.histogram()
        standing = Standing() if pipeline is None else pipeline.standing()
        if pipeline is not None and not self.has_ended:
            samples += (self._moment(pipeline, standing, cpu_seconds, None),)
        return LoadProfile(
            started_at=self._started_at.isoformat(timespec="milliseconds"),
            seconds=self._elapsed(),
            samples=samples,
            workers=() if pipeline is None else tuple(pipeline.workers()),
            inserting=inserting,
            insert_latency=self._insert_latency.latency(),
            insert_histogram=self._insert_latency.buckets(),
            document_latency=document_histogram.latency(),
            document_histogram=document_histogram.buckets(),
            slowest=documents.slowest(),
            cpu_seconds=cpu_seconds,
            queue_capacity_documents=standing.queue_capacity_documents,
            queue_capacity_bytes=standing.queue_capacity_bytes,
        )

    def inserting(self) -> InsertClocks:
        """Return what the insert threads have done with their time so far."""
        with self._lock:
            return self._inserting

    def _elapsed(self) -> float:
        if self._pipeline is None:
            return 0.0
        return self._now() - self._started if self._seconds is None else self._seconds

    # ---------------------------------------------------------------------------------- the sampler

    def _run(self) -> None:
        due = self._started
        try:
            while True:
                # What a busy machine made late is not made up for.
                due = max(due + self._series.interval_seconds, self._now())
                if self._done.wait(due - self._now()):
                    return
                self._sample()
        except Exception as error:
            logger.warning("no more samples are taken (%s)", type(error).__name__, exc_info=error)

    def _sample(self) -> None:
        pipeline, cpu = self._pipeline, self._cpu
        assert pipeline is not None
        assert cpu is not None
        with self._sampling:
            standing = pipeline.standing()
            with self._lock:
                latencies, self._interval_latencies = self._interval_latencies, SampleSeries.latencies()
            sample = self._moment(pipeline, standing, cpu.seconds(), self._memory())
            self._series.add(sample, latencies)
            self._cpu_seconds = sample.cpu_seconds

    def _moment(
        self, pipeline: Pipeline, standing: Standing, cpu_seconds: float, memory_bytes: int | None
    ) -> Sample:
        return Sample(
            seconds=self._elapsed(),
            documents=standing.documents,
            batches=standing.batches,
            queue_documents=standing.queue_documents,
            queue_bytes=standing.queue_bytes,
            memory_bytes=memory_bytes,
            cpu_seconds=cpu_seconds,
            insert=Latency(),
            clocks=sum((worker.clocks for worker in pipeline.workers()), StageClocks()),
            batch_size=standing.batch_size,
            insert_threads=standing.insert_threads,
        )
