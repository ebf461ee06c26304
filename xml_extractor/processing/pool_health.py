"""How a pool of worker processes fares: whom to suspect when one ends, and when to go on with less.

The steps down are: half the processes, and half of those, to one; then threads.  A step is taken when
processes cannot be started, or when they keep ending and no document is at fault.  A document is at fault
when it ends processes while it is alone; until each of the documents that a process had in hand has been
tried alone, nobody knows, and nothing is counted.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from xml_extractor.errors import WorkerError
from xml_extractor.mapping.records import Key
from xml_extractor.processing.channel import Channel
from xml_extractor.processing.chunks import Chunk
from xml_extractor.processing.endings import Ending

logger = logging.getLogger(__name__)

START_ATTEMPTS: Final = 3
"""Processes that may fail to start in a row, over the whole pool, before it steps down."""

UNEXPLAINED_DEATHS: Final = 5
"""Processes that may end within :data:`DEATHS_WINDOW` documents without one of these being at fault."""

DEATHS_WINDOW: Final = 1_000
"""Documents: some seconds of work.  A new process costs about half a second, so a pool that steps down has
spent about as much time on starting processes as on mapping."""

DEATHS_ALONE: Final = 2
"""A document that was alone when this many processes died is what kills them."""

KILLS_ALONE: Final = 3
"""The same where they were killed from outside, which is often bad luck (an out-of-memory killer)."""

STALLS: Final = 2
"""A document over which this many processes were stuck, the last time alone, is what stalls them."""

CULPRITS_IN_A_ROW: Final = 20
"""Documents found at fault with none settled in between: then it is not the documents."""


class Verdict(Enum):
    """What a feeder is to do next."""

    STAY = "stay"
    LEAVE = "leave"  # the pool has become too large
    THREADS = "threads"  # no processes any more; this feeder is the last one


@dataclass(slots=True)
class _Incident:
    """Processes that ended over the same documents."""

    endings: int
    open: int  # documents not settled yet
    words: str  # how the last of them ended
    has_culprit: bool = False


@dataclass(slots=True)
class _Suspect:
    incident: _Incident
    deaths_alone: int = 0
    stalls: int = 0


class PoolHealth:
    """Shared by all feeders of a pool.  Thread-safe.

    Args:
        feeders: how many there are.
        chunks: where a feeder that leaves puts what it has not finished.
        note: told of each step down, for the operator.
    """

    def __init__(self, feeders: int, chunks: Channel[Chunk], note: Callable[[str], None]) -> None:
        self._chunks = chunks
        self._note = note
        self._active = feeders
        self._allowed = feeders
        self._to_threads = False
        self._lock = threading.Lock()
        self._start_failures = 0  # in a row
        self._starts = True
        self._settled = 0  # documents
        self._unexplained: deque[int] = deque()  # how many were settled when a process ended
        self._suspects: dict[Key, _Suspect] = {}
        self._culprits = 0  # in a row

    # -------------------------------------------------------------------------------- the pool's size

    @property
    def can_start(self) -> bool:
        """Whether processes can be started, as far as is known."""
        return self._starts

    def verdict(self) -> Verdict:
        """Say what a feeder is to do next."""
        with self._lock:
            if self._active > self._allowed:
                return Verdict.LEAVE
            return Verdict.THREADS if self._to_threads and self._active == 1 else Verdict.STAY

    def leave(self, unfinished: Sequence[Chunk]) -> bool:
        """Leave the pool to the others, with what is unfinished; false where there are few enough by now."""
        with self._lock:
            if self._active <= self._allowed:
                return False
            self._active -= 1
            self._chunks.put_back(unfinished)
            return True

    def finish(self) -> Chunk | None:
        """Leave the pool because nothing is left to do, unless somebody has just put something back."""
        with self._lock:
            chunk = self._chunks.get_nowait()
            if chunk is None:
                self._active -= 1
            return chunk

    # -------------------------------------------------------------------------------- starts and ends

    def started(self) -> None:
        """Take note that a process is there and can map documents."""
        with self._lock:
            self._start_failures = 0
            self._starts = True

    def start_failed(self, words: str) -> None:
        """Take note that a process could not be started, or ended before its first word."""
        with self._lock:
            self._start_failures += 1
            if self._start_failures >= START_ATTEMPTS:
                self._starts = False
                self._step_down(
                    f"worker processes do not start ({self._start_failures} in a row; the last: {words})"
                )

    def ended_idle(self, ending: Ending) -> None:
        """Take note of a process that ended without a document that could be at fault."""
        with self._lock:
            self._count(1, ending.words)

    def settled(self, keys: Iterable[Key], documents: int) -> None:
        """Take note of documents that have come back, so many in all."""
        with self._lock:
            self._settled += documents
            if documents:
                self._culprits = 0
            if not self._suspects:
                return
            for key in keys:
                suspect = self._suspects.pop(key, None)
                if suspect is not None:
                    self._close(suspect.incident)

    def is_suspect(self, key: Key) -> bool:
        """Whether a process ended while it had this document in hand."""
        return key in self._suspects

    def accuse(self, keys: Sequence[Key], ending: Ending, *, alone: bool) -> bool:
        """Suspect the documents that a process ended over; return whether the fault is proved now.

        Args:
            keys: the documents; proved can only be one.
            alone: whether the process had nothing else in hand.

        Raises:
            WorkerError: so many documents in a row were found at fault that the fault is not theirs.
        """
        with self._lock:
            known = self._suspects.get(keys[0])
            if known is None:
                incident = _Incident(1, len(keys), ending.words)
                for key in keys:
                    self._suspects[key] = _Suspect(incident)
            else:
                incident = known.incident
                incident.endings += 1
                incident.words = ending.words
            if len(keys) > 1:
                return False
            suspect = self._suspects[keys[0]]
            if ending.is_stuck:
                suspect.stalls += 1
                proved = suspect.stalls >= STALLS
            else:
                suspect.deaths_alone += alone
                proved = suspect.deaths_alone >= (KILLS_ALONE if ending.was_killed else DEATHS_ALONE)
            if proved:
                self._convict(keys[0], ending)
            return proved

    def drop(self, keys: Iterable[Key]) -> None:
        """Forget suspects that can be tried no more and have been put into quarantine."""
        with self._lock:
            for key in keys:
                self._suspects.pop(key, None)

    # -------------------------------------------------------------------------------- under the lock

    def _convict(self, key: Key, ending: Ending) -> None:
        incident = self._suspects.pop(key).incident
        incident.has_culprit = True
        self._close(incident)
        self._culprits += 1
        if self._culprits >= CULPRITS_IN_A_ROW:
            raise WorkerError(
                f"{self._culprits} documents in a row each ended the worker processes that had them (the "
                f"last is {key!r}: {ending.words}), and none was mapped in between: the fault will not be "
                "theirs. Look at what all documents share: the contract's plug-ins, the installed libraries, "
                "the memory that a process may take. Once that is mended, `quarantine replay "
                "--stage worker` loads those that are in quarantine by now"
            )

    def _close(self, incident: _Incident) -> None:
        incident.open -= 1
        if not incident.open and not incident.has_culprit:
            self._count(incident.endings, incident.words)

    def _count(self, endings: int, words: str) -> None:
        """Count processes that ended through no document's fault."""
        self._unexplained.extend([self._settled] * endings)
        while self._unexplained and self._unexplained[0] <= self._settled - DEATHS_WINDOW:
            self._unexplained.popleft()
        if len(self._unexplained) > UNEXPLAINED_DEATHS:
            self._step_down(
                f"{len(self._unexplained)} worker processes ended within "
                f"{self._settled - self._unexplained[0]:,} documents, and none of these was at fault (the "
                f"last: {words})"
            )

    def _step_down(self, cause: str) -> None:
        self._start_failures = 0
        self._unexplained.clear()
        if self._to_threads:
            return
        now = min(self._active, self._allowed)
        if now > 1:
            self._allowed = now // 2
            step = f"going on with {self._allowed} worker process{'es' if self._allowed > 1 else ''} of {now}"
        else:
            self._to_threads = True
            step = "going on with worker threads"
        logger.warning("%s: %s", cause, step)
        self._note(f"{cause}: {step}")
