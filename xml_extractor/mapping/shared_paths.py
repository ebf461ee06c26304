"""Paths whose nodes are the same for many rows: those that begin with ``..`` or at the root.

Looked up for each row, ``../Name`` costs the product of rows and siblings: a document of 3,000 siblings
took 16 seconds, and nothing bounds how many a document holds.  So what is found from one element is kept
until a row asks from another one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from lxml import etree

from xml_extractor.contract.plan import Capture, Leaf, Pick

_CLIMB: Final = re.compile(r"\.\.(?:/\.\.)*")
_BLANKS: Final = " \t\r\n"
_Find = Callable[[etree._Element], list[Any]]


def is_shared(capture: Capture) -> bool:
    """Whether a capture's nodes do not depend on the element itself, only on one above it."""
    return (capture.path.xpath or "").startswith(("..", "/"))


class SharedPath:
    """The texts that one capture finds.  Not thread-safe.

    Args:
        capture: one of which :func:`is_shared` holds.
        find: compiles an XPath into the function that finds its nodes.
        take: a node's text; ``None`` where it has none.
    """

    def __init__(
        self,
        capture: Capture,
        find: Callable[[str], _Find],
        take: Callable[[etree._Element], str | None],
    ) -> None:
        xpath = capture.path.xpath or ""
        climb = _CLIMB.match(xpath)
        self._levels = 0 if climb is None else climb[0].count("..")
        self._whole = find(xpath)
        self._below = self._whole
        if climb is not None:
            rest = xpath[climb.end() :]
            self._below = find("." + rest if rest.startswith("//") else rest.removeprefix("/") or ".")
        self._capture = capture
        self._take = take
        self._from: etree._Element | None = None
        self._texts: Sequence[str] = ()

    def texts(self, element: etree._Element) -> Sequence[str]:
        """Return the texts that decide an element's capture: as many as ``pick`` has to see."""
        start = self._start(element)
        if start is None:  # above the root element, where only the whole path knows its way
            return self._decisive(self._whole(element))
        if start is not self._from:
            self._texts = self._decisive(self._below(start))
            self._from = start
        return self._texts

    def forget(self) -> None:
        """Let go of the document."""
        self._from = None
        self._texts = ()

    def _start(self, element: etree._Element) -> etree._Element | None:
        if not self._levels:
            return element.getroottree().getroot()
        start: etree._Element | None = element
        for _ in range(self._levels):
            if start is None:
                break
            start = start.getparent()
        return start

    def _decisive(self, nodes: list[Any]) -> Sequence[str]:
        capture = self._capture
        if capture.path.leaf is Leaf.ATTRIBUTE:
            texts = nodes
        else:
            texts = [text for text in map(self._take, nodes) if text is not None]
        if capture.blank_is_absent:
            texts = [text for text in texts if text.strip(_BLANKS)]
        if capture.pick is Pick.JOIN:
            return [capture.separator.join(texts)] if texts else ()
        if capture.pick is Pick.LAST:
            return texts[-1:]
        return texts[:1] if capture.pick is Pick.FIRST else texts[:2]
