from __future__ import annotations

import pytest

from tests.unit.contract.contracts import HEAD, column_of, mistakes, only_mistake, warnings, with_columns
from xml_extractor.contract.plan import Apply, Conversion, EnumMap, OnError, Rounding

ENUMS = (
    HEAD
    + """\
enums:
  yn: {values: {Y: 1, N: 0, U: null}, missing: 2, unknown: 9, ignore_case: true}
replacements:
  street: {" St.": " Street", "x": ""}
"""
)


def conversion_of(line: str, head: str = ENUMS) -> Conversion:
    return column_of(with_columns(f"a: {line}", head=head), "a").conversion


def test_what_stands_in_the_contract_arrives_in_the_plan() -> None:
    conversion = conversion_of(
        "{from: x, type: datetime2(3), format: ['%d.%m.%Y', '%Y'], zone: utc, on_invalid: null, "
        "rounding: half_up}"
    )
    assert conversion.formats == ("%d.%m.%Y", "%Y")
    assert conversion.zone == "utc"
    assert conversion.on_invalid is OnError.NULL
    assert conversion.rounding is Rounding.HALF_UP
    assert conversion.on_overflow is OnError.REJECT
    assert conversion.code_page == "cp1252"
    text = conversion_of("{from: x, type: varchar(9), empty: null, on_overflow: truncate}")
    assert text.empty_is_null
    assert text.on_overflow is OnError.TRUNCATE
    assert conversion_of("{from: x, type: varbinary(9), binary: hex}").binary_format == "hex"
    assert conversion_of("{from: x, type: datetimeoffset(3), default_zone: +02:00}").default_zone == "+02:00"


def test_cleaning_steps_in_their_order() -> None:
    conversion = conversion_of(
        "{from: x, type: varchar(9), apply: [trim, {replace: street}, {plugin: 'os.path:basename'}, upper]}"
    )
    assert conversion.apply == (
        Apply("trim"),
        Apply("replace", pairs=((" St.", " Street"), ("x", ""))),
        Apply("plugin", target="os.path:basename"),
        Apply("upper"),
    )
    assert conversion_of("{from: x, type: varchar(9), apply: digits}").apply == (Apply("digits"),)


def test_enums() -> None:
    assert conversion_of("{from: x, type: int, enum: yn}").enum == EnumMap(
        "yn", (("Y", "1"), ("N", "0"), ("U", None)), True, "2", False, "9"
    )
    head = HEAD + "enums:\n  a: {values: {NO: 1.10, 007: yes}}\n  b: {values: {x: y}, unknown: null}\n"
    first = conversion_of("{from: x, type: varchar(9), enum: a}", head).enum
    assert first == EnumMap("a", (("NO", "1.10"), ("007", "yes")), False, None, True, None)
    second = conversion_of("{from: x, type: varchar(9), enum: b}", head).enum
    assert second is not None
    assert (second.unknown_rejects, second.unknown) == (False, None)


def test_codes_that_are_the_same_when_case_is_ignored() -> None:
    text = with_columns("a: {from: x, type: int, enum: yn}", head=ENUMS.replace("Y: 1,", "Y: 1, y: 2,"))
    assert only_mistake(text) == "6:23: code 'y' is the same as 'Y' when case is ignored"


def test_missing_cannot_be_reject() -> None:
    text = with_columns(
        "a: {from: x, type: int, enum: yn}", head=ENUMS.replace("missing: 2", "missing: reject")
    )
    assert "the column says `required: true`" in only_mistake(text)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{from: x, type: int, enum: ynn}", "14:37: enum 'ynn' is not defined; did you mean 'yn'?"),
        ("{from: x, type: date, enum: yn}", "enum 'yn' does not fit date: '0' is not a date"),
        ("{from: x, type: int, apply: {replace: stret}}", "'stret' is not defined; did you mean 'street'?"),
        (
            "{from: x, type: int, apply: {plugin: 'no_such_module_:f'}}",
            "cannot be imported (ModuleNotFoundError",
        ),
        ("{from: x, type: int, apply: {plugin: 'os:sep'}}", "is not a function"),
        ("{from: $key, type: int, pick: first}", "14:34: 'pick' means nothing for a column from $key"),
        ("{expr: '1', type: int, apply: trim}", "'apply' means nothing for a column from expr"),
        ("{expr: '1', type: int, rounding: down}", "'rounding' means nothing for a column from expr"),
        ("{expr: \"'x'\", type: varchar(9), on_overflow: truncate}", "use LEFT"),
        ("{value: x, type: varchar(9), enum: yn}", "'enum' means nothing for a column from value"),
        ("{from: x, type: int, format: '%d'}", "'format' is for dates and times, not for int"),
        ("{from: x, type: varchar(9), rounding: down}", "'rounding' is for decimal"),
        ("{from: x, type: datetimeoffset, zone: utc}", "'zone' is for"),
        ("{from: x, type: date, default_zone: '+00:00'}", "'default_zone' is for datetimeoffset"),
        ("{from: x, type: int, binary: hex}", "'binary' is for binary and varbinary"),
        ("{from: x, type: int, empty: null}", "'empty' is for text types"),
        ("{from: x, type: int, on_overflow: truncate}", "only text and binary can be truncated"),
        ("{from: x, type: int, pick: first, separator: x}", "a separator needs `pick: join`"),
        ("{from: x, type: int, skip_blank: true}", "skip_blank needs a `pick`"),
        ("{from: x, type: int, default_makes_row: true}", "there is no `default`"),
        ("{from: x, type: int, default: 1.5}", "'1.5' is not a whole number"),
        ("{value: 2024-1-1, type: date}", "'2024-1-1' is not a date"),
        ("{value: Ж, type: varchar(9)}", "code page cp1252 lacks"),
        ("{xml: x, type: xml, pick: join}", "subtrees cannot be joined"),
    ],
)
def test_mistakes_about_options(line: str, message: str) -> None:
    assert message in " ".join(mistakes(with_columns(f"a: {line}", head=ENUMS)))


def test_an_option_that_widens_what_is_accepted_leaves_constants_to_the_conversion() -> None:
    conversion_of("{from: x, type: date, format: '%d.%m.%Y', default: 31.12.2024}")
    conversion_of("{from: x, type: int, rounding: half_up, default: 1.5}")


def test_an_unknown_code_page() -> None:
    assert "unknown code page 'cp9999'" in only_mistake("code_page: cp9999\n" + with_columns())


def test_what_is_not_used_is_a_warning() -> None:
    assert warnings(with_columns(head=ENUMS)) == [
        "enum 'yn' is not used",
        "replacement table 'street' is not used",
    ]
