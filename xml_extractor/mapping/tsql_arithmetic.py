"""T-SQL's ``+ - * / %`` on canonical numbers that are not NULL."""

from __future__ import annotations

import operator
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from xml_extractor.contract.expression import Arithmetic
from xml_extractor.contract.types import Family, SqlType
from xml_extractor.mapping.evaluation_error import EvaluationError
from xml_extractor.mapping.tsql_conversion import (
    DECIMALS,
    float_checker,
    integer_checker,
    overflow,
    quantizer,
    truncate_division,
)


def arithmetic(node: Arithmetic) -> Callable[[Any, Any], Any]:
    """Return the function of two values for an arithmetic node, made for its type."""
    family = node.type.family
    if family is Family.INTEGER:
        return _integer_operation(node.operator, node.type)
    if family is Family.FLOAT:
        return _float_operation(node.operator, node.type)
    if node.type.name == "decimal":
        return _decimal_operation(node)
    return _money_operation(node.operator, node.type)


def _division_by_zero() -> EvaluationError:
    return EvaluationError("division_by_zero", "division by zero")


def _integer_operation(symbol: str, type_: SqlType) -> Callable[[int, int], int]:
    check = integer_checker(type_)
    if symbol == "+":
        return lambda a, b: check(a + b)
    if symbol == "-":
        return lambda a, b: check(a - b)
    if symbol == "*":
        return lambda a, b: check(a * b)
    if symbol == "/":

        def divide(a: int, b: int) -> int:
            if b == 0:
                raise _division_by_zero()
            quotient = abs(a) // abs(b)  # T-SQL cuts off towards zero, Python's // rounds down
            return check(quotient if (a < 0) == (b < 0) else -quotient)

        return divide

    def modulo(a: int, b: int) -> int:
        if b == 0:
            raise _division_by_zero()
        rest = abs(a) % abs(b)
        return -rest if a < 0 else rest

    return modulo


def _float_operation(symbol: str, type_: SqlType) -> Callable[[float, float], float]:
    check = float_checker(type_)
    operate = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}[symbol]

    def evaluate(a: float, b: float) -> float:
        try:
            return check(operate(a, b))
        except ZeroDivisionError:
            raise _division_by_zero() from None
        except OverflowError:
            raise overflow(type_) from None

    return evaluate


def _decimal_operation(node: Arithmetic) -> Callable[[Decimal, Decimal], Decimal]:
    type_ = node.type
    if node.operator == "/":
        return truncate_division(type_)
    if node.operator == "%":
        fit = quantizer(type_)

        def modulo(a: Decimal, b: Decimal) -> Decimal:
            if not b:
                raise _division_by_zero()
            return fit(DECIMALS.remainder(a, b))

        return modulo
    exact = {"+": DECIMALS.add, "-": DECIMALS.subtract, "*": DECIMALS.multiply}[node.operator]
    left, right = node.left.type, node.right.type
    scales = [(t.scale or 0) if t is not None else 0 for t in (left, right)]
    natural = sum(scales) if node.operator == "*" else max(scales)
    if natural == type_.scale and (type_.precision or 0) < 38:
        # The result has its scale by itself and the type was made wide enough: nothing to round or check.
        zero = Decimal(0).scaleb(-natural)
        return lambda a, b: exact(a, b) or zero
    fit_result = quantizer(type_)
    return lambda a, b: fit_result(exact(a, b))


def _money_operation(symbol: str, type_: SqlType) -> Callable[[Decimal, Decimal], Decimal]:
    if symbol == "/":
        return truncate_division(type_)
    fit = quantizer(type_)
    if symbol == "%":

        def modulo(a: Decimal, b: Decimal) -> Decimal:
            if not b:
                raise _division_by_zero()
            return fit(DECIMALS.remainder(a, b))

        return modulo
    exact = {"+": DECIMALS.add, "-": DECIMALS.subtract, "*": DECIMALS.multiply}[symbol]
    return lambda a, b: fit(exact(a, b))
