"""Whether two evaluations of an expression say the same."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from tests.integration.mssql_expressions.server import DeclaredType, Failure, canonical
from xml_extractor.contract.types import Family, SqlType, Value
from xml_extractor.mapping.evaluation_error import EvaluationError

_SAME_NAMES: Final = {"numeric": "decimal"}
_SCALED: Final = ("time", "datetime2", "datetimeoffset")


def values_agree(
    ours: Value | EvaluationError, theirs: Value | Failure, type_: SqlType | None, *, unbounded: bool
) -> bool:
    """Whether both gave the same value, or both an error.

    Args:
        unbounded: decimals that are not stored keep more digits than their type has on this server
            (``UNBOUNDED`` in exceptions.py): they need agree up to the last digit that the type has.
    """
    unbounded = unbounded and type_ is not None and type_.name == "decimal"
    if isinstance(theirs, Failure):
        return isinstance(ours, EvaluationError)
    if isinstance(ours, EvaluationError):
        return unbounded and isinstance(theirs, Decimal) and type_ is not None and not _fits(theirs, type_)
    if unbounded and isinstance(ours, Decimal) and isinstance(theirs, Decimal) and type_ is not None:
        return abs(ours - theirs) <= Decimal(1).scaleb(-(type_.scale or 0))
    return canonical(ours, type_) == theirs


def _fits(value: Decimal, type_: SqlType) -> bool:
    # Half a unit more would be rounded to a power of ten that does not fit.
    scale = type_.scale or 0
    return abs(value) + Decimal(5).scaleb(-scale - 1) < Decimal(10) ** ((type_.precision or 0) - scale)


def types_agree(ours: SqlType | None, theirs: DeclaredType) -> bool:
    """Whether the server declares a result's type as the loader does, but for the length of text.

    Text has no length here: the loader does not cut the results of text functions, and says so.
    """
    if ours is None:  # NULL alone
        return True
    if _SAME_NAMES.get(theirs.name, theirs.name) != ours.name:
        return False
    if ours.name == "decimal":
        return (theirs.precision, theirs.scale) == (ours.precision, ours.scale)
    if ours.name in _SCALED and ours.family is not Family.DATETIMEOFFSET:
        return theirs.scale == ours.scale
    return True
