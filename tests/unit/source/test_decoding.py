from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xml_extractor.source.decoding import NotDecodable, decode_document

TEXT = "<a>é Ω 𠮷</a>"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        TEXT.encode("utf-16"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
        TEXT.encode("utf-32-le"),
        TEXT.encode("utf-32-be"),
    ],
)
def test_unicode_encodings(data: bytes) -> None:
    assert decode_document(data) == TEXT


def test_the_declared_encoding_counts_and_the_declaration_stays() -> None:
    text = '<?xml version="1.0" encoding="ISO-8859-1"?><a>é</a>'
    assert decode_document(text.encode("latin-1")) == text
    assert decode_document(b"\n  " + text.encode("latin-1")) == "\n  " + text


@pytest.mark.parametrize("declared", ["utf-16", "UTF-32", "hex"])
def test_declarations_that_cannot_be_true_are_taken_as_utf_8(declared: str) -> None:
    text = f'<?xml version="1.0" encoding="{declared}"?><a>é</a>'
    assert decode_document(text.encode()) == text


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"<a>\xe9</a>", "byte 3 is not valid utf-8"),
        (b'<?xml version="1.0" encoding="klingon"?><a/>', "encoding that is not known"),
        (b"<a>\0</a>", "NUL character at character 3"),
        (b"\xff\xfe<\0a", "utf-16"),
    ],
)
def test_what_cannot_be_decoded_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(NotDecodable, match=reason):
        decode_document(data)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff")))
def test_any_text_comes_back(text: str) -> None:
    document = f"<a>{text}</a>"
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert decode_document(document.encode(encoding)) == document
