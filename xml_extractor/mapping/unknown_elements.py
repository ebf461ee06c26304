"""Finds elements that a contract says nothing about."""

from __future__ import annotations

import re
from typing import Final

from lxml import etree

from xml_extractor.contract.plan import Leaf, Path, Plan, fold_name

MAX_REPORTED: Final = 100
"""Paths named per document; a hostile document could hold any number of them."""
MAX_NAME_LENGTH: Final = 100
"""Characters given of a name."""

_XPATH_NAME: Final = re.compile(r"[^\W\d][\w.-]*")


class _Known:
    """An element name that the contract knows, with those known below it."""

    def __init__(self) -> None:
        self.children: dict[str, _Known] = {}
        self.is_whole = False  # all of its content is taken: nothing below it is unknown


class UnknownElements:
    """Compares documents with the paths of a plan.  Thread-safe.

    Names in complex paths (predicates, ``//``) count as known wherever they stand: ``anywhere`` holds them,
    in lower case.  The native interpreter makes its own trie of ``root``.
    """

    def __init__(self, plan: Plan) -> None:
        self.ignore_case = plan.ignore_case
        self.anywhere: set[str] = set()
        starts: list[_Known] = []
        for scope in plan.scopes:
            parent = _Known() if scope.parent is None else starts[scope.parent]
            start = parent if scope.path is None else self._add(parent, scope.path)
            starts.append(start)
            if scope.recurse is not None and not scope.recurse.is_complex:
                # The same names are known below the nested element: let it be the outer one.
                *way, last = scope.recurse.steps
                node = start
                for step in way:
                    node = node.children.setdefault(step, _Known())
                node.children[last] = start
            elif scope.recurse is not None:
                self._add(start, scope.recurse)
            for capture in scope.captures:
                end = self._add(start, capture.path)
                if capture.path.leaf is Leaf.XML:
                    end.is_whole = True
        self.root = starts[0]

    def _add(self, start: _Known, path: Path) -> _Known:
        if path.is_complex:
            self.anywhere.update(name.lower() for name in _XPATH_NAME.findall(path.xpath or ""))
            return _Known()
        node = start
        for step in path.steps:
            node = node.children.setdefault(step, _Known())
        return node

    def find(self, root: etree._Element) -> tuple[str, ...]:
        """Return the paths of unknown elements, each once, in document order, at most 100."""
        found: dict[str, None] = {}
        self._search(root, self.root, _local_name(root.tag), found)
        return tuple(found)

    def _search(self, element: etree._Element, known: _Known, path: str, found: dict[str, None]) -> None:
        if known.is_whole:
            return
        for child in element:
            if len(found) >= MAX_REPORTED:
                return
            tag = child.tag
            name = _local_name(tag)
            below = known.children.get(fold_name(tag) if self.ignore_case else tag)
            child_path = f"{path}/{name[:MAX_NAME_LENGTH]}"
            if below is not None:
                self._search(child, below, child_path, found)
            elif name.lower() not in self.anywhere:
                found[child_path] = None


def _local_name(tag: str) -> str:
    return tag.rpartition("}")[2]
