"""What a source document says, in whichever form it was read."""

from __future__ import annotations

from xml_extractor.mapping.records import SourceDocument


def text_of(document: SourceDocument) -> str | bytes | None:
    """Return text as ``str``, and bytes as they are."""
    content = document.content
    if document.is_text:
        assert isinstance(content, bytes)
        try:
            return content.decode()
        except UnicodeDecodeError:  # text that is none
            return content
    return content
