"""Texts to the text, binary, uniqueidentifier and xml types: lengths, code pages, padding."""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from typing import Final

from lxml import etree

from xml_extractor.contract.types import Family, SqlType, Value
from xml_extractor.mapping.conversion_error import (
    ConversionError,
    OverflowConversionError,
    not_convertible,
)
from xml_extractor.mapping.numbers import XML_BLANKS

UNLIMITED: Final = 2**31 - 1
"""The most that a (max) type holds on SQL Server, in bytes."""

_GUID: Final = re.compile(
    r"\{?([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12})\}?"
)
_HEX: Final = re.compile(r"(?:0[xX])?((?:[0-9a-fA-F]{2})*)")
_XML_DECLARATION: Final = re.compile(r"\s*<\?xml\s[^>]*\?>")
_BLANK_TABLE: Final = dict.fromkeys(map(ord, XML_BLANKS))


def too_long(sql_type: SqlType, value: Value, fitted: Value) -> OverflowConversionError:
    """The error for a text or binary value longer than its type."""
    return OverflowConversionError("too_long", f"the value is too long for {sql_type}", value, fitted)


def utf16_length(text: str) -> int:
    """Return the number of UTF-16 units; characters beyond U+FFFF count two."""
    if text.isascii():
        return len(text)
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def cut_utf16(text: str, length: int) -> str:
    """Return the longest beginning of at most ``length`` UTF-16 units that splits no surrogate pair."""
    units = 0
    for index, character in enumerate(text):
        units += 2 if character > "\uffff" else 1
        if units > length:
            return text[:index]
    return text


def cut_code_page(text: str, length: int, code_page: str) -> str:
    """Return the longest beginning of at most ``length`` bytes that splits no character."""
    low, high = 0, min(len(text), length)
    while low < high:
        middle = (low + high + 1) // 2
        if len(text[:middle].encode(code_page)) <= length:
            low = middle
        else:
            high = middle - 1
    return text[:low]


def keeps_ascii(code_page: str) -> bool:
    """Whether the code page holds each ASCII character in the one byte of the same number."""
    ascii_text = "".join(map(chr, range(128)))
    try:
        return ascii_text.encode(code_page) == ascii_text.encode("ascii")
    except UnicodeError:
        return False


def inline_limit(sql_type: SqlType, code_page: str) -> int | None:
    """Return the number of characters up to which a text is a value of the type as it stands.

    For nchar and nvarchar that holds for any text, for char and varchar for ASCII text only.  ``None``
    where every text has to go through the converter.
    """
    if sql_type.family is not Family.TEXT or sql_type.is_fixed_length:
        return None
    if sql_type.is_unicode:
        return UNLIMITED if sql_type.length is None else sql_type.length // 2
    if not keeps_ascii(code_page):
        return None
    return UNLIMITED if sql_type.length is None else sql_type.length


def text_converter(sql_type: SqlType, code_page: str) -> Callable[[str], Value]:
    """Check the length of a text and pad it where its type is of fixed length."""
    if sql_type.is_unicode:
        return _unicode_converter(sql_type)
    return _code_page_converter(sql_type, code_page)


def _unicode_converter(sql_type: SqlType) -> Callable[[str], Value]:
    limit = sql_type.length
    if limit is None:
        return _same
    half, pad = limit // 2, sql_type.is_fixed_length

    def convert(text: str) -> Value:
        length = len(text)
        # A character is one or two units, so most texts need not be counted.
        if length > half:
            length = utf16_length(text)
            if length > limit:
                fitted = cut_utf16(text, limit)
                if pad:
                    fitted += " " * (limit - utf16_length(fitted))
                raise too_long(sql_type, text, fitted)
        if pad:
            return text + " " * (limit - utf16_length(text))
        return text

    return convert


def _same(text: str) -> Value:
    return text


def _code_page_converter(sql_type: SqlType, code_page: str) -> Callable[[str], Value]:
    limit = UNLIMITED if sql_type.length is None else sql_type.length
    pad = sql_type.is_fixed_length
    ascii_kept = keeps_ascii(code_page)

    def convert(text: str) -> Value:
        if ascii_kept and text.isascii():
            length = len(text)
        else:
            try:
                length = len(text.encode(code_page))
            except UnicodeError:
                raise ConversionError(
                    "not_in_code_page",
                    f"the value holds a character that code page {code_page} of {sql_type} lacks; "
                    "use nvarchar, or another code page",
                ) from None
        if length > limit:
            fitted = cut_code_page(text, limit, code_page)
            if pad:
                fitted += " " * (limit - len(fitted.encode(code_page)))
            raise too_long(sql_type, text, fitted)
        return text + " " * (limit - length) if pad else text

    return convert


def binary_fitter(sql_type: SqlType) -> Callable[[bytes], bytes]:
    """Check the length of bytes, and pad them with zero bytes where the type is of fixed length."""
    limit = UNLIMITED if sql_type.length is None else sql_type.length
    pad = sql_type.is_fixed_length

    def fit(value: bytes) -> bytes:
        if len(value) > limit:
            raise too_long(sql_type, value, value[:limit])
        return value.ljust(limit, b"\0") if pad else value

    return fit


def binary_converter(sql_type: SqlType, binary_format: str) -> Callable[[str], Value]:
    """Convert base64 (canonical, white space allowed) or pairs of hex digits (after an optional 0x)."""
    fit = binary_fitter(sql_type)
    decode = _from_hex if binary_format == "hex" else _from_base64

    def convert(text: str) -> Value:
        compact = text.translate(_BLANK_TABLE)
        if not compact:
            return None
        value = decode(compact)
        if value is None:
            raise ConversionError("not_convertible", f"the value is not {binary_format} for {sql_type}")
        return fit(value)

    return convert


def _from_hex(text: str) -> bytes | None:
    match = _HEX.fullmatch(text)
    return None if match is None else bytes.fromhex(match[1])


def _from_base64(text: str) -> bytes | None:
    try:
        encoded = text.encode("ascii")
        value = binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError:  # binascii.Error and UnicodeEncodeError among them
        return None
    # Bits that belong to no byte must be zero, else two texts would stand for one value.
    return value if binascii.b2a_base64(value, newline=False) == encoded else None


def guid_converter(sql_type: SqlType) -> Callable[[str], Value]:
    """Convert 8-4-4-4-12 hex digits, with or without braces, to lower case."""
    name = str(sql_type)

    def convert(text: str) -> Value:
        stripped = text.strip(XML_BLANKS)
        if not stripped:
            return None
        match = _GUID.fullmatch(stripped)
        if match is None or (stripped[0] == "{") != (stripped[-1] == "}"):
            raise not_convertible(name)
        return match[1].lower()

    return convert


def xml_converter(sql_type: SqlType) -> Callable[[str], Value]:
    """Check that a text is XML content (elements and text, no DOCTYPE); a declaration is cut off.

    As for text types, nothing and blanks are values.
    """
    name = str(sql_type)

    def convert(text: str) -> Value:
        declaration = _XML_DECLARATION.match(text)
        content = text if declaration is None else text[declaration.end() :]
        # A parser of its own each time: converters are shared, lxml's parsers are not thread-safe.
        parser = etree.XMLParser(encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False)
        try:
            etree.fromstring(b"<x>" + content.encode() + b"</x>", parser)
        except (etree.XMLSyntaxError, UnicodeEncodeError):
            pass
        else:
            return content
        raise not_convertible(name)

    return convert
