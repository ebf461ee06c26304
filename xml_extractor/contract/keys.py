"""How keys travel from the source down to the tables of a contract (law 4)."""

from __future__ import annotations

from enum import Enum

from xml_extractor.contract.drafts import Origin, TableDraft


class KeyForm(Enum):
    """In what form a column holds the source key, unchanged enough that two keys stay two."""

    PLAIN = "plain"
    HASHED = "hashed"


def key_form(table: TableDraft, index: int) -> KeyForm | None:
    """Return in what form a column holds the source key; ``None`` = it does not, or two keys may be one."""
    column = table.columns[index]
    if column.origin is Origin.PARENT:
        if table.parent is None or column.parent_column is None:
            return None
        return key_form(table.parent, column.parent_column)
    model = column.model
    lossy = (
        model.apply
        or model.enum
        or model.format
        or model.on_overflow != "reject"
        or model.on_invalid != "reject"
        or model.rounding != "reject"
        or model.mask
        or model.drop
    )
    if column.origin is not Origin.KEY or lossy:
        return None
    return KeyForm.HASHED if model.hash else KeyForm.PLAIN


def key_column(table: TableDraft) -> int | None:
    """Find the column that carries the source key as it is, one of the primary key before others."""
    candidates = [i for i in range(len(table.columns)) if key_form(table, i) is KeyForm.PLAIN]
    return min(candidates, key=lambda i: (i not in table.primary_key, i), default=None)


def reaches_source(table: TableDraft) -> bool:
    """Whether the primary key contains the source key (law 4)."""
    return any(key_form(table, index) is not None for index in table.primary_key)


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
                and key_form(table, own) is not None
                and key_form(table, own) is key_form(parent, theirs)
                and column.type == parent.columns[theirs].type
            )
            if (column.origin is Origin.PARENT and column.parent_column == theirs) or same_key:
                pairs.append((own, theirs))
                break
        else:
            return ()
    return tuple(pairs)
