"""Which paths of a contract a document lacks: what the drift guard compares a sample with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lxml import etree

from xml_extractor.contract.plan import Column, Leaf, Path, Plan, SourceKind, Table
from xml_extractor.mapping.captures import ScopeFrame, scope_walkers


@dataclass(frozen=True, slots=True)
class ExpectedPath:
    """A path that the contract names, from the document's root on, and what wants it."""

    path: str
    table: str
    column: str | None = None  # None: the table's rows are made from the element


class ExpectedPaths:
    """Compares documents with the paths that a plan wants.  Not thread-safe.

    *Required* is an element that a top table's rows are made from, and the path of a column that takes no
    NULL and has no default.  A path of the latter kind is absent from a document when any element that a row
    is made from lacks it.  Required columns whose rows may be dropped (``where``, ``drop_empty``, named
    items) are not judged.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._walkers = scope_walkers(plan)
        self._roots = frozenset(plan.roots)
        self._places = [_place(plan, scope) for scope in range(len(plan.scopes))]
        self._required = [
            (table.scope, column.source.captures, self._expected(table, column))
            for table in plan.tables
            if not (table.items or table.where is not None or table.drop_empty)
            for column in table.columns
            if column.source.kind is SourceKind.CAPTURES
            and not (column.nullable or column.server_generated or column.default is not None)
            and (column.conversion.enum is None or column.conversion.enum.missing is None)
        ]
        self._never_seen = self._all_paths()

    def root_fits(self, root: etree._Element) -> bool:
        """Whether the document's root is one that the contract is for."""
        tag: str = root.tag
        return (tag.lower() if self._plan.ignore_case else tag) in self._roots

    def absent(self, root: etree._Element) -> list[ExpectedPath]:
        """Return the required paths that a document of a fitting root lacks, and note which it has."""
        frame = self._walkers[0].root_frame(root)
        frames = {scope: list(self._frames(frame, scope)) for scope in range(len(self._plan.scopes))}
        self._note_seen(frames)
        found: dict[ExpectedPath, None] = {}
        for table in self._plan.tables:
            if table.parent is None and not frames[table.scope]:
                found[ExpectedPath(self._places[table.scope], table.name)] = None
        for scope, captures, expected in self._required:
            if any(all(each[capture] is None for capture in captures) for each in frames[scope]):
                found[expected] = None
        return list(found)

    def never_seen(self) -> list[str]:
        """Return the contract's paths that no document given to :meth:`absent` holds."""
        return list(dict.fromkeys(self._never_seen.values()))

    # ------------------------------------------------------------------------------------ internals

    def _expected(self, table: Table, column: Column) -> ExpectedPath:
        path = self._plan.scopes[table.scope].captures[column.source.captures[0]].path
        return ExpectedPath(_joined(self._places[table.scope], path), table.name, column.name)

    def _all_paths(self) -> dict[tuple[int, int], str]:
        paths = {}
        for index, scope in enumerate(self._plan.scopes):
            for number, capture in enumerate(scope.captures):
                if capture.path.leaf in (Leaf.TEXT, Leaf.OWN_TEXT, Leaf.ATTRIBUTE):
                    paths[index, number] = _joined(self._places[index], capture.path)
        return paths

    def _note_seen(self, frames: dict[int, list[ScopeFrame]]) -> None:
        if not self._never_seen:
            return
        for scope, number in list(self._never_seen):
            if any(frame[number] is not None for frame in frames[scope]):
                del self._never_seen[scope, number]

    def _frames(self, root_frame: ScopeFrame, scope: int) -> Iterator[ScopeFrame]:
        parent = self._plan.scopes[scope].parent
        if parent is None:
            yield root_frame
            return
        slot = self._walkers[parent].child_slots[scope]
        for outer in self._frames(root_frame, parent):
            yield from outer[slot] or ()


def _place(plan: Plan, scope: int) -> str:
    """The path of a scope's elements from the root on."""
    parent, path = plan.scopes[scope].parent, plan.scopes[scope].path
    if parent is None:
        place = plan.roots[0].rpartition("}")[2]
        return place if path is None else _joined(place, path)
    place = _place(plan, parent)
    return place if path is None else _joined(place, path)


def _joined(place: str, path: Path) -> str:
    return path.text if path.text.startswith("/") else f"{place}/{path.text}"
