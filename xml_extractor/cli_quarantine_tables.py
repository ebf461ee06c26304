"""How quarantined documents look: in tables for terminals, and as aligned text elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from xml_extractor.cli_output import Output

if TYPE_CHECKING:
    from xml_extractor.operations.quarantine import QuarantinedDocument, QuarantineGroup


def show_groups(output: Output, groups: list[QuarantineGroup]) -> None:
    """Print quarantined documents by reason and place."""
    several = len({group.contract for group in groups}) > 1
    if output.out.is_terminal:
        _rich_rows(
            output,
            ("documents", "reason", "where and why", "first (UTC)", "such as key"),
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
            ("key", "reason", "where and why", "since (UTC)"),
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
    rows: Iterable[tuple[str | tuple[str, str], ...]],
    *,
    apart: bool = False,
) -> None:
    """Print a table for terminals, whose cells may have a second, fainter line.

    Args:
        apart: leave a line between two rows.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, leading=1 if apart else 0)
    for column in columns:
        stays = column in ("documents", "reason", "first (UTC)", "since (UTC)")
        table.add_column(
            column, justify="right" if column == "documents" else "left", overflow="fold", no_wrap=stays
        )
    for row in rows:
        cells = []
        for cell in row:
            first, second = (cell, "") if isinstance(cell, str) else cell
            text = Text(first)
            if second:
                text = Text("\n" if first else "").join([text, Text(second, style="dim")])
            cells.append(text)
        table.add_row(*cells)
    output.out.print(table, soft_wrap=False)
