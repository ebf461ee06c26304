"""Warnings about private values: where else they are stored as they are, and what no longer sees them.

What is masked, hashed or dropped in one column is of little use if another column holds the same text.
Paths of child steps can be compared exactly; of others (predicates, ``..``, ``//``) it is only seen
whether they end in the same name, so no warning does not mean that nothing leaks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from xml_extractor.contract.drafts import ColumnDraft, TableDraft
from xml_extractor.contract.expression import ColumnRef, Expression, IsNull, PathRef, walk
from xml_extractor.contract.plan import ColumnSource, Leaf, Path, Scope, SourceKind, Table
from xml_extractor.contract.protections import is_private
from xml_extractor.contract.reader import Location, Report

_PREDICATE: Final = re.compile(r"\[[^\]]*\]")
_MOST_NAMES: Final = 3  # that a warning lists


@dataclass(frozen=True, slots=True)
class _Place:
    """A part of the document, or of the source row, that a column reads."""

    steps: tuple[str, ...]
    """The elements that lead there from the root, as far as they are known."""
    is_exact: bool = True
    leaf: Leaf = Leaf.TEXT
    name: str | None = None
    """The last name of its path: an attribute's, else the element's."""
    of_row: str | None = None
    """Of the source row: ``$key`` or ``$source.COLUMN``; then there is nothing else."""

    def holds(self, other: _Place) -> bool:
        """Whether what is read here holds what is read there."""
        if self.of_row is not None or other.of_row is not None:
            return self.of_row == other.of_row
        is_above = self.is_exact and other.steps[: len(self.steps)] == self.steps
        if is_above and self.leaf is Leaf.XML:
            return True
        if is_above and self.leaf is Leaf.TEXT and other.leaf is not Leaf.ATTRIBUTE:
            return True
        if self.is_exact and other.is_exact:
            alike = self.steps == other.steps and (self.leaf is Leaf.ATTRIBUTE) == (
                other.leaf is Leaf.ATTRIBUTE
            )
            return alike and (self.leaf is not Leaf.ATTRIBUTE or self.name == other.name)
        return self.name is not None and self.name == other.name


class _Reading:
    """Tells what each column reads."""

    def __init__(self, scopes: Sequence[Scope], tables: Sequence[Table]) -> None:
        self._scopes = scopes
        self._tables = tables

    def places(self, table: Table, source: ColumnSource) -> Iterator[_Place]:
        kind = source.kind
        if kind is SourceKind.DOCUMENT:
            yield _Place((), leaf=Leaf.XML)
        elif kind is SourceKind.KEY or kind is SourceKind.SOURCE_COLUMN:
            yield _Place((), of_row=source.text.casefold())
        elif kind is SourceKind.ITEM_VALUE:
            yield from self._captured(table.scope, (item.capture for item in table.items))
        elif kind is SourceKind.EXPRESSION and source.expression is not None:
            nodes = walk(source.expression)
            yield from self._captured(table.scope, (n.capture for n in nodes if isinstance(n, PathRef)))
        else:
            yield from self._captured(table.scope, source.captures)

    def _captured(self, scope: int, captures: Iterable[int]) -> Iterator[_Place]:
        steps, is_exact = self._way(scope)
        for capture in captures:
            path = self._scopes[scope].captures[capture].path
            if is_exact and not path.is_complex:
                name = path.attribute or (path.steps[-1] if path.steps else None)
                yield _Place((*steps, *path.steps), True, path.leaf, name)
            else:
                yield _Place(steps, False, path.leaf, _last_name(path))

    def _way(self, scope: int) -> tuple[tuple[str, ...], bool]:
        """Return the steps to a scope's elements from the root, and whether these are all of them."""
        found: list[Scope] = []
        at: int | None = scope
        while at is not None:
            found.append(self._scopes[at])
            at = self._scopes[at].parent
        steps: tuple[str, ...] = ()
        for each in reversed(found):
            if each.path is not None and each.path.is_complex:
                return steps, False
            steps = (*steps, *(each.path.steps if each.path is not None else ()))
            if each.recurse is not None:
                return steps, False
        return steps, True


def _last_name(path: Path) -> str | None:
    if path.attribute is not None:
        return path.attribute
    last = _PREDICATE.sub("", path.text).rpartition("/")[2].strip().lstrip("@").rpartition(":")[2]
    return last if last not in ("", ".", "..", "*", "text()") else None


def add_privacy_warnings(
    drafts: Sequence[TableDraft],
    tables: Sequence[Table],
    sources: Mapping[tuple[int, int], ColumnSource],
    scopes: Sequence[Scope],
    report: Report,
) -> None:
    """Note what a contract's columns give away that others of them protect.

    Args:
        drafts: the tables as written; ``tables``: the same, compiled.
        sources: what each column (by table and place) would read, those of dropped columns included.
    """
    if not any(is_private(column) for draft in drafts for column in draft.columns):
        return
    _warn_of_leaks(drafts, tables, sources, _Reading(scopes, tables), report)
    for draft, table in zip(drafts, tables, strict=True):
        _warn_of_conditions(drafts, draft, table, report)
        _warn_of_lookalikes(draft, report)


def _warn_of_leaks(
    drafts: Sequence[TableDraft],
    tables: Sequence[Table],
    sources: Mapping[tuple[int, int], ColumnSource],
    reading: _Reading,
    report: Report,
) -> None:
    private: list[tuple[str, _Place]] = []
    public: list[tuple[str, ColumnDraft, tuple[_Place, ...]]] = []
    for (number, index), source in sources.items():
        column = drafts[number].columns[index]
        name = f"{drafts[number].name}.{column.name}"
        places = tuple(reading.places(tables[number], source))
        if is_private(column):
            private += [(name, place) for place in places]
        else:
            public.append((name, column, places))
    for name, column, places in public:
        held = list(dict.fromkeys(n for n, hidden in private if any(place.holds(hidden) for place in places)))
        if held:
            more = f" and {len(held) - _MOST_NAMES} more" if len(held) > _MOST_NAMES else ""
            report.warn(
                column.location,
                f"{name} holds as it is what {', '.join(held[:_MOST_NAMES])}{more} "
                f"{'protects' if len(held) == 1 else 'protect'}; protect it, too, or take it out",
            )


def _warn_of_conditions(
    drafts: Sequence[TableDraft], draft: TableDraft, table: Table, report: Report
) -> None:
    """Tell conditions and expressions that ask for a value that they will not see."""
    asked: list[tuple[Location, Expression | None]] = [((*draft.location, "where"), table.where)]
    for column, compiled in zip(draft.columns, table.columns, strict=True):
        asked.append(((*column.location, "expr"), compiled.source.expression))
    for location, expression in asked:
        if expression is None:
            continue
        for reference in _values_asked_for(expression):
            theirs = draft if reference.table is None else drafts[reference.table]
            column = theirs.columns[reference.column]
            if is_private(column):
                report.warn(
                    location,
                    f"{column.name} is {_what(column)} here, as it is stored; path('…') reads the document's "
                    "own text",
                    at_key=False,
                )


def _values_asked_for(expression: Expression) -> list[ColumnRef]:
    """The columns an expression refers to, save for asking only whether there is a value."""
    only_asked = [
        node.operand
        for node in walk(expression)
        if isinstance(node, IsNull) and isinstance(node.operand, ColumnRef)
    ]
    return [n for n in walk(expression) if isinstance(n, ColumnRef) and not any(n is o for o in only_asked)]


def _what(column: ColumnDraft) -> str:
    return "masked" if column.model.mask else "hashed" if column.model.hash else "NULL (it is dropped)"


def _warn_of_lookalikes(draft: TableDraft, report: Report) -> None:
    """Tell masked and dropped columns by which rows are told apart."""
    unique = draft.model.unique
    if unique is not None:
        asked: list[tuple[str, Location]] = [
            (name, ("unique", "by", number)) for number, name in enumerate(unique.by)
        ]
        if unique.prefer is not None:
            asked.append((unique.prefer.column, ("unique", "prefer", "column")))
        for name, at in asked:
            column = _column(draft, name)
            if column is not None and is_private(column) and (not column.model.hash or "prefer" in at):
                report.warn(
                    (*draft.location, *at),
                    f"{name} is {_what(column)} when rows are compared, so that rows that differ can look "
                    "alike or the other way round",
                    at_key=False,
                )
    for place, name in enumerate(draft.model.primary_key or ()):
        column = _column(draft, name)
        if column is not None and column.model.mask is not None:
            report.warn(
                (*draft.location, "primary_key", place),
                f"{name} is masked, and different values can look alike: their documents would be "
                "quarantined for a duplicate key. Hash it instead",
                at_key=False,
            )


def _column(draft: TableDraft, name: str) -> ColumnDraft | None:
    index = draft.column_index(name)
    return None if index is None else draft.columns[index]
