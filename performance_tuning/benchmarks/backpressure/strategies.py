"""The strategies by name: the three, and blocking once more with a queue that is larger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backpressure.feed import Feed, OpenFeed, ProportionalFeed
from backpressure.spilling_queue import SpillingQueue
from xml_extractor.processing.insert_queue import InsertQueue
from xml_extractor.processing.pipeline_state import PipelineState

_UNLIMITED: Final = 2**60

LARGER: Final = 4
"""The larger queue: with the scenarios' bound, a quarter of the documents, it has room for everything that
can have been spilled."""

FEED_GAIN: Final = 10.0
"""In 1/s: at a bound of 200 documents an empty queue is fed 2,000 a second, five times what four workers take
at 10 ms a document; a target that takes 200 a second holds the queue at 180."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What may wait for the target."""

    documents: int  # in memory
    disk_bytes: int  # in the file, for the strategy that has one
    folder: Path  # where that file is made


@dataclass(frozen=True, slots=True)
class Strategy:
    """One way to hold workers back, or not to."""

    name: str
    make: Callable[[PipelineState, Bounds], tuple[InsertQueue, Feed]]
    queue_factor: int = 1
    """How many times as many documents may wait in memory as are set for all."""


def _block(state: PipelineState, bounds: Bounds) -> tuple[InsertQueue, Feed]:
    return InsertQueue(state, bounds.documents, _UNLIMITED), OpenFeed(state)


def _block_late(state: PipelineState, bounds: Bounds) -> tuple[InsertQueue, Feed]:
    return InsertQueue(state, LARGER * bounds.documents, _UNLIMITED), OpenFeed(state)


def _slow_feed(state: PipelineState, bounds: Bounds) -> tuple[InsertQueue, Feed]:
    # The queue itself has no bound: what holds the feed back is to be seen at work, and nothing else.
    queue = InsertQueue(state, _UNLIMITED, _UNLIMITED)
    return queue, ProportionalFeed(state, lambda: queue.depth().now, bounds.documents, FEED_GAIN)


def _spill(state: PipelineState, bounds: Bounds) -> tuple[InsertQueue, Feed]:
    return SpillingQueue(state, bounds.documents, bounds.disk_bytes, bounds.folder), OpenFeed(state)


BLOCK: Final = Strategy("block", _block)
SLOW_FEED: Final = Strategy("slow the feed", _slow_feed)
SPILL: Final = Strategy("spill to disk", _spill)
LARGER_QUEUE: Final = Strategy(f"block, queue × {LARGER}", _block_late, LARGER)
STRATEGIES: Final = (BLOCK, SLOW_FEED, SPILL, LARGER_QUEUE)
