"""The plan's digest: equal for two plans that make the same rows of the same documents.

It covers everything that can change a row or decide whether a document is loaded, skipped or rejected:
paths, conversions, conditions, keys, types, the columns that document and key are read from.  It leaves out
what cannot: the contract's name and version (the ledger records them beside it), the source's name, table
and SQL filter (they choose documents, and may differ between copies of the same data), staging, reporting
of unknown elements, and the texts kept for messages.  Reformatting a contract or renaming an enum does not
change it; reordering columns does, since the plan refers to them by number.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, is_dataclass, replace
from decimal import Decimal
from enum import Enum
from typing import Any, Final

from xml_extractor.contract.plan import (
    ColumnSource,
    Conversion,
    EnumMap,
    Path,
    Plan,
    SourcePlan,
    StagePlan,
    Table,
)

# Raise it when the meaning of plans changes, so that rows made under the old one can be told apart.
_MEANING: Final = 1

# Members that came later than loads whose digests must stay what they are: left out while they are None.
_LATER: Final[dict[type, frozenset[str]]] = {Conversion: frozenset({"protection"})}
_LEFT_OUT: Final[dict[type, frozenset[str]]] = {
    Plan: frozenset(
        {"contract", "version", "digest", "stage", "report_unknown", "halt_unknown", "document_where_text"}
    ),
    SourcePlan: frozenset({"name", "table", "where"}),
    StagePlan: frozenset(),
    Path: frozenset({"text"}),
    ColumnSource: frozenset({"text"}),
    EnumMap: frozenset({"name"}),
    Table: frozenset({"where_text"}),
}


def with_digest(plan: Plan) -> Plan:
    """Return the plan with its digest filled in."""
    content = json.dumps([_MEANING, _canonical(plan)], ensure_ascii=True, separators=(",", ":"))
    return replace(plan, digest=hashlib.sha256(content.encode("ascii")).hexdigest())


def _canonical(value: Any) -> Any:
    """Turn a part of the plan into JSON, naming types so that 1, True, '1' and Decimal(1) differ."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, int):
        return {"int": str(value)}
    if isinstance(value, float):
        return {"float": value.hex()}
    if isinstance(value, Decimal):
        return {"decimal": str(value)}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if is_dataclass(value) and not isinstance(value, type):
        later = _LATER.get(type(value), frozenset())
        left_out = _LEFT_OUT.get(type(value), frozenset()) | {
            name for name in later if getattr(value, name) is None
        }
        members = {
            field.name: _canonical(getattr(value, field.name))
            for field in sorted(fields(value), key=lambda field: field.name)
            if field.name not in left_out
        }
        return {type(value).__name__: members}
    raise TypeError(f"a plan cannot hold {type(value).__name__}")
