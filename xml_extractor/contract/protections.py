"""What a column says of privacy: ``mask``, ``hash`` and ``drop``, checked and made part of the plan.

A protected value is replaced in the worker, after cleaning and before it becomes a value of the column's
type.  So a row never holds the original: whatever refers to the column (conditions, expressions, ``unique``,
``$parent``) sees what is stored, and only a ``path('…')`` of its own reads the document again.
"""

from __future__ import annotations

from typing import Final

from xml_extractor.contract.drafts import ColumnDraft
from xml_extractor.contract.plan import Hash, Mask
from xml_extractor.contract.reader import Location, Report
from xml_extractor.contract.types import Family, SqlType

FULL_HASH_BYTES: Final = 32
"""A whole SHA-256."""
SHORT_HASH_BYTES: Final = 16
"""For columns that a whole one does not fit: 128 bits, of which the first collision among 10**9 different
values has a chance of 1 in 10**21."""
ALL_MASK_LENGTH: Final = 4
"""Asterisks of ``mask: all``, however long the value is: its length may tell something, too."""

_WORDS: Final = ("mask", "hash", "drop")
# Options that speak of a conversion of the original, which does not take place.
_NOT_TOGETHER: Final = ("enum", "format", "empty", "rounding", "zone", "default_zone", "binary")


def is_private(column: ColumnDraft) -> bool:
    """Whether the contract says that the column's value must not leave the worker as it is."""
    return column.model.mask is not None or column.model.hash or column.model.drop


def protection_of(column: ColumnDraft, report: Report) -> Mask | Hash | None:
    """Return what is done to the column's values, telling what does not make sense.

    ``drop`` is none of it: a dropped column has no value that anything could be done to.
    """
    model, at = column.model, column.location
    given = [word for word in _WORDS if word in model.model_fields_set and getattr(model, word)]
    if len(given) > 1:
        names = " and ".join(given)
        report.mistake(
            (*at, given[1]),
            f"column {column.name!r} has {names}; a value is protected in one way",
            at_key=True,
        )
        return None
    if not given:
        return None
    if model.drop:
        _check_drop(column, report)
        return None
    for option in _NOT_TOGETHER:
        if option in model.model_fields_set:
            report.mistake(
                (*at, option),
                f"{option!r} means nothing beside `{given[0]}`, which is done to the text of the document",
                at_key=True,
            )
    if column.type is None:
        return None
    if model.hash:
        return _hash(column, column.type, (*at, "hash"), report)
    assert model.mask is not None
    return _mask(column, column.type, model.mask, (*at, "mask"), report)


def _check_drop(column: ColumnDraft, report: Report) -> None:
    model = column.model
    for option, is_given in (("required", model.required), ("default", model.default is not None)):
        if is_given:
            report.mistake(
                (*column.location, option),
                f"column {column.name!r} is dropped, so it is always NULL; take {option!r} out, or use "
                "`mask` or `hash`",
                at_key=True,
            )


def _mask(column: ColumnDraft, kind: SqlType, form: str, at: Location, report: Report) -> Mask | None:
    if kind.family is not Family.TEXT:
        report.mistake(
            at,
            f"what a mask leaves is text; column {column.name!r} is {kind}. Use varchar or nvarchar",
            at_key=True,
        )
        return None
    keep, count = ("none", ALL_MASK_LENGTH) if form == "all" else (form[:-1], int(form[-1]))
    if kind.length is not None and kind.length < count:
        if keep == "none":
            return Mask(keep, kind.length)
        report.mistake(at, f"mask {form} leaves {count} characters; {kind} holds fewer", at_key=True)
        return None
    return Mask(keep, count)


def _hash(column: ColumnDraft, kind: SqlType, at: Location, report: Report) -> Hash | None:
    if kind.family not in (Family.TEXT, Family.BINARY):
        report.mistake(
            at,
            f"a hash is text or bytes; column {column.name!r} is {kind}. Use char(64) or binary(32)",
            at_key=True,
        )
        return None
    digits = 2 if kind.family is Family.TEXT else 1  # a byte's
    for size in (FULL_HASH_BYTES, SHORT_HASH_BYTES):
        if kind.length is None or kind.length >= size * digits:
            return Hash(size)
    report.mistake(
        at,
        f"{kind} is too short for a hash, of which {SHORT_HASH_BYTES * digits} "
        f"{'characters' if digits == 2 else 'bytes'} are needed at least, and {FULL_HASH_BYTES * digits} for "
        "a whole one",
        at_key=True,
    )
    return None
