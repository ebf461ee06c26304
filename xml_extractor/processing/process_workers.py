"""Workers as processes: each fetches, maps and encodes its own chunks, and may die without harm.

Every worker process has one thread in this process that feeds it (*its feeder*).  The feeder knows which
documents it has sent out and which have come back, so that a process that ends, for whatever reason,
costs nothing: what had not come back is sent again, one document at a time, to a new process.  A document
that ends processes, or stalls them, while it is the only one in flight is quarantined.  How many processes
there are, and when threads take over from them, :class:`PoolHealth` says.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from xml_extractor.mapping.records import DocumentRecord, Key
from xml_extractor.processing.channel import Channel
from xml_extractor.processing.chunks import Chunk
from xml_extractor.processing.endings import Ending
from xml_extractor.processing.insert_queue import InsertQueue
from xml_extractor.processing.mapping_documents import refused
from xml_extractor.processing.pipeline_state import PipelineState, PipelineStopped
from xml_extractor.processing.pool_health import PoolHealth, Verdict
from xml_extractor.processing.pulse import Reading
from xml_extractor.processing.thread_workers import ThreadWorkers
from xml_extractor.processing.watch import Silence, Watch
from xml_extractor.processing.worker_link import CannotStart, WorkerLink
from xml_extractor.processing.worker_process import Failed, Mapped, NotStarted, Ready
from xml_extractor.processing.worker_setup import WorkerSetup
from xml_extractor.profiling.clocks import StageClocks
from xml_extractor.profiling.document_latency import DocumentLatency
from xml_extractor.profiling.profile import WorkerProfile
from xml_extractor.threads import Thread

logger = logging.getLogger(__name__)

CHUNKS_IN_FLIGHT: Final = 2
"""Chunks a process has at once: one to map, one whose documents it fetches meanwhile."""

START_SECONDS: Final = 60.0
"""How long a process may take, at least, to start: on a busy machine with cold disks several seconds."""

RETRY_START_SECONDS: Final = 0.2
"""Between a process that could not be started and the next attempt."""


@dataclass(slots=True)
class _InFlight:
    """A chunk that has been sent out, and what has not come back of it (in order)."""

    chunk: Chunk
    remaining: dict[Key, None]

    def rest(self) -> Chunk:
        return _part(self.chunk, tuple(self.remaining))


class ProcessWorkers:
    """N worker processes, each with its feeder thread.  Arguments as for ``ThreadWorkers``."""

    def __init__(
        self,
        count: int,
        setup: WorkerSetup,
        chunks: Channel[Chunk],
        queue: InsertQueue,
        state: PipelineState,
        on_vanished: Callable[[Collection[Key]], None],
        watch: Watch,
        note: Callable[[str], None],
    ) -> None:
        self._setup = setup
        self._chunks = chunks
        self._queue = queue
        self._state = state
        self._on_vanished = on_vanished
        self._watch = watch
        self._note = note
        self._count = count
        self._threads_instead: ThreadWorkers | None = None
        self.document_latency = DocumentLatency()
        health = PoolHealth(count, chunks, note)
        self._feeders = [
            _Feeder(
                number,
                setup,
                chunks,
                queue,
                state,
                on_vanished,
                watch,
                health,
                self._go_on_with_threads,
                self.document_latency,
            )
            for number in range(1, count + 1)
        ]
        self.threads = [feeder.thread for feeder in self._feeders]

    def start(self) -> None:
        """Start all feeders; each starts its process.

        Raises:
            RuntimeError: the system has no more threads; those that were started end with the channel.
        """
        for feeder in self._feeders:
            feeder.thread.start()
            self._watch.add(feeder)

    def profiles(self) -> list[WorkerProfile]:
        """Return what each worker did, over all the processes that it has been."""
        instead = self._threads_instead
        threads = [] if instead is None else instead.profiles()
        return [feeder.profile() for feeder in self._feeders] + [
            replace(thread, name=f"{thread.name} (thread)") for thread in threads
        ]

    @property
    def startup_seconds(self) -> float:
        """How long it took from the start until the first process could map documents."""
        return min((feeder.startup_seconds for feeder in self._feeders), default=0.0)

    def process_ids(self) -> list[int]:
        """Return the ids of the processes that are running."""
        return [pid for feeder in self._feeders if (pid := feeder.process_id()) is not None]

    def last_process_ids(self) -> list[int]:
        """Return the ids of processes that are running, or have ended and are not seen off yet."""
        return [pid for feeder in self._feeders if (pid := feeder.last_process_id()) is not None]

    def _go_on_with_threads(self) -> None:
        """Do with threads what is left; called by the last feeder, in its thread."""
        workers = self._threads_instead = ThreadWorkers(
            self._count, self._setup, self._chunks, self._queue, self._state, self._on_vanished,
            self._watch, self._note, self.document_latency,
        )  # fmt: skip
        workers.run_to_the_end()


class _Feeder:
    def __init__(
        self,
        number: int,
        setup: WorkerSetup,
        chunks: Channel[Chunk],
        queue: InsertQueue,
        state: PipelineState,
        on_vanished: Callable[[Collection[Key]], None],
        watch: Watch,
        health: PoolHealth,
        go_on_with_threads: Callable[[], None],
        document_latency: DocumentLatency,
    ) -> None:
        self._name = f"xml-extractor-worker-{number}"
        self._setup = setup
        self._chunks = chunks
        self._queue = queue
        self._state = state
        self._on_vanished = on_vanished
        self._watch = watch
        self._health = health
        self._go_on_with_threads = go_on_with_threads
        self._document_latency = document_latency
        self._link: WorkerLink | None = None
        self._is_ready = False
        self._not_started: str | None = None  # what the process said of it
        self._in_flight: deque[_InFlight] = deque()
        self._again: deque[Chunk] = deque()  # sent before to a process that has ended
        self._chunks_done = 0  # by the process that runs
        self._waits = False  # for the process, and for nothing else
        self._document_silence = Silence()
        self._process_silence = Silence()
        self._stuck: tuple[WorkerLink, Ending] | None = None  # what the watch has ended, and why
        self.startup_seconds = 0.0  # until the first process was ready
        self._started = 0.0
        self._clocks = StageClocks()  # of all processes so far; read by others at any moment
        self._past_clocks = StageClocks()  # of those that have ended
        self._documents = 0  # that have come back
        self.thread = Thread(self._run, name=f"{self._name}-feeder")
        state.on_end(self._kill)

    def profile(self) -> WorkerProfile:
        return WorkerProfile(self._name, self._documents, self._clocks)

    def last_process_id(self) -> int | None:
        link = self._link
        return None if link is None else link.last_process_id

    def process_id(self) -> int | None:
        link = self._link
        return None if link is None else link.process_id

    # ------------------------------------------------------------------------------ the feeder's thread

    def _run(self) -> None:
        self._started = time.perf_counter()
        try:
            self._feed()
        except PipelineStopped:
            pass
        except BaseException as error:  # noqa: BLE001 - whatever it is, the pipeline must hear of it
            self._state.fail(error)
        finally:
            self._watch.discard(self)
            self._kill()
            self._bury()

    def _feed(self) -> None:
        """Feed one process after another until nothing is left to do, or others do it."""
        while True:
            if self._state.ended.is_set():
                raise PipelineStopped
            verdict = self._health.verdict()
            if not self._in_flight:
                if verdict is Verdict.LEAVE and self._health.leave(self._again):
                    self._dismiss()
                    return
                if verdict is Verdict.THREADS and self._has_no_suspects():
                    self._dismiss()
                    self._chunks.put_back(self._again)
                    self._again.clear()
                    self._go_on_with_threads()
                    return
            if self._link is None:
                self._start_process()
                continue
            self._send_chunks(verdict)
            if self._in_flight:
                if self._link is not None:
                    self._receive(self._link)
            elif verdict is Verdict.STAY and not self._again:
                chunk = self._health.finish()
                if chunk is None:
                    self._dismiss()
                    return
                self._again.append(chunk)

    def _send_chunks(self, verdict: Verdict) -> None:
        """Keep the process busy, as far as the verdict allows; nothing in flight: nothing is left to do."""
        while len(self._in_flight) < CHUNKS_IN_FLIGHT:
            chunk = self._next_chunk(verdict)
            if chunk is None:
                return
            is_suspect = self._health.is_suspect(chunk.keys[0])
            if self._in_flight and is_suspect:  # another feeder has put it back
                self._again.appendleft(chunk)
                return
            if not self._send(chunk):
                # The process has ended without this chunk; what it has said before is still to be read.
                self._again.appendleft(chunk)
                if not self._in_flight:
                    self._take_leave()
                return
            self._in_flight.append(_InFlight(chunk, dict.fromkeys(chunk.keys)))
            if is_suspect:
                return

    def _next_chunk(self, verdict: Verdict) -> Chunk | None:
        if verdict is Verdict.LEAVE:
            return None
        if verdict is Verdict.THREADS:
            # Only what must be tried alone in a process before threads may take it.
            suspects = [chunk for chunk in self._again if self._health.is_suspect(chunk.keys[0])]
            if not suspects or self._in_flight:
                return None
            self._again.remove(suspects[0])
            return suspects[0]
        if self._again:
            # After an end only one chunk is out at a time, so that the culprit can be known.
            return None if self._in_flight else self._again.popleft()
        return self._chunks.get_nowait() if self._in_flight else self._chunks.get()

    def _has_no_suspects(self) -> bool:
        """Whether threads may take over; the last feeder looks through all that there is."""
        while (chunk := self._chunks.get_nowait()) is not None:
            self._again.append(chunk)
        suspects = [chunk for chunk in self._again if self._health.is_suspect(chunk.keys[0])]
        if not suspects or self._health.can_start:
            return not suspects
        for chunk in suspects:
            self._again.remove(chunk)
            self._refuse(
                chunk, "worker_died",
                "a worker process ended while it had this document in hand among others, and no further "
                "process could be started to try it alone; replay it with --executor process",
            )  # fmt: skip
            self._health.drop(chunk.keys)
        return True

    def _receive(self, link: WorkerLink) -> None:
        self._waits = True
        try:
            message = link.receive()
        finally:
            self._waits = False
        if message is None:
            self._take_leave()
        elif isinstance(message, Ready):
            self._is_ready = True
            self._health.started()
            self.startup_seconds = self.startup_seconds or time.perf_counter() - self._started
        elif isinstance(message, NotStarted):
            self._not_started = message.reason
        elif isinstance(message, Failed):
            raise message.error
        elif isinstance(message, Mapped):
            self._take_in(message)

    def _take_in(self, message: Mapped) -> None:
        current = self._in_flight[0]
        self._clocks = self._past_clocks + message.clocks
        keys = [record.key for record in message.records]
        for key in (*keys, *message.vanished):
            del current.remaining[key]
        if message.vanished:
            self._on_vanished(message.vanished)
        if message.is_last:
            self._in_flight.popleft()
            self._chunks_done += 1
        if message.times is not None:
            self._document_latency.add(message.times)
        self._documents += len(keys)
        if message.records:
            self._queue.put(message.records)
        self._health.settled((*keys, *message.vanished), len(keys))

    # ------------------------------------------------------------------------------ the process

    def _start_process(self) -> None:
        self._is_ready = False
        self._not_started = None
        self._chunks_done = 0
        try:
            self._link = WorkerLink(self._name, self._watch.interval_seconds)
        except CannotStart as error:
            logger.warning("%s cannot be started: %s", self._name, error)
            self._health.start_failed(str(error))
            self._state.ended.wait(RETRY_START_SECONDS)
            return
        if self._state.ended.is_set():  # ended while we were starting: nobody else will kill it
            raise PipelineStopped
        # Not as an argument of the process: what is written to one that dies while it starts, and does not
        # fit into the pipe (64 KiB), would be waited for without end, as multiprocessing holds the pipe's
        # other end open itself.
        if not self._send(self._setup):
            self._take_leave()

    def _send(self, chunk: WorkerSetup | Chunk) -> bool:
        assert self._link is not None
        self._waits = True
        try:
            return self._link.send(chunk)
        finally:
            self._waits = False

    def _take_leave(self) -> None:
        """Bury a process that has ended, and lay ready what has not come back from it."""
        if self._state.ended.is_set():
            raise PipelineStopped
        link, stuck = self._link, self._stuck
        ending = Ending(self._bury())
        if stuck is not None and stuck[0] is link:
            ending = replace(stuck[1], exit_code=ending.exit_code)
        self._past_clocks = self._clocks
        unfinished = [out for out in self._in_flight if out.remaining]
        self._in_flight.clear()
        logger.warning(
            "%s ended (%s) with %d documents in hand; a new one takes them up",
            self._name, self._not_started or ending.words, sum(len(out.remaining) for out in unfinished),
        )  # fmt: skip
        again = [out.rest() for out in unfinished]
        if not self._is_ready:
            self._health.start_failed(self._not_started or ending.words)
        elif not unfinished or (ending.is_stuck and ending.stuck_key not in unfinished[0].remaining):
            self._health.ended_idle(ending)
        else:
            again[:1] = self._suspect(unfinished[0], ending)
        # What the process was working on comes first, then what it had not begun.
        self._again.extendleft(reversed(again))

    def _suspect(self, out: _InFlight, ending: Ending) -> list[Chunk]:
        """Return in which parts the chunk that a process ended over is to be tried again."""
        accused = tuple(out.remaining) if ending.stuck_key is None else (ending.stuck_key,)
        proved = self._health.accuse(accused, ending, alone=len(out.chunk.keys) == 1)
        parts = [_part(out.chunk, (key,)) for key in accused]
        others = tuple(key for key in out.remaining if key not in accused)
        if proved:
            logger.warning("document %r goes to quarantine: %s", accused[0], ending.code)
            self._refuse(parts.pop(), ending.code, _accusation(ending))
        return parts + ([_part(out.chunk, others)] if others else [])

    def _refuse(self, chunk: Chunk, code: str, message: str) -> None:
        """Put the one document of a chunk into quarantine."""
        record: DocumentRecord = refused(chunk.keys[0], chunk.previous.get(chunk.keys[0]), code, message)
        self._documents += 1
        self._queue.put([record])

    def _dismiss(self) -> None:
        """Tell the process to go, and see it off."""
        if self._link is not None and self._link.send(None):
            self._bury()

    def _bury(self) -> int | None:
        """Wait until the process is gone and return its exit code."""
        link, self._link = self._link, None
        return None if link is None else link.bury()

    def _kill(self) -> None:
        """End the process at once; called from any thread when the pipeline ends."""
        link = self._link
        if link is not None:
            link.kill()

    # ------------------------------------------------------------------------------ the watch's thread

    def look(self, seconds: float) -> None:
        """End the process if it shows no life, or has been at one document for too long."""
        link = self._link
        if link is None or not self._waits or (self._stuck is not None and self._stuck[0] is link):
            self._process_silence.observe(None, seconds)
            self._document_silence.observe(None, seconds)
            return
        pulse = link.read_pulse()
        timeout = self._watch.timeout_seconds
        at_document = self._document_silence.observe(pulse.beats if pulse.is_busy else None, seconds)
        silent = self._process_silence.observe((link, self._is_ready, pulse.ticks), seconds)
        if at_document < timeout and silent < (timeout if self._is_ready else max(timeout, START_SECONDS)):
            return
        key = self._key_in_work(pulse)
        what = "starting" if not self._is_ready else "silent" if key is None else f"at document {key!r}"
        silent = max(at_document, silent)
        logger.error(
            "%s has been %s for %.0f s (--worker-timeout) and is killed; its threads are here:\n%s",
            self._name, what, silent, link.stack(),
        )  # fmt: skip
        self._stuck = link, Ending(None, is_stuck=True, stuck_key=key, silent_seconds=silent)
        link.kill()

    def _key_in_work(self, pulse: Reading) -> Key | None:
        """Name the document that the process is working on; the feeder waits for it meanwhile."""
        if not pulse.is_busy or pulse.chunks != self._chunks_done or not self._in_flight:
            return None
        return self._in_flight[0].chunk.keys[pulse.position]


def _accusation(ending: Ending) -> str:
    if ending.is_stuck:
        return (
            f"the worker was silent over this document for {ending.silent_seconds:.0f} s (--worker-timeout), "
            "in two processes, the second time while it had nothing else in hand; the log shows where it was"
        )
    return (
        "the worker process ended each time that it had only this document in hand (the last time: "
        f"{ending.words})"
    )


def _part(chunk: Chunk, keys: Sequence[Key]) -> Chunk:
    previous = {key: chunk.previous[key] for key in keys if key in chunk.previous}
    return replace(chunk, keys=tuple(keys), previous=previous)
