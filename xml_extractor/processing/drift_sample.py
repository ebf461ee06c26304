"""Chooses pending documents from across the key range, and tries them: mapped, never written."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, pairwise, zip_longest
from typing import Final

from xml_extractor.mapping.records import DocumentRecord, Key, Previous, Renewal
from xml_extractor.processing.channel import Channel
from xml_extractor.processing.chunks import KEY_PAGE, Chunk
from xml_extractor.processing.insert_queue import BatchLimits, InsertQueue
from xml_extractor.processing.key_positions import positions
from xml_extractor.processing.pipeline_state import PipelineState, PipelineStopped
from xml_extractor.processing.process_workers import ProcessWorkers
from xml_extractor.processing.thread_workers import ThreadWorkers
from xml_extractor.processing.throttle import Throttle
from xml_extractor.processing.watch import Watch
from xml_extractor.processing.worker_setup import WorkerSetup
from xml_extractor.settings import ExecutorChoice, LoadOptions, OnPlanChange
from xml_extractor.source.reader import SourceReader
from xml_extractor.target.base import LoadHandle

logger = logging.getLogger(__name__)

PLACES: Final = 50
"""Places of the key range at which keys are read: a query each, so 50 ms at a round trip of 1 ms."""

MAX_PLACES: Final = 1_000
"""However large a sample is asked for, reading its keys is bounded, too."""

FRONT_SHARE: Final = 0.1
"""Share of the sample that is taken from the first pending documents; their keys are known already."""

ROUNDS: Final = 3
EVEN_ENOUGH: Final = 0.5
"""Where keys are found at fewer of the places than this share, they lie in heaps, and places are sought
within those: two heaps far apart take one more round, a heap of heaps another."""

MAX_HALVINGS: Final = 64
"""Places on the way to the last key: enough to come near it among any whole numbers of 64 bits."""

SPARE: Final = 4
"""Keys read at a place for one that is wanted there: others may be settled already."""

_POLL_SECONDS: Final = 0.1

_UNBOUNDED: Final = 2**62
"""Bytes: the records of a sample hold no rows, and there are as many as are asked for."""

_END_SECONDS: Final = 8.0
"""How long the worker may take to end after the pipeline has, as in the load itself."""


class PendingSample:
    """Finds keys of pending documents far from one another.  For one thread."""

    def __init__(
        self, reader: SourceReader, load: LoadHandle, options: LoadOptions, plan_digest: str,
        state: PipelineState,
    ) -> None:  # fmt: skip
        self._reader = reader
        self._load = load
        self._options = options
        self._plan_digest = plan_digest
        self._state = state

    def keys(self, looked_at: Sequence[Chunk], *, is_all: bool, wanted: int) -> list[Key]:
        """Return up to ``wanted`` keys; fewer only where no more are pending, or can be found.

        Pending are documents that the ledger does not know, and those that ``--on-plan-change reload`` loads
        again.  A load with ``--limit`` is sampled from its first documents alone: where it will end is not
        known before its keys are read.

        Args:
            looked_at: what will be dispatched first, known documents that are only looked at for changes
                among it.
            is_all: whether nothing else will be.
        """
        front = [key for chunk in looked_at for key in chunk.keys if _is_pending(chunk.previous.get(key))]
        far: list[Key] = []
        if looked_at and not is_all and self._options.limit is None:
            first = min(round(wanted * FRONT_SHARE), len(front))
            far = self._far_keys(looked_at[-1].keys[-1], set(front), wanted - first)
        return evenly(front, wanted - len(far)) + far

    def _far_keys(self, after: Key, known: set[Key], wanted: int) -> list[Key]:
        last = self._reader.last_key(self._options.app_id_start, self._options.app_id_end)
        if last is None:
            return []
        places = min(MAX_PLACES, max(PLACES, wanted // SPARE))
        pages: list[list[Key]] = []
        spans: list[tuple[Key, Key]] = [(after, last)]
        for _ in range(ROUNDS):
            found = self._pages(spans, max(1, places // len(spans)), SPARE * math.ceil(wanted / places))
            for page, _end in found:
                fresh = [key for key in page if key not in known]
                known.update(fresh)
                pages.append(fresh)
            if self._state.stopping.is_set() or not found or len(found) >= places * EVEN_ENOUGH:
                break
            # Keys lie in heaps: places are sought once more, within each heap.
            ends = [(page[0], self._reader.last_key(page[0], end)) for page, end in found]
            spans = [(first, end) for first, end in ends if end is not None]
        pending = self._pending([key for page in pages for key in page])
        if len(pending) < wanted:
            # Nearly all is loaded.  Where keys grow, what is new lies behind it, closer together than places.
            towards = self._pages_towards(after, last, min(wanted, KEY_PAGE), known)
            pages += towards
            pending |= self._pending([key for page in towards for key in page])
        # One of each place in turn, so that a place where few are pending costs the others nothing; what was
        # found last is spread best.
        turns = zip_longest(*([key for key in page if key in pending] for page in reversed(pages)))
        return [key for key in chain.from_iterable(turns) if key is not None][:wanted]

    def _pages_towards(self, first: Key, last: Key, each: int, known: set[Key]) -> list[list[Key]]:
        """Read keys at places of which each halves the way to the last key, until that is among them."""
        found: list[list[Key]] = []
        for _ in range(MAX_HALVINGS):
            places = positions(first, last, 2)
            if len(places) < 2 or self._state.stopping.is_set():
                break
            first = places[1]
            page = self._reader.keys_after(first, last, each)
            found.append([key for key in page if key not in known])
            known.update(page)
            if last in page:
                break
        return found

    def _pages(self, spans: Sequence[tuple[Key, Key]], places: int, each: int) -> list[tuple[list[Key], Key]]:
        """Read keys at so many places of each span, of the stretch up to the next place; return what is
        found with the end of its stretch."""
        found: list[tuple[list[Key], Key]] = []
        for first, last in spans:
            for place, following in pairwise([*positions(first, last, places), last]):
                if self._state.stopping.is_set():
                    return found
                page = self._reader.keys_after(place, following, each)
                if page:
                    found.append((page, following))
        return found

    def _pending(self, keys: list[Key]) -> set[Key]:
        entries = self._load.lookup(keys)
        if self._options.on_plan_change is not OnPlanChange.RELOAD:
            return set(keys) - entries.keys()
        return {key for key in keys if key not in entries or entries[key].plan_digest != self._plan_digest}


def _is_pending(previous: Previous | None) -> bool:
    return previous is None or previous.renewal is Renewal.RELOAD


def evenly(keys: Sequence[Key], wanted: int) -> list[Key]:
    """Return up to ``wanted`` of the keys, evenly spread."""
    if wanted >= len(keys):
        return list(keys)
    return [keys[index * len(keys) // wanted] for index in range(wanted)]


def try_documents(
    setup: WorkerSetup,
    keys: Sequence[Key],
    options: LoadOptions,
    state: PipelineState,
    throttle: Throttle,
) -> list[DocumentRecord]:
    """Map documents in one worker of the kind that the load was told to use; return what came of each.

    The records hold no rows.  With ``--executor process`` a document that kills its worker is found out
    without harm, as in the load itself.  Documents gone from the source have no record; where the load is
    told to stop meanwhile, those that were not reached have none either.

    Raises:
        PipelineStopped: the pipeline has ended.
    """
    size = throttle.chunk_documents
    chunks = [tuple(keys[start : start + size]) for start in range(0, len(keys), size)]
    channel: Channel[Chunk] = Channel(state, capacity_items=len(chunks) + 1, capacity_bytes=len(chunks) + 1)
    queue = InsertQueue(state, len(keys) + 1, capacity_bytes=_UNBOUNDED)
    pool_class = ProcessWorkers if options.executor is ExecutorChoice.PROCESS else ThreadWorkers
    watch = Watch(options.worker_timeout, state)
    workers = pool_class(
        1, replace(setup, encoder=None, needs_hash=False), channel, queue, state,
        on_vanished=lambda keys: None, watch=watch, note=lambda text: None,
    )  # fmt: skip
    with watch:
        try:
            workers.start()
        except RuntimeError as error:
            channel.close()
            logger.warning("drift guard: no sample is tried, because no threads can be started (%s)", error)
            return []
        for number, chunk in enumerate(chunks, start=1):
            if not throttle.take(len(chunk)) or state.stopping.is_set():
                break
            channel.put(Chunk(number, chunk, {}), 1)
        channel.close()
        for thread in workers.threads:
            while thread.is_alive() and not state.ended.is_set():
                thread.join(_POLL_SECONDS)
    if state.ended.is_set():
        deadline = time.monotonic() + _END_SECONDS
        for thread in workers.threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        raise PipelineStopped
    queue.close()
    return queue.take_batch(BatchLimits(len(keys) + 1, _UNBOUNDED, 0.0)) or []
