from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xml_extractor.contract.plan import Conversion
from xml_extractor.contract.types import Value, parse_type
from xml_extractor.mapping.conversion import ConversionError, OverflowConversionError, strict_converter
from xml_extractor.mapping.texts import UNLIMITED, inline_limit, utf16_length

XML_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


def convert(type_name: str, text: str, code_page: str = "cp1252", binary_format: str = "base64") -> Value:
    conversion = Conversion(parse_type(type_name), code_page=code_page, binary_format=binary_format)
    return strict_converter(conversion)(text)


def error(
    type_name: str, text: str, code_page: str = "cp1252", binary_format: str = "base64"
) -> ConversionError:
    with pytest.raises(ConversionError) as caught:
        convert(type_name, text, code_page, binary_format)
    return caught.value


@given(XML_TEXT, st.integers(1, 20), st.booleans())
def test_nvarchar_and_nchar_count_utf16_units(text: str, length: int, fixed: bool) -> None:
    name = f"{'nchar' if fixed else 'nvarchar'}({length})"
    units = len(text.encode("utf-16-le")) // 2
    if units <= length:
        expected = text + " " * (length - units) if fixed else text
        assert convert(name, text) == expected
        return
    overflow = error(name, text)
    assert isinstance(overflow, OverflowConversionError)
    assert overflow.code == "too_long"
    assert overflow.value == text
    cut = overflow.fitted
    assert isinstance(cut, str)
    cut_units = len(cut.encode("utf-16-le")) // 2  # fails where a pair was split
    assert cut_units <= length
    body = cut.rstrip(" ") if fixed else cut
    assert text.startswith(body)
    # As much as fits: only a pair that would be split can leave one unit over.
    assert fixed or cut_units == length or (cut_units == length - 1 and text[len(cut)] > "\uffff")
    assert not fixed or cut_units == length


@given(
    XML_TEXT,
    st.integers(1, 20),
    st.booleans(),
    st.sampled_from(["cp1252", "utf-8", "cp932", "gbk", "big5", "cp037"]),
)
def test_varchar_and_char_count_bytes_of_the_code_page(
    text: str, length: int, fixed: bool, page: str
) -> None:
    name = f"{'char' if fixed else 'varchar'}({length})"
    try:
        size = len(text.encode(page))
    except UnicodeEncodeError:
        assert error(name, text, page).code == "not_in_code_page"
        return
    if size <= length:
        assert convert(name, text, page) == (text + " " * (length - size) if fixed else text)
        return
    overflow = error(name, text, page)
    assert isinstance(overflow, OverflowConversionError)
    assert overflow.code == "too_long"
    cut = overflow.fitted
    assert isinstance(cut, str)
    assert len(cut.encode(page)) <= length
    if fixed:
        assert len(cut.encode(page)) == length
    else:
        assert text.startswith(cut)
        assert len(text[: len(cut) + 1].encode(page)) > length


@pytest.mark.parametrize("name", ["nvarchar(max)", "varchar(max)", "nvarchar(9)", "varchar(9)", "xml"])
@pytest.mark.parametrize("text", ["", " ", " a\t"])
def test_text_is_never_trimmed(name: str, text: str) -> None:
    assert convert(name, text) == text


@given(XML_TEXT, st.sampled_from(["nvarchar(12)", "nvarchar(max)", "varchar(12)", "varchar(max)"]))
def test_inline_limit_promises_no_more_than_the_converter_keeps(text: str, name: str) -> None:
    sql_type = parse_type(name)
    limit = inline_limit(sql_type, "cp1252")
    assert limit is not None
    if len(text) <= limit and (sql_type.is_unicode or text.isascii()):
        assert convert(name, text) == text


def test_inline_limit_is_for_plain_texts_of_ascii_code_pages() -> None:
    assert inline_limit(parse_type("char(5)"), "cp1252") is None
    assert inline_limit(parse_type("int"), "cp1252") is None
    assert inline_limit(parse_type("varchar(5)"), "cp037") is None  # EBCDIC
    assert inline_limit(parse_type("varchar(5)"), "cp932") == 5
    assert inline_limit(parse_type("nvarchar(max)"), "cp037") == UNLIMITED


@given(XML_TEXT)
def test_utf16_length(text: str) -> None:
    assert utf16_length(text) == len(text.encode("utf-16-le")) // 2


def test_characters_are_never_replaced() -> None:
    assert error("varchar(50)", "Ωmega").code == "not_in_code_page"
    assert convert("varchar(50)", "Ωmega", "cp1253") == "Ωmega"
    assert "Ω" not in str(error("varchar(50)", "Ωmega"))


@given(st.binary(max_size=20), st.booleans())
def test_binary_round_trip(data: bytes, wrapped: bool) -> None:
    as_base64, as_hex = base64.b64encode(data).decode(), data.hex()
    if wrapped:
        as_base64 = "\n ".join(as_base64[i : i + 4] for i in range(0, len(as_base64), 4))
        as_hex = f"\t0x{as_hex.upper()} "
    expected = data if data or as_hex.strip() == "0x" else None
    assert convert("varbinary(20)", as_base64) == (data or None)
    assert convert("varbinary(20)", as_hex, binary_format="hex") == expected
    if data:
        assert convert("binary(20)", as_base64) == data.ljust(20, b"\0")


def test_binary_overflow() -> None:
    overflow = error("varbinary(2)", "AQID")
    assert isinstance(overflow, OverflowConversionError)
    assert (overflow.value, overflow.fitted) == (b"\x01\x02\x03", b"\x01\x02")


@pytest.mark.parametrize("text", ["A", "AQ", "AQ=", "AR==", "AQ==AQ==", "=AQ=", "A-_=", "AQIé", "AQID="])
def test_base64_is_strict(text: str) -> None:
    assert error("varbinary(50)", text).code == "not_convertible"


@pytest.mark.parametrize("text", ["A", "0xA", "GG", "0x0x", "é1"])
def test_hex_is_strict(text: str) -> None:
    assert error("varbinary(50)", text, binary_format="hex").code == "not_convertible"


GUID = "0e984725-c51c-4bf4-9960-e1c80e27aba0"


@pytest.mark.parametrize("text", [GUID, GUID.upper(), f"{{{GUID}}}", f" {GUID}\n"])
def test_guid(text: str) -> None:
    assert convert("uniqueidentifier", text) == GUID


@pytest.mark.parametrize(
    "text", [GUID[:-1], GUID.replace("-", ""), f"{{{GUID}", f"{GUID}}}", GUID + "0", "x" + GUID[1:]]
)
def test_guid_is_strict(text: str) -> None:
    assert error("uniqueidentifier", text).code == "not_convertible"


@pytest.mark.parametrize("text", ["<a b='1'>x</a>", "text &amp; <b/> more", "<a xmlns='u'/><b/>", ""])
def test_xml_content(text: str) -> None:
    assert convert("xml", text) == text


def test_xml_declaration_is_cut() -> None:
    assert convert("xml", '<?xml version="1.0" encoding="utf-16"?><a/>') == "<a/>"


@pytest.mark.parametrize(
    "text", ["a < b", "<a>", "</x><x>", "&e;", "<!DOCTYPE a><a/>", '<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>']
)
def test_xml_that_is_none(text: str) -> None:
    assert error("xml", text).code == "not_convertible"
