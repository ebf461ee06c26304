"""How keys travel from the source down to the tables of a contract (law 4)."""

from __future__ import annotations

from xml_extractor.contract.drafts import Origin, TableDraft


def carries_source_key(table: TableDraft, index: int) -> bool:
    """Whether a column holds the source key, unchanged enough that two keys stay two."""
    column = table.columns[index]
    if column.origin is Origin.PARENT:
        return (
            table.parent is not None
            and column.parent_column is not None
            and carries_source_key(table.parent, column.parent_column)
        )
    model = column.model
    lossy = (
        model.apply
        or model.enum
        or model.format
        or model.on_overflow != "reject"
        or model.on_invalid != "reject"
    )
    return column.origin is Origin.KEY and not lossy and model.rounding == "reject"


def key_column(table: TableDraft) -> int | None:
    """Find the column that carries the source key, one of the primary key before others."""
    candidates = [i for i in range(len(table.columns)) if carries_source_key(table, i)]
    return min(candidates, key=lambda i: (i not in table.primary_key, i), default=None)


def reaches_source(table: TableDraft) -> bool:
    """Whether the primary key contains the source key (law 4)."""
    return any(carries_source_key(table, index) for index in table.primary_key)


def foreign_key(table: TableDraft) -> tuple[tuple[int, int], ...]:
    """Pair own columns with the parent's primary key, if all of it is here."""
    parent = table.parent
    if parent is None:
        return ()
    pairs = []
    for theirs in parent.primary_key:
        for own, column in enumerate(table.columns):
            same_key = (
                column.origin is Origin.KEY
                and carries_source_key(table, own)
                and carries_source_key(parent, theirs)
                and column.type == parent.columns[theirs].type
            )
            if (column.origin is Origin.PARENT and column.parent_column == theirs) or same_key:
                pairs.append((own, theirs))
                break
        else:
            return ()
    return tuple(pairs)
