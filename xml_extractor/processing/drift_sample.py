"""Chooses pending documents from across the key range, and tries them: mapped, never written."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, zip_longest
from typing import Final

from xml_extractor.mapping.records import DocumentRecord, Key
from xml_extractor.processing.channel import Channel
from xml_extractor.processing.chunks import Chunk
from xml_extractor.processing.insert_queue import BatchLimits, InsertQueue
from xml_extractor.processing.key_positions import positions
from xml_extractor.processing.pipeline_state import PipelineState, PipelineStopped
from xml_extractor.processing.process_workers import ProcessWorkers
from xml_extractor.processing.thread_workers import ThreadWorkers
from xml_extractor.processing.throttle import Throttle
from xml_extractor.processing.worker_setup import WorkerSetup
from xml_extractor.settings import ExecutorChoice, LoadOptions, OnPlanChange
from xml_extractor.source.reader import SourceReader
from xml_extractor.target.base import LoadHandle

PLACES: Final = 50
"""Places of the key range at which keys are read: a query each, so 50 ms at a round trip of 1 ms."""

MAX_PLACES: Final = 1_000
"""However large a sample is asked for, reading its keys is bounded, too."""

FRONT_SHARE: Final = 0.1
"""Share of the sample that is taken from the first pending documents; their keys are known already."""

SPARE: Final = 4
"""Keys read at a place for one that is wanted there: others may be settled already."""

_POLL_SECONDS: Final = 0.1

_END_SECONDS: Final = 8.0
"""How long the worker may take to end after the pipeline has, as in the load itself."""


class PendingSample:
    """Finds keys of pending documents far from one another.  For one thread.

    Args:
        front: the first pending keys in order, as they will be dispatched.
        is_all: whether nothing else will be dispatched.
    """

    def __init__(
        self, reader: SourceReader, load: LoadHandle, options: LoadOptions, plan_digest: str,
        state: PipelineState,
    ) -> None:  # fmt: skip
        self._reader = reader
        self._load = load
        self._options = options
        self._plan_digest = plan_digest
        self._state = state

    def keys(self, front: Sequence[Key], *, is_all: bool, wanted: int) -> list[Key]:
        """Return up to ``wanted`` keys; fewer only where no more are pending in ``front`` either.

        Beyond ``front`` only documents that the ledger does not know are taken (or those that
        ``--on-plan-change reload`` loads again).  A load with ``--limit`` is sampled from its first
        documents alone: where it will end is not known before its keys are read.
        """
        far: list[Key] = []
        if not is_all and self._options.limit is None:
            far = self._far_keys(front[-1], set(front), wanted - round(wanted * FRONT_SHARE))
        return evenly(front, wanted - len(far)) + far

    def _far_keys(self, after: Key, known: set[Key], wanted: int) -> list[Key]:
        end = self._options.app_id_end
        last = self._reader.last_key(self._options.app_id_start, end)
        if last is None:
            return []
        places = positions(after, last, min(MAX_PLACES, max(PLACES, wanted // SPARE)))
        if not places:
            return []
        each = SPARE * math.ceil(wanted / len(places))
        found: list[list[Key]] = []
        for place in places:
            if self._state.stopping.is_set():
                return []
            page = [key for key in self._reader.keys_after(place, end, each) if key not in known]
            known.update(page)
            if page:
                found.append(page)
        pending = self._pending([key for page in found for key in page])
        # One of each place in turn, so that a place where few are pending costs the others nothing.
        rounds = zip_longest(*([key for key in page if key in pending] for page in found))
        return [key for key in chain.from_iterable(rounds) if key is not None][:wanted]

    def _pending(self, keys: list[Key]) -> set[Key]:
        entries = self._load.lookup(keys)
        if self._options.on_plan_change is not OnPlanChange.RELOAD:
            return set(keys) - entries.keys()
        return {key for key in keys if key not in entries or entries[key].plan_digest != self._plan_digest}


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
    channel: Channel[Chunk] = Channel(state, capacity_items=1, capacity_bytes=1)
    queue = InsertQueue(state, len(keys) + 1, capacity_bytes=2**62)
    pool_class = ProcessWorkers if options.executor is ExecutorChoice.PROCESS else ThreadWorkers
    workers = pool_class(
        1, replace(setup, encoder=None, needs_hash=False), channel, queue, state, lambda vanished: None
    )

    def dispatch() -> None:
        try:
            for number, chunk in enumerate(chunks, start=1):
                if not throttle.take(len(chunk)) or state.stopping.is_set():
                    break
                channel.put(Chunk(number, chunk, {}), 1)
            channel.close()
        except PipelineStopped:
            return
        except BaseException as error:  # noqa: BLE001 - whatever it is, the pipeline must hear of it
            state.fail(error)

    dispatcher = threading.Thread(target=dispatch, name="xml-extractor-drift-guard", daemon=True)
    workers.start()
    dispatcher.start()
    threads = (dispatcher, *workers.threads)
    for thread in threads:
        while thread.is_alive() and not state.ended.is_set():
            thread.join(_POLL_SECONDS)
    if state.ended.is_set():
        deadline = time.monotonic() + _END_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        raise PipelineStopped
    queue.close()
    return queue.take_batch(BatchLimits(len(keys) + 1, 2**62, 0.0)) or []
