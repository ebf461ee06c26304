"""The last stage of a load whose tables owe keys: has them built, and counts what came of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from xml_extractor import failpoints
from xml_extractor.mapping.records import Key
from xml_extractor.processing.circuit_breaker import CircuitBreaker
from xml_extractor.processing.key_building import KeyBuilding, too_many
from xml_extractor.processing.load_counts import LoadCounts
from xml_extractor.processing.load_figures import LoadFigures
from xml_extractor.processing.pipeline_state import PipelineState
from xml_extractor.profiling.progress import Progress
from xml_extractor.settings import LoadOptions
from xml_extractor.source.reader import SourceReader
from xml_extractor.target.key_work import OwedKeys, SetAside
from xml_extractor.threads import Thread

POLL_SECONDS: Final = 0.1

LEAST_CONNECTIONS: Final = 2
"""Keys are built over as many connections as batches were inserted by, and over no fewer than this: a server
that sorts one table can read another."""


class KeyStage:
    """Builds what is owed.  Belongs to the coordinator's thread.

    Args:
        insert_threads: connections that the load may take.
        reader: of the source, open, and used by nobody else meanwhile.
        reads_all: the run went through the keys of its range; else it was given the keys to load.
    """

    def __init__(
        self,
        owed: OwedKeys,
        options: LoadOptions,
        insert_threads: int,
        state: PipelineState,
        counts: LoadCounts,
        figures: LoadFigures,
        breaker: CircuitBreaker,
        reader: SourceReader,
        *,
        reads_all: bool,
    ) -> None:
        self._options = options
        self._state = state
        self._counts = counts
        self._figures = figures
        self._breaker = breaker
        self._reader = reader
        self._reads_all = reads_all
        connections = max(LEAST_CONNECTIONS, insert_threads)
        self._building = KeyBuilding(owed, connections, state.stopping, self._judge, self._set_aside)
        self.thread = Thread(self._run, name="xml-extractor-keys")

    def run(self, progress: Progress, note: Callable[[str], None]) -> None:
        """Build, in a thread of its own; what goes wrong ends the pipeline.

        Returns when all is built, or the run is to stop, or the pipeline has ended; then the thread may
        have to be seen off.

        Args:
            note: told what the operator ought to know.
        """
        self._state.on_end(self._building.abort)
        self.thread.start()
        while self.thread.is_alive() and not self._state.ended.is_set():
            progress.say(self._building.words)
            self.thread.join(POLL_SECONDS)
        if self._building.built.waits_for_another:
            note("another loader still fills the tables: it builds their keys when it is done")

    def _run(self) -> None:
        try:
            self._building.run()
            failpoints.hit("after_keys")
        except BaseException as error:  # noqa: BLE001 - whatever it is, the pipeline must hear of it
            self._state.fail(error)
        finally:
            built, keys = self._building.built, self._figures.keys
            keys.built, keys.owed = built.keys, list(built.owed)
            if built.keys or keys.quarantined:
                keys.seconds = built.seconds
                self._counts.add_keys_built(time.perf_counter())

    # ------------------------------------------------------------------------------------ in the way

    def _judge(self, reasons: Counter[str]) -> None:
        """Halt before too many documents are put into quarantine."""
        before, settled = self._counts.refusals()
        # All that are in, as their rows are: this run may have gone on with a load that had nearly ended.
        settled = max(settled, self._figures.documents().settled)
        if self._breaker.would_trip(before + reasons, settled):
            raise too_many(reasons, self._options.max_quarantined)

    def _set_aside(self, documents: Sequence[SetAside]) -> None:
        """Count documents that were loaded and are in quarantine now."""
        keys = self._figures.keys
        for document in documents:
            keys.quarantined += 1
            if document.by_this_run or self._was_read(document.key):
                self._counts.set_aside(document.row_counts, document.code, by_this_run=document.by_this_run)
            else:
                self._counts.add_reason(document.code)
                keys.elsewhere += 1

    def _was_read(self, key: Key) -> bool:
        """Whether this run has counted a document as already loaded: it is in the source and in range."""
        if not self._reads_all or self._reader.last_key(key, key) is None:
            return False
        start, end = self._options.app_id_start, self._options.app_id_end
        # How texts sort is the source's own business; so it is asked.
        return (start is None or self._reader.last_key(start, key) is not None) and (
            end is None or self._reader.last_key(key, end) is not None
        )
