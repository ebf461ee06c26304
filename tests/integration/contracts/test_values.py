"""Each type's values from XML through the database and back: the same on every engine, exact or refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.contracts.support import columns_of, loaded, refused, rows_of, stage_documents
from tests.support.mssql_gaps import SIX_DIGITS
from tests.support.mssql_run import has_gap
from tests.support.tables import dialect_of
from xml_extractor.errors import TargetSchemaError
from xml_extractor.mapping.records import Key

R = "not_convertible"
SUBNORMAL = 5e-324  # SQL Server has none


VALUES: list[tuple[str, dict[str, Any]]] = [
    ("int", {
        "1": 1, " 7\n": 7, "+5": 5, "-0": 0, "007": 7, "": None, "-2147483648": -2147483648,
        "٣": (R,), "０": (R,), "²": (R,), "1e5": (R,), "1.0": (R,), "1 000": (R,), "1_0": (R,),
        "2147483648": ("out_of_range",), "99999999999": ("out_of_range",),
    }),
    ("bigint", {
        "9223372036854775807": 2**63 - 1, "-9223372036854775808": -(2**63),
        "9223372036854775808": ("out_of_range",),
    }),
    ("tinyint", {"255": 255, "256": ("out_of_range",), "-1": ("out_of_range",)}),
    ("decimal(38,10)", {
        "9999999999999999999999999999.9999999999": "9999999999999999999999999999.9999999999",
        "-0": "0E-10", ".5": "0.5000000000", "5.": "5.0000000000", "1e5": (R,), "1,000": (R,), "NaN": (R,),
        "Infinity": (R,), "٣": (R,), "0.00000000001": ("too_many_digits",),
        "99999999999999999999999999999": ("out_of_range",),
    }),
    ("decimal(38,38)", {"0.00000000000000000000000000000000000001": "1E-38", "1": ("out_of_range",)}),
    ("decimal(5,2), rounding: half_up", {
        "1.005": "1.01", "-1.005": "-1.01", "-0.004": "0.00", "999.995": ("out_of_range",),
    }),
    ("money", {
        "922337203685477.5807": "922337203685477.5807", "-922337203685477.5808": "-922337203685477.5808",
        "922337203685477.5808": ("out_of_range",), "$5": (R,), "1.00001": ("too_many_digits",),
    }),
    ("float", {
        "0.1": 0.1, "1e308": 1e308, "4.9e-324": SUBNORMAL, "-0.0": 0.0, "1e309": ("out_of_range",),
        "NaN": (R,), "INF": (R,), "0x10": (R,),
    }),
    ("bit", {"1": True, "FALSE": False, "": None, "yes": (R,), "2": (R,), "01": (R,)}),
    ("uniqueidentifier", {
        "{6F9619FF-8B86-D011-B42D-00C04FC964FF}": "6f9619ff-8b86-d011-b42d-00c04fc964ff",
        "6f9619ff8b86d011b42d00c04fc964ff": (R,), "{6f9619ff-8b86-d011-b42d-00c04fc964ff": (R,),
    }),
    ("varbinary(4)", {
        "A A\nE C": b"\0\1\2", "AA==": b"\0", "": None, "AAE": (R,), "AB==": (R,), "AAECAwQF": ("too_long",),
    }),
    ("binary(4), binary: hex", {"0x00fF": b"\0\xff\0\0", "0": (R,), "0xg0": (R,)}),
    ("date", {
        "2024-02-29": "2024-02-29", "0001-01-01": "0001-01-01", "9999-12-31": "9999-12-31",
        "2023-02-29": (R,), "0000-01-01": (R,), "10000-01-01": (R,), "2024-01-01T01:00:00": (R,),
        "2024-01-01Z": ("zone_present",),
    }),
    ("time(3)", {
        "23:59:59.999": "23:59:59.999", "24:00": (R,), "23:59:60": (R,),
        "23:59:59.9999": ("too_many_digits",),
    }),
    ("datetime2(7)", {
        "2024-01-01T00:00:00.1234567": "2024-01-01 00:00:00.1234567",
        "9999-12-31T23:59:59.9999999": "9999-12-31 23:59:59.9999999",
        "2024-01-01T24:00:00": (R,), "2024-12-31T23:59:60": (R,), "2024-01-01T00:00:00Z": ("zone_present",),
    }),
    ("datetime2(3), zone: utc, rounding: half_up", {
        "2024-01-01T00:00:00.1235+05:30": "2023-12-31 18:30:00.124",
        "2024-12-31T23:59:59.9995": "2025-01-01 00:00:00.000",
        "9999-12-31T23:59:59.9999": ("out_of_range",), "9999-12-31T23:00:00-05:00": ("out_of_range",),
        "0001-01-01T00:00:00+05:00": ("out_of_range",),
    }),
    ("datetime", {
        "2024-12-31T23:59:59.999": "2025-01-01 00:00:00.000",
        "2024-01-01T00:00:00.998": "2024-01-01 00:00:00.997",
        "1752-12-31": ("out_of_range",), "9999-12-31T23:59:59.999": ("out_of_range",),
    }),
    ("datetimeoffset(7)", {
        "2024-01-01T00:00:00.1234567+14:00": "2024-01-01 00:00:00.1234567+14:00",
        "2024-01-01T00:00:00": ("zone_missing",), "2024-01-01T00:00:00-14:01": (R,),
        "0001-01-01T00:00:00+05:00": ("out_of_range",),
    }),
    ("date, format: ['%d.%m.%Y', '%Y%m%d']", {
        "1.2.2024": "2024-02-01", "20240229": "2024-02-29", "2024229": (R,), "2024-02-29": (R,),
    }),
    ("char(4)", {"a": "a   ", "": "    ", "é": "é   ", "日": ("not_in_code_page",), "abcde": ("too_long",)}),
    ("varchar(3)", {
        "€€€": "€€€", "é  ": "é  ", "": "", "日": ("not_in_code_page",), "abcd": ("too_long",),
        "\\N": "\\N", "\\.": "\\.", "a\tb": "a\tb",
    }),
    ("nvarchar(3)", {"a😀": "a😀", "": "", "  ": "  ", "😀😀": ("too_long",)}),
    ("nvarchar(3), on_overflow: truncate", {"aa😀": "aa", "😀😀": "😀", "abcd": "abc"}),
    ("nchar(3), on_overflow: truncate", {"aa😀": "aa ", "😀": "😀 "}),
    ("char(5), apply: [digits]", {"00-12 3": "00123", "123456": ("too_long",), "none": "     "}),
    ("bit, apply: [yes_no]", {"Y": True, "no": False, "2": (R,)}),
    ("int, on_invalid: null, on_overflow: null, default: 3", {"x": 3, "99999999999": 3, "": 3, "4": 4}),
]  # fmt: skip


@pytest.mark.parametrize(("options", "cases"), VALUES, ids=[options for options, _ in VALUES])
def test_values_are_exact_or_refused(
    options: str, cases: dict[str, Any], database_url: str, request: pytest.FixtureRequest
) -> None:
    if dialect_of(database_url) == "mssql":
        cases = {text: value for text, value in cases.items() if value != SUBNORMAL}
    kind, _, rest = options.partition(", ") if not options.startswith("decimal") else _decimal(options)
    contract = columns_of(f'v: {{from: v, type: "{kind}"{", " + rest if rest else ""}}}')
    documents: dict[Key, str | None] = {
        number: f"<r><v>{text}</v></r>" for number, text in enumerate(cases, start=1)
    }
    stage_documents(database_url, documents)
    if dialect_of(database_url) == "mssql" and kind.endswith("(7)") and has_gap(request, SIX_DIGITS):
        with pytest.raises(TargetSchemaError, match="fewer digits of a second"):
            loaded(database_url, contract)
        return
    loaded(database_url, contract)
    expected = {
        number: value for number, value in enumerate(cases.values(), start=1) if not isinstance(value, tuple)
    }
    codes = {
        str(number): value[0]
        for number, value in enumerate(cases.values(), start=1)
        if isinstance(value, tuple)
    }
    assert dict(rows_of(database_url, contract)["t"]) == expected
    assert refused(database_url) == codes


def _decimal(options: str) -> tuple[str, str, str]:
    kind, _, rest = options.partition("), ")
    return kind.removesuffix(")") + ")", "", rest


def test_code_page_counts_bytes(database_url: str) -> None:
    contract = columns_of("v: {from: v, type: varchar(4)}", head="code_page: cp932")
    texts = ["日本", "日a日", "\U0001f600", "abcd"]
    stage_documents(database_url, {n: f"<r><v>{text}</v></r>" for n, text in enumerate(texts)})
    loaded(database_url, contract)
    assert rows_of(database_url, contract)["t"] == [(0, "日本"), (3, "abcd")]
    assert refused(database_url) == {"1": "too_long", "2": "not_in_code_page"}


def test_enums(database_url: str) -> None:
    contract = columns_of(
        "a: {from: a, type: int, enum: e}",
        "b: {from: b, type: varchar(5), enum: e}",
        "d: {from: d, type: smallint, enum: n, default: 9}",
        "u: {from: u, type: int, enum: u}",
        head="enums: {e: {values: {A: 1, NO: 0}, missing: 7}, n: {values: {A: 1, B: null}, unknown: null},"
        " u: {values: {A: 1}, unknown: 99, missing: -1}}",
    )
    documents: dict[Key, str | None] = {
        1: "<r><a> A </a><b>A</b><d>A</d><u>A</u></r>", 2: "<r/>", 3: "<r><b> A</b></r>",
        4: "<r><a>NO</a><b>NO</b><d>B</d><u>x</u></r>", 5: "<r><a>a</a></r>",
        6: "<r><a> </a><b> </b><d>Q</d><u/></r>",
    }  # fmt: skip
    stage_documents(database_url, documents)
    loaded(database_url, contract)
    assert rows_of(database_url, contract)["t"] == [
        (1, 1, "1", 1, 1), (2, 7, "7", 9, -1), (4, 0, "0", 9, 99), (6, 7, "7", 9, -1),
    ]  # fmt: skip
    assert refused(database_url) == {"3": "unknown_code", "5": "unknown_code"}


def test_source_columns_of_several_types(database_url: str) -> None:
    contract = columns_of(
        "a: {from: $source.n, type: 'decimal(12,3)'}",
        "b: {from: $source.ts, type: datetime2(6)}",
        "d: {from: $source.d, type: date}",
        "f: {from: $source.f, type: float}",
        "i: {from: $source.i, type: bigint}",
        "doc: {from: $document, type: nvarchar(max)}",
        "x: {xml: ., type: xml}",
    )
    stage_documents(
        database_url,
        {1: '<?xml version="1.0"?><r>x<!-- c --></r>', 2: "<r/>"},
        further={
            "n": "DECIMAL(12,3)", "ts": "{moment}", "d": "DATE", "f": "DOUBLE PRECISION", "i": "BIGINT",
        },
        values={1: ("1.500", "2024-01-01 10:00:00.123456", "2024-02-03", 0.1, 2**62), 2: (None,) * 5},
    )  # fmt: skip
    loaded(database_url, contract)
    document = '<?xml version="1.0"?><r>x<!-- c --></r>'
    assert rows_of(database_url, contract)["t"] == [
        (1, "1.500", "2024-01-01 10:00:00.123456", "2024-02-03", 0.1, 2**62, document, "<r>x</r>"),
        (2, None, None, None, None, None, "<r/>", "<r/>"),
    ]
