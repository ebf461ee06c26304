"""Location paths as a contract writes them, turned into :class:`~xml_extractor.contract.plan.Path`.

A path of child steps (with an attribute or ``text()`` at its end) becomes Clark names that one walk over the
tree can match.  Everything else becomes XPath 1.0, rewritten so that the contract's own rules hold in it:
unprefixed element names are in the default namespace, and names ignore case where the contract says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from typing import Final, NamedTuple

from lxml import etree

from xml_extractor.contract.plan import Leaf, Path, fold_name

XML_NAMESPACE: Final = "http://www.w3.org/XML/1998/namespace"

_NAME = r"[^\W\d][\w.\-·]*"
_TOKEN: Final = re.compile(
    rf"""\s*(?:
        (?P<literal>"[^"]*"|'[^']*')
      | (?P<number>\d+(?:\.\d*)?|\.\d+)
      | (?P<name>{_NAME}(?::(?!:)(?:{_NAME}|\*))?)
      | (?P<symbol>//|::|\.\.|!=|<=|>=|[/.@*\[\]()=<>+\-|,])
    )""",
    re.VERBOSE,
)
_OPERATOR_NAMES: Final = ("and", "or", "div", "mod")
_FUNCTIONS: Final = (
    "boolean", "ceiling", "concat", "contains", "count", "false", "floor", "last", "local-name",
    "namespace-uri", "normalize-space", "not", "number", "position", "round", "starts-with", "string",
    "string-length", "substring", "substring-after", "substring-before", "sum", "translate", "true",
)  # fmt: skip
_NODE_TYPES: Final = ("text", "node", "comment", "processing-instruction")


class _Token(NamedTuple):
    kind: str  # literal, number, name, symbol, end
    text: str
    offset: int


class PathError(ValueError):
    """A path that cannot be used; ``offset`` is the place in its text, from 0."""

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(message)
        self.offset = offset


@dataclass(frozen=True)
class PathContext:
    """What names in the paths of one contract mean.

    ``namespaces`` maps prefixes to URIs, ``""`` being the namespace of unprefixed element names; ``roots``
    are the Clark names of the accepted root elements, lower case where names ignore case.
    """

    namespaces: dict[str, str] = field(default_factory=dict)
    ignore_case: bool = False
    roots: tuple[str, ...] = ()

    @cached_property
    def default_prefix(self) -> str:
        """The prefix that XPath, which knows no default namespace, uses for it."""
        prefix = "default"
        while prefix in self.namespaces:
            prefix += "_"
        return prefix

    @cached_property
    def bindings(self) -> tuple[tuple[str, str], ...]:
        """Prefixes and URIs for an XPath engine: sorted, and no empty prefix."""
        bound = {prefix: uri for prefix, uri in self.namespaces.items() if prefix}
        if self.namespaces.get(""):
            bound[self.default_prefix] = self.namespaces[""]
        return tuple(sorted(bound.items()))

    def clark(self, name: str, offset: int = 0, *, attribute: bool = False) -> str:
        """Return the Clark name of a name with or without a prefix."""
        prefix, _, local = name.rpartition(":")
        uri = self._uri(prefix, offset) if prefix else ("" if attribute else self.namespaces.get("", ""))
        clark = f"{{{uri}}}{local}" if uri else local
        return fold_name(clark) if self.ignore_case else clark

    def _uri(self, prefix: str, offset: int) -> str:
        if prefix in self.namespaces:
            return self.namespaces[prefix]
        if prefix == "xml":
            return XML_NAMESPACE
        close = get_close_matches(prefix, self.namespaces, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "bind it under document: namespaces:"
        raise PathError(f"the prefix {prefix!r} is not bound; {hint}", offset)

    def node_test(self, name: str, offset: int, *, attribute: bool = False) -> str:
        """Return the XPath node test (with its predicate, where needed) for a name."""
        prefix, _, local = name.rpartition(":")
        axis = "@" if attribute else ""
        uri = self._uri(prefix, offset) if prefix else ("" if attribute else self.namespaces.get("", ""))
        if local == "*" or not self.ignore_case:
            if not prefix and uri:
                return f"{axis}{self.default_prefix}:{local}"
            return f"{axis}{name}"
        lower = local.lower()
        upper = {c.upper(): c for c in lower if len(c.upper()) == 1 and c.upper() != c}
        capitals, smalls = "".join(upper), "".join(upper.values())
        folded = f"translate(local-name(),'{capitals}','{smalls}')" if upper else "local-name()"
        quoted = f'"{uri}"' if "'" in uri else f"'{uri}'"
        return f"{axis}*[{folded}='{lower}' and namespace-uri()={quoted}]"


def parse_path(
    text: str,
    context: PathContext,
    want: Leaf | None = None,
    *,
    at_root: bool = False,
    downward: bool = False,
) -> Path:
    """Parse a path.

    Args:
        text: the path as the user wrote it.
        context: what names mean.
        want: ``Leaf.ELEMENT`` for the paths of rows, ``Leaf.XML`` for a serialised subtree (the path must
            arrive at elements); ``None`` for a value, where the path itself tells.
        at_root: whether the path starts from the document's root element, so that ``/Root/A`` is ``A``.
        downward: whether each step must go down to children, so that following the path again and again
            comes to an end and finds each element once.

    Raises:
        PathError: with a sentence and the offset of the mistake.
    """
    return _Parser(text, context, downward).parse(want, at_root)


def parse_name(text: str, context: PathContext) -> str:
    """Return the Clark name of a single element name, with or without a leading ``/``.

    Raises:
        PathError: if the text is anything but one name.
    """
    name = text.strip().removeprefix("/")
    if not re.fullmatch(rf"{_NAME}(?::{_NAME})?", name):
        raise PathError(f"{text!r} is not the name of one element; write it as /Name or /prefix:Name")
    return context.clark(name)


@dataclass(slots=True)
class _Steps:
    """Steps read so far, in both forms."""

    names: list[str] = field(default_factory=list)  # Clark names, as long as simple
    xpath: str = ""
    simple: bool = True
    climbs: bool = False  # has a step that does not go to children
    descends: bool = False  # has a step that does
    last: str = ""  # kind of the last step: name, wildcard, self, parent, attribute, text


class _Parser:
    def __init__(self, text: str, context: PathContext, downward: bool) -> None:
        self._text = text
        self._downward = downward
        self._context = context
        self._tokens = self._tokenize(text)
        self._index = 0

    # ------------------------------------------------------------------ tokens

    @staticmethod
    def _tokenize(text: str) -> list[_Token]:
        tokens = []
        position = 0
        end = len(text.rstrip())
        while position < end:
            match = _TOKEN.match(text, position)
            if match is None or match.lastgroup is None:
                start = position + len(text[position:]) - len(text[position:].lstrip())
                if text[start] in "'\"":
                    raise PathError(f"in path {text!r}: the text in quotes has no end", start)
                if text[start] == "$":
                    raise PathError(
                        f"in path {text!r}: words with a $ are the loader's own and stand alone", start
                    )
                raise PathError(f"in path {text!r}: unexpected {text[start]!r}", start)
            kind = match.lastgroup
            tokens.append(_Token(kind, match[kind], match.start(kind)))
            position = match.end()
        if not tokens:
            raise PathError("the path is empty")
        tokens.append(_Token("end", "", len(text)))
        return tokens

    @property
    def _token(self) -> _Token:
        return self._tokens[self._index]

    def _next(self) -> _Token:
        token = self._tokens[self._index]
        self._index += 1
        return token

    def _at(self, symbol: str) -> bool:
        return self._token.kind == "symbol" and self._token.text == symbol

    def _fail(self, message: str, token: _Token | None = None) -> PathError:
        return PathError(f"in path {self._text!r}: {message}", (token or self._token).offset)

    # ------------------------------------------------------------------ the path

    def parse(self, want: Leaf | None, at_root: bool) -> Path:
        steps = self._absolute_start(at_root)
        finished = steps.last != "" and self._token.kind == "end"
        while not finished:
            if steps.last in ("attribute", "text"):
                raise self._fail("nothing can follow an attribute or text()")
            self._step(steps)
            if self._token.kind == "end":
                break
            separator = self._next()
            if separator.text not in ("/", "//"):
                raise self._fail(self._unexpected(separator), separator)
            if self._token.kind == "end":
                raise self._fail("a step is missing at the end")
            if separator.text == "//":
                steps.simple = False
                steps.climbs = True
            steps.xpath += separator.text
        return self._finish(steps, want)

    def _absolute_start(self, at_root: bool) -> _Steps:
        steps = _Steps()
        if self._at("//"):
            self._next()
            steps.simple = False
            steps.climbs = True
            steps.xpath = "//"
        elif self._at("/"):
            self._next()
            first = self._token
            following = self._tokens[self._index + 1] if first.kind != "end" else first
            if first.kind == "end":
                raise self._fail("a path from the root names the root element, as in /Application/@id")
            is_plain = following.text in ("/", "") and first.kind == "name"
            if first.kind == "name" and not first.text.endswith("*") and self._context.roots:
                clark = self._context.clark(first.text, first.offset)
                if clark not in self._context.roots:
                    expected = " or ".join(f"/{root.rpartition('}')[2]}" for root in self._context.roots)
                    raise self._fail(f"a path from the document's root begins with {expected}", first)
                if is_plain and at_root and len(self._context.roots) == 1:
                    self._next()
                    steps.last = "self"
                    if self._token.text == "/":
                        self._next()
                        if self._token.kind == "end":
                            raise self._fail("a step is missing at the end")
                        steps.last = ""
                    return steps
            steps.simple = False
            steps.climbs = True
            steps.xpath = "/"
        return steps

    def _unexpected(self, token: _Token) -> str:
        if token.text == "::":
            return "axes (::) are not supported; use child steps, .. and //"
        if token.text == "(":
            return "only text() is a function here; functions can be used inside [ ]"
        return f"unexpected {token.text!r}"

    def _step(self, steps: _Steps) -> None:
        token = self._next()
        if token.kind == "symbol" and token.text in (".", ".."):
            steps.last = "self" if token.text == "." else "parent"
            steps.simple = steps.simple and token.text == "."
            steps.climbs = steps.climbs or token.text == ".."
            steps.xpath += token.text
            if self._at("["):
                raise self._fail(f"a predicate cannot follow {token.text!r}")
        elif token.kind == "symbol" and token.text == "@":
            name = self._next()
            if name.kind != "name" or name.text.endswith("*"):
                raise self._fail("an attribute's name must follow @", name)
            steps.last = "attribute"
            steps.names.append(self._context.clark(name.text, name.offset, attribute=True))
            steps.xpath += self._context.node_test(name.text, name.offset, attribute=True)
        elif token.kind == "name" and self._at("("):
            self._text_function(token, steps)
        elif token.kind == "name" or (token.kind == "symbol" and token.text == "*"):
            wildcard = token.text.endswith("*")
            steps.last = "wildcard" if wildcard else "name"
            steps.descends = True
            steps.simple = steps.simple and not wildcard
            if not wildcard:
                steps.names.append(self._context.clark(token.text, token.offset))
            steps.xpath += (
                token.text if token.text == "*" else self._context.node_test(token.text, token.offset)
            )
            while self._at("["):
                steps.simple = False
                steps.xpath += self._predicate()
        elif token.kind == "end":
            raise self._fail("a step is missing", token)
        else:
            raise self._fail(self._unexpected(token), token)

    def _text_function(self, token: _Token, steps: _Steps) -> None:
        if token.text != "text":
            raise self._fail(
                f"{token.text}() cannot be a step; only text() can, and functions inside [ ]", token
            )
        self._next()
        if not self._at(")"):
            raise self._fail("text() takes nothing between its parentheses")
        self._next()
        if steps.xpath.endswith("//"):
            raise self._fail("//text() is not supported; an element's value is all the text in it", token)
        steps.last = "text"
        steps.xpath = steps.xpath.removesuffix("/")

    def _predicate(self) -> str:
        """Rewrite ``[…]``: names get their namespace and case rules, everything else is XPath 1.0."""
        start = self._next()
        parts = ["["]
        depth = 1
        previous = start
        while depth:
            token = self._next()
            if token.kind == "end":
                raise self._fail("the predicate has no closing ]", start)
            text = token.text
            if token.kind == "symbol":
                depth += {"[": 1, "]": -1}.get(text, 0)
                if text == "-":
                    text = " - "  # without blanks it would become part of a name
                if text == "::":
                    raise self._fail(self._unexpected(token), token)
            elif token.kind == "name":
                text = self._name_in_predicate(token, previous)
                if previous.text == "@" and previous.kind == "symbol":
                    parts.pop()  # the rewritten test brings its own @
            parts.append(text)
            previous = token
        if len(parts) == 2:
            raise self._fail("the predicate is empty", start)
        return "".join(parts)

    def _name_in_predicate(self, token: _Token, previous: _Token) -> str:
        if previous.kind == "symbol" and previous.text == "@":
            return self._context.node_test(token.text, token.offset, attribute=True)
        # XPath 1.0, 3.7: a name after an operand is an operator.
        after_operand = previous.kind in ("literal", "number", "name") or previous.text in (
            "]", ")", ".", "..", "*",
        )  # fmt: skip
        was_operator = previous.kind == "name" and previous.text in _OPERATOR_NAMES
        if after_operand and not was_operator:
            if token.text in _OPERATOR_NAMES:
                return f" {token.text} "
            raise self._fail(f"unexpected {token.text!r}; conditions are joined by and / or", token)
        if self._at("("):
            if token.text in _FUNCTIONS or token.text in _NODE_TYPES:
                return token.text
            close = get_close_matches(token.text, _FUNCTIONS, n=1)
            hint = f"did you mean {close[0]}()?" if close else f"known are {', '.join(_FUNCTIONS)}"
            raise self._fail(f"unknown function {token.text}(); {hint}", token)
        return self._context.node_test(token.text, token.offset)

    # ------------------------------------------------------------------ the result

    def _finish(self, steps: _Steps, want: Leaf | None) -> Path:
        leaf = {"attribute": Leaf.ATTRIBUTE, "text": Leaf.OWN_TEXT}.get(steps.last, Leaf.TEXT)
        if self._downward and (steps.climbs or not steps.descends):
            raise self._fail("only child steps lead on from each element; no .., // or /", self._tokens[0])
        if want is not None:
            if leaf is not Leaf.TEXT:
                what = "an attribute" if leaf is Leaf.ATTRIBUTE else "a text"
                raise self._fail(f"the path must arrive at elements, not at {what}", self._tokens[-1])
            leaf = want
        if steps.simple:
            names = list(steps.names)
            attribute = names.pop() if leaf is Leaf.ATTRIBUTE else None
            return Path(self._text, leaf, tuple(names), attribute)
        xpath = steps.xpath or "."
        self._validate(xpath)
        return Path(self._text, leaf, xpath=xpath)

    def _validate(self, xpath: str) -> None:
        """Compile and run the XPath once, on an empty document: some mistakes only show when it runs."""
        try:
            found = etree.XPath(xpath, namespaces=dict(self._context.bindings))(etree.Element("_"))
        except etree.XPathError as error:
            raise self._fail(f"not a valid path ({error})", self._tokens[0]) from None
        except ValueError:  # of lxml, which does not say which
            raise self._fail("it holds a character that XML does not have", self._tokens[0]) from None
        if not isinstance(found, list):
            raise self._fail("the path does not select nodes", self._tokens[0])
