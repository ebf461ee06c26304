"""Makes the rows of one table from the frames of its scope.

A row goes: convert → ``where`` → ``drop_empty`` → ``unique`` → overflow and required.  There are two ways
through it.  The short one (:mod:`xml_extractor.mapping.row_code`) assumes that nothing is wrong with any
row below one parent row.  Where it gives up, these rows are made again the careful way, column by column,
remembering what is wrong with which column until it is settled whether the row is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from xml_extractor.contract.expression import And, Expression
from xml_extractor.contract.plan import OnError, Plan, SourceKind, Table
from xml_extractor.contract.types import Value
from xml_extractor.mapping.captures import SEVERAL, ScopeFrame
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
from xml_extractor.mapping.conversion_error import ConversionError, OverflowConversionError
from xml_extractor.mapping.evaluation_error import EvaluationError
from xml_extractor.mapping.expression_runtime import Environment, compile_condition
from xml_extractor.mapping.numbers import XML_BLANKS
from xml_extractor.mapping.records import Rejection, Row, Stage
from xml_extractor.mapping.rejection import DocumentRejected
from xml_extractor.mapping.row_code import SHARED, TakeCareError, row_maker

Kept = tuple[Row, ScopeFrame]
"""A row and the frame it was made from, for the rows of child tables."""

_Fault = ConversionError | EvaluationError
_Item = tuple[str, int]
_T = TypeVar("_T")

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
        preferred = () if table.unique is None else table.unique.prefer_values
        self._ranks = {value: rank for rank, value in enumerate(preferred)}
        self.index = index
        self.size = len(plan.scopes[table.scope].captures)
        self.columns = [compile_column(i, table.columns[i], environment) for i in table.order]
        self._has_children = any(other.parent == index for other in plan.tables)
        self._where = _Where(table.where, environment) if table.where is not None else None
        self.where_holds = None if self._where is None else self._where.holds
        self.items: tuple[_Item, ...] = tuple((item.name, item.capture) for item in table.items)
        self._required = tuple(i for i in table.order if not table.columns[i].nullable)
        # Only values that can be absent need to be looked at in every row.
        self.doubtful = tuple(i for i in self._required if not _is_never_null(plan, table, i))
        self.counted = _counted_columns(table) if table.drop_empty else None
        captures: set[int] = set() if table.where is None else set(expression_captures(table.where))
        for compiled in self.columns:
            captures |= compiled.captures
        self.captures = captures.union(slot for _, slot in self.items)
        self.shared = tuple(c for c in self.columns if c.column.source.kind in SHARED)
        self._maker = row_maker(
            width=len(table.columns),
            size=self.size,
            columns=self.columns,
            shared=[c.index for c in self.shared],
            doubtful=self.doubtful,
            captures=frozenset(self.captures),
            where=self.where_holds,
            items=self.items,
            counted=self.counted,
            bare=not self._has_children and table.unique is None,
        )
        self.is_careful = self._maker is None
        """Whether there is no short way for this table."""
        parents = [
            c.column.source.parent_column
            for c in self.shared
            if c.column.source.kind is SourceKind.PARENT and c.default is None
        ]
        self._parents = [place for place in parents if place is not None]
        self._only_parents = len(self._parents) == len(self.shared)

    def make(self, frames: Sequence[ScopeFrame], context: DocumentContext) -> list[Any]:
        """Return the rows kept of those that the frames below one parent row give, in document order.

        They are :data:`Kept`, or bare rows where the table has no children.

        Raises:
            DocumentRejected: a row that is kept has something wrong with it.
        """
        parent = self.table.parent
        parent_row = context.current_rows[parent] if parent is not None else ()
        if self._maker is not None:
            try:
                shared = self.shared_values(context, parent_row)
                made, dropped = self._maker(frames, shared, context.expression_frame)
            except (TakeCareError, ConversionError, EvaluationError):
                pass  # what is wrong, and whether it matters, is found out below
            else:
                if dropped:
                    context.where_dropped = True
                if self.table.unique is None:
                    return made
                if len(made) > 1:
                    made = self.unique(made)
                return [row for row, _ in made] if not self._has_children else made
        return self.make_carefully(frames, context, parent_row)

    def shared_values(self, context: DocumentContext, parent_row: Sequence[Value]) -> list[Value]:
        """Compute the values that all rows below one parent row have in common."""
        if self._only_parents:
            return [parent_row[place] for place in self._parents]
        row = RowContext(context, _NO_FRAME, 0, parent_row, [])
        values = []
        for compiled in self.shared:
            value = compiled.compute(row)
            values.append(compiled.default if value is None else value)
        return values

    # ---- the careful way

    def make_carefully(
        self, frames: Sequence[ScopeFrame], context: DocumentContext, parent_row: Sequence[Value]
    ) -> list[Any]:
        candidates: list[_Candidate] = []
        for frame in frames:
            for item in self._present_items(frame):
                candidate = self._careful(frame, context, parent_row, item)
                if candidate is not None:
                    candidates.append(candidate)
        if self.table.unique is not None and len(candidates) > 1:
            candidates = [made for _, made in self.unique([(c.values, c) for c in candidates])]
        kept = [self._settled(candidate, context) for candidate in candidates]
        return kept if self._has_children else [row for row, _ in kept]

    def _present_items(self, frame: ScopeFrame) -> Iterable[_Item | None]:
        if not self.items:
            return (None,)
        return [
            item for item in self.items if frame[item[1]] is not None and frame[item[1]].strip(XML_BLANKS)
        ]

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
        for compiled in self.columns:
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
                if self._counts(index) and not _only_missing(compiled, frame):
                    is_empty = False
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
        if self.counted is not None and is_empty and not overflows:
            context.where_dropped = True
            return None
        return _Candidate(values, frame, overflows or None)

    def _counts(self, index: int) -> bool:
        return self.counted is None or index in self.counted

    def unique(self, rows: list[tuple[Sequence[Value], _T]]) -> list[tuple[Sequence[Value], _T]]:
        """Keep one of the rows with equal values; a row with a NULL among them has no equal."""
        unique = self.table.unique
        assert unique is not None
        ranks = self._ranks
        best: dict[tuple[Value, ...], int] = {}
        alone: list[int] = []
        for place, (values, _) in enumerate(rows):
            key = tuple(values[i] for i in unique.by)
            if None in key:
                alone.append(place)
                continue
            other = best.setdefault(key, place)
            if other == place:
                continue
            if unique.prefer_column is not None:
                mine = ranks.get(values[unique.prefer_column], len(ranks))
                its = ranks.get(rows[other][0][unique.prefer_column], len(ranks))
                if mine != its:
                    if mine < its:
                        best[key] = place
                    continue
            if unique.keep_last:
                best[key] = place
        return [rows[place] for place in sorted([*best.values(), *alone])]

    def _settled(self, candidate: _Candidate, context: DocumentContext) -> Kept:
        """Check a row that is kept: what is too long or out of range, and what is missing."""
        values = candidate.values
        if candidate.overflows is not None:
            self._settle_overflows(candidate, candidate.overflows, context)
            for index in self._required:
                if values[index] is None:
                    raise self._missing(index)
        else:
            for index in self.doubtful:
                if values[index] is None:
                    raise self._missing(index)
        return tuple(values), candidate.frame

    def _settle_overflows(
        self, candidate: _Candidate, overflows: dict[int, _Fault], context: DocumentContext
    ) -> None:
        """Put in what the policies make of values that do not fit, and compute anew what is made of them."""
        values = candidate.values
        row = RowContext(context, candidate.frame, self.size, (), values)
        changed: set[int] = set()
        for compiled in self.columns:
            index = compiled.index
            if not changed.isdisjoint(compiled.columns):
                try:
                    value = compiled.compute(row)
                except (ConversionError, EvaluationError) as fault:
                    if is_overflow(fault):
                        value = self._forgiven_overflow(index, fault, context)
                    elif is_forgiven(compiled.column, fault):
                        value = None
                    else:
                        raise self._refused(index, fault) from None
                values[index] = compiled.default if value is None else value
            elif index in overflows:
                values[index] = self._forgiven_overflow(index, overflows[index], context)
            else:
                continue
            changed.add(index)

    def _forgiven_overflow(self, index: int, fault: _Fault, context: DocumentContext) -> Value:
        policy = self.table.columns[index].conversion.on_overflow
        if policy is OnError.TRUNCATE and isinstance(fault, OverflowConversionError):
            if fault.fitted is not None:
                context.truncated += 1
                return fault.fitted
        elif policy is OnError.NULL:
            for compiled in self.columns:
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
        self.holds = compile_condition(condition, environment)
        """The condition for rows with nothing wrong in them."""
        parts = _conjuncts(condition)
        self._parts = [
            (compile_condition(part, environment), expression_captures(part), expression_columns(part))
            for part in parts
        ]

    def careful(
        self, row: RowContext, unreliable: set[int], refused: Callable[[_Fault], DocumentRejected]
    ) -> bool:
        """Whether the condition is true of a row where some columns or captures are at fault.

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


def _is_never_null(plan: Plan, table: Table, index: int) -> bool:
    """Whether a column has a value in every row, whatever the document holds."""
    source = table.columns[index].source
    if source.kind is SourceKind.PARENT:
        assert table.parent is not None
        assert source.parent_column is not None
        return not plan.tables[table.parent].columns[source.parent_column].nullable
    return source.kind is SourceKind.POSITION


def _only_missing(compiled: CompiledColumn, frame: ScopeFrame) -> bool:
    """Whether a value is nothing but what an enum puts where the document has nothing: a default too."""
    if compiled.missing is None:
        return False
    texts = (frame[capture] for capture in compiled.captures)
    return not any(text and text.strip(XML_BLANKS) for text in texts)


def _counted_columns(table: Table) -> frozenset[int]:
    """Columns whose value makes a row: neither keys nor what does not come from the document."""
    own_key = {own for own, _ in table.foreign_key}
    of_document: set[int] = set()
    for i in table.order:  # an expression comes after the columns that it reads
        column = table.columns[i]
        expression = column.source.expression
        if expression is None:
            is_of_document = column.source.kind not in _NOT_FROM_DOCUMENT
        else:
            reads = expression_columns(expression)
            is_of_document = bool(expression_captures(expression)) or not reads.isdisjoint(of_document)
        if is_of_document:
            of_document.add(i)
    return frozenset(of_document.difference(table.primary_key, own_key))
