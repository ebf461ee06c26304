"""Random well-typed expressions over the columns of ``table.py``.

Left out is what exceptions.py says of the servers, and what T-SQL leaves open or the loader does not claim:
the order of texts that are more than letters and digits, and constants that fail by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from hypothesis import strategies as st

DEPTH: Final = 2
_COMPARISONS: Final = ("=", "<>", "<", "<=", ">", ">=")
_SMALL: Final = tuple("123456789")
_TEXTS: Final = ("'a'", "'O'", "'hello world'", "'zz  '", "''", "' '", "'b'", "'%'")
_PATTERNS: Final = (
    "'%o%'", "'h%'", "'_e%'", "'%[a-d]%'", "'[^h]%'", "'%'", "'B'", "'%z'", "'a[%]%'", "'%l_o%'",
)  # fmt: skip
_LEAVES: Final[dict[str, Sequence[str]]] = {
    "int": ("a", "b", "a", "b", "long", "short", "no_int", "five", "CAST(flag AS int)"),
    "decimal": ("d52", "d94", "no_decimal", "price"),
    "text": ("v", "w", "c", "no_text", "name", "code"),
    "unicode": ("n", "nc", "title"),
    "date": ("day", "born", "no_date", "CAST(dt AS date)"),
    # Not expressions by themselves: what fills the other places of the forms below.
    "compare": _COMPARISONS,
    "equal": ("=", "<>"),
    "sign": ("+", "-", "*", "/", "%"),
    "sum": ("+", "-"),
    "small": _SMALL,
    "count": ("-400", "-31", "-1", "0", "1", "12", "29", "366"),
    "literal": _TEXTS,
    "pattern": _PATTERNS,
    "part": ("day", "week", "month", "quarter", "year"),
    "difference": ("day", "month", "year"),
    "number_of": ("YEAR", "MONTH", "DAY"),
    "change": ("LTRIM", "RTRIM", "TRIM", "LOWER"),
    "end": ("LEFT", "RIGHT"),
    "decimal column": ("d52", "d94", "price"),
}
KINDS: Final = ("int", "decimal", "text", "unicode", "date")

# A form, and the kinds that its places take; "self" is the kind of the whole.
_Form = tuple[str, tuple[str, ...]]
_OF_ALL: Final[tuple[_Form, ...]] = (
    ("CASE WHEN {} THEN {} ELSE {} END", ("condition", "self", "self")),
    ("COALESCE({}, {})", ("self", "self")),
    ("NULLIF({}, {})", ("self", "self")),
)
_OF_TEXTS: Final[tuple[_Form, ...]] = (
    ("({} + {})", ("self", "self")),
    ("({} + {})", ("self", "literal")),
    ("{}({})", ("change", "self")),
    ("{}({}, {})", ("end", "self", "small")),
    ("SUBSTRING({}, {}, {})", ("self", "small", "small")),
    ("REPLACE({}, {}, {})", ("self", "literal", "literal")),
    ("CONCAT({}, {})", ("self", "self")),
)
_FORMS: Final[dict[str, tuple[_Form, ...]]] = {
    "int": (
        *_OF_ALL,
        ("({} {} {})", ("self", "sign", "self")),
        ("({} {} {})", ("self", "sign", "small")),
        ("LEN({})", ("text",)),
        ("CHARINDEX({}, {})", ("literal", "text")),
        ("{}({})", ("number_of", "date")),
        ("DATEDIFF({}, {}, {})", ("difference", "date", "date")),
        ("CAST({} AS int)", ("decimal",)),
    ),
    "decimal": (
        *_OF_ALL,
        ("({} {} {})", ("self", "sum", "self")),
        ("({} * {})", ("decimal column", "decimal column")),
        ("-{}", ("decimal column",)),
    ),
    "text": (
        *_OF_ALL,
        *_OF_TEXTS,
        ("UPPER({})", ("self",)),
        ("CAST({} AS varchar(20))", ("int",)),
    ),
    "unicode": (*_OF_ALL, *_OF_TEXTS),
    "date": (
        *_OF_ALL,
        ("DATEADD({}, {}, {})", ("part", "count", "self")),
        ("EOMONTH({})", ("self",)),
        ("DATEFROMPARTS(YEAR({}), MONTH({}), {})", ("self", "self", "small")),
    ),
}
_CONDITIONS: Final[tuple[_Form, ...]] = (
    ("{} {} {}", ("int", "compare", "int")),
    ("{} {} {}", ("decimal", "compare", "decimal")),
    ("{} {} {}", ("date", "compare", "date")),
    ("{} {} {}", ("int", "compare", "decimal")),
    ("{} {} {}", ("text", "equal", "text")),
    ("{} {} {}", ("text", "equal", "literal")),
    ("{} {} {}", ("unicode", "equal", "text")),
    ("{} IN ({}, {}, NULL)", ("int", "small", "int")),
    ("{} NOT IN ({}, {})", ("text", "literal", "text")),
    ("{} BETWEEN {} AND {}", ("int", "int", "int")),
    ("{} LIKE {}", ("text", "pattern")),
    ("{} IS NOT NULL", ("date",)),
)
_NESTED: Final[tuple[_Form, ...]] = (
    ("NOT ({})", ("condition",)),
    ("(({}) AND ({}))", ("condition", "condition")),
    ("(({}) OR ({}))", ("condition", "condition")),
)


def _text(draw: Callable[..., Any], kind: str, depth: int) -> str:
    if kind == "condition":
        forms = (*_CONDITIONS, *_NESTED) if depth > 0 else _CONDITIONS
    elif kind in _FORMS and depth > 0 and draw(st.integers(0, 4)):
        forms = _FORMS[kind]
    else:
        return str(draw(st.sampled_from(_LEAVES[kind])))
    form, places = draw(st.sampled_from(forms))
    inner = max(depth - 1, 0)
    return str(form.format(*(_text(draw, kind if place == "self" else place, inner) for place in places)))


@st.composite
def texts(draw: Callable[..., Any]) -> str:
    """The text of an expression or a condition."""
    return _text(draw, draw(st.sampled_from((*KINDS, "condition"))), DEPTH)
