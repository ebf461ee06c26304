"""What a hostile document can make of an expression: each found by fuzzing, each with a bound on its time."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.unit.expressions.support import truth_of, value_of
from xml_extractor.mapping import tsql_text
from xml_extractor.mapping.evaluation_error import EvaluationError

SECONDS = 5.0
"""None of these takes a tenth of it; each took minutes, or could not end, before it was mended."""


@pytest.fixture(autouse=True)
def _in_time() -> Iterator[None]:
    started = time.perf_counter()
    yield
    assert time.perf_counter() - started < SECONDS


@pytest.mark.parametrize(
    "type_", ["decimal(9,2)", "float", "real", "money", "int", "bit", "date", "time", "datetime2"]
)
@pytest.mark.parametrize(
    "text", ["1" * 300_000 + "x", "1." + "1" * 300_000 + "x", " " * 300_000 + "x", "1" + " " * 300_000 + "x"]
)
def test_what_is_nearly_a_number_is_refused_at_once(type_: str, text: str) -> None:
    assert value_of(f"TRY_CAST(no_text AS {type_})", {"no_text": text}) is None


@pytest.mark.parametrize("type_", ["tinyint", "int", "bigint"])
def test_millions_of_digits_overflow_an_integer(type_: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        value_of(f"CAST(no_text AS {type_})", {"no_text": "-" + "9" * 1_500_000})
    assert caught.value.code == "overflow"
    assert value_of(f"CAST(no_text AS {type_})", {"no_text": "0" * 1_500_000 + "12"}) == 12


def test_bigints_last_values_are_taken_with_leading_zeros() -> None:
    assert value_of("CAST(no_text AS bigint)", {"no_text": "0" * 200 + "9223372036854775807"}) == 2**63 - 1
    assert value_of("CAST(no_text AS bigint)", {"no_text": "-" + "0" * 200 + "9223372036854775808"}) == -(
        2**63
    )
    with pytest.raises(EvaluationError):
        value_of("CAST(no_text AS bigint)", {"no_text": "0" * 200 + "9223372036854775808"})


@pytest.mark.parametrize("binary", [False, True])
def test_replace_cannot_multiply_without_bound(binary: bool) -> None:
    with pytest.raises(EvaluationError) as caught:
        value_of(
            "REPLACE(no_text, 'a', blank)", {"no_text": "a" * 100_000, "blank": "b" * 100_000}, binary=binary
        )
    assert caught.value.code == "too_long"


@pytest.mark.parametrize("binary", [False, True])
def test_replace_leaves_a_long_text_that_it_does_not_lengthen(
    binary: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tsql_text, "MAX_RESULT", 10)
    assert value_of("REPLACE(no_text, 'a', 'b')", {"no_text": "a" * 20}, binary=binary) == "b" * 20
    assert value_of("REPLACE(no_text, 'a', 'bb')", {"no_text": "a" * 5}, binary=binary) == "b" * 10
    with pytest.raises(EvaluationError):
        value_of("REPLACE(no_text, 'a', 'bb')", {"no_text": "a" * 6}, binary=binary)


def test_a_pattern_of_a_document_is_bounded_as_in_tsql() -> None:
    longest = "%" + "a" * (tsql_text.MAX_PATTERN - 1)
    assert truth_of("no_text LIKE blank", {"no_text": "a" * 5000, "blank": longest}) is True
    with pytest.raises(EvaluationError) as caught:
        truth_of("no_text LIKE blank", {"no_text": "a", "blank": longest + "%"})
    assert caught.value.code == "too_long"


def test_a_pattern_of_the_contract_that_is_too_long_fails_for_the_rows_that_reach_it() -> None:
    condition = f"no_text IS NOT NULL AND no_text LIKE '{'a' * (tsql_text.MAX_PATTERN + 1)}'"
    assert truth_of(condition, {"no_text": None}) is False
    with pytest.raises(EvaluationError):
        truth_of(condition, {"no_text": "a"})


def test_like_gives_up_rather_than_take_minutes() -> None:
    with pytest.raises(EvaluationError) as caught:
        truth_of("no_text LIKE blank", {"no_text": "a" * 5_000_000, "blank": "%" + "_a" * 1900 + "b%"})
    assert caught.value.code == "too_long"


def test_patterns_are_not_kept_without_bound() -> None:
    for number in range(2000):
        truth_of("no_text LIKE blank", {"no_text": "x", "blank": f"%{number}%"})
    assert tsql_text._like_matcher.cache_info().currsize <= 256


def test_cases_of_rare_characters_are_not_kept() -> None:
    rare = "".join(map(chr, range(0x4E00, 0x9FFF)))
    assert value_of("UPPER(no_text)", {"no_text": rare}) == rare
    assert tsql_text.fold(rare) == rare
    assert not {ord(character) for character in rare} & tsql_text._UPPER.keys()
    assert not {ord(character) for character in rare} & tsql_text._FOLD.keys()
    assert tsql_text.upper("ꭰ") == "Ꭰ" == tsql_text.upper("ꭰ")  # a rare one that has another case


def test_bytes_with_nul_are_no_text() -> None:
    with pytest.raises(EvaluationError) as caught:
        value_of("CAST(bytes AS varchar(10))")
    assert caught.value.code == "not_convertible"
    assert value_of("CAST(0x4142 AS varchar(10))") == "AB"
