"""Finds a document's key in the document, where the contract says that it stands there."""

from __future__ import annotations

import re
from typing import Any, Final

from lxml import etree

from xml_extractor.contract.plan import Leaf, Path, Plan, SourceKind, fold_name
from xml_extractor.contract.types import INTEGER_RANGES, Family, SqlType, parse_type
from xml_extractor.mapping.records import Key

_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_LONGEST_INTEGER: Final = 20  # digits of 2**63 and a sign
_TEXT_KEY: Final = "nvarchar(400)"
"""For keys whose type the contract leaves open: what SQL Server still takes into an index (900 bytes)."""


class KeyNotFound(ValueError):
    """A document without a usable key; the message says why, with no value."""


def staging_key_type(plan: Plan) -> SqlType:
    """Return the type of the source table's key column, as the contract's ``$key`` column has it."""
    for table in plan.tables:
        for column in table.columns:
            if column.source.kind is not SourceKind.KEY:
                continue
            if column.type.family is Family.INTEGER:
                return column.type
            if plan.stage.key is None:
                break
            if column.type.family is Family.TEXT and column.type.length is not None:
                return column.type
            return parse_type(_TEXT_KEY)
    return parse_type("int" if plan.stage.key is None else _TEXT_KEY)


class KeyFinder:
    """Finds keys by ``stage.key``.

    Args:
        path: relative to the record.
        key_type: integer keys come out as ``int``, all others as text just as it stands.
    """

    def __init__(self, plan: Plan, path: Path, key_type: SqlType) -> None:
        self._path = path
        self._type = key_type
        self._ignore_case = plan.ignore_case
        self._xpath = None
        if path.xpath is not None:
            self._xpath = etree.XPath(path.xpath, namespaces=dict(plan.namespaces) or None)

    def find(self, record: etree._Element) -> Key:
        """Return the record's key.

        Raises:
            KeyNotFound: it is absent, there several times, blank, or not of the key's type.
        """
        found = self._texts(record)
        where = f"stage.key {self._path.text}"
        if not found:
            raise KeyNotFound(f"it has no {where}")
        if len(found) > 1:
            raise KeyNotFound(f"it has {len(found)} of {where}")
        text = found[0]
        if not text.strip():
            raise KeyNotFound(f"its {where} is blank")
        if self._type.family is not Family.INTEGER:
            if self._type.length is not None and len(text.encode("utf-16-le")) // 2 > self._type.length:
                raise KeyNotFound(f"its {where} is longer than the key's type {self._type}")
            return text
        digits = text.strip()
        if _INTEGER.fullmatch(digits) is None or len(digits) > _LONGEST_INTEGER:
            raise KeyNotFound(f"its {where} is not a number of type {self._type}")
        key = int(digits)
        low, high = INTEGER_RANGES[self._type.name]
        if not low <= key <= high:
            raise KeyNotFound(f"its {where} is beyond the range of {self._type}")
        return key

    def _texts(self, record: etree._Element) -> list[str]:
        path = self._path
        if self._xpath is not None:
            # In a document of its own, so that an absolute path begins at the record and not at the dump.
            nodes = self._xpath(etree.fromstring(etree.tostring(record, with_tail=False)))
            found: list[Any] = nodes if isinstance(nodes, list) else [nodes]
            return [_text_of(node, path.leaf) for node in found]
        elements: list[etree._Element] = [record]
        for step in path.steps:
            children = [child for element in elements for child in element]
            elements = [c for c in children if isinstance(c.tag, str) and self._name(c.tag) == step]
        if path.attribute is not None:
            return [
                str(value)
                for element in elements
                for name, value in element.attrib.items()
                if self._name(str(name)) == path.attribute
            ]
        return [_text_of(node, path.leaf) for node in elements]

    def _name(self, name: str) -> str:
        return fold_name(name) if self._ignore_case else name


def _text_of(node: Any, leaf: Leaf) -> str:
    if not isinstance(node, etree._Element):
        return str(node)
    xpath: Any = node.xpath
    return "".join(xpath("text()")) if leaf is Leaf.OWN_TEXT else str(xpath("string()"))
