"""How far a load has come, shown while it runs: a bar on a terminal, a line every ten seconds elsewhere.

Everything goes to standard error; standard output is for results.
"""

from __future__ import annotations

import json
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from enum import StrEnum
from typing import IO, Any, Final

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn
from rich.progress import Progress as RichProgress
from rich.table import Column as TableColumn
from rich.text import Text

from xml_extractor.profiling.summary import DocumentCounts
from xml_extractor.threads import Thread

LINE_SECONDS: Final = 10.0
BAR_SECONDS: Final = 0.2
# The rate shown is that of the last so many seconds, so that it follows a target that slows down.
_RATE_WINDOW_SECONDS: Final = 15.0
_SHORTEST_BAR: Final = 4
"""Characters of the bar that figures leave to it."""


class ProgressStyle(StrEnum):
    """What ``--progress`` offers; auto is a bar on a terminal and plain lines elsewhere."""

    AUTO = "auto"
    PLAIN = "plain"
    JSON = "json"
    NONE = "none"


class Progress:
    """What a running pipeline tells: nothing is shown by this class itself (``--progress none``).

    ``update`` may be called as often as one likes, from any thread; it only takes note.
    """

    def start(self, total: int | None) -> None:
        """Begin; ``total`` is how many documents there are to read, where that is known."""

    def update(self, counts: DocumentCounts, queue_depth: int | None = None) -> None:
        """Take note of the figures so far: documents, and records in the insert queue, if there is one."""

    def say(self, doing: str) -> None:
        """Take note of what is being done now that all documents are; shown with the figures."""

    def finish(self) -> None:
        """End; harmless when called twice or without ``start``."""

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()


class _Meter:
    """Rate and time left, from what has been settled so far."""

    def __init__(self, total: int | None) -> None:
        self.total = total
        self.started = time.monotonic()
        self._points: deque[tuple[float, int]] = deque([(self.started, 0)])

    def seconds(self) -> float:
        return time.monotonic() - self.started

    def rate(self, settled: int) -> float:
        """Documents per second over the last few seconds, ``settled`` being the count now."""
        now = time.monotonic()
        self._points.append((now, settled))
        while len(self._points) > 2 and self._points[1][0] <= now - _RATE_WINDOW_SECONDS:
            self._points.popleft()
        then, before = self._points[0]
        return (settled - before) / (now - then) if now > then else 0.0

    def seconds_left(self, settled: int, rate: float) -> float | None:
        if self.total is None or rate <= 0:
            return None
        return max(0, self.total - settled) / rate


class _ThreadedProgress(Progress, ABC):
    """Shows the latest figures at an interval, from a thread of its own that ends with the run."""

    interval_seconds: float

    def __init__(self) -> None:
        self._latest: tuple[DocumentCounts, int | None] = (DocumentCounts(), None)
        self._said: str | None = None
        self._thread: threading.Thread | None = None
        self._finished = threading.Event()
        self._meter = _Meter(None)

    def start(self, total: int | None) -> None:
        self._meter = _Meter(total)
        self._open()
        # A daemon, so that not even a defect here could keep the program from ending.
        self._thread = Thread(self._run, name="progress")
        self._thread.start()

    def update(self, counts: DocumentCounts, queue_depth: int | None = None) -> None:
        self._latest = (counts, queue_depth)

    def say(self, doing: str) -> None:
        self._said = doing

    def finish(self) -> None:
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._finished.set()
        thread.join()
        self._close()

    def _run(self) -> None:
        while not self._finished.wait(self.interval_seconds):
            try:
                self._show(*self._latest)
            except (OSError, ValueError):
                # Standard error has been closed: the load is worth more than the display of it.
                return

    def _open(self) -> None:
        """Prepare the display."""

    def _close(self) -> None:
        """Take the display down."""

    @abstractmethod
    def _show(self, counts: DocumentCounts, queue_depth: int | None) -> None:
        """Show the figures once."""


class PlainProgress(_ThreadedProgress):
    """One plain line every ten seconds."""

    def __init__(self, stream: IO[str], interval_seconds: float = LINE_SECONDS) -> None:
        super().__init__()
        self.interval_seconds = interval_seconds
        self._stream = stream

    def _show(self, counts: DocumentCounts, queue_depth: int | None) -> None:
        if self._said is not None:
            self._stream.write(f"{duration(self._meter.seconds())}: {self._said}\n")
            self._stream.flush()
            return
        settled = counts.settled
        rate = self._meter.rate(settled)
        of_total = "" if self._meter.total is None else f" of {self._meter.total:,}"
        parts = [f"{settled:,}{of_total} documents", f"{rate:,.0f}/s"]
        if queue_depth is not None:
            parts.append(f"queue {queue_depth:,}")
        if counts.quarantined:
            parts.append(f"{counts.quarantined:,} quarantined")
        left = self._meter.seconds_left(settled, rate)
        if left is not None:
            parts.append(f"{duration(left)} left")
        self._stream.write(f"{duration(self._meter.seconds())}: {', '.join(parts)}\n")
        self._stream.flush()


class JsonProgress(_ThreadedProgress):
    """One JSON object a line, every ten seconds and once at the end."""

    def __init__(self, stream: IO[str], interval_seconds: float = LINE_SECONDS) -> None:
        super().__init__()
        self.interval_seconds = interval_seconds
        self._stream = stream

    def _show(self, counts: DocumentCounts, queue_depth: int | None) -> None:
        settled = counts.settled
        rate = self._meter.rate(settled)
        left = self._meter.seconds_left(settled, rate)
        line: dict[str, Any] = {
            "seconds": round(self._meter.seconds(), 1),
            "documents": asdict(counts),
            "total": self._meter.total,
            "documents_per_second": round(rate, 1),
            "queue_depth": queue_depth,
            "seconds_left": None if left is None else round(left, 1),
        }
        if self._said is not None:
            line["doing"] = self._said
        self._stream.write(json.dumps(line) + "\n")
        self._stream.flush()

    def _close(self) -> None:
        try:
            self._show(*self._latest)
        except (OSError, ValueError):
            return


@dataclass(frozen=True, slots=True)
class _Figure:
    """A part of the line beside the bar."""

    text: str
    rank: int  # where there is no room for all, the highest go first; those of rank 0 stay
    style: str = ""


class _FiguresColumn(ProgressColumn):
    """Shows the line that :class:`BarProgress` made."""

    def render(self, task: Task) -> Text:
        line: Text = task.fields["figures"]
        return line


class BarProgress(_ThreadedProgress):
    """A bar on a terminal, with documents per second, queue depth and time left, as far as there is room."""

    interval_seconds = BAR_SECONDS

    def __init__(self, console: Console, doing: str = "Loading") -> None:
        super().__init__()
        self._doing = doing
        self._console = console
        self._bar = RichProgress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),  # the only column that gets shorter
            _FiguresColumn(TableColumn(no_wrap=True, overflow="ellipsis")),
            console=console,
            auto_refresh=False,  # the thread of this class refreshes; one is enough
            transient=True,
        )
        self._task = TaskID(0)

    def _open(self) -> None:
        self._task = self._bar.add_task(self._doing, total=self._meter.total, figures=Text())
        self._bar.start()

    def _close(self) -> None:
        self._bar.stop()

    def _show(self, counts: DocumentCounts, queue_depth: int | None) -> None:
        settled = counts.settled
        room = self._console.width - cell_len(self._doing) - _SHORTEST_BAR - 2
        figures = _fitting(list(self._figures(counts, queue_depth)), room)
        self._bar.update(self._task, completed=settled, figures=figures)
        self._bar.refresh()

    def _figures(self, counts: DocumentCounts, queue_depth: int | None) -> Iterator[_Figure]:
        settled = counts.settled
        rate = self._meter.rate(settled)
        left = self._meter.seconds_left(settled, rate)
        total = "" if self._meter.total is None else f" of {self._meter.total:,}"
        yield _Figure(f"{settled:,}{total}", 0)
        if self._said is None:
            yield _Figure(f"{rate:,.0f}/s", 1, "green")
            if queue_depth is not None:
                yield _Figure(f"queue {queue_depth:,}", 5)
        if counts.quarantined:
            yield _Figure(f"{counts.quarantined:,} quarantined", 3, "yellow")
        yield _Figure(str(timedelta(seconds=int(self._meter.seconds()))), 4, "dim")
        if self._said is not None:
            yield _Figure(self._said, 0)
        elif left is not None:
            yield _Figure(f"{duration(left)} left", 2)


def _fitting(figures: Sequence[_Figure], room: int) -> Text:
    """Return as many of the figures as there is room for, in their order."""
    kept = list(figures)
    for figure in sorted(figures, key=lambda one: -one.rank):
        if sum(cell_len(one.text) + 1 for one in kept) - 1 > room and figure.rank:
            kept.remove(figure)
    return Text(" ").join(Text(one.text, one.style) for one in kept)


def open_progress(style: ProgressStyle, console: Console, doing: str = "Loading") -> Progress:
    """Return the display that fits ``style`` and the console (standard error's).

    Args:
        doing: what the bar says is being done.
    """
    if style is ProgressStyle.NONE:
        return Progress()
    if style is ProgressStyle.JSON:
        return JsonProgress(console.file)
    if style is ProgressStyle.AUTO and console.is_terminal:
        return BarProgress(console, doing)
    return PlainProgress(console.file)


def duration(seconds: float) -> str:
    """Return a time span as people write it: ``8 s``, ``2 min 05 s``, ``3 h 20 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02d} min"
