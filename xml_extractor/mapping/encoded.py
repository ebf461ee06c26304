"""Mapped rows made what the target takes."""

from __future__ import annotations

from xml_extractor.mapping.layouts import RowEncoder
from xml_extractor.mapping.records import EncodedDocument, MappedDocument


class EncoderFailed(Exception):
    """An encoder failed over rows, which is a defect that no document is to blame for; the cause says how."""


def encoded(mapped: MappedDocument, encoder: RowEncoder | None) -> EncodedDocument:
    """Encode a document's rows.

    Args:
        encoder: None where the target only counts.

    Raises:
        EncoderFailed: it raised anything but MemoryError.
    """
    try:
        rows, size_bytes = ((), 0) if encoder is None else encoder(mapped.rows)
    except MemoryError:
        raise
    except Exception as error:
        raise EncoderFailed from error
    return EncodedDocument(
        rows, tuple(map(len, mapped.rows)), size_bytes, mapped.truncated_values, mapped.unknown_elements
    )
