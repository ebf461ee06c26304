"""Bytes of an XML file as the text that goes into the document column."""

from __future__ import annotations

import codecs
import re
from typing import Final

_DECLARATION: Final = re.compile(rb"<\?xml\s[^>]*?\bencoding\s*=\s*[\"']([A-Za-z][A-Za-z0-9._-]*)[\"']")
_BOMS: Final = (
    # UTF-32 first: its mark begins with UTF-16's.
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"), (codecs.BOM_UTF8, "utf-8-sig"),
)  # fmt: skip
_PATTERNS: Final = (
    (b"<\0\0\0", "utf-32-le"), (b"\0\0\0<", "utf-32-be"), (b"<\0", "utf-16-le"), (b"\0<", "utf-16-be"),
)  # fmt: skip


class NotDecodable(ValueError):
    """Bytes that no text can be made of without loss; the message says why, with none of the bytes."""


def decode_document(data: bytes) -> str:
    """Decode by byte order mark, else zero bytes, else the declaration, else UTF-8; never with losses.

    The declaration stays as it is: what reads a text column knows that it says nothing about text.

    Raises:
        NotDecodable: the bytes are not of that encoding, the encoding is not known, or the text holds a NUL
            character, which XML forbids and which database text cannot hold.
    """
    encoding = _encoding(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise NotDecodable(f"byte {error.start} is not valid {encoding}") from None
    except LookupError:
        raise NotDecodable("it declares an encoding that is not known") from None
    if "\0" in text:
        raise NotDecodable(f"it holds a NUL character at character {text.index(chr(0))}")
    return text


def _encoding(data: bytes) -> str:
    for mark, encoding in (*_BOMS, *_PATTERNS):
        if data.startswith(mark):
            return encoding
    match = _DECLARATION.match(data.lstrip(b" \t\r\n"))
    if match is None:
        return "utf-8"
    declared = match[1].decode("ascii")
    try:
        codec = codecs.lookup(declared)
    except LookupError:
        return declared
    # A declaration that can be read byte by byte is not in UTF-16 or UTF-32, whatever it says.
    if codec.name.startswith(("utf-16", "utf-32")) or not getattr(codec, "_is_text_encoding", True):
        return "utf-8"
    return codec.name
