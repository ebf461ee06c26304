"""Makes the rows of one table from the frames of its scope.

A row goes: convert → ``where`` → ``drop_empty`` → ``unique`` → overflow and required.  There are two ways
through it.  The short one assumes that nothing is wrong with the row, and does as little per value as
Python allows: texts that are their own value are not passed to any function.  At the first error it
gives up and the row is made again the careful way, column by column, remembering what is wrong with which
column until it is settled whether the row is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from xml_extractor.contract.expression import And, Expression
from xml_extractor.contract.plan import Column, OnError, Plan, SourceKind, Table
from xml_extractor.contract.types import Family, Value
from xml_extractor.mapping.captures import PARENT_POSITION, POSITION, SEVERAL, ScopeFrame
from xml_extractor.mapping.columns import (
    CompiledColumn,
    DocumentContext,
    RowContext,
    compile_column,
    expression_captures,
    expression_columns,
    is_forgiven,
    is_overflow,
    several_nodes,
)
from xml_extractor.mapping.conversion import strict_converter
from xml_extractor.mapping.conversion_error import ConversionError, OverflowConversionError
from xml_extractor.mapping.evaluation_error import EvaluationError
from xml_extractor.mapping.expression_runtime import Environment, compile_condition
from xml_extractor.mapping.numbers import XML_BLANKS, safe_digits
from xml_extractor.mapping.records import Rejection, Row, Stage
from xml_extractor.mapping.rejection import DocumentRejected
from xml_extractor.mapping.texts import inline_limit

Kept = tuple[Row, ScopeFrame]
"""A row and the frame it was made from, for the rows of child tables."""

_Fault = ConversionError | EvaluationError
_Item = tuple[str, int]

_NOT_FROM_DOCUMENT: Final = frozenset(
    {
        SourceKind.KEY,
        SourceKind.SOURCE_COLUMN,
        SourceKind.PARENT,
        SourceKind.POSITION,
        SourceKind.PARENT_POSITION,
        SourceKind.CONSTANT,
        SourceKind.ITEM_NAME,
    }
)


class _Candidate:
    """A row that ``where`` lets through, until it is settled what of it is kept."""

    __slots__ = ("frame", "overflows", "values")

    def __init__(self, values: list[Value], frame: ScopeFrame, overflows: dict[int, _Fault] | None) -> None:
        self.values = values
        self.frame = frame
        self.overflows = overflows


class TableRows:
    """The rows of one table.  Not thread-safe.

    Args:
        plan: the plan the table is part of.
        index: the table's place in ``plan.tables``.

    Raises:
        ValueError: as :func:`~xml_extractor.mapping.columns.compile_column`.
    """

    def __init__(self, plan: Plan, index: int, environment: Environment) -> None:
        table = plan.tables[index]
        self.table = table
        self.index = index
        self.size = len(plan.scopes[table.scope].captures)
        self._columns = [compile_column(i, table.columns[i], environment) for i in table.order]
        self._where = _Where(table.where, environment) if table.where is not None else None
        self._items: tuple[_Item, ...] = tuple((item.name, item.capture) for item in table.items)
        self._required = tuple(i for i in table.order if not table.columns[i].nullable)
        # Only values that can be absent need to be looked at in every row.
        self._doubtful = tuple(i for i in self._required if not _is_never_null(plan, table, i))
        self._counted = _counted_columns(table) if table.drop_empty else None
        captures: set[int] = set() if table.where is None else set(expression_captures(table.where))
        for compiled in self._columns:
            captures |= compiled.captures
        self._captures = captures.union(slot for _, slot in self._items)
        self._is_simple = not (self._items or self._where or table.unique or table.drop_empty)
        self._template: list[Value] = [None] * len(table.columns)
        self._per_group: list[CompiledColumn] = []
        self._computed: list[CompiledColumn] = []
        self._parents: list[tuple[int, int]] = []
        self._plan_short_cuts()

    # ---- the short way

    def _plan_short_cuts(self) -> None:
        """Sort the columns into groups that one tight loop each can fill."""
        members: list[tuple[int, int]] = []  # column, frame member
        texts: list[tuple[int, int, int, Callable[[str], Value]]] = []  # column, slot, limit, converter
        filled_texts: list[tuple[int, int, int, Callable[[str], Value]]] = []  # as texts; '' is NULL
        ascii_texts: list[tuple[int, int, int, Callable[[str], Value]]] = []
        integers: list[tuple[int, int, int, Callable[[str], Value]]] = []  # column, slot, digits, converter
        converted: list[tuple[int, int, Callable[[str], Value]]] = []
        for compiled in self._columns:
            column, index = compiled.column, compiled.index
            kind, conversion = column.source.kind, column.conversion
            absent = compiled.default if compiled.missing is None else compiled.missing
            self._template[index] = absent
            plain = not conversion.apply and conversion.enum is None
            whole = column.type.name in ("int", "bigint") and plain
            if kind is SourceKind.CONSTANT:
                self._template[index] = compiled.compute(_NO_ROW)
            elif kind is SourceKind.PARENT and compiled.default is None:
                self._parents.append((index, column.source.parent_column or 0))
            elif kind in (SourceKind.KEY, SourceKind.SOURCE_COLUMN, SourceKind.DOCUMENT):
                self._per_group.append(compiled)
            elif kind is SourceKind.POSITION and whole:
                members.append((index, self.size + POSITION))
            elif kind is SourceKind.PARENT_POSITION and whole and absent is None:
                members.append((index, self.size + PARENT_POSITION))
            elif kind is SourceKind.CAPTURES and len(column.source.captures) == 1:
                (slot,) = column.source.captures
                convert = _lenient(column, compiled.default)
                limit = inline_limit(column.type, conversion.code_page) if plain else None
                if limit is not None and column.type.is_unicode:
                    group = filled_texts if conversion.empty_is_null else texts
                    group.append((index, slot, limit, convert))
                elif limit is not None and not conversion.empty_is_null:
                    ascii_texts.append((index, slot, limit, convert))
                elif plain and column.type.family is Family.INTEGER:
                    integers.append((index, slot, safe_digits(column.type), convert))
                else:
                    converted.append((index, slot, convert))
            else:
                self._computed.append(compiled)
        self._members = tuple(members)
        self._texts = tuple(texts)
        self._filled_texts = tuple(filled_texts)
        self._ascii_texts = tuple(ascii_texts)
        self._integers = tuple(integers)
        self._converted = tuple(converted)
        self._expressions = tuple((c.index, c.compute, c.default) for c in self._computed)

    def _group_template(self, context: DocumentContext, parent_row: Sequence[Value]) -> list[Value] | None:
        """Return a row with what all rows below one parent row share; ``None`` where that fails."""
        template = self._template[:]
        for column, place in self._parents:
            template[column] = parent_row[place]
        if self._per_group:
            row = RowContext(context, _NO_FRAME, 0, parent_row, template)
            for compiled in self._per_group:
                try:
                    value = compiled.compute(row)
                except ConversionError:
                    return None
                template[compiled.index] = compiled.default if value is None else value
        return template

    def make(self, frames: Sequence[ScopeFrame], context: DocumentContext) -> list[Kept]:
        """Return the rows kept of those that the frames below one parent row give, in document order.

        Raises:
            DocumentRejected: a row that is kept has something wrong with it.
        """
        parent = self.table.parent
        parent_row = context.current_rows[parent] if parent is not None else ()
        template = self._group_template(context, parent_row)
        if self._is_simple and template is not None:
            return self._make_simple(frames, context, template, parent_row)
        return self._make_any(frames, context, template, parent_row)

    def _make_simple(
        self,
        frames: Sequence[ScopeFrame],
        context: DocumentContext,
        template: list[Value],
        parent_row: Sequence[Value],
    ) -> list[Kept]:
        kept: list[Kept] = []
        fill, doubtful = self._fill, self._doubtful
        row = RowContext(context, _NO_FRAME, self.size, parent_row, template)
        several_member = self.size + SEVERAL
        for frame in frames:
            values = template[:]
            several = frame[several_member]
            if (several is None or self._captures.isdisjoint(several)) and fill(frame, values, row):
                for column in doubtful:
                    if values[column] is None:
                        raise self._missing(column)
                kept.append((tuple(values), frame))
                continue
            candidate = self._careful(frame, context, parent_row, None)
            if candidate is not None:
                kept.append(self._settled(candidate, context))
        return kept

    def _fill(self, frame: ScopeFrame, values: list[Value], row: RowContext) -> bool:
        """Fill a row the short way; False where something is wrong with it."""
        try:
            for column, member in self._members:
                values[column] = frame[member]
            for column, slot, limit, convert in self._texts:
                text = frame[slot]
                if text is not None:
                    values[column] = text if len(text) <= limit else convert(text)
            for column, slot, limit, convert in self._filled_texts:
                text = frame[slot]
                if text:
                    values[column] = text if len(text) <= limit else convert(text)
            for column, slot, digits, convert in self._integers:
                text = frame[slot]
                if text is not None:
                    values[column] = (
                        int(text)
                        if len(text) <= digits and text.isdigit() and text.isascii()
                        else convert(text)
                    )
            if self._ascii_texts:
                for column, slot, limit, convert in self._ascii_texts:
                    text = frame[slot]
                    if text is not None:
                        values[column] = text if text.isascii() and len(text) <= limit else convert(text)
            if self._converted:
                for column, slot, convert in self._converted:
                    text = frame[slot]
                    if text is not None:
                        values[column] = convert(text)
            if self._expressions:
                row.frame = frame
                row.values = values
                for column, compute, default in self._expressions:
                    value = compute(row)
                    values[column] = default if value is None else value
        except (ConversionError, EvaluationError):
            return False
        return True

    # ---- any row

    def _make_any(
        self,
        frames: Sequence[ScopeFrame],
        context: DocumentContext,
        template: list[Value] | None,
        parent_row: Sequence[Value],
    ) -> list[Kept]:
        candidates: list[_Candidate] = []
        for frame in frames:
            for item in self._present_items(frame):
                candidate = self._candidate(frame, context, template, parent_row, item)
                if candidate is not None:
                    candidates.append(candidate)
        if self.table.unique is not None and len(candidates) > 1:
            candidates = self._unique(candidates)
        return [self._settled(candidate, context) for candidate in candidates]

    def _present_items(self, frame: ScopeFrame) -> Iterable[_Item | None]:
        if not self._items:
            return (None,)
        return [
            item for item in self._items if frame[item[1]] is not None and frame[item[1]].strip(XML_BLANKS)
        ]

    def _candidate(
        self,
        frame: ScopeFrame,
        context: DocumentContext,
        template: list[Value] | None,
        parent_row: Sequence[Value],
        item: _Item | None,
    ) -> _Candidate | None:
        several = frame[self.size + SEVERAL]
        # What is dropped for being empty depends on which values are defaults, which only the careful
        # way knows.
        if (
            template is None
            or self._counted is not None
            or (several is not None and not self._captures.isdisjoint(several))
        ):
            return self._careful(frame, context, parent_row, item)
        values = template[:]
        row = RowContext(context, frame, self.size, parent_row, values, item)
        if not self._fill(frame, values, row):
            return self._careful(frame, context, parent_row, item)
        if self._where is not None:
            try:
                holds = self._where.holds(row)
            except (ConversionError, EvaluationError):
                return self._careful(frame, context, parent_row, item)
            if not holds:
                context.where_dropped = True
                return None
        return _Candidate(values, frame, None)

    def _careful(
        self,
        frame: ScopeFrame,
        context: DocumentContext,
        parent_row: Sequence[Value],
        item: _Item | None,
    ) -> _Candidate | None:
        """Make a row column by column; ``None`` where it is dropped."""
        values: list[Value] = [None] * len(self.table.columns)
        row = RowContext(context, frame, self.size, parent_row, values, item)
        faults: dict[int, _Fault] = {}
        overflows: dict[int, _Fault] = {}
        unreliable: set[int] = set()  # columns whose value, or what it is made of, is at fault
        is_empty = True
        for compiled in self._columns:
            index, column = compiled.index, compiled.column
            value: Value = None
            try:
                value = compiled.compute(row)
            except (ConversionError, EvaluationError) as fault:
                if is_overflow(fault):
                    overflows[index] = fault
                    if isinstance(fault, OverflowConversionError):
                        value = fault.value
                elif not is_forgiven(column, fault):
                    faults[index] = fault
            is_lost = index in faults or (index in overflows and value is None)
            if is_lost or not unreliable.isdisjoint(compiled.columns):
                unreliable.add(index)
            if value is not None:
                is_empty = is_empty and not self._counts(index)
            elif index not in unreliable:
                value = compiled.default
                if value is not None and column.default_makes_row:
                    is_empty = False
            values[index] = value
        if self._where is not None and not self._where.careful(row, unreliable, self._refused_where):
            context.where_dropped = True
            return None
        if faults:
            index = min(faults)
            raise self._refused(index, faults[index])
        if self._counted is not None and is_empty and not overflows:
            context.where_dropped = True
            return None
        return _Candidate(values, frame, overflows or None)

    def _counts(self, index: int) -> bool:
        return self._counted is None or index in self._counted

    def _unique(self, candidates: list[_Candidate]) -> list[_Candidate]:
        """Keep one of the rows with equal values; a row with a NULL among them has no equal."""
        unique = self.table.unique
        assert unique is not None
        ranks = {value: rank for rank, value in enumerate(unique.prefer_values)}
        best: dict[tuple[Value, ...], int] = {}
        alone: list[int] = []
        for place, candidate in enumerate(candidates):
            key = tuple(candidate.values[i] for i in unique.by)
            if None in key:
                alone.append(place)
                continue
            other = best.setdefault(key, place)
            if other == place:
                continue
            if unique.prefer_column is not None:
                mine = ranks.get(candidate.values[unique.prefer_column], len(ranks))
                its = ranks.get(candidates[other].values[unique.prefer_column], len(ranks))
                if mine != its:
                    if mine < its:
                        best[key] = place
                    continue
            if unique.keep_last:
                best[key] = place
        return [candidates[place] for place in sorted([*best.values(), *alone])]

    def _settled(self, candidate: _Candidate, context: DocumentContext) -> Kept:
        """Check a row that is kept: what is too long or out of range, and what is missing."""
        values = candidate.values
        if candidate.overflows is not None:
            for index, fault in sorted(candidate.overflows.items()):
                values[index] = self._forgiven_overflow(index, fault, context)
            for index in self._required:
                if values[index] is None:
                    raise self._missing(index)
        else:
            for index in self._doubtful:
                if values[index] is None:
                    raise self._missing(index)
        return tuple(values), candidate.frame

    def _forgiven_overflow(self, index: int, fault: _Fault, context: DocumentContext) -> Value:
        policy = self.table.columns[index].conversion.on_overflow
        if policy is OnError.TRUNCATE and isinstance(fault, OverflowConversionError):
            if fault.fitted is not None:
                context.truncated += 1
                return fault.fitted
        elif policy is OnError.NULL:
            for compiled in self._columns:
                if compiled.index == index:
                    return compiled.default
        raise self._refused(index, fault)

    # ---- refusals

    def _refused(self, index: int, fault: _Fault) -> DocumentRejected:
        column = self.table.columns[index]
        return DocumentRejected(
            Rejection(
                Stage.MAP,
                fault.code,
                f"{self.table.name}.{column.name}: {fault.message}",
                table=self.table.name,
                column=column.name,
                path=column.source.text,
            )
        )

    def _refused_where(self, fault: _Fault) -> DocumentRejected:
        return DocumentRejected(
            Rejection(
                Stage.MAP,
                fault.code,
                f"the condition `where` of {self.table.name}: {fault.message}",
                table=self.table.name,
            )
        )

    def _missing(self, index: int) -> DocumentRejected:
        return self._refused(
            index, ConversionError("required_missing", "the value is required and the document has none")
        )


class _Where:
    """A row condition, also as the conditions that have to hold all."""

    def __init__(self, condition: Expression, environment: Environment) -> None:
        self._whole = compile_condition(condition, environment)
        parts = _conjuncts(condition)
        self._parts = [
            (compile_condition(part, environment), expression_captures(part), expression_columns(part))
            for part in parts
        ]

    def holds(self, row: RowContext) -> bool:
        """Whether the condition is true of a row with nothing wrong in it."""
        frame = row.document.expression_frame
        frame.row = row.values
        frame.captured = row.frame
        return self._whole(frame) is True

    def careful(
        self, row: RowContext, unreliable: set[int], refused: Callable[[_Fault], DocumentRejected]
    ) -> bool:
        """As :meth:`holds`, where some columns or captures are at fault.

        One part that is surely not true drops the row, whatever the others are made of.

        Raises:
            DocumentRejected: the rest of the condition cannot be judged.
        """
        frame = row.document.expression_frame
        frame.row = row.values
        frame.captured = row.frame
        several: set[int] = row.frame[row.size + SEVERAL] or set()
        doubt: _Fault | None = None
        for holds, captures, columns in self._parts:
            if not captures.isdisjoint(several):
                doubt = doubt or several_nodes()
                continue
            if not columns.isdisjoint(unreliable):
                doubt = doubt or ConversionError(
                    "not_convertible", "it asks for a column whose value is not convertible or out of range"
                )
                continue
            try:
                if holds(frame) is not True:
                    return False
            except (ConversionError, EvaluationError) as fault:
                doubt = doubt or fault
        if doubt is not None:
            raise refused(doubt)
        return True


def _conjuncts(condition: Expression) -> list[Expression]:
    if isinstance(condition, And):
        return [part for operand in condition.operands for part in _conjuncts(operand)]
    return [condition]


_NO_FRAME: Final[ScopeFrame] = [None] * 8
_NO_ROW: Final = RowContext(None, _NO_FRAME, 0, (), [])  # type: ignore[arg-type]  # constants look at nothing


def _lenient(column: Column, default: Value) -> Callable[[str], Value]:
    """Return the column's converter with what can be settled at once: invalid as NULL, and the default."""
    convert = strict_converter(column.conversion)
    forgive = column.conversion.on_invalid is OnError.NULL
    if not forgive and default is None:
        return convert

    def convert_leniently(text: str) -> Value:
        try:
            value = convert(text)
        except OverflowConversionError:
            raise
        except ConversionError:
            if not forgive:
                raise
            return default
        return default if value is None else value

    return convert_leniently


def _is_never_null(plan: Plan, table: Table, index: int) -> bool:
    """Whether a column has a value in every row, whatever the document holds."""
    source = table.columns[index].source
    if source.kind is SourceKind.PARENT:
        assert table.parent is not None
        assert source.parent_column is not None
        return not plan.tables[table.parent].columns[source.parent_column].nullable
    return source.kind is SourceKind.POSITION


def _counted_columns(table: Table) -> frozenset[int]:
    """Columns whose value makes a row: neither keys nor what does not come from the document."""
    own_key = {own for own, _ in table.foreign_key}
    return frozenset(
        i
        for i, column in enumerate(table.columns)
        if i not in table.primary_key and i not in own_key and column.source.kind not in _NOT_FROM_DOCUMENT
    )
