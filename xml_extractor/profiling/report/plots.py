"""Lines over time, bars and histograms: what the plots of a page look like, whatever they show."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from xml_extractor.profiling.report import canvas
from xml_extractor.profiling.report.formats import compact, milliseconds, shortened

_HEIGHT: Final = 250.0
_MARGINS: Final = {"left": 52.0, "right": 14.0, "top": 30.0, "bottom": 48.0}
_BAR_PITCH: Final = 26.0
_BAR_HEIGHT: Final = 20.0
_DASHES: Final = {"line": "-", "dashed": (0, (5, 2.5)), "dotted": (0, (1.2, 2.4))}

LABEL_SHARE: Final = 0.12
"""Parts of a bar below this have no room for their share in a phone's larger text."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plot; ``None`` where a figure is not known: the line goes on to the next that is."""

    values: Sequence[float | None]
    role: str
    mark: Literal["line", "dashed", "dotted"] = "line"
    filled: bool = False  # down to nought
    steps: bool = False  # a value holds from the point before to its own
    width: float = 2.0


@dataclass(frozen=True, slots=True)
class Level:
    """A horizontal line: a mean, or a limit."""

    value: float
    label: str


@dataclass(frozen=True, slots=True)
class Words:
    """What those read who cannot see a drawing."""

    name: str  # of the drawing, unique on its page
    title: str
    description: str


def time_line(
    seconds: Sequence[float], lines: Sequence[Line], words: Words, *, unit: str, level: Level | None = None,
    write: Callable[[float], str] = compact, top: float | None = None,
) -> Markup:  # fmt: skip
    """Draw lines over the time since the start of a load.

    Args:
        seconds: of each point; at least two.
        unit: of the upright axis, which begins at nought.
        top: where that axis ends; as the values want it where ``None``.
    """
    scale, name = _time_scale(seconds[-1])
    times = [at / scale for at in seconds]
    with canvas.drawing():
        drawn = canvas.Drawing(_HEIGHT, **_MARGINS)
        axes = drawn.axes
        axes.set_xlim(0, times[-1])
        for line in lines:
            _draw_line(axes, times, line)
        highest = max((value for line in lines for value in line.values if value is not None), default=0.0)
        if level is not None:
            highest = max(highest, level.value)
            axes.axhline(level.value, color=canvas.colour("muted"), linewidth=1.2, dashes=(4, 3))
        axes.set_ylim(0, top if top is not None else (highest * 1.1 or 1.0))
        if level is not None:
            drawn.text(canvas.WIDTH - 4, 15, f"- - {level.label}", anchor="right")
        _grid(axes, write)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        drawn.text(4, 15, unit)
        drawn.text(canvas.WIDTH - 14, _HEIGHT - 6, f"{name} since the start", anchor="right")
        return _svg(drawn, words)


def _draw_line(axes: Axes, times: Sequence[float], line: Line) -> None:
    known = [(at, value) for at, value in zip(times, line.values, strict=True) if value is not None]
    if not known:
        return
    times, heights = [at for at, _ in known], [value for _, value in known]
    if line.steps:  # the first value holds from the very start
        times, heights = [0.0, *times], [heights[0], *heights]
    colour = canvas.colour(line.role)
    axes.plot(
        times, heights, color=colour, linewidth=line.width, linestyle=_DASHES[line.mark],
        drawstyle="steps-pre" if line.steps else "default", solid_capstyle="round", solid_joinstyle="round",
        # A few points are seen better than the lines between them; one makes no line at all.
        marker="o" if len(known) <= 12 and not line.steps else None, markersize=4, markeredgewidth=0,
    )  # fmt: skip
    if line.filled:
        axes.fill_between(
            times, heights, color=colour, alpha=0.16, linewidth=0, step="pre" if line.steps else None
        )


def shares_over_time(
    seconds: Sequence[float], parts: Sequence[tuple[str, Sequence[float]]], words: Words
) -> Markup:
    """Draw shares of a whole, one upon the other, over the time since the start of a load.

    Args:
        parts: role of the theme, and the share (0 to 1) in the interval up to each point.
    """
    scale, name = _time_scale(seconds[-1])
    times = [0.0, *(at / scale for at in seconds)]
    with canvas.drawing():
        drawn = canvas.Drawing(_HEIGHT, **_MARGINS)
        axes = drawn.axes
        axes.set_xlim(0, times[-1])
        axes.set_ylim(0, 100)
        below = [0.0] * len(times)
        for role, values in parts:
            above = [low + 100 * value for low, value in zip(below, [values[0], *values], strict=True)]
            axes.fill_between(
                times, below, above, step="pre", facecolor=canvas.colour(role),
                edgecolor=canvas.colour("surface"), linewidth=0.6,
            )  # fmt: skip
            below = above
        axes.yaxis.set_major_locator(FixedLocator([0, 25, 50, 75, 100]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        drawn.text(4, 15, "% of the workers' time")
        drawn.text(canvas.WIDTH - 14, _HEIGHT - 6, f"{name} since the start", anchor="right")
        return _svg(drawn, words)


def stacked_bars(bars: Sequence[tuple[str, Sequence[tuple[str, float]]]], words: Words) -> Markup:
    """Draw bars of shares, each with its label to the left.

    Args:
        bars: label, and the bar's parts: role of the theme, and share (0 to 1).
    """
    height = 26 + _BAR_PITCH * len(bars)
    with canvas.drawing():
        drawn = canvas.Drawing(height, left=96, right=6, top=2, bottom=24)
        axes = drawn.axes
        axes.set_xlim(0, 1)
        axes.set_ylim(len(bars), 0)
        axes.spines["bottom"].set_visible(False)
        axes.yaxis.set_major_locator(NullLocator())
        axes.xaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
        axes.xaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{100 * value:g}" + ("%" if value == 1 else ""))
        )
        axes.get_xticklabels()[-1].set_horizontalalignment("right")
        for at, (label, parts) in enumerate(bars):
            middle = at + 0.5
            drawn.text(88, 2 + _BAR_PITCH * middle + 4, shortened(label, 10), anchor="right")
            left = 0.0
            for role, part in parts:
                _bar(axes, left, middle, part, role)
                if part >= LABEL_SHARE:
                    _label_in(axes, left + part / 2, middle, f"{part:.0%}")
                left += part
        return _svg(drawn, words)


def _bar(axes: Axes, left: float, middle: float, width: float, role: str) -> None:
    half = _BAR_HEIGHT / _BAR_PITCH / 2
    if width > 0:
        axes.add_patch(
            Rectangle(
                (left, middle - half), width, 2 * half, facecolor=canvas.colour(role),
                edgecolor=canvas.colour("surface"), linewidth=1.2,
            )
        )  # fmt: skip


def _label_in(axes: Axes, at: float, middle: float, text: str) -> None:
    axes.text(
        at, middle + 4 / _BAR_PITCH, text, color=canvas.colour("on-fill"), ha="center", va="baseline",
        fontsize=canvas.FONT,
    )  # fmt: skip


def ranked_bars(bars: Sequence[tuple[str, str, float, str]], words: Words) -> Markup:
    """Draw one bar below the other, each under its label, with what it amounts to behind it.

    Args:
        bars: label, role of the theme, share (0 to 1) of the longest bar's whole, and the figure as text.
    """
    pitch = 40.0
    height = pitch * len(bars) + 4
    longest = max((part for _, _, part, _ in bars), default=0.0) or 1.0
    with canvas.drawing():
        drawn = canvas.Drawing(height, left=2, right=2, top=2, bottom=2)
        axes = drawn.axes
        axes.set_axis_off()
        axes.set_xlim(0, 1)
        axes.set_ylim(height - 4, 0)
        for at, (label, role, part, figure) in enumerate(bars):
            top = pitch * at
            drawn.text(2, top + 19, shortened(label, 34), role="ink")
            drawn.text(canvas.WIDTH - 2, top + 19, figure, anchor="right")
            axes.add_patch(Rectangle((0, top + 22), 1, 10, facecolor=canvas.colour("grid"), linewidth=0))
            axes.add_patch(
                Rectangle((0, top + 22), part / longest, 10, facecolor=canvas.colour(role), linewidth=0)
            )
        return _svg(drawn, words)


def histogram(
    buckets: Sequence[tuple[float, float, int]], marks: Sequence[tuple[float, str]], words: Words, *,
    role: str, unit: str,
) -> Markup:  # fmt: skip
    """Draw how often durations occurred, over a logarithmic axis of milliseconds.

    Args:
        buckets: above which, up to which duration (milliseconds), and how many; at least one.
        marks: durations to be marked by an upright line, and their names, in rising order.
        unit: what was counted.
    """
    low, high = _bounds(buckets)
    with canvas.drawing():
        drawn = canvas.Drawing(_HEIGHT, **{**_MARGINS, "top": 46.0})
        axes = drawn.axes
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        tallest = max(number for _, _, number in buckets)
        axes.set_ylim(0, tallest * 1.06)
        for left, right, number in buckets:
            begin = max(left, low)
            axes.add_patch(
                Rectangle(
                    (begin, 0), right - begin, number, facecolor=canvas.colour(role), linewidth=0.8,
                    edgecolor=canvas.colour("surface"),
                )
            )  # fmt: skip
        _grid(axes, compact)
        axes.xaxis.set_major_locator(FixedLocator(_decades(low, high)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(_duration))
        axes.xaxis.set_minor_formatter(NullFormatter())
        _draw_marks(drawn, marks, low, high)
        drawn.text(4, 15, unit)
        drawn.text(canvas.WIDTH - 14, _HEIGHT - 6, "duration, logarithmic", anchor="right")
        return _svg(drawn, words)


def _draw_marks(drawn: canvas.Drawing, marks: Sequence[tuple[float, str]], low: float, high: float) -> None:
    """Mark durations by lines; names that would run into each other are joined."""
    width = canvas.WIDTH - _MARGINS["left"] - _MARGINS["right"]
    placed: list[tuple[float, list[str]]] = []
    for value, label in marks:
        if not low <= value <= high:
            continue
        drawn.axes.axvline(value, color=canvas.colour("ink"), linewidth=1.2, dashes=(4, 3))
        at = _MARGINS["left"] + width * math.log(value / low) / math.log(high / low)
        if placed and at - placed[-1][0] < 44 * len(placed[-1][1]):
            placed[-1][1].append(label)
        else:
            placed.append((at, [label]))
    for at, labels in placed:
        text = " ".join(labels)
        # Centred over its line, but not beyond the edges.
        half = 5.0 * len(text)
        place = min(max(at, half), canvas.WIDTH - half)
        drawn.text(place, 38, text, role="ink", anchor="center")


def _duration(value: float, _: int) -> str:
    return milliseconds(value).replace(".0 ", " ")


def _bounds(buckets: Sequence[tuple[float, float, int]]) -> tuple[float, float]:
    """Return the ends of the axis: at least a decade apart, so that it has figures to read."""
    high = max(right for _, right, _ in buckets)
    low = min((left for left, _, _ in buckets if left > 0), default=high / 10)
    low, high = max(min(low, high / 2), 1e-4), max(high, 2e-4)
    if high / low < 10:
        middle = math.sqrt(low * high)
        low, high = min(low, middle / math.sqrt(10)), max(high, middle * math.sqrt(10))
    return low, high


def _decades(low: float, high: float) -> list[float]:
    """Return round durations between the ends, six at most."""
    ticks = [
        digit * 10.0**power
        for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for digit in (1, 2, 5)
        if low <= digit * 10.0**power <= high
    ]
    if len(ticks) > 6:
        ticks = [tick for tick in ticks if math.isclose(math.log10(tick) % 1, 0, abs_tol=1e-9)] or ticks
    return ticks[:: math.ceil(len(ticks) / 6)]


def _grid(axes: Axes, write: Callable[[float], str]) -> None:
    axes.yaxis.grid(visible=True, color=canvas.colour("grid"), linewidth=1)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: write(value)))


def _time_scale(longest: float) -> tuple[float, str]:
    if longest <= 180:
        return 1.0, "seconds"
    return (60.0, "minutes") if longest <= 3 * 3600 else (3600.0, "hours")


def _svg(drawn: canvas.Drawing, words: Words) -> Markup:
    return drawn.svg(name=words.name, title=words.title, description=words.description)
