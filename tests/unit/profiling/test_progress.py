from __future__ import annotations

import io
import json
import re
import threading
import time
from collections import deque

import pytest
from rich.console import Console

from xml_extractor.profiling.progress import (
    BarProgress,
    JsonProgress,
    PlainProgress,
    Progress,
    ProgressStyle,
    duration,
    open_progress,
)
from xml_extractor.profiling.summary import DocumentCounts

COUNTS = DocumentCounts(read=1500, loaded=1200, quarantined=34, unfinished=266)


def wait_for(condition: object, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=150)


def test_a_plain_line_says_how_far_and_how_fast() -> None:
    stream = io.StringIO()
    progress = PlainProgress(stream, interval_seconds=0.02)
    progress.start(10_000)
    progress.update(COUNTS, 77)
    wait_for(lambda: "\n" in stream.getvalue())
    progress.finish()
    line = stream.getvalue().splitlines()[-1]
    assert "1,234 of 10,000 documents" in line
    assert "queue 77" in line
    assert "34 quarantined" in line
    assert "/s" in line
    assert line.endswith("left")
    assert "\x1b" not in line


def test_without_a_total_there_is_no_time_left() -> None:
    stream = io.StringIO()
    progress = PlainProgress(stream, interval_seconds=0.02)
    progress.start(None)
    progress.update(COUNTS, 0)
    wait_for(lambda: "1,234 documents" in stream.getvalue())
    progress.finish()
    assert "left" not in stream.getvalue()


def test_plain_lines_come_every_ten_seconds() -> None:
    assert PlainProgress(io.StringIO()).interval_seconds == 10
    assert JsonProgress(io.StringIO()).interval_seconds == 10


def test_json_lines_hold_the_figures_and_the_last_one_always_comes() -> None:
    stream = io.StringIO()
    progress = JsonProgress(stream, interval_seconds=60)
    progress.start(2000)
    progress.update(COUNTS, 5)
    progress.finish()
    line = json.loads(stream.getvalue())
    assert line["documents"]["loaded"] == 1200
    assert line["total"] == 2000
    assert line["queue_depth"] == 5


def test_the_bar_shows_rate_queue_and_time_left() -> None:
    console = terminal()
    progress = BarProgress(console)
    progress.interval_seconds = 0.02
    progress.start(10_000)
    progress.update(COUNTS, 77)
    assert isinstance(console.file, io.StringIO)
    stream = console.file
    wait_for(lambda: "1,234 of 10,000" in stream.getvalue())
    progress.finish()
    shown = stream.getvalue()
    assert "queue 77" in shown
    assert "left" in shown
    assert "quarantined" in shown


def lines_at(width: int, counts: DocumentCounts, total: int, doing: str | None = None) -> list[str]:
    """What the bar shows on a terminal of so many columns, without colours."""
    stream = io.StringIO()
    progress = BarProgress(Console(file=stream, force_terminal=True, width=width))
    progress.interval_seconds = 0.02
    progress.start(total)
    progress._meter.started -= 3725
    progress._meter._points = deque([(time.monotonic() - 15, counts.settled - 15 * 12_345)])
    if doing is not None:
        progress.say(doing)
    progress.update(counts, 1_999)
    wait_for(lambda: f"{counts.settled:,} of" in stream.getvalue(), seconds=30)
    progress.finish()
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", stream.getvalue())
    joined = re.sub(r"\n+", "", plain.replace("\r", "\r\n")).split("\r")
    found = [line for line in joined if f"{counts.settled:,} of" in line]
    assert found
    return found


FAR = DocumentCounts(read=12_347_678, loaded=12_340_678, quarantined=5_000, unfinished=2_000)


def test_on_eighty_columns_what_matters_is_there_whole() -> None:
    for line in lines_at(80, FAR, 20_000_000):
        assert len(line) <= 80
        figures = r"12,345,678 of 20,000,000 [\d,]+/s (\S.* )?\d+ min \d\d s left"
        assert re.search(rf"^Loading \S{{4,}} {figures} *$", line), line
        assert "…" not in line
    for line in lines_at(80, COUNTS, 10_000):
        assert "34 quarantined" in line
        assert "…" not in line
    for line in lines_at(150, FAR, 20_000_000):
        for part in ("queue 1,999", "5,000 quarantined", "1:02:", "left"):
            assert part in line, line


def test_on_a_narrow_terminal_the_count_stays_longest() -> None:
    for line in lines_at(40, FAR, 20_000_000):
        assert len(line) <= 40
        assert "12,345,678 of 20,000,000" in line
        assert "left" not in line


def test_what_is_being_done_takes_the_place_of_rate_and_time_left() -> None:
    doing = "building keys, 3 of 9 done: " + ", ".join(f"table_{number}" for number in range(20))
    for line in lines_at(80, FAR, 20_000_000, doing):
        assert len(line) <= 80
        assert "12,345,678 of 20,000,000 building keys, 3 of 9 done" in line
        assert "/s" not in line


@pytest.mark.parametrize("style", list(ProgressStyle))
@pytest.mark.parametrize("is_terminal", [True, False])
def test_no_thread_outlives_the_run(style: ProgressStyle, is_terminal: bool) -> None:
    console = terminal() if is_terminal else Console(file=io.StringIO())
    before = set(threading.enumerate())
    progress = open_progress(style, console)
    with progress:
        progress.start(10)
        started = {thread.name for thread in set(threading.enumerate()) - before}
        assert started <= {"progress"}
        progress.update(COUNTS, 1)
    progress.finish()
    assert set(threading.enumerate()) == before


def test_the_style_follows_the_stream() -> None:
    piped = Console(file=io.StringIO())
    assert isinstance(open_progress(ProgressStyle.AUTO, terminal()), BarProgress)
    assert isinstance(open_progress(ProgressStyle.AUTO, piped), PlainProgress)
    assert isinstance(open_progress(ProgressStyle.PLAIN, terminal()), PlainProgress)
    assert isinstance(open_progress(ProgressStyle.JSON, piped), JsonProgress)
    assert type(open_progress(ProgressStyle.NONE, terminal())) is Progress


def test_a_closed_stream_does_not_stop_the_load() -> None:
    stream = io.StringIO()
    progress = PlainProgress(stream, interval_seconds=0.01)
    progress.start(10)
    stream.close()
    time.sleep(0.05)
    progress.update(COUNTS, 1)
    progress.finish()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (8, "8 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s"), (12_000, "3 h 20 min")],
)
def test_durations_are_written_as_people_do(seconds: float, text: str) -> None:
    assert duration(seconds) == text
