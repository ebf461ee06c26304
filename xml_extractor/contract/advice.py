"""Warnings: what a contract is allowed to say but its author likely did not mean."""

from __future__ import annotations

from collections.abc import Sequence

from xml_extractor.contract.conversions import Conversions
from xml_extractor.contract.drafts import Origin, TableDraft
from xml_extractor.contract.keys import foreign_key, reaches_source
from xml_extractor.contract.model import ContractModel
from xml_extractor.contract.plan import Path
from xml_extractor.contract.reader import Report


def add_warnings(
    model: ContractModel,
    tables: Sequence[TableDraft],
    rows: Sequence[Path | None],
    conversions: Conversions,
    report: Report,
) -> None:
    """Note all warnings; ``rows`` holds the path of each table's elements from its parent's."""
    for table in tables:
        if not table.is_damaged:
            _warn_of_key(table, report)
    _warn_of_nesting(tables, rows, report)
    for name in model.enums:
        if name not in conversions.used_enums:
            report.warn(("enums", name), f"enum {name!r} is not used")
    for name in model.replacements:
        if name not in conversions.used_replacements:
            report.warn(("replacements", name), f"replacement table {name!r} is not used")
    for table in tables:
        if table.name.casefold() == model.source.table.casefold():
            report.warn(
                table.location,
                f"table {table.name!r} has the name of the source table; in one database they would be "
                "the same",
            )


def _warn_of_key(table: TableDraft, report: Report) -> None:
    at = (*table.location, "primary_key")
    if not table.primary_key:
        if table.model.primary_key is None:
            report.warn(
                table.location,
                f"table {table.name!r} has no primary key: nothing keeps a row from being there twice",
            )
        return
    if not reaches_source(table):
        report.warn(
            at,
            f"the primary key of {table.name!r} does not contain the source key ($key): two documents "
            "can write the same row",
        )
    if table.parent is None:
        several = table.model.rows is not None
        inherited = {i for i, column in enumerate(table.columns) if column.origin is Origin.KEY}
    else:
        several = table.model.rows is not None
        inherited = {
            i for i, column in enumerate(table.columns) if column.origin in (Origin.PARENT, Origin.KEY)
        }
        if table.parent.primary_key and not foreign_key(table):
            names = ", ".join(table.parent.columns[i].name for i in table.parent.primary_key)
            report.warn(
                table.location,
                f"table {table.name!r} does not carry its parent's primary key ({names}): there will "
                "be no foreign key",
            )
    by = set(table.model.unique.by) if table.model.unique is not None else None
    names_of_key = {table.columns[i].name for i in table.primary_key}
    kept_one = by is not None and by <= names_of_key
    if (several or table.model.items is not None) and set(table.primary_key) <= inherited and not kept_one:
        report.warn(
            at,
            f"`{'rows' if several else 'items'}` of {table.name!r} can give several rows with the same "
            "primary key; add a column to it",
        )


def _warn_of_nesting(tables: Sequence[TableDraft], rows: Sequence[Path | None], report: Report) -> None:
    """Tell paths of rows that lie inside those of another table with the same parent."""
    for inner in tables:
        for outer in tables:
            if inner is outer or inner.parent is not outer.parent:
                continue
            inner_path, outer_path = rows[inner.index], rows[outer.index]
            if (
                inner.model.rows is None
                or outer.model.rows is None
                or inner_path is None
                or outer_path is None
            ):
                continue
            depth = len(outer_path.steps)
            if 0 < depth < len(inner_path.steps) and inner_path.steps[:depth] == outer_path.steps:
                rest = "/".join(step.rpartition("}")[2] for step in inner_path.steps[depth:])
                report.warn(
                    (*inner.location, "rows"),
                    f"rows of {inner.name!r} lie inside rows of {outer.name!r}; if each belongs to one "
                    "of those, "
                    f"say `parent: {outer.name}` and `rows: {rest}`",
                )
