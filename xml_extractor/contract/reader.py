"""Reading YAML as a contract means it: every scalar is the text that stands there, every node has a place.

YAML turns ``yes`` into true, ``1.10`` into 1.1 and ``2024-01-01`` into a date.  In a contract those are
codes and constants, so scalars are taken as they are written; only an unquoted ``null``, ``~`` or nothing
is NULL.  What a number or a flag should be is decided by the model's fields.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

Location = tuple[str | int, ...]
"""The way from the top of the document to a node: keys and list positions."""

_NULL_WORDS: Final = ("", "~", "null", "Null", "NULL")
_MERGE_KEY: Final = "<<"
_NUL: Final = "the character NUL (\\0) cannot be used: neither XML nor every database can hold it"
# Aliases can make a small text stand for a very large document; no contract comes near this.
_MAX_NODES: Final = 500_000


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """Something wrong (or, as a warning, doubtful) at a place; line and column count from 1."""

    line: int
    column: int
    file: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


@dataclass(frozen=True, slots=True)
class _Place:
    key: yaml.Mark | None
    value: yaml.Node


@dataclass(slots=True)
class Report:
    """Collects mistakes and warnings about one contract."""

    document: YamlDocument
    mistakes: list[Mistake] = field(default_factory=list)
    warnings: list[Mistake] = field(default_factory=list)

    def mistake(self, location: Location, message: str, *, at_key: bool = False, offset: int = 0) -> None:
        """Note a mistake; ``offset`` is a position in the text of the scalar at ``location``."""
        self._add(self.mistakes, location, message, at_key, offset)

    def warn(self, location: Location, message: str, *, at_key: bool = True) -> None:
        """Note something that is allowed but likely not meant."""
        self._add(self.warnings, location, message, at_key, 0)

    def _add(self, to: list[Mistake], location: Location, message: str, at_key: bool, offset: int) -> None:
        line, column = self.document.place(location, at_key=at_key, offset=offset)
        mistake = Mistake(line, column, self.document.name, message)
        if mistake not in to:
            to.append(mistake)


class YamlDocument:
    """A YAML document as nested dicts, lists, texts and ``None``, with the place of each."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.data: Any = None
        self.text = text
        self._places: dict[Location, _Place] = {}

    def place(self, location: Location, *, at_key: bool = False, offset: int = 0) -> tuple[int, int]:
        """Return (line, column), from 1, of the node at ``location`` or of the nearest node above it."""
        for end in range(len(location), -1, -1):
            place = self._places.get(location[:end])
            if place is not None:
                break
        else:
            return 1, 1
        if at_key and place.key is not None:
            return place.key.line + 1, place.key.column + 1
        node = place.value
        if offset and end == len(location) and isinstance(node, yaml.ScalarNode):
            return self._place_in_scalar(node, offset)
        return node.start_mark.line + 1, node.start_mark.column + 1

    def add_place(self, location: Location, key: yaml.Mark | None, node: yaml.Node) -> None:
        """Remember where a node stands."""
        self._places[location] = _Place(key, node)

    def _place_in_scalar(self, node: yaml.ScalarNode, offset: int) -> tuple[int, int]:
        """Find where the character ``offset`` of a scalar's value stands in the source.

        Quotes, escapes and folded lines make the two differ; walking both and matching what is not blank
        finds the place for all styles of scalar.
        """
        index, end = node.start_mark.index, node.end_mark.index
        if node.style in ("|", ">"):
            index = self.text.find("\n", index, end) + 1
        elif node.style in ("'", '"'):
            index += 1
        while index < end and self.text[index].isspace():
            index += 1
        found = index
        for character in node.value[: offset + 1]:
            if character.isspace():
                continue
            match = self.text.find(character, index, end)
            if match < 0:  # written as an escape
                index = min(index + 1, end)
                continue
            found, index = match, match + 1
        line = self.text.count("\n", 0, found) + 1
        return line, found - (self.text.rfind("\n", 0, found) + 1) + 1


def read_yaml(text: str, name: str) -> Report:
    """Read YAML (or JSON) text; ``Report.document.data`` is the content, ``None`` if it cannot be read.

    Syntax errors, duplicate keys, tags and keys that are not scalars are noted in the report.
    """
    text = _without_json_tabs(text.replace("\r\n", "\n"))
    document = YamlDocument(name, text)
    report = Report(document)
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = " ".join(part for part in (error.context, error.problem) if part)
        message += "; texts that contain @ [ ] { } , : # % & * ! | > or quotes are best put in quotes"
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        report.mistakes.append(Mistake(line, column, name, f"not valid YAML: {message}"))
        return report
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - (text.rfind("\n", 0, error.position) + 1) + 1
        message = f"not valid YAML: the character U+{int(str(error.character)):04X} is not allowed"
        report.mistakes.append(Mistake(line, column, name, message))
        return report
    if node is None:
        report.mistakes.append(
            Mistake(1, 1, name, "the file is empty; a contract begins with `contract: NAME`")
        )
        return report
    document.data = _Builder(report).build(node, ())
    return report


def _without_json_tabs(text: str) -> str:
    """Make JSON indented by tabs readable as YAML, which forbids them; JSON strings hold no raw tab."""
    if "\t" in text and text.lstrip().startswith("{"):
        try:
            json.loads(text)
        except ValueError:
            return text
        return text.replace("\t", " ")
    return text


def _joined_pairs(text: str) -> str:
    """Join surrogates: JSON writes a character beyond U+FFFF as two escapes."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


class _Builder:
    """Turns nodes into plain data."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._document = report.document
        self._open: set[int] = set()
        self._nodes = 0

    def build(self, node: yaml.Node, location: Location, key: yaml.Mark | None = None) -> Any:
        self._document.add_place(location, key, node)
        self._nodes += 1
        if self._nodes == _MAX_NODES:
            self._report.mistake(location, "aliases make this contract too large to read")
        if self._nodes >= _MAX_NODES:
            return None
        if id(node) in self._open:
            self._report.mistake(location, "this alias refers to a node that contains it")
            return None
        self._check_tag(node, location)
        if isinstance(node, yaml.ScalarNode):
            if "\0" in node.value:
                self._add_at(node, _NUL)
            return self._scalar(node)
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.build(item, (*location, i)) for i, item in enumerate(node.value)]
            return self._mapping(node, location)
        finally:
            self._open.discard(id(node))

    def _check_tag(self, node: yaml.Node, location: Location) -> None:
        # An explicit tag is where the composer's tag is not what it resolves to by itself.
        mark = node.start_mark
        line, column = self._document.place(location)
        at = mark.buffer[mark.pointer : mark.pointer + 1] if mark.buffer is not None else ""
        if at == "!":
            message = "tags (!…) are not supported; every scalar is read as the text that stands there"
            self._report.mistakes.append(Mistake(line, column, self._document.name, message))

    @staticmethod
    def _scalar(node: yaml.ScalarNode) -> str | None:
        value = str(node.value)
        if node.style is None and value in _NULL_WORDS:
            return None
        return _joined_pairs(value)

    def _mapping(self, node: yaml.Node, location: Location) -> dict[str, Any]:
        result: dict[str, Any] = {}
        merged: list[yaml.Node] = []
        first_lines: dict[str, int] = {}
        for key_node, value_node in self._rejoined(node):
            if not isinstance(key_node, yaml.ScalarNode):
                self._add_at(key_node, "a key must be a plain text")
                continue
            key = _joined_pairs(str(key_node.value))
            if "\0" in key:
                self._add_at(key_node, _NUL)
                continue
            if key == _MERGE_KEY and key_node.style is None:
                merged.append(value_node)
                continue
            if not key and key_node.style is None:
                self._add_at(key_node, "a key is empty")
                continue
            if key in result:
                self._add_at(key_node, f"{key!r} is given twice; the first is in line {first_lines[key]}")
                continue
            first_lines[key] = key_node.start_mark.line + 1
            result[key] = self.build(value_node, (*location, key), key_node.start_mark)
        for value_node in merged:
            self._merge(value_node, location, result)
        return result

    def _rejoined(self, node: yaml.Node) -> list[tuple[yaml.Node, yaml.Node]]:
        """Put ``decimal(12,2)`` together again, which a comma takes apart in ``{type: decimal(12,2)}``.

        YAML reads the rest, ``2)``, as a key without a value.  An unquoted value with an open parenthesis
        followed by such a key that closes it can mean nothing else.
        """
        entries: list[tuple[yaml.Node, yaml.Node]] = []
        for key_node, value_node in node.value:
            last = entries[-1][1] if entries else None
            if (
                isinstance(node, yaml.MappingNode)
                and node.flow_style
                and isinstance(last, yaml.ScalarNode)
                and last.style is None
                and last.value.count("(") == last.value.count(")") + 1
                and isinstance(key_node, yaml.ScalarNode)
                and key_node.style is None
                and key_node.value.count(")") == key_node.value.count("(") + 1
                and isinstance(value_node, yaml.ScalarNode)
                and value_node.style is None
                and value_node.value == ""
            ):
                start, end = last.start_mark, key_node.end_mark
                text = self._document.text[start.index : end.index]
                whole = yaml.ScalarNode(last.tag, text, start, end)
                entries[-1] = (entries[-1][0], whole)
            else:
                entries.append((key_node, value_node))
        return entries

    def _merge(self, node: yaml.Node, location: Location, into: dict[str, Any]) -> None:
        if id(node) in self._open:
            self._add_at(node, "this alias refers to a node that contains it")
            return
        if isinstance(node, yaml.SequenceNode):
            for item in node.value:
                self._merge(item, location, into)
            return
        if not isinstance(node, yaml.MappingNode):
            self._add_at(node, "`<<` takes a mapping, or a list of mappings, by alias")
            return
        self._open.add(id(node))
        nested: list[yaml.Node] = []
        for key_node, value_node in self._rejoined(node):
            if not isinstance(key_node, yaml.ScalarNode):
                continue  # noted where the mapping itself stands
            if key_node.value == _MERGE_KEY and key_node.style is None:
                nested.append(value_node)
            elif (key := _joined_pairs(str(key_node.value))) not in into:
                into[key] = self.build(value_node, (*location, key), key_node.start_mark)
        for value_node in nested:
            self._merge(value_node, location, into)
        self._open.discard(id(node))

    def _add_at(self, node: yaml.Node, message: str) -> None:
        mark = node.start_mark
        self._report.mistakes.append(Mistake(mark.line + 1, mark.column + 1, self._document.name, message))
