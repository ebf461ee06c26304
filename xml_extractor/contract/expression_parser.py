"""Reads T-SQL expressions into typed nodes, finding every mistake when the contract is read.

sqlglot parses (:mod:`~xml_extractor.contract.expression_syntax`); this module accepts the part of its
tree that is a scalar expression, resolves names, settles every type and makes implicit conversions
explicit.  Anything it does not know is an error with its place, never ignored.

``'x'`` is varchar where it is ASCII and nvarchar otherwise (T-SQL would lose what the server's code page
lacks); ``N'x'`` is nvarchar.  Results of text functions are not cut at 8,000 bytes as T-SQL cuts them.
"""

from __future__ import annotations

import difflib
import re
from decimal import Decimal
from typing import Final

from sqlglot import exp

from xml_extractor.contract.expression import (
    And,
    Arithmetic,
    Case,
    Concatenate,
    Condition,
    Convert,
    Expression,
    ExpressionError,
    ExpressionScope,
    In,
    IsNull,
    Like,
    Literal,
    Negate,
    Not,
    Or,
    PathRef,
)
from xml_extractor.contract.expression_functions import (
    FUNCTIONS,
    INSTEAD,
    PARTS,
    Arguments,
    First,
    as_text,
)
from xml_extractor.contract.expression_syntax import offset_of, parse_syntax
from xml_extractor.contract.expression_types import (
    FLOAT,
    INT,
    MAX_PRECISION,
    NUMERIC,
    NVARCHAR_MAX,
    SMALLINT,
    arithmetic_type,
    can_convert,
    coerce,
    common_type,
    comparison,
    decimal_type,
    keeps_values,
    shape,
    text_length,
    text_type,
)
from xml_extractor.contract.types import INTEGER_RANGES, Family, SqlType, parse_type

_NUMBER: Final = re.compile(r"(\d*)(?:\.(\d*))?([eE][+-]?\d*)?")
_COMPARISONS: Final[dict[type[exp.Expr], str]] = {
    exp.EQ: "=", exp.NEQ: "<>", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">=",
}  # fmt: skip
_ARITHMETIC: Final[dict[type[exp.Expr], str]] = {
    exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/", exp.Mod: "%",
}  # fmt: skip
_UNSUPPORTED: Final[dict[type[exp.Expr], str]] = {
    exp.DPipe: "|| does not join strings in T-SQL; use + or CONCAT",
    exp.Boolean: "T-SQL has no TRUE and FALSE; compare a bit with 1 or 0",
    exp.Collate: "COLLATE is not supported; `collation: binary` holds for a whole contract",
    exp.AtTimeZone: "AT TIME ZONE is not supported",
    exp.Parameter: "variables are not supported",
    exp.Subquery: "queries are not supported",
    exp.Exists: "queries are not supported",
    exp.Star: "* alone is not a value",
    exp.Concat: "two strings stand side by side; join them with +",
    exp.Alias: "a name cannot be given here; is a comma or an operator missing?",
}
_MAX_DEPTH: Final = 100  # nodes are compiled recursively; no expression a person writes comes near


def parse_expression(text: str, scope: ExpressionScope) -> Expression:
    """Read an expression that gives a value.

    Raises:
        ExpressionError: anything is wrong with it; ``offset`` says where.
    """
    return _Builder(scope).build(text, condition=False)


def parse_condition(text: str, scope: ExpressionScope) -> Expression:
    """Read a condition, as of ``where``.

    Raises:
        ExpressionError: anything is wrong with it; ``offset`` says where.
    """
    return _Builder(scope).build(text, condition=True)


def assign(expression: Expression, target: SqlType) -> Expression:
    """Convert an expression's value to the type of the column that takes it.

    Decimals are rounded to the column's scale, as in any T-SQL assignment; text that is too long is an
    evaluation error (trailing blanks apart), never cut.

    Raises:
        ExpressionError: the types do not allow it without a CAST.
    """
    source = expression.type
    if source is None or keeps_values(source, target):
        return coerce(expression, target)
    if not can_convert(source, target, implicit=True):
        raise ExpressionError(f"the expression gives {source}, the column is {target}; use CAST")
    return Convert(expression, target, assignment=True)


class _Builder:
    """Turns one syntax tree into nodes."""

    def __init__(self, scope: ExpressionScope) -> None:
        self._scope = scope
        self._binary = scope.binary_collation
        self._depth = 0

    def build(self, text: str, *, condition: bool) -> Expression:
        tree = parse_syntax(text)
        offset = len(text) - len(text.lstrip())
        return self._condition(tree, offset) if condition else self._value(tree, offset)

    # -------------------------------------------------------------------------------- values

    def _value(self, node: exp.Expr, default: int) -> Expression:
        result = self._node(node, default)
        if result.is_condition:
            raise ExpressionError(
                "a condition cannot be used as a value; write CASE WHEN … THEN 1 ELSE 0 END",
                offset_of(node, default),
            )
        return result

    def _condition(self, node: exp.Expr, default: int) -> Expression:
        result = self._node(node, default)
        if not result.is_condition:
            raise ExpressionError(
                "a condition is needed here, not a value; compare it with something, as in x = 1",
                offset_of(node, default),
            )
        return result

    def _node(self, node: exp.Expr, default: int) -> Expression:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ExpressionError("the expression is nested too deeply", offset_of(node, default))
        offset = offset_of(node, default)
        try:
            return self._dispatch(node, offset)
        except ExpressionError:
            raise
        except ValueError as error:  # a rule of types, which knows no places
            raise ExpressionError(str(error), offset) from None
        finally:
            self._depth -= 1

    def _dispatch(self, node: exp.Expr, offset: int) -> Expression:
        kind = type(node)
        if kind is exp.Paren:
            return self._node(node.this, offset)
        if kind is exp.Column:
            return self._column(node, offset)
        if kind is exp.Literal:
            return _string(node.this) if node.is_string else _number(node.this, offset)
        if kind is exp.National:
            return Literal(node.this, text_type(is_unicode=True, length=_utf16_units(node.this)))
        if kind is exp.Null:
            return Literal(None, None)
        if kind is exp.HexString:
            return _binary(node.this, offset)
        if kind is exp.Anonymous:
            return self._call(node, offset)
        if kind in _ARITHMETIC:
            return self._arithmetic(_ARITHMETIC[kind], node, offset)
        if kind is exp.Neg:
            return _negate(self._value(node.this, offset))
        if kind is exp.Case:
            return self._case(node, offset)
        if kind in _COMPARISONS:
            left, right = self._value(node.this, offset), self._value(node.expression, offset)
            return comparison(_COMPARISONS[kind], left, right, binary=self._binary)
        if kind in (exp.And, exp.Or):
            return self._connective(node, offset)
        if kind is exp.Not:
            return Not(self._condition(node.this, offset))
        if kind is exp.Is:
            if type(node.expression) is not exp.Null:
                raise ExpressionError("after IS only NULL or NOT NULL can stand", offset)
            return IsNull(self._value(node.this, offset), negated=bool(node.args.get("negate")))
        if kind is exp.In:
            return self._in(node, offset)
        if kind is exp.Between:
            operand = self._value(node.this, offset)
            low, high = self._value(node.args["low"], offset), self._value(node.args["high"], offset)
            return And((
                comparison(">=", operand, low, binary=self._binary),
                comparison("<=", operand, high, binary=self._binary),
            ))  # fmt: skip
        if kind in (exp.Like, exp.Escape):
            return self._like(node, offset)
        message = _UNSUPPORTED.get(
            kind, f"{kind.__name__} is not part of the expressions that a contract can hold"
        )
        raise ExpressionError(message, offset)

    def _column(self, node: exp.Expr, offset: int) -> Expression:
        parts = [node.args.get(name) for name in ("catalog", "db", "table", "this")]
        names = [part.name for part in parts if isinstance(part, exp.Identifier)]
        if len(names) != sum(part is not None for part in parts):
            hint = "; write CAST(1.5 AS money)" if names and names[0].startswith("$") else ""
            raise ExpressionError(f"not a column's name{hint}", offset)
        try:
            return self._scope.resolve_column(".".join(names[:-1]) or None, names[-1])
        except LookupError as error:
            message = str(error.args[0]) if error.args else f"unknown column {names[-1]}"
            if len(names) == 1 and names[0].upper() in INSTEAD:
                message += f"; in expressions write {INSTEAD[names[0].upper()]}"
            raise ExpressionError(message, offset) from None

    def _arithmetic(self, operator: str, node: exp.Expr, offset: int) -> Expression:
        left, right = self._value(node.this, offset), self._value(node.expression, offset)
        text = [e.type is None or e.type.family is Family.TEXT for e in (left, right)]
        if left.type is None and right.type is None:
            left = right = Literal(None, INT)
        elif operator == "+" and all(text):
            return _concatenate(left, right)
        type_ = arithmetic_type(operator, left, right)
        if type_.name != "decimal":
            return Arithmetic(operator, coerce(left, type_), coerce(right, type_), type_)
        known = next(e for e in (left, right) if e.type is not None and e.type.family in NUMERIC)
        operands = []
        for operand in (left, right):
            is_number = operand.type is not None and operand.type.family in NUMERIC
            operands.append(coerce(operand, decimal_type(*shape(operand if is_number else known))))
        return Arithmetic(operator, operands[0], operands[1], type_)

    def _case(self, node: exp.Expr, offset: int) -> Expression:
        subject = self._value(node.this, offset) if node.this is not None else None
        conditions: list[Expression] = []
        results: list[Expression] = []
        for branch in node.args["ifs"]:
            if subject is None:
                conditions.append(self._condition(branch.this, offset))
            else:
                value = self._value(branch.this, offset)
                conditions.append(comparison("=", subject, value, binary=self._binary))
            results.append(self._value(branch.args["true"], offset))
        default = node.args.get("default")
        results.append(self._value(default, offset) if default is not None else Literal(None, None))
        type_ = common_type(results)
        if type_ is None:
            raise ExpressionError("at least one result of CASE must be something other than NULL", offset)
        *values, otherwise = [coerce(r, type_) for r in results]
        return Case(tuple(zip(conditions, values, strict=True)), otherwise, type_)

    # -------------------------------------------------------------------------------- conditions

    def _connective(self, node: exp.Expr, offset: int) -> Expression:
        # A chain of a hundred ORs is a left-deep tree: walk down it rather than recurse.
        kind = type(node)
        members: list[exp.Expr] = []
        while type(node) is kind:
            members.append(node.expression)
            node = node.this
        members.append(node)
        operands: list[Expression] = [self._condition(member, offset) for member in reversed(members)]
        return And(tuple(operands)) if kind is exp.And else Or(tuple(operands))

    def _in(self, node: exp.Expr, offset: int) -> Expression:
        options = node.args.get("expressions")
        if not options:
            raise ExpressionError(
                "IN needs a list of values in parentheses; queries are not supported", offset
            )
        operand = self._value(node.this, offset)
        tests = [
            comparison("=", operand, self._value(option, offset), binary=self._binary) for option in options
        ]
        if len(tests) == 1:
            return tests[0]
        if all(test.left == tests[0].left for test in tests):
            return In(tests[0].left, tuple(test.right for test in tests), self._binary)
        return Or(tuple(tests))

    def _like(self, node: exp.Expr, offset: int) -> Expression:
        escape = None
        if type(node) is exp.Escape:
            literal = node.expression
            if not isinstance(literal, exp.Literal) or len(literal.name) != 1:
                raise ExpressionError("ESCAPE takes one character in quotes", offset)
            escape = literal.name
            node = node.this
            if type(node) is not exp.Like:
                raise ExpressionError("ESCAPE belongs to LIKE only", offset)
        operand = as_text(self._value(node.this, offset))
        pattern = as_text(self._value(node.expression, offset))
        like: Condition = Like(operand, pattern, escape, self._binary)
        return Not(like) if node.args.get("negate") else like

    # -------------------------------------------------------------------------------- calls

    def _call(self, node: exp.Expr, offset: int) -> Expression:
        if not isinstance(node.this, str):
            raise ExpressionError("a function's name cannot be quoted", offset)
        name = node.this.upper()
        given = [argument for argument in node.expressions if argument is not None]
        if len(given) != len(node.expressions):
            raise ExpressionError(f"{name}: an argument is missing", offset)
        if name == "PATH":
            return self._path(given, offset)
        function = FUNCTIONS.get(name)
        if function is None:
            raise ExpressionError(_unknown_function(name), offset)
        count = len(given)
        if count < function.minimum or (function.maximum is not None and count > function.maximum):
            shown = count - 1 if function.first is First.SIDE else count
            raise ExpressionError(
                f"{name} cannot have {shown} argument{'' if shown == 1 else 's'}; write {function.usage}",
                offset,
            )
        word, word_offset, values = "", offset, []
        if function.first in (First.PART, First.TYPE, First.SIDE):
            first = given.pop(0)
            word_offset = offset_of(first, offset)
            word = _part(name, first, word_offset) if function.first is First.PART else first.name
        elif function.first is First.CONDITION:
            values.append(self._condition(given[0], offset))
        offsets = (
            [offset_of(argument, offset) for argument in node.expressions[-len(given) :]] if given else []
        )
        values += [self._value(argument, offset) for argument in given[len(values) :]]
        return function.build(Arguments(name, word, values, offsets, offset, word_offset, self._binary))

    def _path(self, given: list[exp.Expr], offset: int) -> Expression:
        literals = [a for a in given if isinstance(a, (exp.Literal, exp.National)) and not a.is_number]
        if len(literals) != len(given) or len(given) not in (1, 2):
            raise ExpressionError("write path('…') or path('…', 'type'), both in quotes", offset)
        type_ = NVARCHAR_MAX
        if len(literals) == 2:
            try:
                type_ = parse_type(literals[1].name)
            except ValueError as error:
                raise ExpressionError(str(error), offset_of(literals[1], offset)) from None
        try:
            capture = self._scope.resolve_path(literals[0].name)
        except ValueError as error:
            raise ExpressionError(str(error), offset_of(literals[0], offset)) from None
        return PathRef(capture, type_)


def _unknown_function(name: str) -> str:
    instead = INSTEAD.get(name)
    if instead is not None:
        return f"unknown function {name}; in expressions write {instead}"
    close = difflib.get_close_matches(name, [*FUNCTIONS, "PATH"], n=1)
    hint = f"did you mean {'path' if close[0] == 'PATH' else close[0]}?" if close else (
        f"there are path, {', '.join(sorted(FUNCTIONS))}"
    )  # fmt: skip
    return f"unknown function {name}; {hint}"


def _part(name: str, node: exp.Expr, offset: int) -> str:
    word = node.name.lower() if isinstance(node, exp.Column) and len(node.parts) == 1 else ""
    part = PARTS.get(word)
    if part is None:
        close = difflib.get_close_matches(word, PARTS, n=1) if word else []
        hint = f"did you mean {close[0]}?" if close else "write a datepart such as year, month, day or hour"
        raise ExpressionError(f"{name}: not a datepart; {hint}", offset)
    return part


def _string(value: str) -> Literal:
    return Literal(value, text_type(is_unicode=not value.isascii(), length=_utf16_units(value)))


def _utf16_units(value: str) -> int:
    return len(value.encode("utf-16-le", "surrogatepass")) // 2


def _number(text: str, offset: int) -> Literal:
    match = _NUMBER.fullmatch(text)
    if match is None or not (match[1] or match[2]):
        raise ExpressionError("not a number", offset)
    if match[3]:
        digits = match[3] if match[3][-1].isdigit() else match[3].rstrip("+-") + "0"  # T-SQL reads 1e as 1e0
        value = float(f"{match[1] or '0'}.{match[2] or '0'}{digits}")
        if value == float("inf"):
            raise ExpressionError("the number is out of the range of float", offset)
        return Literal(value, FLOAT)
    if match[2] is None and INTEGER_RANGES["int"][0] <= int(match[1]) <= INTEGER_RANGES["int"][1]:
        return Literal(int(match[1]), INT)
    whole, fraction = match[1].lstrip("0"), match[2] or ""
    precision = max(len(whole) + len(fraction), 1)
    if precision > MAX_PRECISION:
        raise ExpressionError(f"a number can have {MAX_PRECISION} digits at most", offset)
    return Literal(
        Decimal(f"{whole or '0'}.{fraction}" if fraction else whole or "0"),
        decimal_type(precision, len(fraction)),
    )


def _binary(digits: str, offset: int) -> Literal:
    try:
        value = bytes.fromhex(digits if len(digits) % 2 == 0 else f"0{digits}")
    except ValueError:
        raise ExpressionError("not a binary constant", offset) from None
    return Literal(value, SqlType("varbinary", Family.BINARY, length=max(len(value), 1)))


def _negate(operand: Expression) -> Expression:
    type_ = operand.type
    if type_ is None:
        return Literal(None, INT)
    if type_.family is Family.BIT or type_.family not in NUMERIC:
        raise ValueError(f"unary minus does not take {type_}")
    if type_.name == "tinyint":
        operand, type_ = coerce(operand, SMALLINT), SMALLINT
    if isinstance(operand, Literal) and isinstance(operand.value, (int, float, Decimal)):
        return Literal(-operand.value if operand.value else operand.value, type_)
    return Negate(operand, type_)


def _concatenate(left: Expression, right: Expression) -> Expression:
    operands: list[Expression] = []
    for operand in (left, right):
        operands.extend(operand.operands if isinstance(operand, Concatenate) else (as_text(operand),))
    types = [o.type for o in operands if o.type is not None]
    lengths = [text_length(t) for t in types]
    known = [n for n in lengths if n is not None]
    total = sum(known) if len(known) == len(lengths) else None
    return Concatenate(tuple(operands), text_type(is_unicode=any(t.is_unicode for t in types), length=total))
