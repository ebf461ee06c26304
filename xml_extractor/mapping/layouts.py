"""What mapped rows can be laid out as for a target, and who does it.

The interpreters know layouts, never engines: an engine's encoder says by them what it makes of rows, and the
native interpreter can then write the same without making rows first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any, Final, Protocol

from xml_extractor.mapping.records import Row

PIECE_BYTES: Final = 33
"""What a ``bytes`` object takes beside its content."""


class RowEncoder(Protocol):
    """Turns the rows of one document into the form that the target's ``write_rows`` takes.

    Picklable; used in the workers; thread-safe.
    """

    def __call__(self, rows: tuple[list[Row], ...]) -> tuple[tuple[Any, ...], int]:
        """Return (encoded rows per table, estimate of their size in bytes)."""
        ...


class Layout(Enum):
    """What the rows of a table can be laid out as by the native interpreter too."""

    COPY_TEXT = "copy text"  # bytes: values between tabs, a line a row, see copy_text()
    JSON_ARRAYS = "json arrays"  # str: an array a row, commas between, decimals as strings
    PARAMETERS = "parameters"  # a list of tuples: bits as 0 and 1, decimals as text
    PICKLED_PARAMETERS = "pickled parameters"  # bytes: the same values, row after row, see pickled_values()
    CANONICAL = "canonical"  # a list of tuples of the values as they are


@dataclass(frozen=True, slots=True)
class TableLayout:
    """How one table's rows are laid out.  Picklable."""

    layout: Layout
    written: tuple[int, ...]  # the columns that are written, in their order
    other: Callable[[Any], str | bytes] | None = None
    """Makes the text of a value that is neither text, integer, bit nor decimal; for the layouts of text and
    bytes."""
    checks_text: bool = False
    """Whether NUL and lone surrogates are for :meth:`LayoutEncoder.encode_table` to deal with."""
    long: tuple[int, ...] = ()  # of Python values: positions of those that are measured for the size
    row_bytes: int = 0  # of Python values: the estimate for a row, its long values apart


class LayoutEncoder(ABC):
    """An encoder that takes each table by itself.  As :class:`RowEncoder`."""

    __slots__ = ()

    @property
    @abstractmethod
    def layouts(self) -> tuple[TableLayout | None, ...]:
        """Per table how its rows are laid out, or None where only :meth:`encode_table` can do that."""

    @abstractmethod
    def encode_table(self, index: int, rows: Sequence[Row]) -> tuple[Any, int]:
        """Return (a table's rows as ``write_rows`` takes them, estimate of their size in bytes).

        Args:
            index: which table of the plan.
            rows: canonical values of all columns.
        """

    def __call__(self, rows: tuple[list[Row], ...]) -> tuple[tuple[Any, ...], int]:
        """Return (encoded rows per table, estimate of their size in bytes)."""
        encoded = []
        size = 0
        for index, table_rows in enumerate(rows):
            piece, piece_bytes = self.encode_table(index, table_rows)
            encoded.append(piece)
            size += piece_bytes
        return tuple(encoded), size


def decimal_text(value: Decimal) -> str:
    """A decimal as plain digits with its whole scale: no exponent, no negative zero."""
    text = str(value)
    if "E" in text:
        text = format(value, "f")
    if text[0] == "-" and not value:
        return text[1:]
    return text
