"""From a raw text of the document to a canonical value of a column's type.

The order is: cleaning steps, enum, mask or hash, conversion by type, limits of the type.  White
space of XML is trimmed before conversion for all types but text, and before a mask or hash; nothing left
means no value (``None``).  Converters hold no state and may be shared by threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from xml_extractor.contract.plan import Conversion, OnError
from xml_extractor.contract.types import Family, Value
from xml_extractor.mapping.cleaning import Step, cleaner, enum_lookup
from xml_extractor.mapping.conversion_error import ConversionError, OverflowConversionError
from xml_extractor.mapping.numbers import number_converter
from xml_extractor.mapping.protection import protected
from xml_extractor.mapping.temporal import temporal_converter
from xml_extractor.mapping.texts import (
    binary_converter,
    guid_converter,
    text_converter,
    xml_converter,
)

__all__ = [
    "ConversionError",
    "Converter",
    "OverflowConversionError",
    "constant_value",
    "converter",
    "missing_value",
    "strict_converter",
]

Converter = Callable[[str], Value]


def converter(conversion: Conversion) -> Converter:
    """Return a function from raw text to canonical value that follows the conversion's policies.

    The function raises :class:`ConversionError` where a policy says reject.

    Raises:
        ValueError: the conversion itself is wrong (a plug-in that cannot be imported, an enum's value
            that is none of the type).
    """
    strict = strict_converter(conversion)
    on_invalid, on_overflow = conversion.on_invalid, conversion.on_overflow
    if on_invalid is OnError.REJECT and on_overflow is OnError.REJECT:
        return strict

    def convert(text: str) -> Value:
        try:
            return strict(text)
        except OverflowConversionError as error:
            if on_overflow is OnError.REJECT:
                raise
            return error.fitted if on_overflow is OnError.TRUNCATE else None
        except ConversionError:
            if on_invalid is OnError.REJECT:
                raise
            return None

    return convert


def strict_converter(conversion: Conversion) -> Converter:
    """As :func:`converter`, but the policies are the caller's: every error is raised.

    What is too long or out of range is raised as :class:`OverflowConversionError`, with the value.
    """
    by_type = _type_converter(conversion)
    if conversion.protection is not None:
        by_type = protected(conversion.protection, conversion.type, by_type)
    clean = cleaner(conversion.apply)
    look_up: Step | None = None
    missing: Value = None
    if conversion.enum is not None:
        look_up = enum_lookup(conversion.enum, trim=conversion.type.family is not Family.TEXT)
        missing = missing_value(conversion)
    if clean is None and look_up is None:
        return by_type

    if look_up is None:
        assert clean is not None
        steps = clean

        def clean_and_convert(text: str) -> Value:
            cleaned = steps(text)
            return None if cleaned is None else by_type(cleaned)

        if conversion.type.family is Family.BIT:
            return _at_once(clean_and_convert, conversion, _BIT_WORDS)
        return clean_and_convert
    find = look_up

    def convert(text: str) -> Value:
        if clean is not None:
            cleaned = clean(text)
            if cleaned is None:
                return missing
            text = cleaned
        listed = find(text)
        return None if listed is None else by_type(listed)

    assert conversion.enum is not None
    return _at_once(convert, conversion, [code for code, _ in conversion.enum.values])


_BIT_WORDS: Final = ("0", "1", "true", "false", *(w for y in ("y", "n", "yes", "no") for w in (y, y.upper())))


def _at_once(convert: Converter, conversion: Conversion, texts: Iterable[str]) -> Converter:
    """Convert the texts that are to be expected now, once; all others when they come."""
    if any(step.name == "plugin" for step in conversion.apply):
        return convert  # what a plug-in gives may change
    known: dict[str, Value] = {}
    for text in texts:
        with suppress(ConversionError):
            known[text] = convert(text)
    get = known.get

    def convert_quickly(text: str) -> Value:
        value = get(text)
        return convert(text) if value is None else value

    return convert_quickly


def missing_value(conversion: Conversion) -> Value:
    """Return the canonical value that stands for an absent source (an enum can state one).

    Raises:
        ValueError: the enum's value does not fit the type.
    """
    enum = conversion.enum
    if enum is None or enum.missing is None:
        return None
    return constant_value(conversion, enum.missing)


def constant_value(conversion: Conversion, text: str) -> Value:
    """Convert a text that the contract itself holds (a constant, a default); no cleaning, no enum.

    Raises:
        ValueError: the text does not fit the type.
    """
    try:
        plain = replace(conversion, apply=(), enum=None, empty_is_null=False, protection=None)
        return converter(plain)(text)
    except ConversionError as error:
        raise ValueError(f"{text!r} does not fit {conversion.type}: {error}") from error


def _type_converter(conversion: Conversion) -> Converter:
    sql_type = conversion.type
    family = sql_type.family
    if family is Family.TEXT:
        convert = text_converter(sql_type, conversion.code_page)
        return _empty_as_null(convert) if conversion.empty_is_null else convert
    number = number_converter(sql_type, conversion.rounding)
    if number is not None:
        return number
    if family is Family.BINARY:
        return binary_converter(sql_type, conversion.binary_format)
    if family is Family.GUID:
        return guid_converter(sql_type)
    if family is Family.XML:
        convert = xml_converter(sql_type)
        return _empty_as_null(convert) if conversion.empty_is_null else convert
    return temporal_converter(conversion)


def _empty_as_null(convert: Converter) -> Converter:
    def convert_or_null(text: str) -> Value:
        return convert(text) if text else None

    return convert_or_null
