"""A heat map: one figure for each pair of two settings, in colour and in digits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from xml_extractor.profiling.report import canvas
from xml_extractor.profiling.report.formats import compact, shortened
from xml_extractor.profiling.report.theme import HEAT_STEPS

_LEFT: Final = 84.0
_TOP: Final = 46.0
_CELL_HEIGHT: Final = 34.0
_MOST_LETTERS: Final = 9  # of a row's label: what fits left of the cells in a phone's larger text


def heat_map_svg(
    values: Sequence[Sequence[float | None]],
    *,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    row_title: str,
    column_title: str,
    name: str,
    title: str,
    description: str,
    best: tuple[int, int] | None = None,
    write: Callable[[float], str] = compact,
) -> Markup:
    """Draw a heat map, the larger the stronger, as part of a page (:class:`~.blocks.Plot`).

    Args:
        values: rows of cells; ``None`` = not measured: the cell is empty and says so by a dash.
        row_labels, column_labels: what the cells of a row, or column, have in common: short texts.
        row_title, column_title: what these are: ``workers``, ``batch size``.
        name: of the drawing, unique on its page; letters, digits and hyphens.
        title, description: for those who cannot see it; say the unit and the best cell.
        best: row and column of the cell to be framed.
        write: how figures stand in cells, in at most six characters or so.

    Raises:
        ValueError: there are no cells, or rows of other lengths than there are labels.
    """
    if not row_labels or not column_labels or len(values) != len(row_labels):
        raise ValueError(f"{len(values)} rows of cells for {len(row_labels)} labels")
    for row in values:
        if len(row) != len(column_labels):
            raise ValueError(f"a row of {len(row)} cells for {len(column_labels)} columns")
    known = [value for row in values for value in row if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    height = _TOP + _CELL_HEIGHT * len(row_labels) + 6
    with canvas.drawing():
        drawn = canvas.Drawing(height, left=_LEFT, right=6, top=_TOP, bottom=6)
        axes = drawn.axes
        axes.set_xlim(0, len(column_labels))
        axes.set_ylim(len(row_labels), 0)
        axes.set_axis_off()
        for at_row, row in enumerate(values):
            for at_column, value in enumerate(row):
                _draw_cell(axes, at_row, at_column, value, low, high, write)
        if best is not None:
            axes.add_patch(
                Rectangle(
                    (best[1] + 0.03, best[0] + 0.06), 0.94, 0.88, fill=False, linewidth=2.5,
                    edgecolor=canvas.colour("blocked"),
                )
            )  # fmt: skip
        width = (canvas.WIDTH - _LEFT - 6) / len(column_labels)
        for at, label in enumerate(column_labels):
            drawn.text(_LEFT + width * (at + 0.5), _TOP - 8, shortened(label, 12), anchor="center")
        for at, label in enumerate(row_labels):
            middle = _TOP + _CELL_HEIGHT * (at + 0.5) + 4
            drawn.text(_LEFT - 8, middle, shortened(label, _MOST_LETTERS), anchor="right")
        drawn.text(canvas.WIDTH - 6, 14, f"{shortened(column_title, 28)} →", anchor="right")
        drawn.text(4, 14, f"↓ {shortened(row_title, 18)}")
        return drawn.svg(name=name, title=title, description=description)


def _draw_cell(
    axes: Axes, row: int, column: int, value: float | None, low: float, high: float,
    write: Callable[[float], str],
) -> None:  # fmt: skip
    step = 0
    if value is not None and high > low:
        step = min(int((value - low) / (high - low) * HEAT_STEPS), HEAT_STEPS - 1)
    fill = "ground" if value is None else f"heat-{step}"
    axes.add_patch(
        Rectangle(
            (column, row),
            1,
            1,
            facecolor=canvas.colour(fill),
            edgecolor=canvas.colour("surface"),
            linewidth=2,
        )
    )
    axes.text(
        column + 0.5, row + 0.62, "–" if value is None else write(value), ha="center", va="baseline",
        color=canvas.colour("muted" if value is None else f"on-heat-{step}"), fontsize=canvas.FONT,
    )  # fmt: skip
