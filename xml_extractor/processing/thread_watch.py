"""What is done about a worker thread that is stuck: nobody can end it, so the run ends."""

from __future__ import annotations

import logging
import sys
import threading
import traceback

from xml_extractor.errors import WorkerError
from xml_extractor.processing.pipeline_state import PipelineState
from xml_extractor.processing.pulse import ThreadPulse
from xml_extractor.processing.watch import Silence

logger = logging.getLogger(__name__)


class WatchedThread:
    """Ends the pipeline when its thread has been at one document for too long.

    Args:
        thread: the worker.
        pulse: what the worker shows of itself.
        timeout_seconds: how long it may be at one document.
    """

    def __init__(
        self, thread: threading.Thread, pulse: ThreadPulse, timeout_seconds: float, state: PipelineState
    ) -> None:
        self._thread = thread
        self._pulse = pulse
        self._timeout_seconds = timeout_seconds
        self._state = state
        self._silence = Silence()

    def look(self, seconds: float) -> None:
        """Judge the thread; see :class:`~xml_extractor.processing.watch.Watched`."""
        beats = self._pulse.beats
        silent = self._silence.observe(beats if beats % 2 else None, seconds)
        if silent < self._timeout_seconds or self._state.ended.is_set():
            return
        key = self._pulse.key
        logger.error(
            "%s has been at document %r for %.0f s (--worker-timeout); it is here:\n%s",
            self._thread.name, key, silent, stack_of(self._thread),
        )  # fmt: skip
        self._state.fail(
            WorkerError(
                f"A worker has been at document {key!r} for {silent:.0f} s (--worker-timeout), and a thread "
                "cannot be stopped; the log shows where it is. What is committed stays, and the same command "
                "goes on from there. Run it with --executor process, which puts such a document into "
                "quarantine and goes on; or look at the source row with this key"
            )
        )


def stack_of(thread: threading.Thread) -> str:
    """Return where a thread is, outermost call first: files, lines and functions, no values."""
    frame = sys._current_frames().get(thread.ident or 0)
    if frame is None:
        return "    it has ended meanwhile"
    places = traceback.StackSummary.extract(traceback.walk_stack(frame), lookup_lines=False)
    return "".join(
        f'    File "{place.filename}", line {place.lineno} in {place.name}\n' for place in reversed(places)
    )
