"""What a worker shows of itself while it works, cheap enough to be written for every document.

Whoever looks at it needs no answer from the worker: a worker that is stuck, in Python or in C, is known by
a pulse that has stopped.  Waiting for documents, and for room in the full queue, is not being stuck: then
the worker is not *busy*.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from xml_extractor.mapping.records import Key
from xml_extractor.processing import outside_watch


class Pulse(Protocol):
    """Written by one worker."""

    def begin(self, key: Key) -> None:
        """Say that a document is being worked on."""

    def end(self) -> None:
        """Say that it is done, whatever came of it."""


class ThreadPulse:
    """The pulse of a worker thread.  Written by one thread, read by any."""

    __slots__ = ("_slot", "beats", "key")

    def __init__(self) -> None:
        self.beats = 0  # odd while a document is being worked on
        self.key: Key = 0
        self._slot = outside_watch.slot()

    def begin(self, key: Key) -> None:
        """See :class:`Pulse`."""
        self.key = key
        self.beats += 1
        if self._slot is not None:
            self._slot.write(self.beats, key)

    def end(self) -> None:
        """See :class:`Pulse`."""
        self.beats += 1
        if self._slot is not None:
            self._slot.write(self.beats, "")


_BEATS: Final = 0
_POSITION: Final = 1
_CHUNKS: Final = 2
_TICKS: Final = 3


@dataclass(frozen=True, slots=True)
class Reading:
    """What the memory shared with a worker process says."""

    beats: int  # odd while a document is being worked on
    position: int  # of that document among the keys of its chunk
    chunks: int  # chunks that the process has done with, and told so
    ticks: int  # grows about every second, or more often, while the process runs at all

    @property
    def is_busy(self) -> bool:
        """Whether a document is being worked on."""
        return self.beats % 2 == 1


class ProcessPulse:
    """The pulse of a worker process, in memory that it shares with its parent.

    Made by the parent and sent to the process when that is spawned.  In the process :meth:`tick` belongs
    to a thread of its own, everything else to the worker's.  Each number has one writer and is one machine
    word, so nothing needs a lock.

    Raises:
        OSError: the system has no shared memory to give.
    """

    def __init__(self) -> None:
        # Any: the stubs know of no array of unsigned 64-bit numbers.
        self._numbers: Any = multiprocessing.get_context("spawn").RawArray("Q", 4)
        self._positions: dict[Key, int] = {}

    def take(self, keys: Sequence[Key]) -> None:
        """Say which documents the chunk holds that is begun now."""
        self._positions = {key: position for position, key in enumerate(keys)}

    def begin(self, key: Key) -> None:
        """See :class:`Pulse`; the key is one of the chunk's."""
        self._numbers[_POSITION] = self._positions[key]
        self._numbers[_BEATS] += 1

    def end(self) -> None:
        """See :class:`Pulse`."""
        self._numbers[_BEATS] += 1

    def chunk_done(self) -> None:
        """Say that the chunk is done; called before its last message is sent."""
        self._numbers[_CHUNKS] += 1

    def tick(self) -> None:
        """Say that the process runs, whatever it is doing."""
        self._numbers[_TICKS] += 1

    def read(self) -> Reading:
        """Return what is there now."""
        return Reading(*self._numbers)
