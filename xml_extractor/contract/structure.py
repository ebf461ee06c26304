"""From the YAML's plain data to the models, telling all structural mistakes at once.

A mistake must not hide others, so a contract that does not fit the models is repaired for the purpose of
further checks: the part at fault is taken out, its place is remembered as damaged, and the rest is
validated again.  Whoever looks for a damaged name later stays silent, for the cause is already told.
"""

from __future__ import annotations

import copy
import types
import typing
from difflib import get_close_matches
from typing import Any, Final, Union

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from xml_extractor.contract.model import ColumnModel, ContractModel
from xml_extractor.contract.reader import Location, Report

_PLACEHOLDERS: Final[dict[Location, Any]] = {
    ("contract",): "unnamed",
    ("version",): "1",
    ("source",): {"table": "unnamed", "key": "unnamed", "document": "unnamed"},
    ("source", "table"): "unnamed",
    ("source", "key"): "unnamed",
    ("source", "document"): "unnamed",
    ("document",): {"root": "/unnamed"},
    ("document", "root"): "/unnamed",
    ("tables",): {"unnamed": {}},
}
"""Stand-ins for what no contract can be without, so that the rest of it can still be checked."""

_MAX_REPAIRS: Final = 200

_WORDS: Final = {
    "string_type": "a text is expected here",
    "dict_type": "a mapping (name: value) is expected here",
    "model_type": "a mapping (name: value) is expected here",
    "model_attributes_type": "a mapping (name: value) is expected here",
    "tuple_type": "a list is expected here",
    "int_parsing": "a whole number is expected here",
    "int_type": "a whole number is expected here",
    "string_too_short": "this must not be empty",
    "too_short": "this must not be empty",
}
_PATTERNS: Final = {
    "contract": "letters, digits, '_', '-' and '.' only, beginning with a letter or digit",
    "plugin": "write it as package.module:function",
    "default_zone": "write an offset such as '+00:00' or '-05:00'",
}
_NAME_RULE: Final = "a name has 1 to 128 characters, without quotes, brackets and dots (a table: schema.name)"


class Structure:
    """A contract that fits the models, and what had to be taken out to make it fit."""

    def __init__(self, model: ContractModel, damaged: frozenset[Location]) -> None:
        self.model = model
        self.damaged = damaged

    def is_damaged(self, location: Location) -> bool:
        """Whether the node, or one that it is part of, was taken out for a mistake already told."""
        return any(location[:end] in self.damaged for end in range(1, len(location) + 1))


def build_structure(report: Report) -> Structure | None:
    """Validate the document of the report, note every mistake in it, and return what is left.

    Returns ``None`` only when nothing is left to be checked.
    """
    if not isinstance(report.document.data, dict):
        report.mistake((), "a contract is a mapping that begins with `contract: NAME`")
        return None
    data = copy.deepcopy(report.document.data)
    damaged: set[Location] = set()
    for _ in range(_MAX_REPAIRS):
        try:
            return Structure(ContractModel.model_validate(data), frozenset(damaged))
        except ValidationError as error:
            found = [(d, _real_location(d["loc"], data)) for d in error.errors(include_url=False)]
            for details, location in found:
                # A list counts as empty when none of its items is right; the items are told.
                inner = any(other[: len(location)] == location != other for _, other in found)
                if not (details["type"] == "too_short" and inner):
                    _tell(report, details, location, damaged)
            for details, location in found:
                _repair(data, details, location, damaged)
    return None


def _real_location(location: Location, data: Any) -> Location:
    """Drop what pydantic adds to a location (union tags, ``[key]``) and resolve it against the data."""
    result: list[str | int] = []
    node = data
    for position, part in enumerate(location):
        if _has(node, part):
            node = node[part]
        elif position == len(location) - 1 and isinstance(node, dict) and part != "[key]":
            pass  # a missing key
        else:
            continue
        result.append(part)
    return tuple(result)


def _tell(report: Report, details: ErrorDetails, location: Location, damaged: set[Location]) -> None:
    kind = details["type"]
    if any(location[:end] in damaged for end in range(1, len(location) + 1)):
        return
    if kind == "extra_forbidden":
        report.mistake(location, _unknown_key(location, report.document.data), at_key=True)
    elif kind == "missing":
        owner = location[:-1]
        where = f"in {_spoken(owner)}" if owner else "in the contract"
        report.mistake(owner, f"{location[-1]!r} is missing {where}", at_key=True)
    elif details["loc"][-1] == "[key]":
        report.mistake(location, f"{location[-1]!r} cannot be a name: {_NAME_RULE}", at_key=True)
    else:
        report.mistake(location, f"{_spoken(location)}: {_sentence(details, location)}")


def _sentence(details: ErrorDetails, location: Location) -> str:
    kind = details["type"]
    context = details.get("ctx", {})
    if kind == "literal_error":
        expected = str(context["expected"]).replace("'", "")
        choices = expected.replace(" or ", ", ").split(", ")
        given = details["input"]
        close = get_close_matches(given, choices, n=1) if isinstance(given, str) else []
        hint = f"; did you mean {close[0]}?" if close else ""
        return (
            f"{given!r} is not one of {expected}{hint}"
            if isinstance(given, str)
            else f"write one of {expected}"
        )
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(str(location[-1]), _NAME_RULE)
    if kind in ("greater_than_equal", "less_than_equal", "string_too_long"):
        return details["msg"].lower().removeprefix("input ")
    return _WORDS.get(kind, details["msg"])


def _spoken(location: Location) -> str:
    return ".".join(str(part) for part in location)


def _unknown_key(location: Location, data: Any) -> str:
    key = str(location[-1])
    model = _model_at(location[:-1], data)
    known = [field.alias or name for name, field in model.model_fields.items()] if model is not None else []
    close = get_close_matches(key.lower(), known, n=1)
    if model is ColumnModel and not close:
        close = [word for word in known if word.startswith(key.lower()) or key.lower().startswith(word)][:1]
    hint = f"did you mean {close[0]!r}?" if close else f"known here are {', '.join(known)}"
    where = f" in {_spoken(location[:-1])}" if len(location) > 1 else ""
    return f"unknown key {key!r}{where}; {hint}"


def _model_at(location: Location, data: Any) -> type[BaseModel] | None:
    """Find the model that describes the mapping at a location."""
    annotation: Any = ContractModel
    node = data
    for part in location:
        model = _as_model(annotation, node)
        if model is not None:
            fields = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
            annotation = fields.get(str(part))
        else:
            arguments = [a for a in typing.get_args(_plain(annotation)) if a is not Ellipsis]
            annotation = arguments[-1] if arguments else None
        node = _node(node, (part,))
    return _as_model(annotation, node)


def _plain(annotation: Any) -> Any:
    """Strip ``Annotated`` and ``| None``."""
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) in (Union, types.UnionType):
        members = [a for a in typing.get_args(annotation) if a is not type(None)]
        if len(members) == 1:
            return _plain(members[0])
    return annotation


def _as_model(annotation: Any, node: Any) -> type[BaseModel] | None:
    plain = _plain(annotation)
    candidates = [plain]
    if typing.get_origin(plain) in (Union, types.UnionType):
        candidates = [_plain(member) for member in typing.get_args(plain)]
    models = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
    keys = set(node) if isinstance(node, dict) else set()
    return max(models, key=lambda m: len(keys & set(m.model_fields)), default=None)


def _repair(data: Any, details: ErrorDetails, location: Location, damaged: set[Location]) -> None:
    """Take out (or stand in for) the part at fault, so that the rest can be validated."""
    kind = details["type"]
    if kind == "extra_forbidden":
        _remove(data, location)
        return
    if location in _PLACEHOLDERS:
        damaged.add(location)
        _put(data, location, copy.deepcopy(_PLACEHOLDERS[location]))
        return
    if kind == "missing":
        location = location[:-1]
    if location[4:5] == ("apply",):  # tables, NAME, columns, NAME, apply, position
        location = location[:6]
    while location:
        damaged.add(location)
        if location in _PLACEHOLDERS:
            _put(data, location, copy.deepcopy(_PLACEHOLDERS[location]))
            return
        if isinstance(location[-1], str):
            _remove(data, location)
            return
        if location[-2:-1] == ("apply",):
            _put(data, location, "trim")  # so that the steps beside it keep their places
            return
        location = location[:-1]  # an item of a list: take out the whole list


def _remove(data: Any, location: Location) -> None:
    node = _node(data, location[:-1])
    if isinstance(node, dict):
        node.pop(location[-1], None)


def _put(data: Any, location: Location, value: Any) -> None:
    node = _node(data, location[:-1])
    if isinstance(node, dict) or _has(node, location[-1]):
        node[location[-1]] = value


def _node(data: Any, location: Location) -> Any:
    for part in location:
        if not _has(data, part):
            return None
        data = data[part]
    return data


def _has(node: Any, part: str | int) -> bool:
    if isinstance(node, list):
        return isinstance(part, int) and part < len(node)
    return isinstance(node, dict) and part in node
