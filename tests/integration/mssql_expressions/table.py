"""The typed columns that expressions are compared over, with rows of ordinary and of extreme values."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from tests.unit.expressions.support import ENVIRONMENT, ROW
from xml_extractor.contract.expression import ColumnRef, Expression
from xml_extractor.contract.expression_parser import parse_condition, parse_expression
from xml_extractor.contract.types import SqlType, Value, parse_type
from xml_extractor.mapping.evaluation_error import EvaluationError
from xml_extractor.mapping.expression_runtime import Frame, compile_condition, compile_expression

D = Decimal

# column, type, and its values in rows 0 (ordinary), 1 (greatest), 2 (least), 3 (zeros and blanks), 4 (odd)
_EDGES: Final[tuple[tuple[str, str, tuple[Value, ...]], ...]] = (
    ("a", "int", (17, 2147483647, -2147483648, 0, -5)),
    ("b", "int", (5, 2147483647, -1, 0, 3)),
    ("long", "bigint", (10**12 + 7, 2**63 - 1, -(2**63), 0, -4294967296)),
    ("byte", "tinyint", (9, 255, 0, 0, 128)),
    ("short", "smallint", (-12, 32767, -32768, 0, 1000)),
    ("flag", "bit", (True, True, False, False, True)),
    ("d52", "decimal(5,2)", (D("12.35"), D("999.99"), D("-999.99"), D("0.00"), D("-0.05"))),
    ("d94", "decimal(9,4)", (D("3.1415"), D("99999.9999"), D("-99999.9999"), D("0.0000"), D("-2.5000"))),
    ("d11", "decimal(1,1)", (D("0.5"), D("0.9"), D("-0.9"), D("0.0"), D("-0.1"))),
    ("d180", "decimal(18,0)", (D(42), D(10**18 - 1), D(1 - 10**18), D(0), D(-7))),
    (
        "d3818",
        "decimal(38,18)",
        (D("1.234567890123456789"), D("9" * 20 + "." + "9" * 18), D("-" + "9" * 20 + "." + "9" * 18),
         D("0." + "0" * 18), D("-0." + "0" * 17 + "1")),
    ),
    ("d380", "decimal(38,0)", (D(1000), D("9" * 38), D("-" + "9" * 38), D(0), D(-3))),
    ("m", "money", (D("12.3456"), D("922337203685477.5807"), D("-922337203685477.5808"), D("0.0000"),
    D("-0.5000"))),
    ("f", "float", (1.5, 1.7976931348623157e308, -1.7976931348623157e308, 0.0, -0.125)),
    ("r", "real", (0.25, 16777216.0, -16777216.0, 0.0, -1.5)),
    ("v", "varchar(12)", ("Hello World", "zzzzzzzzzzzz", "", "   ", "a%b_c[d]^-  ")),
    ("w", "varchar(12)", ("o", "ZZ", "", " ", "B")),
    ("num", "varchar(12)", ("123", "2147483647", "-1", "", " +7 ")),
    ("dec", "varchar(12)", ("12.345", "999.995", "-0.005", ".5", " 1. ")),
    ("n", "nvarchar(12)", ("Grüße Ünï", "ŽŽŽŽŽŽŽŽŽŽŽŽ", "", "  x  ", "ΑΒγ абв")),
    ("c", "char(4)", ("ab  ", "wxyz", "    ", "    ", " x  ")),
    ("nc", "nchar(3)", ("é  ", "ŽŽŽ", "   ", "   ", "ab ")),
    ("day", "date", ("2024-01-31", "9999-12-31", "0001-01-01", "1900-01-01", "2023-12-31")),
    ("t0", "time(0)", ("10:20:30", "23:59:59", "00:00:00", "00:00:00", "12:00:01")),
    (
        "dt",
        "datetime",
        ("2024-02-29 23:59:59.997", "9999-12-31 23:59:59.997", "1753-01-01 00:00:00.000",
         "1900-01-01 00:00:00.000", "1999-12-31 12:34:56.787"),
    ),
    (
        "dt3",
        "datetime2(3)",
        ("2024-05-31 13:14:15.678", "9999-12-31 23:59:59.999", "0001-01-01 00:00:00.000",
         "1900-01-01 00:00:00.000", "1969-12-31 23:59:59.500"),
    ),
    (
        "dt0",
        "datetime2(0)",
        ("2000-12-31 00:00:01", "9999-12-31 23:59:59", "0001-01-01 00:00:00", "1900-01-01 00:00:00",
         "2020-02-29 06:07:08"),
    ),
    (
        "zone",
        "datetimeoffset(0)",
        ("2024-06-30 23:30:00-05:00", "9999-12-31 23:59:59+00:00", "0001-01-01 14:00:00+14:00",
         "1900-01-01 00:00:00+00:00", "2024-01-01 00:15:00+05:30"),
    ),
    ("uid", "uniqueidentifier", tuple(f"{digit * 8}-0000-0000-0000-00000000000{digit}" for digit in "1f027")),
    ("raw", "varbinary(6)", (b"Name", b"\xff" * 6, b"", b"\0", b"\x0a\x0b\0")),
)  # fmt: skip
_UNIT_ROW: Final = {name: value for name, (_, value) in ROW.items()}

COLUMNS: Final[dict[str, str]] = {name: type_ for name, (type_, _) in ROW.items()} | {
    name: type_ for name, type_, _ in _EDGES
}
NAMES: Final = list(COLUMNS)
ROWS: Final[list[dict[str, Value]]] = [
    _UNIT_ROW | {name: values[index] for name, _, values in _EDGES} for index in range(5)
] + [dict.fromkeys(COLUMNS)]
"""The last row is all NULL."""
PARENT: Final[tuple[Value, ...]] = (77, "parent")


class TableScope:
    """What names mean in the expressions: :data:`COLUMNS`, and ``id`` and ``label`` of ``parent``."""

    def __init__(self, *, binary_collation: bool = False) -> None:
        self.binary_collation = binary_collation

    def resolve_column(self, table: str | None, column: str) -> ColumnRef:
        if table == "parent":
            index = ("id", "label").index(column)
            return ColumnRef(3, index, parse_type(("int", "varchar(10)")[index]), False)
        if table is not None or column not in COLUMNS:
            raise LookupError(f"there is no column {column}")
        return ColumnRef(None, NAMES.index(column), parse_type(COLUMNS[column]), True)

    def resolve_path(self, text: str) -> int:
        raise ValueError("a server knows no paths")


def parsed(text: str, *, condition: bool = False, binary: bool = False) -> Expression:
    """The typed nodes of an expression over the table."""
    return (parse_condition if condition else parse_expression)(text, TableScope(binary_collation=binary))


def evaluated(expression: Expression, row: Mapping[str, Value]) -> Value | EvaluationError:
    """What the loader makes of an expression on a row; a condition gives 1, 0 or NULL."""
    frame = Frame([row[name] for name in NAMES], (), {3: PARENT})
    try:
        if expression.is_condition:
            truth: Any = compile_condition(expression, ENVIRONMENT)(frame)
            return None if truth is None else int(truth)
        return compile_expression(expression, ENVIRONMENT)(frame)
    except EvaluationError as error:
        return error


def on_a_server(text: str, *, condition: bool) -> str:
    """The text with which a server is asked for the same."""
    return f"CASE WHEN {text} THEN 1 WHEN NOT ({text}) THEN 0 END" if condition else text


def type_of(expression: Expression) -> SqlType | None:
    """The type of what :func:`evaluated` gives."""
    return parse_type("int") if expression.is_condition else expression.type
