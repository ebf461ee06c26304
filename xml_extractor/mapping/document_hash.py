"""What tells one version of a source document from another."""

from __future__ import annotations

from typing import Any

import xxhash

from xml_extractor.mapping.columns import source_text
from xml_extractor.mapping.conversion_error import ConversionError
from xml_extractor.mapping.records import SourceDocument


def document_hash(document: SourceDocument) -> bytes:
    """Return 16 bytes of XXH3-128 over all of a source row that its mapped rows depend on.

    That is the document, as text or as bytes whichever the driver gives (text as UTF-8, so that both give
    the same), and the further columns that the contract refers to, in the form in which they are mapped.
    ``b""`` for a document that is NULL.

    XXH3 is no cryptographic hash: it finds changes (two versions share a hash with a probability of 3e-39),
    and is no proof against somebody who makes a document up to share another's hash.
    """
    content = document.content
    if content is None:
        return b""
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogatepass")
    if not document.columns:
        return xxhash.xxh3_128_digest(content)
    hasher = xxhash.xxh3_128(content)
    for value in document.columns:
        form = _form(value)
        # The length after the value: what follows the document can then not be taken for a part of it.
        hasher.update(b"-" if form is None else form + b"%d" % len(form))
    return hasher.digest()


def _form(value: Any) -> bytes | None:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    try:
        text = source_text(value)
    except ConversionError:  # of a type that no column takes
        text = type(value).__name__
    return None if text is None else text.encode("utf-8", "surrogatepass")
