"""How far a command has come that reads: rows so far, rows a second, and what it is at.

How much there is to read is not known before it has been read, so there is no bar.  See
:mod:`xml_extractor.profiling.progress` for loads.
"""

from __future__ import annotations

import contextlib
import json
import time
from typing import Final

from rich.console import Console
from rich.status import Status

from xml_extractor.profiling.progress import BAR_SECONDS, LINE_SECONDS, ProgressStyle, duration


class ReadingProgress:
    """Shows what it is told, on standard error.  One thread's; use it as a context."""

    def __init__(
        self, style: ProgressStyle, console: Console, *, interval_seconds: float = LINE_SECONDS
    ) -> None:
        self._style = style
        if style is ProgressStyle.AUTO and not console.is_terminal:
            self._style = ProgressStyle.PLAIN
        self._console = console
        self._interval = BAR_SECONDS if self._style is ProgressStyle.AUTO else interval_seconds
        self._started = self._shown_at = time.monotonic()
        self._shown_rows = 0
        self._status: Status | None = None

    def __enter__(self) -> ReadingProgress:
        if self._style is ProgressStyle.AUTO:
            self._status = self._console.status("")
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def update(self, rows: int, doing: str) -> None:
        """Take note of the rows read so far; shows them when it is time."""
        now = time.monotonic()
        elapsed = now - self._shown_at
        if self._style is ProgressStyle.NONE or elapsed < self._interval:
            return
        rate = (rows - self._shown_rows) / elapsed
        self._shown_at, self._shown_rows = now, rows
        seconds = now - self._started
        text = f"{duration(seconds)}: reading {doing}, {rows:,} rows, {rate:,.0f}/s"
        if self._status is not None:
            self._status.update(text)
            return
        if self._style is ProgressStyle.JSON:
            told = {
                "seconds": round(seconds, 1),
                "doing": doing,
                "rows": rows,
                "rows_per_second": round(rate, 1),
            }
            text = json.dumps(told)
        # Should standard error be closed, the work is worth more than the display of it.
        with contextlib.suppress(OSError, ValueError):
            self._console.file.write(f"{text}\n")
            self._console.file.flush()


__all__: Final = ["ReadingProgress"]
