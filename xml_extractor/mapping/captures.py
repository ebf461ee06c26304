"""One walk over a parsed document that gathers every raw text the plan wants.

For each scope of the plan there is a trie of child element names.  The walk goes down only where a trie
leads, and leaves one *frame* per scope element: a plain list, because a row's way through the mapper is
short and every attribute access on it would show in the figures.  The members of a frame are

* ``0 … n-1``: the scope's captures, raw text or ``None``;
* ``n + SEVERAL``: ``None``, or the set of captures for which several nodes were found where only one may be;
* ``n + POSITION``, ``n + PARENT_POSITION``: as in :class:`~xml_extractor.contract.plan.Scope`;
* ``n + NESTED``: elements found by ``recurse`` while the frame is filled, ``None`` afterwards;
* ``n + CHILDREN …``: per child scope, the list of its frames, or ``None``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from lxml import etree

from xml_extractor.contract.plan import Capture, Leaf, Path, Pick, Plan, fold_name
from xml_extractor.mapping.shared_paths import SharedPath, is_shared

SEVERAL: Final = 0
POSITION: Final = 1
PARENT_POSITION: Final = 2
NESTED: Final = 3
CHILDREN: Final = 4

ScopeFrame = list[Any]
Element = etree._Element
_Handler = Callable[[ScopeFrame, Element], None]

_BLANKS: Final = " \t\r\n"
_BY_ATTRIBUTE: Final = re.compile(
    r"""([A-Za-z_][\w.-]*)\[@([A-Za-z_][\w.-]*)=(?:'([^']*)'|"([^"]*)")\](\[1\]|\[last\(\)\])?""", re.ASCII
)
"""``Name[@attribute='value']``, then nothing, ``[1]`` or ``[last()]``."""


class ByAttribute(NamedTuple):
    """A capture of the texts of child elements of which an attribute has a certain value."""

    name: str
    attribute: str
    wanted: str
    pick: Pick


def by_attribute(capture: Capture) -> ByAttribute | None:
    """Recognise the commonest of the complex paths: matched in the walk it costs a tenth of asking for it."""
    match = _BY_ATTRIBUTE.fullmatch(capture.path.xpath or "")
    if match is None or capture.path.leaf is not Leaf.TEXT:
        return None
    pick, place = capture.pick, match[5]
    if place is not None:
        if pick is Pick.JOIN or capture.blank_is_absent:
            return None
        # One node at most: whatever `pick` says, it is the first or the last that matches.
        pick = Pick.FIRST if place == "[1]" else Pick.LAST
    return ByAttribute(match[1], match[2], match[3] if match[4] is None else match[4], pick)


def string_value(element: Element) -> str:
    """Return all text inside the element, as XPath's string() does."""
    if len(element):
        return "".join(element.itertext())  # type: ignore[arg-type]  # only str without comments and the like
    return element.text or ""


def own_text(element: Element) -> str | None:
    """Return the element's text without that of its children; ``None`` where it has no text at all."""
    if not len(element):
        return element.text
    parts = [part for part in (element.text, *(child.tail for child in element)) if part is not None]
    return "".join(parts) if parts else None


def serialised(element: Element) -> str:
    """Return the element as XML text, without what follows it."""
    return etree.tostring(element, encoding="unicode", with_tail=False)


_TAKERS: Final[dict[Leaf, Callable[[Element], str | None]]] = {
    Leaf.TEXT: string_value,
    Leaf.OWN_TEXT: own_text,
    Leaf.XML: serialised,
}


class _Node:
    """A trie node while the tries are being built."""

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.text_slot: int | None = None
        self.attributes: list[tuple[str, int]] = []
        self.handlers: list[_Handler] = []
        self.scopes: list[tuple[ScopeWalker, int]] = []

    def descend(self, steps: Iterable[str]) -> _Node:
        node = self
        for step in steps:
            node = node.children.setdefault(step, _Node())
        return node


class ScopeWalker:
    """Makes and fills the frames of one scope.  Not thread-safe (compiled XPath is not)."""

    def __init__(self, plan: Plan, index: int, child_scopes: Sequence[tuple[int, ScopeWalker]]) -> None:
        scope = plan.scopes[index]
        self.size = size = len(scope.captures)
        self.template: ScopeFrame = [None] * (size + CHILDREN + len(child_scopes))
        self.child_slots = {child: size + CHILDREN + i for i, (child, _) in enumerate(child_scopes)}
        self._ignore_case = plan.ignore_case
        self._namespaces = dict(plan.namespaces)
        self._joins: list[tuple[int, str]] = []
        self._complex: list[_Handler] = []
        # The same by slot, for the native walk, which leaves these to Python.
        self.complex_captures: dict[int, _Handler] = {}
        self.complex_scopes: dict[int, Callable[[Element], list[Any]]] = {}
        self._shared: list[SharedPath] = [path for _, walker in child_scopes for path in walker._shared]
        root = _Node()
        for slot, capture in enumerate(scope.captures):
            self._add_capture(root, slot, capture)
        for child, walker in child_scopes:
            path = plan.scopes[child].path
            assert path is not None
            if path.is_complex:
                self.complex_scopes[child] = self._xpath(path)
                self._complex.append(
                    _scope_handler(self.complex_scopes[child], walker, self.child_slots[child])
                )
            else:
                root.descend(path.steps).scopes.append((walker, self.child_slots[child]))
        self.recurse_xpath: Callable[[Element], list[Any]] | None = None
        if scope.recurse is not None:
            if scope.recurse.is_complex:
                self.recurse_xpath = self._xpath(scope.recurse)
            else:
                root.descend(scope.recurse.steps).handlers.append(self._remember)
        self.is_recursive = scope.recurse is not None
        self.root = root
        # What the scope's own element gives, apart from its children.
        self.attributes = tuple(root.attributes)
        self.text_slot = root.text_slot
        self.handlers = tuple(root.handlers)
        self.own_scopes = tuple(root.scopes)
        self.walk = self._children_walker(root)
        self.has_more = bool(self.handlers or self.own_scopes or self._complex or self._joins)

    # ---- building

    def _add_capture(self, root: _Node, slot: int, capture: Capture) -> None:
        path = capture.path
        if path.is_complex:
            if self._add_by_attribute(root, slot, capture):
                return
            self.complex_captures[slot] = self._complex_capture(slot, capture)
            self._complex.append(self.complex_captures[slot])
            if capture.pick is Pick.JOIN:
                self._joins.append((slot, capture.separator))
            return
        node = root.descend(path.steps)
        if path.leaf is Leaf.ATTRIBUTE:
            assert path.attribute is not None
            if capture.pick is Pick.ONLY and not self._ignore_case:
                node.attributes.append((path.attribute, slot))
                return
        elif path.leaf is Leaf.TEXT and capture.pick is Pick.ONLY and node.text_slot is None:
            node.text_slot = slot
            return
        store = self._storer(slot, capture)
        if capture.pick is Pick.JOIN:
            self._joins.append((slot, capture.separator))
        if path.leaf is Leaf.ATTRIBUTE:
            node.handlers.append(self._attribute_handler(path.attribute or "", store))
        else:
            node.handlers.append(_element_handler(_TAKERS[path.leaf], store))

    def _add_by_attribute(self, root: _Node, slot: int, capture: Capture) -> bool:
        found = None if self._ignore_case else by_attribute(capture)
        if found is None:
            return False
        attribute, wanted = found.attribute, found.wanted
        store = self._storer(slot, replace(capture, pick=found.pick))
        if found.pick is Pick.JOIN:
            self._joins.append((slot, capture.separator))

        def handle(frame: ScopeFrame, element: Element) -> None:
            if element.get(attribute) == wanted:
                store(frame, string_value(element))

        root.descend((found.name,)).handlers.append(handle)
        return True

    def _only_storer(self, slot: int) -> Callable[[ScopeFrame, str], None]:
        size = self.size

        def store_only(frame: ScopeFrame, text: str) -> None:
            if frame[slot] is None:
                frame[slot] = text
            else:
                mark_several(frame, size, slot)

        return store_only

    def _storer(self, slot: int, capture: Capture) -> Callable[[ScopeFrame, str], None]:
        """Return the function that takes one more node's text into the frame, as ``pick`` says."""
        skip_blank = capture.blank_is_absent

        def store_first(frame: ScopeFrame, text: str) -> None:
            if frame[slot] is None and not (skip_blank and not text.strip(_BLANKS)):
                frame[slot] = text

        def store_last(frame: ScopeFrame, text: str) -> None:
            if not (skip_blank and not text.strip(_BLANKS)):
                frame[slot] = text

        def store_join(frame: ScopeFrame, text: str) -> None:
            if skip_blank and not text.strip(_BLANKS):
                return
            if frame[slot] is None:
                frame[slot] = [text]  # joined when the frame is full
            else:
                frame[slot].append(text)

        return {
            Pick.ONLY: self._only_storer(slot),
            Pick.FIRST: store_first,
            Pick.LAST: store_last,
            Pick.JOIN: store_join,
        }[capture.pick]

    def _attribute_handler(self, name: str, store: Callable[[ScopeFrame, str], None]) -> _Handler:
        if not self._ignore_case:

            def handle(frame: ScopeFrame, element: Element) -> None:
                value = element.get(name)
                if value is not None:
                    store(frame, value)

            return handle

        def handle_any_case(frame: ScopeFrame, element: Element) -> None:
            for found, value in element.items():
                # lxml's stubs allow bytes; what it returns is str.
                if fold_name(str(found)) == name:
                    store(frame, str(value))

        return handle_any_case

    def _xpath(self, path: Path) -> Callable[[Element], list[Any]]:
        assert path.xpath is not None
        return self._compiled(path.xpath)

    def _compiled(self, xpath: str) -> Callable[[Element], list[Any]]:
        # Plans hold paths that select nodes only, so the answer is always a list.
        return etree.XPath(xpath, namespaces=self._namespaces, smart_strings=False)  # type: ignore[return-value]

    def _complex_capture(self, slot: int, capture: Capture) -> _Handler:
        store = self._storer(slot, capture)
        if is_shared(capture):
            shared = SharedPath(capture, self._compiled, _TAKERS.get(capture.path.leaf, string_value))
            self._shared.append(shared)

            def handle_shared(frame: ScopeFrame, element: Element) -> None:
                for text in shared.texts(element):
                    store(frame, text)

            return handle_shared
        find = self._xpath(capture.path)
        if capture.path.leaf is Leaf.ATTRIBUTE:

            def handle_attributes(frame: ScopeFrame, element: Element) -> None:
                for value in find(element):
                    store(frame, value)

            return handle_attributes
        take = _TAKERS[capture.path.leaf]

        def handle_elements(frame: ScopeFrame, element: Element) -> None:
            for found in find(element):
                value = take(found)
                if value is not None:
                    store(frame, value)

        return handle_elements

    def _remember(self, frame: ScopeFrame, element: Element) -> None:
        place = self.size + NESTED
        if frame[place] is None:
            frame[place] = [element]
        else:
            frame[place].append(element)

    def _children_walker(self, node: _Node) -> _Handler | None:
        """Return the function that looks at an element's children for what the trie wants below a node."""
        if not node.children:
            return None
        # By name: the slot of a text, if that is all that is wanted of the child, else what to do with it.
        table: dict[str, int | _Handler] = {}
        for name, child in node.children.items():
            handlers = self._node_handlers(child)
            if child.text_slot is not None and not handlers and not child.attributes:
                table[name] = child.text_slot
            else:
                table[name] = self._node_handler(child, handlers)
        if len(table) == 1 and not self._ignore_case:
            ((name, only),) = table.items()
            if not isinstance(only, int):
                return _list_walker(name, only)
        get: Callable[[str], int | _Handler | None] = table.get
        if self._ignore_case:
            exact = table.get

            def get(tag: str) -> int | _Handler | None:
                return exact(fold_name(tag))

        if all(isinstance(found, int) for found in table.values()):
            return _text_walker(get, self.size)  # type: ignore[arg-type]
        return _walker(get, self.size)

    def _node_handlers(self, node: _Node) -> list[_Handler]:
        """List all that is to be done with an element besides taking its text and attributes."""
        handlers: list[_Handler] = [walker.enterer(slot) for walker, slot in node.scopes]
        inner = self._children_walker(node)
        if inner is not None:
            handlers.append(inner)
        return handlers + node.handlers

    def _node_handler(self, node: _Node, handlers: list[_Handler]) -> _Handler:
        text_slot, attributes, size = node.text_slot, tuple(node.attributes), self.size
        if len(handlers) == 1 and text_slot is None and not attributes:
            return handlers[0]

        def handle_all(frame: ScopeFrame, element: Element) -> None:
            if text_slot is not None:
                if frame[text_slot] is None:
                    frame[text_slot] = string_value(element)
                else:
                    mark_several(frame, size, text_slot)
            for name, slot in attributes:
                value = element.get(name)
                if value is not None:
                    if frame[slot] is None:
                        frame[slot] = value
                    else:
                        mark_several(frame, size, slot)
            for handle in handlers:
                handle(frame, element)

        return handle_all

    # ---- walking

    def root_frame(self, root: Element) -> ScopeFrame:
        """Return the frame of the document's root element, with all frames below it."""
        frame = self.template[:]
        frame[self.size + POSITION] = 1
        try:
            self._fill(frame, root)
        finally:
            self.forget()
        return frame

    def forget(self) -> None:
        """Let go of a document."""
        for shared in self._shared:
            shared.forget()

    def enterer(self, slot: int) -> _Handler:
        """Return the function that makes the frame of one element of this scope and puts it into the list
        at ``slot`` of its parent's frame."""
        template, place = self.template, self.size + POSITION
        attributes, walk, text_slot = self.attributes, self.walk, self.text_slot
        if self.is_recursive or self.has_more:
            return lambda parent, element: self.enter(parent, element, slot)

        def enter_plain(parent: ScopeFrame, element: Element) -> None:
            frame = template[:]
            siblings = parent[slot]
            if siblings is None:
                parent[slot] = [frame]
                frame[place] = 1
            else:
                siblings.append(frame)
                frame[place] = len(siblings)
            for name, attribute_slot in attributes:
                frame[attribute_slot] = element.get(name)
            if text_slot is not None:
                frame[text_slot] = string_value(element)
            if walk is not None:
                walk(frame, element)

        return enter_plain

    def enter(self, parent: ScopeFrame, element: Element, slot: int) -> None:
        """As the function that :meth:`enterer` returns, for any scope."""
        frame = self.template[:]
        siblings = parent[slot]
        if siblings is None:
            siblings = parent[slot] = []
        siblings.append(frame)
        frame[self.size + POSITION] = len(siblings)
        self._fill(frame, element)
        if self.is_recursive:
            seen = {element} if self.recurse_xpath is not None else None
            if seen is not None or frame[self.size + NESTED] is not None:
                self._enter_nested(frame, element, siblings, seen)

    def _enter_nested(
        self, outer: ScopeFrame, element: Element, siblings: list[ScopeFrame], seen: set[Element] | None
    ) -> None:
        """Make the frames of the elements that ``recurse`` finds below one element, in document order.

        ``seen`` (complex paths only) keeps a path such as ``..`` from going round for ever.
        """
        place = self.size + NESTED
        if seen is None:
            nested = outer[place]
            outer[place] = None
        else:
            assert self.recurse_xpath is not None
            nested = [found for found in self.recurse_xpath(element) if found not in seen]
            seen.update(nested)
        for found in nested or ():
            frame = self.template[:]
            siblings.append(frame)
            frame[self.size + POSITION] = len(siblings)
            frame[self.size + PARENT_POSITION] = outer[self.size + POSITION]
            self._fill(frame, found)
            if seen is not None or frame[place] is not None:
                self._enter_nested(frame, found, siblings, seen)

    def _fill(self, frame: ScopeFrame, element: Element) -> None:
        for name, slot in self.attributes:
            frame[slot] = element.get(name)
        if self.text_slot is not None:
            frame[self.text_slot] = string_value(element)
        if self.walk is not None:
            self.walk(frame, element)
        if self.has_more:
            self._fill_more(frame, element)

    def _fill_more(self, frame: ScopeFrame, element: Element) -> None:
        for handle in self.handlers:
            handle(frame, element)
        for walker, slot in self.own_scopes:
            walker.enter(frame, element, slot)
        for handle in self._complex:
            handle(frame, element)
        for slot, separator in self._joins:
            if frame[slot] is not None:
                frame[slot] = separator.join(frame[slot])


def mark_several(frame: ScopeFrame, size: int, slot: int) -> None:
    """Remember that a capture which may have one node has found another; the first one stays."""
    if frame[size + SEVERAL] is None:
        frame[size + SEVERAL] = {slot}
    else:
        frame[size + SEVERAL].add(slot)


def _scope_handler(find: Callable[[Element], list[Any]], walker: ScopeWalker, slot: int) -> _Handler:
    def handle(frame: ScopeFrame, element: Element) -> None:
        for found in find(element):
            walker.enter(frame, found, slot)

    return handle


def _element_handler(
    take: Callable[[Element], str | None], store: Callable[[ScopeFrame, str], None]
) -> _Handler:
    def handle(frame: ScopeFrame, element: Element) -> None:
        value = take(element)
        if value is not None:
            store(frame, value)

    return handle


# Every child is looked at once; the loops of these three are where half of a mapped document's time goes.
# element[:] is one call into lxml for all children, where an iteration is one for each (a third less time).


def _list_walker(name: str, handle: _Handler) -> _Handler:
    """Walk over elements of which those of one name matter: a list and its members."""

    def walk(frame: ScopeFrame, element: Element) -> None:
        for child in element[:]:  # type: ignore[index]  # missing from the stubs
            if child.tag == name:
                handle(frame, child)

    return walk


def _text_walker(get: Callable[[str], int | None], size: int) -> _Handler:
    """Walk over elements of which nothing but texts is wanted."""

    def walk(frame: ScopeFrame, element: Element) -> None:
        for child in element[:]:  # type: ignore[index]  # missing from the stubs
            slot = get(child.tag)
            if slot is not None:
                if frame[slot] is not None:
                    mark_several(frame, size, slot)
                elif len(child):
                    frame[slot] = "".join(child.itertext())  # type: ignore[arg-type]
                else:
                    frame[slot] = child.text or ""

    return walk


def _walker(get: Callable[[str], int | _Handler | None], size: int) -> _Handler:
    """Walk over elements of any kind."""

    def walk(frame: ScopeFrame, element: Element) -> None:
        for child in element[:]:  # type: ignore[index]  # missing from the stubs
            found = get(child.tag)
            if found is None:
                continue
            if found.__class__ is not int:
                found(frame, child)  # type: ignore[operator]
            elif frame[found] is not None:
                mark_several(frame, size, found)
            elif len(child):
                frame[found] = "".join(child.itertext())  # type: ignore[arg-type]
            else:
                frame[found] = child.text or ""

    return walk


def scope_walkers(plan: Plan) -> list[ScopeWalker]:
    """Return a walker per scope of the plan; the first one starts at the document's root.

    Raises:
        lxml.etree.XPathSyntaxError: a complex path of the plan is no XPath.
    """
    walkers: dict[int, ScopeWalker] = {}
    for index in reversed(range(len(plan.scopes))):  # parents come first, so children are ready before them
        children = [(i, walkers[i]) for i, scope in enumerate(plan.scopes) if scope.parent == index]
        walkers[index] = ScopeWalker(plan, index, children)
    return [walkers[index] for index in range(len(plan.scopes))]
