"""Expressions of a contract as typed, plain data.

The parser (:mod:`xml_extractor.contract.expression_parser`) makes these nodes when a contract is read;
the runtime (:mod:`xml_extractor.mapping.expression_runtime`) compiles them to closures in each worker.
Every type is settled here: implicit conversions are :class:`Convert` nodes of their own, so that whoever
runs the nodes needs no rule of type precedence.  Nodes are immutable, hashable and can be pickled.

A node is either a *value* (``is_condition`` false; ``type`` is its SQL type, or ``None`` for an untyped
NULL) or a *condition* (``is_condition`` true; true, false or unknown).  T-SQL keeps the two apart and so
do we: a condition is never a value and a value never a condition.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar, Protocol

from xml_extractor.contract.types import SqlType, Value


class ExpressionError(ValueError):
    """An expression that cannot be compiled; ``offset`` is the place in its text, from 0."""

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


class ExpressionScope(Protocol):
    """What the names in an expression mean; given by whoever compiles the contract."""

    @property
    def binary_collation(self) -> bool:
        """Whether strings are compared exactly, not ignoring case and trailing blanks."""
        ...

    def resolve_column(self, table: str | None, column: str) -> ColumnRef:
        """Find a column of this row (``table`` None or this table's name) or of an ancestor's row.

        Raises:
            LookupError: with a sentence that tells the user what there is instead.
        """
        ...

    def resolve_path(self, text: str) -> int:
        """Register a capture in the row's scope and return its index among the scope's captures.

        Raises:
            ValueError: with a sentence that says what is wrong with the path.
        """
        ...


class Expression:
    """Base of all nodes."""

    __slots__ = ()
    is_condition: ClassVar[bool] = False

    if TYPE_CHECKING:

        @property
        def type(self) -> SqlType | None:
            """The value's type; ``None`` for an untyped NULL and for conditions."""


class Condition(Expression):
    """Base of the nodes that are true, false or unknown."""

    __slots__ = ()
    is_condition: ClassVar[bool] = True

    @property
    def type(self) -> None:
        """Conditions have no SQL type."""
        return


# ------------------------------------------------------------------------------------------ values


@dataclass(frozen=True, slots=True)
class Literal(Expression):
    """A constant, as its canonical value."""

    value: Value
    type: SqlType | None


@dataclass(frozen=True, slots=True)
class ColumnRef(Expression):
    """A column of this row (``table`` None) or of the row of an ancestor table."""

    table: int | None  # index into Plan.tables
    column: int  # index into that table's columns
    type: SqlType
    nullable: bool


@dataclass(frozen=True, slots=True)
class PathRef(Expression):
    """A text captured from the document, converted to ``type`` (nvarchar(max) = as it stands).

    An absent capture is NULL; a blank one is NULL unless ``type`` is text.
    """

    capture: int  # index into the captures of the row's scope
    type: SqlType


@dataclass(frozen=True, slots=True)
class Convert(Expression):
    """A conversion, implicit or written (CAST, CONVERT, TRY_CAST, TRY_CONVERT)."""

    operand: Expression
    type: SqlType
    style: int | None = None
    null_on_error: bool = False  # TRY_CAST, TRY_CONVERT
    assignment: bool = False  # text too long is an error rather than cut, as when a column is assigned


@dataclass(frozen=True, slots=True)
class Arithmetic(Expression):
    """``left operator right`` for one of ``+ - * / %`` on numbers.

    Operands of exact decimal arithmetic keep their own precision and scale (integers are converted to
    decimal first); all others have ``type`` already.
    """

    operator: str
    left: Expression
    right: Expression
    type: SqlType


@dataclass(frozen=True, slots=True)
class Negate(Expression):
    """Unary minus."""

    operand: Expression
    type: SqlType


@dataclass(frozen=True, slots=True)
class Concatenate(Expression):
    """``+`` on strings: NULL when any operand is."""

    operands: tuple[Expression, ...]
    type: SqlType


@dataclass(frozen=True, slots=True)
class Case(Expression):
    """Searched CASE, IIF; all results have ``type`` already.  Simple CASE is turned into this."""

    branches: tuple[tuple[Expression, Expression], ...]  # (condition, result)
    otherwise: Expression
    type: SqlType


@dataclass(frozen=True, slots=True)
class Coalesce(Expression):
    """The first operand that is not NULL (COALESCE, ISNULL); all have ``type`` already."""

    operands: tuple[Expression, ...]
    type: SqlType


@dataclass(frozen=True, slots=True)
class NullIf(Expression):
    """NULL where the condition ``equal`` is true, else ``operand``."""

    operand: Expression
    equal: Expression
    type: SqlType


@dataclass(frozen=True, slots=True)
class Call(Expression):
    """A function whose arguments have the types it needs.

    ``part`` is the full name of the datepart of DATEADD, DATEDIFF, DATEPART (``day``), or the side of
    TRIM (``both``, ``leading``, ``trailing``).  ``binary`` says how REPLACE, CHARINDEX and TRIM compare.
    """

    function: str  # upper case
    arguments: tuple[Expression, ...]
    type: SqlType
    part: str | None = None
    binary: bool = False


# ------------------------------------------------------------------------------------------ conditions


@dataclass(frozen=True, slots=True)
class Comparison(Condition):
    """``= <> < > <= >=``.  Both sides have one type, or are exact numbers of any type."""

    operator: str
    left: Expression
    right: Expression
    binary: bool = False


@dataclass(frozen=True, slots=True)
class In(Condition):
    """``operand IN (options)``; all have one type, or are exact numbers of any type.

    The parser uses an :class:`Or` of comparisons where the options differ in type.
    """

    operand: Expression
    options: tuple[Expression, ...]
    binary: bool = False


@dataclass(frozen=True, slots=True)
class Like(Condition):
    """``operand LIKE pattern [ESCAPE escape]``, all text."""

    operand: Expression
    pattern: Expression
    escape: str | None = None
    binary: bool = False


@dataclass(frozen=True, slots=True)
class IsNull(Condition):
    """``operand IS [NOT] NULL``: never unknown."""

    operand: Expression
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Not(Condition):
    """Three-valued NOT."""

    operand: Expression


@dataclass(frozen=True, slots=True)
class And(Condition):
    """Three-valued AND of two or more conditions, evaluated from the left until one is false."""

    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or(Condition):
    """Three-valued OR of two or more conditions, evaluated from the left until one is true."""

    operands: tuple[Expression, ...]


def walk(expression: Expression) -> Iterator[Expression]:
    """Yield the node and all nodes below it, parents first."""
    yield expression
    for field in fields(expression):  # type: ignore[arg-type]  # every concrete node is a dataclass
        yield from _walk_member(getattr(expression, field.name))


def _walk_member(member: object) -> Iterator[Expression]:
    if isinstance(member, Expression):
        yield from walk(member)
    elif isinstance(member, tuple):
        for item in member:
            yield from _walk_member(item)
