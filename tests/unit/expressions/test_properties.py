"""Laws that hold for any values, against oracles that are written another way."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from decimal import ROUND_DOWN, ROUND_HALF_UP, Context, Decimal
from fractions import Fraction
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.expressions.support import ENVIRONMENT, truth_of, value_of
from xml_extractor.contract.expression import (
    And,
    Arithmetic,
    ColumnRef,
    Comparison,
    Condition,
    Expression,
    Literal,
    Not,
    Or,
)
from xml_extractor.contract.expression_types import decimal_result, decimal_type
from xml_extractor.contract.types import SqlType, parse_type
from xml_extractor.mapping import tsql_temporal as temporal
from xml_extractor.mapping import tsql_text as texts
from xml_extractor.mapping.expression_runtime import (
    EvaluationError,
    Frame,
    compile_condition,
    compile_expression,
)
from xml_extractor.mapping.tsql_conversion import conversion

INT = parse_type("int")
EXACT = Context(prec=200)


def outcome(evaluate: Callable[[], Any]) -> tuple[Any, str | None]:
    """The result, or the code of the error instead."""
    try:
        return evaluate(), None
    except EvaluationError as error:
        return None, error.code


# ------------------------------------------------------------------------------- three-valued logic

# An atom compares column 0, 1 or 2 with 1: true for 1, false for 0, unknown for NULL.
Tree = Any
atoms = st.sampled_from([0, 1, 2])
trees: st.SearchStrategy[Tree] = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner),
        st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3)),
    ),
    max_leaves=12,
)
truths = st.sampled_from([True, False, None])


def condition_of(tree: Tree) -> Condition:
    if isinstance(tree, int):
        return Comparison("=", ColumnRef(None, tree, INT, True), Literal(1, INT))
    name, inner = tree
    if name == "not":
        return Not(condition_of(inner))
    operands: tuple[Expression, ...] = tuple(condition_of(t) for t in inner)
    return And(operands) if name == "and" else Or(operands)


def oracle(tree: Tree, truth: tuple[bool | None, ...]) -> float:
    """Kleene's logic as numbers: false 0, unknown 1/2, true 1; AND is min, OR is max, NOT is 1 - x."""
    if isinstance(tree, int):
        value = truth[tree]
        return 0.5 if value is None else float(value)
    name, inner = tree
    if name == "not":
        return 1 - oracle(inner, truth)
    values = [oracle(t, truth) for t in inner]
    return min(values) if name == "and" else max(values)


@given(trees, st.tuples(truths, truths, truths))
def test_conditions_are_kleenes_logic(tree: Tree, truth: tuple[bool | None, ...]) -> None:
    row: list[Any] = [None if t is None else int(t) for t in truth]
    result = compile_condition(condition_of(tree), ENVIRONMENT)(Frame(row))
    assert result is {0.0: False, 0.5: None, 1.0: True}[oracle(tree, truth)]


@given(
    st.lists(st.one_of(st.none(), st.integers(0, 3)), min_size=1, max_size=4),
    st.one_of(st.none(), st.integers(0, 3)),
)
def test_in_is_a_chain_of_or(options: list[int | None], value: int | None) -> None:
    listed = ", ".join("NULL" if o is None else str(o) for o in options)
    chain = " OR ".join(f"five = {'NULL' if o is None else o}" for o in options)
    changes = {"five": value}
    assert truth_of(f"five IN ({listed})", changes) is truth_of(chain, changes)
    assert truth_of(f"five NOT IN ({listed})", changes) is truth_of(f"NOT ({chain})", changes)


# ------------------------------------------------------------------------------------------ numbers


@st.composite
def decimals(draw: st.DrawFn) -> tuple[SqlType, Decimal]:
    precision = draw(st.integers(1, 38))
    scale = draw(st.integers(0, precision))
    units = draw(st.integers(-(10**precision) + 1, 10**precision - 1))
    return decimal_type(precision, scale), Decimal(units).scaleb(-scale, EXACT)


@given(st.sampled_from("+-*/%"), decimals(), decimals())
@example(
    "+",  # rounded up to one unit beyond the result's range
    (decimal_type(33, 0), Decimal("-" + "9" * 33)),
    (decimal_type(33, 33), Decimal("-0.999995000000000000000000000000000")),
)
def test_decimal_arithmetic(
    operator: str, left: tuple[SqlType, Decimal], right: tuple[SqlType, Decimal]
) -> None:
    (left_type, a), (right_type, b) = left, right
    type_ = decimal_result(
        operator,
        (left_type.precision or 0, left_type.scale or 0),
        (right_type.precision or 0, right_type.scale or 0),
    )
    precision, scale = type_.precision or 0, type_.scale or 0
    node = Arithmetic(
        operator, ColumnRef(None, 0, left_type, True), ColumnRef(None, 1, right_type, True), type_
    )
    evaluate = compile_expression(node, ENVIRONMENT)
    x, y = Fraction(a), Fraction(b)
    if operator in "/%" and y == 0:
        expected = None
    else:
        exact = {
            "+": lambda: x + y,
            "-": lambda: x - y,
            "*": lambda: x * y,
            "/": lambda: x / y,
            "%": lambda: (abs(x) % abs(y)) * (-1 if x < 0 else 1),
        }[operator]()
        scaled = abs(exact) * 10**scale
        # A quotient is cut off; everything else is rounded, half away from zero.
        units = scaled.numerator // scaled.denominator if operator == "/" else int(scaled + Fraction(1, 2))
        expected = (
            Decimal(-units if exact < 0 else units).scaleb(-scale, EXACT) if units < 10**precision else None
        )
    result, code = outcome(lambda: evaluate(Frame([a, b])))
    if expected is None:
        assert code == ("division_by_zero" if operator in "/%" and y == 0 else "overflow")
        return
    assert code is None
    assert isinstance(result, Decimal)
    assert result == expected
    assert result.as_tuple().exponent == -scale
    assert not (result == 0 and result.is_signed())


@given(st.integers(1, 38), st.integers(1, 38), st.data())
def test_types_of_decimal_results_are_types(p1: int, p2: int, data: st.DataObject) -> None:
    s1, s2 = data.draw(st.integers(0, p1)), data.draw(st.integers(0, p2))
    for operator in "+-*/%":
        type_ = decimal_result(operator, (p1, s1), (p2, s2))
        assert parse_type(str(type_)) == type_
        if operator in "*/" and type_.precision == 38:
            natural = s1 + s2 if operator == "*" else max(6, s1 + p2 + 1)
            assert (type_.scale or 0) >= min(natural, 6)


@given(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1))
def test_integer_division_cuts_towards_zero(a: int, b: int) -> None:
    changes = {"five": a, "minus": b}
    if b == 0 or (a, b) == (-(2**31), -1):
        code = outcome(lambda: value_of("five / minus", changes))[1]
        assert code == ("division_by_zero" if b == 0 else "overflow")
        return
    quotient, rest = value_of("five / minus", changes), value_of("five % minus", changes)
    assert quotient == int(Fraction(a, b))
    assert quotient * b + rest == a


@given(decimals(), st.integers(-40, 40), st.booleans())
def test_round(number: tuple[SqlType, Decimal], digits: int, cut: bool) -> None:
    type_, value = number
    scale = type_.scale or 0
    unit = Decimal(1).scaleb(-digits, EXACT)
    expected = value if digits >= scale else value.quantize(unit, ROUND_DOWN if cut else ROUND_HALF_UP, EXACT)
    limit = Decimal(10) ** ((type_.precision or 0) - scale)
    text = f"ROUND(CAST('{value:f}' AS {type_}), {digits}, {int(cut)})"
    result, code = outcome(lambda: value_of(text))
    if expected.copy_abs() >= limit:
        assert code == "overflow"
        return
    assert result == expected
    assert result.as_tuple().exponent == -scale


# ------------------------------------------------------------------------------------------ text

alphabet = st.sampled_from("aAbBzZ ._-%[]^!ßÄä😀\n")
words = st.text(alphabet, max_size=8)


def like_oracle(text: str, pattern: str, escape: str | None) -> bool:
    """LIKE by plain recursion over UTF-16 units of both, no regular expression in sight."""

    def folded(value: str) -> list[str]:
        lowered = "".join(c.lower() if len(c.lower()) == 1 else c for c in value)
        data = lowered.encode("utf-16-le")
        return [data[i : i + 2].decode("utf-16-le", "surrogatepass") for i in range(0, len(data), 2)]

    units, tokens = folded(text), folded(pattern)

    def match(i: int, j: int) -> bool:
        if j == len(tokens):
            return i == len(units)
        token = tokens[j]
        if token == escape:
            if j + 1 == len(tokens):
                return False
            return i < len(units) and units[i] == tokens[j + 1] and match(i + 1, j + 2)
        if token == "%":
            return any(match(k, j + 1) for k in range(i, len(units) + 1))
        if token == "_":
            return i < len(units) and match(i + 1, j + 1)
        if token != "[":
            return i < len(units) and units[i] == token and match(i + 1, j + 1)
        end, members = j + 1, []
        negated = end < len(tokens) and tokens[end] == "^"
        end += negated
        while end < len(tokens) and tokens[end] != "]":
            literal = tokens[end] == escape
            end += literal
            if end == len(tokens):
                return False
            members.append((tokens[end], literal))
            end += 1
        if end >= len(tokens) or i == len(units):
            return False
        found, k = False, 0
        while k < len(members):
            if k + 2 < len(members) and members[k + 1] == ("-", False):
                found = found or members[k][0] <= units[i] <= members[k + 2][0]
                k += 3
            else:
                found = found or units[i] == members[k][0]
                k += 1
        return found != negated and match(i + 1, end + 1)

    return well_formed(tokens, escape) and match(0, 0)


def well_formed(tokens: list[str], escape: str | None) -> bool:
    """Whether every bracket is closed and nothing ends with the escape character."""
    inside, escaped = False, False
    for token in tokens:
        if escaped:
            escaped = False
        elif token == escape:
            escaped = True
        elif token == "[" and not inside:
            inside = True
        elif token == "]" and inside:
            inside = False
    return not inside and not escaped


@given(words, words, st.sampled_from([None, "!", "_"]))
def test_like(text: str, pattern: str, escape: str | None) -> None:
    matches = texts.like_matcher(pattern, escape, binary=False, ignore_trailing_blanks=False)
    assert matches(text) is like_oracle(text, pattern, escape)


@given(st.text(max_size=8), st.text(max_size=8))
def test_a_literal_pattern_is_an_equality_and_percent_a_search(text: str, part: str) -> None:
    escaped = re.sub(r"([%_\[!])", r"!\1", part)
    starts = texts.like_matcher(escaped + "%", "!", binary=True, ignore_trailing_blanks=False)
    within = texts.like_matcher(f"%{escaped}%", "!", binary=True, ignore_trailing_blanks=False)
    assert starts(text) is text.startswith(part)
    assert within(text) is (part in text)


@given(st.text(), st.text())
def test_folding_keeps_length_and_makes_cases_equal(first: str, second: str) -> None:
    folded = texts.fold(first)
    assert len(folded) == len(first)
    assert texts.fold(folded) == folded
    assert texts.fold(first + second) == folded + texts.fold(second)
    assert texts.comparison_key(first + "  ") == texts.comparison_key(first)


def test_folding_is_unicodes_simple_folding() -> None:
    assert texts.fold("ẞßÄΣςſİKẚ") == "ßßäσσsİkẚ"
    assert texts.upper("ßŉaÿ") == "ßŉAŸ"


@given(st.text(alphabet, max_size=10), st.integers(-3, 12), st.integers(0, 12))
def test_substring_left_and_right_agree(text: str, start: int, count: int) -> None:
    units = texts.to_units(text)
    assert texts.from_units(units) == text
    wanted = "".join(u for place, u in enumerate(units, 1) if start <= place < start + count)
    assert texts.substring(text, start, count) == texts.from_units(wanted)
    assert texts.left(text, count) == texts.substring(text, 1, count)
    assert texts.right(text, count) == texts.substring(text, len(units) - count + 1, count)


@given(words, words.filter(bool), words)
def test_replace_agrees_with_charindex(text: str, searched: str, replacement: str) -> None:
    place = texts.index_of(searched, text, 1, binary=False)
    result = texts.replace(text, searched, replacement, binary=False)
    if place == 0:
        assert result == text
    else:
        units = texts.to_units(text)
        head = texts.from_units(units[: place - 1])
        tail = texts.from_units(units[place - 1 + len(texts.to_units(searched)) :])
        assert result == head + replacement + texts.replace(tail, searched, replacement, binary=False)


# ------------------------------------------------------------------------------------------ dates and times

moments = st.datetimes(datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31, 23, 59, 59, 999999))
PARTS = ["year", "quarter", "month", "day", "week", "hour", "minute", "second", "millisecond", "microsecond"]


def canonical(moment: datetime.datetime) -> str:
    return moment.isoformat(sep=" ", timespec="microseconds") + "0"


def boundary(part: str, moment: datetime.datetime) -> int:
    """The number of the year, week, hour, … in which a moment lies, from any fixed start."""
    since = moment - datetime.datetime(1, 1, 1)
    seconds = since.days * 86400 + since.seconds
    sunday = (moment.date() - datetime.timedelta(days=min(since.days, moment.isoweekday() % 7))).toordinal()
    return {
        "year": moment.year,
        "quarter": moment.year * 4 + (moment.month - 1) // 3,
        "month": moment.year * 12 + moment.month,
        "day": since.days,
        "week": (sunday + 6) // 7,
        "hour": seconds // 3600,
        "minute": seconds // 60,
        "second": seconds,
        "millisecond": seconds * 1000 + since.microseconds // 1000,
        "microsecond": seconds * 10**6 + since.microseconds,
    }[part]


@given(st.sampled_from(PARTS), moments, moments)
def test_datediff_counts_boundaries(part: str, start: datetime.datetime, end: datetime.datetime) -> None:
    text = f"DATEDIFF_BIG({part}, '{canonical(start)}', '{canonical(end)}')"
    assert value_of(text) == boundary(part, end) - boundary(part, start)


@given(
    st.sampled_from(["day", "hour", "minute", "second", "millisecond", "microsecond"]),
    moments,
    st.integers(-(10**6), 10**6),
)
def test_dateadd_is_undone_by_datediff(part: str, start: datetime.datetime, number: int) -> None:
    step = datetime.timedelta(**{f"{part}s": number})
    try:
        expected: datetime.datetime | None = start + step
    except OverflowError:
        expected = None
    text = f"DATEADD({part}, {number}, moment)"
    moved, code = outcome(lambda: value_of(text, {"moment": canonical(start)}))
    if expected is None:
        assert code == "overflow"
        return
    assert moved == canonical(expected)
    assert value_of(
        f"DATEDIFF_BIG({part}, born, moment)", {"born": "0001-01-01", "moment": moved}
    ) == boundary(part, expected) - boundary(part, datetime.datetime(1, 1, 1))


@given(moments, st.integers(-2000, 2000))
def test_adding_months_keeps_the_day_or_takes_the_last(start: datetime.datetime, months: int) -> None:
    index = start.year * 12 + start.month - 1 + months
    year, month = divmod(index, 12)
    changes = {"moment": canonical(start)}
    if not 1 <= year <= 9999:
        assert outcome(lambda: value_of(f"DATEADD(month, {months}, moment)", changes))[1] == "overflow"
        return
    moved = value_of(f"DATEADD(month, {months}, moment)", changes)
    last = int(value_of("EOMONTH(moment)", {"moment": f"{year:04}-{month + 1:02}-01 00:00:00.0000000"})[8:])
    assert moved == f"{year:04}-{month + 1:02}-{min(start.day, last):02}{canonical(start)[10:]}"


@given(st.integers(0, temporal.END_OF_TIME - 1), st.integers(-14 * 60, 14 * 60))
def test_ticks_make_the_round_trip(ticks: int, minutes: int) -> None:
    datetime2, zoned = parse_type("datetime2(7)"), parse_type("datetimeoffset(7)")
    text = temporal.datetime_writer(datetime2)(ticks)
    assert temporal.datetime_ticks(text) == ticks
    assert temporal.date_ticks(temporal.date_text(ticks)) == ticks - ticks % temporal.TICKS_PER_DAY
    day = ticks % temporal.TICKS_PER_DAY
    assert temporal.time_ticks(temporal.time_text(day, 7)) == day
    with_zone, code = outcome(lambda: temporal.offset_writer(zoned)(ticks, minutes))
    if not 0 <= ticks - minutes * temporal.TICKS_PER_MINUTE < temporal.END_OF_TIME:
        assert code == "overflow"
        return
    assert (temporal.local_ticks(with_zone), temporal.offset_minutes(with_zone)) == (ticks, minutes)
    assert temporal.utc_ticks(with_zone) == ticks - minutes * temporal.TICKS_PER_MINUTE


@given(moments, st.integers(0, 7))
def test_texts_of_dates_are_read_back(moment: datetime.datetime, digits: int) -> None:
    type_, text_type = parse_type(f"datetime2({digits})"), parse_type("varchar(40)")
    value = temporal.datetime_writer(type_)(temporal.datetime_ticks(canonical(moment)) // 10**7 * 10**7)
    for style in (None, 121, 126):
        written = conversion(type_, text_type, style=style, code_page="cp1252")(value)
        assert conversion(text_type, type_, style=style, code_page="cp1252")(written) == value


@given(st.integers(0, temporal.TICKS_PER_DAY - 1))
def test_datetime_has_every_300th_of_a_second(ticks: int) -> None:
    start = temporal.date_ticks("2024-01-01")
    text = temporal.datetime_writer(parse_type("datetime"))(start + ticks)
    assert text[-1] in "037"
    # Never farther from the truth than half of 1/300 s, and half a millisecond for writing it in ms.
    assert abs(temporal.datetime_ticks(text) - start - ticks) <= 10_000_000 / 600 + 5_000
    assert temporal.datetime_writer(parse_type("datetime"))(temporal.datetime_ticks(text)) == text


# ------------------------------------------------------------------------------------------ conversions


TARGETS = [
    "int", "bit", "decimal(9,3)", "money", "float", "real", "date", "time(3)", "datetime", "smalldatetime",
    "datetime2(7)", "datetimeoffset(3)", "uniqueidentifier",
]  # fmt: skip


@given(
    st.text(max_size=12) | st.from_regex(r"[0-9:.+\- TZAPMapm/]{1,20}", fullmatch=True),
    st.sampled_from(TARGETS),
)
def test_any_text_converts_or_fails_as_it_should(text: str, target: str) -> None:
    change = conversion(parse_type("nvarchar(max)"), parse_type(target), code_page="cp1252")
    assert outcome(lambda: change(text))[1] in (None, "not_convertible", "overflow")


@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["int", "decimal(38,10)", "money", "real", "bit"]),
)
def test_any_float_converts_or_overflows(value: float, target: str) -> None:
    change = conversion(parse_type("float"), parse_type(target), code_page="cp1252")
    assert outcome(lambda: change(value))[1] in (None, "overflow")


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 200), st.booleans())
def test_digits_are_read_exactly_however_many_zeros_come_first(value: int, zeros: int, plus: bool) -> None:
    sign = "-" if value < 0 else "+" if plus else ""
    text = f" {sign}{'0' * zeros}{abs(value)} "
    assert conversion(parse_type("varchar(max)"), parse_type("bigint"), code_page="cp1252")(text) == value
