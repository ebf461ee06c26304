"""How quarantined documents look: in tables for terminals, and as aligned text elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from xml_extractor.cli_output import Output

if TYPE_CHECKING:
    from xml_extractor.operations.quarantine import QuarantinedDocument, QuarantineGroup

_WIDE: Final = 100
"""Columns of a terminal that has room for a whole table."""
_WHERE: Final = "where and why"
_Cell = str | tuple[str, ...]
"""What stands in a cell: a line, or several of which the first matters most."""


def show_groups(output: Output, groups: list[QuarantineGroup]) -> None:
    """Print quarantined documents by reason and place."""
    several = len({group.contract for group in groups}) > 1
    if output.out.is_terminal:
        _rich_rows(
            output,
            ("documents", "reason", _WHERE, "first (UTC)", "such as key"),
            [
                (
                    f"{group.documents:,}",
                    (group.code, f"{group.stage}, {group.contract}" if several else group.stage),
                    (group.place, _why(group)),
                    (f"{group.first_at:%Y-%m-%d}", f"{group.first_at:%H:%M:%S}"),
                    group.example_key,
                )
                for group in groups
            ],
            apart=True,
        )
        return
    output.table(
        ("documents", "reason", "stage", *(["contract"] if several else []), "place", "message",
         "first (UTC)", "such as key"),
        [
            (
                f"{group.documents:,}", group.code, group.stage, *([group.contract] if several else []),
                group.place, _why(group), f"{group.first_at:%Y-%m-%d %H:%M:%S}", group.example_key,
            )
            for group in groups
        ],
        right=("documents",),
    )  # fmt: skip


def show_documents(output: Output, documents: list[QuarantinedDocument]) -> None:
    """Print quarantined documents singly."""
    if output.out.is_terminal:
        _rich_rows(
            output,
            ("key", "reason", _WHERE, "since (UTC)"),
            [
                (
                    document.key,
                    (document.code, document.stage),
                    (document.place, _why(document)),
                    (f"{document.quarantined_at:%Y-%m-%d}", f"{document.quarantined_at:%H:%M:%S}"),
                )
                for document in documents
            ],
        )
        return
    output.table(
        ("key", "stage", "reason", "place", "message"),
        [
            (document.key, document.stage, document.code, document.place, _why(document))
            for document in documents
        ],
    )


def _why(refused: QuarantinedDocument | QuarantineGroup) -> str:
    """The message, without the place where that stands beside it."""
    return refused.message.removeprefix(f"{refused.table}.{refused.column}: ")


def _rich_rows(
    output: Output,
    columns: tuple[str, ...],
    rows: Iterable[tuple[_Cell, ...]],
    *,
    apart: bool = False,
) -> None:
    """Print a table for terminals, whose cells may have further, fainter lines.

    On a narrow one what stands right of where and why comes below it, or the words would have no room.

    Args:
        apart: leave a line between two rows.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if output.out.width < _WIDE:
        places = columns.index(_WHERE) + 1
        rows = [
            (*row[: places - 1], _with_below(row[places - 1], columns[places:], row[places:])) for row in rows
        ]
        columns, apart = columns[:places], True
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, leading=1 if apart else 0)
    for column in columns:
        stays = column in ("documents", "reason", "first (UTC)", "since (UTC)")
        table.add_column(
            column, justify="right" if column == "documents" else "left", overflow="fold", no_wrap=stays
        )
    for row in rows:
        cells = []
        for cell in row:
            first, *further = _lines(cell)
            lines = [Text(first), *(Text(line, style="dim") for line in further)]
            cells.append(Text("\n").join(line for line in lines if line))
        table.add_row(*cells)
    output.out.print(table, soft_wrap=False)


def _with_below(cell: _Cell, names: Sequence[str], values: Sequence[_Cell]) -> _Cell:
    """Return a cell with a line more that says what other columns would."""
    said = [f"{name} {' '.join(_lines(value))}" for name, value in zip(names, values, strict=True)]
    return (*_lines(cell), ", ".join(said))


def _lines(cell: _Cell) -> tuple[str, ...]:
    return (cell,) if isinstance(cell, str) else cell
