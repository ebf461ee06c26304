from __future__ import annotations

from typing import Any

import pytest

from xml_extractor.contract.plan import Apply, Conversion, EnumMap, OnError
from xml_extractor.contract.types import Value, parse_type
from xml_extractor.mapping.conversion import (
    ConversionError,
    constant_value,
    converter,
    missing_value,
    strict_converter,
)


def conversion(type_name: str, **options: Any) -> Conversion:
    return Conversion(parse_type(type_name), **options)


def apply(text: str, *steps: Apply | str, type_name: str = "nvarchar(max)") -> Value:
    chain = tuple(step if isinstance(step, Apply) else Apply(step) for step in steps)
    return strict_converter(conversion(type_name, apply=chain))(text)


@pytest.mark.parametrize(
    ("text", "steps", "expected"),
    [
        (" \t a b\r\n", ("trim",), "a b"),
        ("\xa0a\xa0", ("trim",), "\xa0a\xa0"),
        ("straße éa", ("upper",), "STRAßE ÉA"),
        ("İSTANBUL", ("lower",), "İstanbul"),
        ("(030) 12-34", ("digits",), "0301234"),
        ("٠١a２", ("digits",), "012"),
        ("none", ("digits",), ""),
        (" a \n b\t", ("collapse",), "a b"),
        ("a\xa0 b", ("collapse",), "a\xa0 b"),
        (" yes ", ("yes_no",), "1"),
        ("N", ("yes_no",), "0"),
        ("maybe", ("yes_no",), "maybe"),
        (" ab ", ("trim", "upper"), "AB"),
        ("a.b", (Apply("replace", pairs=((".", "-"), ("-b", "!"))),), "a!"),
    ],
)
def test_steps(text: str, steps: tuple[Apply | str, ...], expected: str) -> None:
    assert apply(text, *steps) == expected


def test_yes_no_to_bit() -> None:
    assert [apply(t, "yes_no", type_name="bit") for t in ("Y", "no", "", "true")] == [True, False, None, True]


# ---- plug-ins


def shout(text: str) -> str | None:
    return text.upper() + "!" if text else None


def fail(text: str) -> str:
    raise KeyError(text)


def wrong(text: str) -> Any:
    return {"nul": "a\0", "surrogate": "\ud800", "number": 7}[text]


def plugin(name: str) -> Apply:
    return Apply("plugin", target=f"{__name__}:{name}")


def test_plugin() -> None:
    assert apply("a", plugin("shout")) == "A!"
    assert apply("", plugin("shout"), "upper") is None


@pytest.mark.parametrize(
    ("name", "text"), [("fail", "SECRET"), ("wrong", "nul"), ("wrong", "surrogate"), ("wrong", "number")]
)
def test_a_plugin_that_fails_refuses_the_value(name: str, text: str) -> None:
    with pytest.raises(ConversionError) as caught:
        apply(text, plugin(name))
    assert caught.value.code == "plugin_failed"
    assert "SECRET" not in caught.value.message
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "target", ["no.such.module:f", f"{__name__}:missing", f"{__name__}:plugin.x", "math:pi"]
)
def test_a_plugin_that_is_not_there_is_found_at_once(target: str) -> None:
    with pytest.raises(ValueError, match="plug-in"):
        converter(conversion("int", apply=(Apply("plugin", target=target),)))


# ---- enums


def decision(**options: Any) -> EnumMap:
    settings: dict[str, Any] = {
        "ignore_case": False, "missing": "0", "unknown_rejects": True, "unknown": None, **options
    }  # fmt: skip
    return EnumMap("decision", (("A", "1"), ("D", "2"), ("N", None), ("ß", "3")), **settings)


def test_enum() -> None:
    convert = strict_converter(conversion("smallint", enum=decision()))
    assert [convert(t) for t in ("A", " D ", "N", "", " ")] == [1, 2, None, 0, 0]
    with pytest.raises(ConversionError, match="decision") as caught:
        convert("a")
    assert caught.value.code == "unknown_code"
    assert missing_value(conversion("smallint", enum=decision())) == 0
    assert missing_value(conversion("smallint", enum=decision(missing=None))) is None
    assert missing_value(conversion("smallint")) is None


def test_enum_of_text_takes_codes_as_they_stand() -> None:
    convert = strict_converter(conversion("varchar(5)", enum=decision(unknown_rejects=False, unknown="9")))
    assert [convert(t) for t in ("A", " A", "x", " ")] == ["1", "9", "9", "0"]


def test_enum_ignoring_case() -> None:
    convert = strict_converter(conversion("int", enum=decision(ignore_case=True, unknown_rejects=False)))
    assert [convert(t) for t in ("a", "SS", "?")] == [1, 3, None]


def test_plugin_that_finds_nothing_means_missing() -> None:
    gone = Apply("plugin", target=f"{__name__}:nothing")
    assert strict_converter(conversion("int", apply=(gone,), enum=decision()))("A") == 0


def nothing(text: str) -> None:
    return None


# ---- policies


def test_policies() -> None:
    assert converter(conversion("int", on_invalid=OnError.NULL))("x") is None
    assert converter(conversion("tinyint", on_overflow=OnError.NULL))("300") is None
    assert converter(conversion("nvarchar(2)", on_overflow=OnError.TRUNCATE))("a🎵b") == "a"
    assert (
        converter(conversion("binary(2)", on_overflow=OnError.TRUNCATE, binary_format="hex"))("010203")
        == b"\1\2"
    )
    with pytest.raises(ConversionError):
        converter(conversion("tinyint", on_invalid=OnError.NULL))("300")
    with pytest.raises(ConversionError):
        converter(conversion("tinyint", on_overflow=OnError.NULL))("x")


def test_empty_text() -> None:
    assert converter(conversion("nvarchar(5)"))("") == ""
    assert converter(conversion("nvarchar(5)", empty_is_null=True))("") is None
    assert converter(conversion("nvarchar(5)", empty_is_null=True))(" ") == " "
    assert converter(conversion("char(2)"))("") == "  "


def test_constants_are_not_cleaned() -> None:
    assert constant_value(conversion("varchar(5)", apply=(Apply("upper"),)), "abc") == "abc"
    with pytest.raises(ValueError, match="does not fit"):
        constant_value(conversion("int"), "abc")
