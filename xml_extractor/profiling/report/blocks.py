"""What a page is made of, as plain data: figures, tables, plots and texts in sections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from markupsafe import Markup


class Tone(StrEnum):
    """How a page, or a text on it, is meant; it is always said in words, too."""

    PLAIN = "plain"
    GOOD = "good"
    LOOK = "look"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Card:
    """One headline figure."""

    label: str
    value: str  # as it is shown: 12,345
    unit: str = ""
    note: str = ""
    name: str = ""  # by which a test, or a script, finds the figure: documents.loaded
    raw: float | None = None  # the figure itself
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True, slots=True)
class Cards:
    """A row of headline figures."""

    cards: Sequence[Card]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    heading: str
    kind: Literal["text", "number", "bar"] = "text"
    """``bar``: cells are shares from 0 to 1, drawn as a bar beside the figures that say the same."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table; it scrolls in a box of its own where it is wider than the page.

    The first cell of a row names it.  ``folded``: shown when its caption is opened.
    """

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str | float]]
    folded: bool = False
    foot: Sequence[str] | None = None  # a last row with sums, without bars


@dataclass(frozen=True, slots=True)
class Legend:
    """What one colour, or one kind of line, of a plot means."""

    label: str
    role: str  # a colour of the theme
    mark: Literal["box", "line", "dashed", "dotted"] = "box"


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing with its heading, legend and, for those who cannot see it, the same as a table."""

    heading: str
    svg: Markup
    legend: Sequence[Legend] = ()
    note: str = ""
    table: Table | None = None


@dataclass(frozen=True, slots=True)
class Panels:
    """Plots and tables, two side by side where there is room."""

    panels: Sequence[Plot | Table]


@dataclass(frozen=True, slots=True)
class Text:
    """Paragraphs, and points below them, in a frame that shows the tone."""

    paragraphs: Sequence[str] = ()
    points: Sequence[str] = ()
    tone: Tone = Tone.PLAIN
    heading: str = ""
    name: str = ""


Block = Cards | Panels | Text


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page with its heading."""

    heading: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Page:
    """A whole page.

    ``title`` stands at the top and in the browser's tab; ``status`` is one to three words on how it ended.
    """

    title: str
    lead: str  # what the page says, in one sentence
    sections: Sequence[Section]
    status: str = ""
    tone: Tone = Tone.PLAIN
    facts: Sequence[tuple[str, str]] = ()  # label and value: when, from where, to where
    footer: str = ""
