"""Looks at all workers of a load at an interval, so that one that is stuck is noticed."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from typing import Final, Protocol

from xml_extractor.processing.pipeline_state import PipelineState
from xml_extractor.threads import Thread

logger = logging.getLogger(__name__)

LONGEST_INTERVAL_SECONDS: Final = 1.0
LOOKS_A_TIMEOUT: Final = 8
"""Looks before a worker counts as stuck: it is found after the timeout and an eighth of it, or a second."""

END_SECONDS: Final = 5.0
"""The longest that the end of a watch waits for a look that is under way."""


class Watched(Protocol):
    """A worker, or what stands for it."""

    def look(self, seconds: float) -> None:
        """Judge the worker; ``seconds`` have been watched since the last look."""


class Silence:
    """For how long something that ought to change has stayed the same, in watched seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._last: object = None

    def observe(self, mark: object, seconds: float) -> float:
        """Return the seconds for which ``mark`` has been the same; ``None`` is no mark, and no silence."""
        self.seconds = 0.0 if mark is None or mark != self._last else self.seconds + seconds
        self._last = mark
        return self.seconds


class Watch:
    """A thread that looks at workers while used as a context.  Thread-safe.

    Only time that was watched counts: when the whole program was stopped (Ctrl-Z, a frozen container) or
    got no processor, the workers were not stuck, and neither is one look taken for many.

    Args:
        timeout_seconds: how long a worker may be silent over one document.
        state: ended if a look fails: a watch that has died must not pass for one.
    """

    def __init__(self, timeout_seconds: float, state: PipelineState) -> None:
        self.timeout_seconds = timeout_seconds
        self.interval_seconds = interval_seconds(timeout_seconds)
        self._state = state
        self._watched: list[Watched] = []
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, watched: Watched) -> None:
        """Look at this one, too, from now on."""
        with self._lock:
            self._watched.append(watched)

    def discard(self, watched: Watched) -> None:
        """Look at this one no more."""
        with self._lock, suppress(ValueError):
            self._watched.remove(watched)

    def __enter__(self) -> Watch:
        thread = Thread(self._run, name="xml-extractor-watch")
        try:
            thread.start()
        except RuntimeError:
            logger.warning("no thread can be started to watch the workers: one that is stuck stays unnoticed")
        except BaseException:  # Ctrl-C while it starts: it runs, and nobody would ever tell it to end
            self._done.set()
            raise
        else:
            self._thread = thread
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join(END_SECONDS)

    def _run(self) -> None:
        looked_at = time.monotonic()
        try:
            while not self._done.wait(self.interval_seconds):
                now = time.monotonic()
                seconds, looked_at = min(now - looked_at, 2 * self.interval_seconds), now
                with self._lock:
                    watched = list(self._watched)
                for one in watched:
                    one.look(seconds)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the pipeline must hear of it
            self._state.fail(error)


def interval_seconds(timeout_seconds: float) -> float:
    """Return how often workers are looked at, and how often worker processes show that they run."""
    return min(LONGEST_INTERVAL_SECONDS, timeout_seconds / LOOKS_A_TIMEOUT)
