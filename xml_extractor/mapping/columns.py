"""One function per column that computes its value for a row, with nothing assumed and nothing shared.

This is the careful way: rows that are in order take the short cuts of
:mod:`xml_extractor.mapping.rows`, which must give the same values.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final

from lxml import etree

from xml_extractor.contract.expression import ColumnRef, Expression, PathRef, walk
from xml_extractor.contract.plan import Column, Hash, OnError, SourceKind
from xml_extractor.contract.types import Family, Value
from xml_extractor.mapping.captures import PARENT_POSITION, POSITION, SEVERAL, ScopeFrame
from xml_extractor.mapping.conversion import (
    constant_value,
    missing_value,
    strict_converter,
)
from xml_extractor.mapping.conversion_error import ConversionError, OverflowConversionError
from xml_extractor.mapping.evaluation_error import EvaluationError
from xml_extractor.mapping.expression_runtime import Environment, Frame, compile_expression
from xml_extractor.mapping.numbers import XML_BLANKS
from xml_extractor.mapping.protection import hasher
from xml_extractor.mapping.records import SourceDocument
from xml_extractor.mapping.texts import binary_fitter

_OVERFLOW_CODES: Final = frozenset({"overflow", "out_of_range", "too_long"})


class DocumentContext:
    """What the rows of one document share while they are made."""

    __slots__ = ("current_rows", "document", "expression_frame", "root", "rows", "truncated", "where_dropped")

    def __init__(self, document: SourceDocument, root: etree._Element, table_count: int) -> None:
        self.document = document
        self.root = root
        self.rows: tuple[list[tuple[Value, ...]], ...] = tuple([] for _ in range(table_count))
        self.current_rows: list[Sequence[Value]] = [()] * table_count
        """Per table, the row below which rows are being made: parents and further ancestors."""
        self.expression_frame = Frame(ancestor_rows=self.current_rows)
        self.truncated = 0
        self.where_dropped = False


@dataclass(slots=True)
class RowContext:
    """What a column can see of the row that is being made."""

    document: DocumentContext
    frame: ScopeFrame
    size: int  # number of captures: where the frame's other members begin
    parent_row: Sequence[Value]
    values: list[Value]
    item: tuple[str, int] | None = None  # name and capture of the named item that the row is for


Compute = Callable[[RowContext], Value]
"""Raises ConversionError (OverflowConversionError among them) or EvaluationError."""


@dataclass(frozen=True, slots=True)
class CompiledColumn:
    """A column ready to be computed.

    ``missing`` is the value where the source is absent, before ``default`` comes in; ``captures`` are all
    captures that the column reads, ``columns`` the columns of its own row.
    """

    index: int
    column: Column
    compute: Compute
    missing: Value
    default: Value
    captures: frozenset[int]
    columns: frozenset[int]
    evaluate: Callable[[Frame], Value] | None = None
    """Of an expression: its value from the frame, for rows in which no capture is at fault."""


def compile_column(index: int, column: Column, environment: Environment) -> CompiledColumn:
    """Compile one column of a plan.

    Raises:
        ValueError: the contract holds a constant, default or enum value that does not fit the type, or
            names a plug-in that cannot be imported.
        UsageError: the column is hashed, and there is no salt that can be used.
    """
    source, conversion = column.source, column.conversion
    missing: Value = None
    captures = frozenset(source.captures)
    columns: frozenset[int] = frozenset()
    if source.kind is SourceKind.EXPRESSION:
        assert source.expression is not None
        captures = expression_captures(source.expression)
        columns = expression_columns(source.expression)
    elif source.kind is not SourceKind.PARENT:
        missing = missing_value(conversion)
    default = None if column.default is None else constant_value(conversion, column.default)
    evaluate: Callable[[Frame], Value] | None = None
    if source.kind is SourceKind.EXPRESSION:
        evaluate = _evaluator(column, environment)
        compute = _expression(evaluate, captures)
    else:
        compute = _COMPILERS[source.kind](column, missing, environment)
    return CompiledColumn(index, column, compute, missing, default, captures, columns, evaluate)


def expression_captures(expression: Expression) -> frozenset[int]:
    """Return the captures that an expression reads."""
    return frozenset(node.capture for node in walk(expression) if isinstance(node, PathRef))


def expression_columns(expression: Expression) -> frozenset[int]:
    """Return the columns of its own row that an expression reads."""
    return frozenset(
        node.column for node in walk(expression) if isinstance(node, ColumnRef) and node.table is None
    )


def several_nodes() -> ConversionError:
    """The error for a path that found more than one node for one value."""
    return ConversionError(
        "several_nodes",
        "the path finds several nodes for one value; state `pick` for the column if that may be",
    )


# ------------------------------------------------------------------------------------------ by kind


def _from_captures(column: Column, missing: Value, _: Environment) -> Compute:
    convert = strict_converter(column.conversion)
    slots = column.source.captures

    def compute(row: RowContext) -> Value:
        frame = row.frame
        several = frame[row.size + SEVERAL]
        raw: str | None = None
        for slot in slots:
            text = frame[slot]
            if text is None:
                continue
            if several is not None and slot in several:
                raise several_nodes()
            if text.strip(XML_BLANKS):
                raw = text
                break
            if raw is None:
                raw = text
        return missing if raw is None else convert(raw)

    return compute


def _from_text(column: Column, missing: Value, read: Callable[[RowContext], str | None]) -> Compute:
    convert = strict_converter(column.conversion)

    def compute(row: RowContext) -> Value:
        raw = read(row)
        return missing if raw is None else convert(raw)

    return compute


def _key(column: Column, missing: Value, _: Environment) -> Compute:
    return _from_text(column, missing, lambda row: str(row.document.document.key))


def _source_column(column: Column, missing: Value, _: Environment) -> Compute:
    place = column.source.source_column
    assert place is not None
    convert = strict_converter(column.conversion)
    protection = column.conversion.protection
    of_bytes: Callable[[bytes], Value] | None = None
    if column.type.family is Family.BINARY:
        of_bytes = hasher(protection) if isinstance(protection, Hash) else binary_fitter(column.type)

    def compute(row: RowContext) -> Value:
        value = row.document.document.columns[place]
        if of_bytes is not None and isinstance(value, (bytes, bytearray, memoryview)):
            return of_bytes(bytes(value))
        text = source_text(value)
        return missing if text is None else convert(text)

    return compute


def source_text(value: Any) -> str | None:
    """Write a value of the source row, as a driver gave it, in the form that conversions read."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, (int, uuid.UUID)):
        return str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray, memoryview)):
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            raise ConversionError(
                "not_convertible", "the source column holds bytes that are no text"
            ) from None
    raise ConversionError(
        "not_convertible", f"the source column holds a {type(value).__name__}, which is not supported"
    )


def document_text(document: SourceDocument, root: etree._Element) -> str:
    """Return the whole document as text: as it stands, or, from bytes, as the parser understood it."""
    content: Any = document.content
    if document.is_text:
        with contextlib.suppress(UnicodeDecodeError):  # text that is none was parsed as bytes are
            content = content.decode()
    if isinstance(content, str):
        return content.lstrip("\ufeff")
    return etree.tostring(root, encoding="unicode")


def _document(column: Column, missing: Value, _: Environment) -> Compute:
    is_xml = column.type.family is Family.XML

    def read(row: RowContext) -> str:
        text = document_text(row.document.document, row.document.root)
        if is_xml and "<!DOCTYPE" in text:
            # No xml column takes a document type declaration; the tree is the document without it.
            return etree.tostring(row.document.root, encoding="unicode")
        return text

    return _from_text(column, missing, read)


def _parent(column: Column, missing: Value, _: Environment) -> Compute:
    place = column.source.parent_column
    assert place is not None
    return lambda row: row.parent_row[place]


def _frame_number(column: Column, missing: Value, member: int) -> Compute:
    def read(row: RowContext) -> str | None:
        number = row.frame[row.size + member]
        return None if number is None else str(number)

    return _from_text(column, missing, read)


def _position(column: Column, missing: Value, _: Environment) -> Compute:
    return _frame_number(column, missing, POSITION)


def _parent_position(column: Column, missing: Value, _: Environment) -> Compute:
    return _frame_number(column, missing, PARENT_POSITION)


def _constant(column: Column, missing: Value, _: Environment) -> Compute:
    text = column.source.constant
    value = None if text is None else constant_value(column.conversion, text)
    return lambda row: value


def _item_name(column: Column, missing: Value, _: Environment) -> Compute:
    return _from_text(column, missing, lambda row: None if row.item is None else row.item[0])


def _item_value(column: Column, missing: Value, _: Environment) -> Compute:
    def read(row: RowContext) -> str | None:
        if row.item is None:
            return None
        slot = row.item[1]
        several = row.frame[row.size + SEVERAL]
        if several is not None and slot in several:
            raise several_nodes()
        raw: str | None = row.frame[slot]
        return raw

    return _from_text(column, missing, read)


def _evaluator(column: Column, environment: Environment) -> Callable[[Frame], Value]:
    """Compile a column's expression; the plan has it end in the conversion to the column's type.

    Where the column is protected the plan has it end in text, which is what a mask or hash takes.
    """
    assert column.source.expression is not None
    evaluate = compile_expression(column.source.expression, environment)
    if column.conversion.protection is not None:
        convert = strict_converter(column.conversion)

        def evaluate_and_protect(frame: Frame) -> Value:
            text = evaluate(frame)
            return None if text is None else convert(str(text))

        return evaluate_and_protect
    if not column.conversion.empty_is_null:
        return evaluate

    def evaluate_or_null(frame: Frame) -> Value:
        value = evaluate(frame)
        return None if value == "" else value

    return evaluate_or_null


def _expression(evaluate: Callable[[Frame], Value], captures: frozenset[int]) -> Compute:
    def compute(row: RowContext) -> Value:
        several = row.frame[row.size + SEVERAL]
        if several is not None and not captures.isdisjoint(several):
            raise several_nodes()
        frame = row.document.expression_frame
        frame.row = row.values
        frame.captured = row.frame
        return evaluate(frame)

    return compute


_COMPILERS: Final[dict[SourceKind, Callable[[Column, Value, Environment], Compute]]] = {
    SourceKind.KEY: _key,
    SourceKind.SOURCE_COLUMN: _source_column,
    SourceKind.DOCUMENT: _document,
    SourceKind.PARENT: _parent,
    SourceKind.POSITION: _position,
    SourceKind.PARENT_POSITION: _parent_position,
    SourceKind.CONSTANT: _constant,
    SourceKind.CAPTURES: _from_captures,
    SourceKind.ITEM_NAME: _item_name,
    SourceKind.ITEM_VALUE: _item_value,
}


# ------------------------------------------------------------------------------------------ policies


def is_overflow(error: ConversionError | EvaluationError) -> bool:
    """Whether an error falls under ``on_overflow`` rather than ``on_invalid``."""
    if isinstance(error, ConversionError):
        return isinstance(error, OverflowConversionError)
    return error.code in _OVERFLOW_CODES


def is_forgiven(column: Column, error: ConversionError | EvaluationError) -> bool:
    """Whether the column's policy turns an error that is no overflow into NULL.

    Several nodes for one value are never forgiven: the value may be there, only not known which.
    """
    return column.conversion.on_invalid is OnError.NULL and error.code != "several_nodes"
