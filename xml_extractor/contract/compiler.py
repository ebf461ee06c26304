"""Compiles a contract into a :class:`~xml_extractor.contract.plan.Plan`, telling every mistake on the way.

Checking and compiling are one pass: what a name or a path means is found out once, and either lands in
the plan or in the report.  The plan is only handed out when the report holds no mistake.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from xml_extractor.contract.advice import add_warnings
from xml_extractor.contract.conversions import Conversions, literal_problem
from xml_extractor.contract.digest import with_digest
from xml_extractor.contract.drafts import NEVER_NULL, ColumnDraft, Origin, TableDraft, draft_tables, suggest
from xml_extractor.contract.expression import ColumnRef, Expression, ExpressionError
from xml_extractor.contract.expression_parser import assign, parse_condition, parse_expression
from xml_extractor.contract.keys import foreign_key, key_column, reaches_source
from xml_extractor.contract.literals import parse_literal
from xml_extractor.contract.paths import PathContext, PathError, parse_name, parse_path
from xml_extractor.contract.plan import (
    Capture,
    Column,
    ColumnSource,
    Item,
    Leaf,
    Path,
    Pick,
    Plan,
    Scope,
    SourceKind,
    SourcePlan,
    StagePlan,
    Table,
    Unique,
)
from xml_extractor.contract.privacy_advice import add_privacy_warnings
from xml_extractor.contract.protections import is_private
from xml_extractor.contract.reader import Location, Report
from xml_extractor.contract.structure import Structure
from xml_extractor.contract.types import Family, SqlType, Value, parse_type

_DEFAULT_SEPARATOR = ", "
_SOURCE_KINDS = {
    Origin.PATHS: SourceKind.CAPTURES,
    Origin.XML: SourceKind.CAPTURES,
    Origin.KEY: SourceKind.KEY,
    Origin.SOURCE_COLUMN: SourceKind.SOURCE_COLUMN,
    Origin.DOCUMENT: SourceKind.DOCUMENT,
    Origin.PARENT: SourceKind.PARENT,
    Origin.POSITION: SourceKind.POSITION,
    Origin.PARENT_POSITION: SourceKind.PARENT_POSITION,
    Origin.EXPRESSION: SourceKind.EXPRESSION,
    Origin.CONSTANT: SourceKind.CONSTANT,
    Origin.SERVER: SourceKind.CONSTANT,  # constant None, and not in Table.order: never written
    Origin.ITEM_NAME: SourceKind.ITEM_NAME,
    Origin.ITEM_VALUE: SourceKind.ITEM_VALUE,
}
_ANY_TEXT = parse_type("nvarchar(max)")
_PLACEHOLDER_TYPE = SqlType("int", Family.INTEGER)


def compile_contract(structure: Structure, report: Report) -> Plan | None:
    """Compile the contract; return ``None`` if the report holds mistakes, found here or before."""
    return _Compiler(structure, report).compile()


@dataclass(slots=True)
class _ScopeDraft:
    """A scope whose captures are still being collected."""

    parent: int | None
    path: Path | None = None
    recurse: Path | None = None
    captures: list[Capture] = field(default_factory=list)
    numbers: dict[tuple[object, ...], int] = field(default_factory=dict)

    def capture(self, capture: Capture) -> int:
        """Return the index of a capture, adding it if it is new."""
        key = (_path_key(capture.path), capture.pick, capture.separator, capture.blank_is_absent)
        index = self.numbers.get(key)
        if index is None:
            index = self.numbers[key] = len(self.captures)
            self.captures.append(capture)
        return index


def _path_key(path: Path | None) -> tuple[object, ...] | None:
    """What a path selects, whatever way it is written."""
    return None if path is None else (path.leaf, path.steps, path.attribute, path.xpath)


class _Names:
    """What names in one expression mean; see :class:`~xml_extractor.contract.expression.ExpressionScope`."""

    def __init__(self, compiler: _Compiler, scope: int, table: TableDraft | None) -> None:
        self._compiler = compiler
        self._scope = scope
        self._table = table
        self.own_columns: set[int] = set()
        self.met_damage = False
        """Whether a name was not found because of a mistake already told."""

    @property
    def binary_collation(self) -> bool:
        return self._compiler.binary_collation

    def resolve_path(self, text: str) -> int:
        return self._compiler.capture_path(self._scope, text)

    def resolve_column(self, table: str | None, column: str) -> ColumnRef:
        own = self._table
        if own is None:
            raise LookupError(
                f"{column!r} is a column, but this condition comes before any row; XML is reached by "
                "path('…')"
            )
        found = own if table is None else self._find_table(own, table)
        index = found.column_index(column)
        if index is None:
            raise self._not_found(found, table, column)
        draft = found.columns[index]
        if draft.origin is Origin.SERVER:
            raise LookupError(f"column {draft.name!r} is numbered by the server: its value is not known here")
        if draft.type is None:
            self.met_damage = True
        sql_type = draft.type or _PLACEHOLDER_TYPE
        if found is own:
            self.own_columns.add(index)
            # `required` is checked after conditions and expressions have seen the row.
            return ColumnRef(None, index, sql_type, draft.model.drop or draft.origin not in NEVER_NULL)
        return ColumnRef(found.index, index, sql_type, draft.nullable)

    def _find_table(self, own: TableDraft, name: str) -> TableDraft:
        within_reach = [own, *own.ancestors()]
        folded = name.casefold()
        for table in within_reach:
            if folded in (table.name.casefold(), table.name.casefold().rpartition(".")[2]):
                return table
        names = [table.name for table in within_reach]
        if any(name.casefold() == known.casefold() for known in self._compiler.model.tables):
            raise LookupError(
                f"table {name!r} is no ancestor of {own.name!r}; within reach: {', '.join(names)}"
            )
        if self._compiler.structure.is_damaged(("tables", name)):
            self.met_damage = True
        raise LookupError(f"there is no table {name!r}{suggest(name, names)}")

    def _not_found(self, table: TableDraft, written: str | None, column: str) -> LookupError:
        if table.has_lost(column):
            self.met_damage = True
        if written is None:
            for ancestor in table.ancestors():
                if ancestor.column_index(column) is not None:
                    return LookupError(
                        f"{table.name!r} has no column {column!r}; its ancestor has: write "
                        f"{ancestor.name}.{column}"
                    )
        known = suggest(column, (c.name for c in table.columns))
        return LookupError(f"{table.name!r} has no column {column!r}{known}")


class _Compiler:
    def __init__(self, structure: Structure, report: Report) -> None:
        self.structure = structure
        self.model = structure.model
        self.report = report
        self.binary_collation = structure.model.collation == "binary"
        self._context = self._path_context()
        self._conversions = Conversions(structure, report)
        self._scopes: list[_ScopeDraft] = [_ScopeDraft(None)]
        self._scope_numbers: dict[tuple[object, ...], int] = {}
        self._scope_of: list[int] = []
        self._source_columns: list[str] = []
        self._tables: list[TableDraft] = []
        self._sources: dict[tuple[int, int], ColumnSource] = {}

    def compile(self) -> Plan | None:
        self._tables = draft_tables(self.structure, self.report)
        if (
            not any(t.parent is None and t.model.parent is None for t in self._tables)
            and not self.structure.damaged
        ):
            self.report.mistake(
                ("tables",), "every table has a parent; at least one must be a root", at_key=True
            )
        document_where = self._condition(self.model.document.where, ("document", "where"), 0, None)[0]
        for table in self._tables:
            self._scope_of.append(self._scope_for(table))
        tables = [self._table(table) for table in self._tables]
        stage = self._stage()
        add_warnings(
            self.model,
            self._tables,
            [self._scopes[s].path for s in self._scope_of],
            self._conversions,
            self.report,
        )
        complete = [table for table in tables if table is not None]
        if self.report.mistakes or len(complete) != len(tables):
            return None
        scopes = tuple(
            Scope(scope.parent, scope.path, scope.recurse, tuple(scope.captures)) for scope in self._scopes
        )
        add_privacy_warnings(self._tables, complete, self._sources, scopes, self.report)
        model = self.model
        return with_digest(
            Plan(
                contract=model.contract,
                version=model.version,
                digest="",
                source=SourcePlan(
                    name=model.source.name,
                    table=model.source.table,
                    key=model.source.key,
                    document=model.source.document,
                    where=model.source.where,
                    columns=tuple(self._source_columns),
                ),
                stage=stage,
                namespaces=self._context.bindings,
                ignore_case=self._context.ignore_case,
                binary_collation=self.binary_collation,
                roots=self._context.roots,
                document_where=document_where,
                document_where_text=model.document.where,
                report_unknown=model.unknown_elements != "ignore",
                halt_unknown=model.unknown_elements == "halt",
                scopes=scopes,
                tables=tuple(complete),
            )
        )

    # ------------------------------------------------------------------ document and staging

    def _path_context(self) -> PathContext:
        document = self.model.document
        context = PathContext(dict(document.namespaces), document.ignore_case)
        for prefix in document.namespaces:
            if prefix and (
                prefix in ("xml", "xmlns") or not prefix.replace("-", "_").replace(".", "_").isidentifier()
            ):
                self.report.mistake(
                    ("document", "namespaces", prefix), f"{prefix!r} cannot be a prefix", at_key=True
                )
        roots = []
        for position, text in enumerate(document.root):
            try:
                root = parse_name(text, context)
            except PathError as error:
                self.report.mistake(("document", "root", position), str(error))
                continue
            if root not in roots:
                roots.append(root)
        damaged = self.structure.is_damaged(("document", "root"))
        return PathContext(context.namespaces, context.ignore_case, () if damaged else tuple(roots))

    def _stage(self) -> StagePlan:
        stage = self.model.stage
        record = key = None
        if stage.record is not None:
            try:
                record = parse_name(stage.record, self._context)
            except PathError as error:
                self.report.mistake(("stage", "record"), str(error))
            else:
                if self._context.roots and record not in self._context.roots:
                    self.report.warn(
                        ("stage", "record"),
                        f"records are {stage.record!r}, which is no root that `document` accepts: "
                        "every document staged would be skipped",
                    )
        if stage.key is not None:
            key = self._path(stage.key, ("stage", "key"), None, at_root=True)
        return StagePlan(record, key)

    # ------------------------------------------------------------------ paths, scopes, captures

    def _path(
        self, text: str, location: Location, want: Leaf | None, *, at_root: bool, downward: bool = False
    ) -> Path | None:
        try:
            return parse_path(text, self._context, want, at_root=at_root, downward=downward)
        except PathError as error:
            self.report.mistake(location, str(error), offset=error.offset)
            return None

    def capture_path(self, scope: int, text: str) -> int:
        """Register the path of a ``path('…')`` in an expression.

        Raises:
            ValueError: with a sentence that says what is wrong with it.
        """
        return self._scopes[scope].capture(Capture(parse_path(text, self._context, at_root=scope == 0)))

    def _scope_for(self, table: TableDraft) -> int:
        parent_scope = 0 if table.parent is None else self._scope_of[table.parent.index]
        rows, recurse = table.model.rows, table.model.recurse
        if rows is None:
            if recurse is not None and not self.structure.is_damaged((*table.location, "rows")):
                self.report.mistake((*table.location, "recurse"), "recurse needs `rows`", at_key=True)
            return parent_scope
        path = self._path(rows, (*table.location, "rows"), Leaf.ELEMENT, at_root=parent_scope == 0)
        further = None
        if recurse is not None:
            further = self._path(
                recurse, (*table.location, "recurse"), Leaf.ELEMENT, at_root=False, downward=True
            )
        if path is not None and not path.is_complex and not path.steps:
            if recurse is None:
                return parent_scope
            self.report.mistake((*table.location, "rows"), "rows: . and recurse do not go together")
        if path is not None and recurse is not None and "//" in rows:
            self.report.mistake(
                (*table.location, "rows"),
                "rows with // finds nested elements by itself, and recurse would find them a second time; "
                "write the path to the outermost ones, or leave recurse out",
            )
        key = (parent_scope, _path_key(path), _path_key(further))
        number = self._scope_numbers.get(key)
        if number is None:
            number = self._scope_numbers[key] = len(self._scopes)
            self._scopes.append(_ScopeDraft(parent_scope, path, further))
        return number

    # ------------------------------------------------------------------ expressions

    def _expression(
        self,
        parse: Callable[[str, _Names], Expression],
        text: str,
        location: Location,
        scope: int,
        table: TableDraft | None,
    ) -> tuple[Expression | None, set[int]]:
        names = _Names(self, scope, table)
        try:
            expression = parse(text, names)
        except ExpressionError as error:
            if not names.met_damage:
                self.report.mistake(location, error.message, offset=error.offset)
            return None, names.own_columns
        return (None if names.met_damage else expression), names.own_columns

    def _condition(
        self, text: str | None, location: Location, scope: int, table: TableDraft | None
    ) -> tuple[Expression | None, set[int]]:
        if text is None:
            return None, set()
        return self._expression(parse_condition, text, location, scope, table)

    # ------------------------------------------------------------------ tables

    def _table(self, table: TableDraft) -> Table | None:
        scope = self._scope_of[table.index]
        needs: dict[int, set[int]] = {}
        columns = [self._column(column, i, table, scope, needs) for i, column in enumerate(table.columns)]
        order = self._order(table, needs)
        where = self._condition(table.model.where, (*table.location, "where"), scope, table)[0]
        items = self._items(table, scope)
        unique = self._unique(table)
        complete = [column for column in columns if column is not None]
        if len(complete) != len(columns) or self.report.mistakes:
            return None
        return Table(
            name=table.name,
            columns=tuple(complete),
            primary_key=table.primary_key,
            parent=table.parent.index if table.parent is not None else None,
            foreign_key=foreign_key(table),
            scope=scope,
            order=order,
            where=where,
            where_text=table.model.where,
            unique=unique,
            items=items,
            drop_empty=table.model.drop_empty,
            key_column=key_column(table),
            key_reaches_source=reaches_source(table),
        )

    def _column(
        self, column: ColumnDraft, index: int, table: TableDraft, scope: int, needs: dict[int, set[int]]
    ) -> Column | None:
        conversion = self._conversions.compile(column)
        source = self._column_source(column, index, table, scope, needs)
        if conversion is None or source is None or column.type is None:
            return None
        model = column.model
        self._sources[table.index, index] = source
        if model.drop:
            source = ColumnSource(SourceKind.CONSTANT, "drop")  # nothing is ever read for it
        return Column(
            name=column.name,
            type=column.type,
            source=source,
            conversion=conversion,
            nullable=column.nullable,
            default=model.default,
            default_makes_row=model.default_makes_row,
            server_generated=column.origin is Origin.SERVER,
        )

    def _column_source(
        self, column: ColumnDraft, index: int, table: TableDraft, scope: int, needs: dict[int, set[int]]
    ) -> ColumnSource | None:
        origin, model = column.origin, column.model
        kind = _SOURCE_KINDS[origin]
        if origin in (Origin.PATHS, Origin.XML):
            return self._captures(column, scope)
        if origin is Origin.EXPRESSION:
            assert model.expr is not None
            expression, needs[index] = self._expression(
                lambda text, names: self._assigned(text, names, column),
                model.expr,
                (*column.location, "expr"),
                scope,
                table,
            )
            return ColumnSource(kind, model.expr, expression=expression) if expression is not None else None
        if origin is Origin.CONSTANT:
            return ColumnSource(kind, "value", constant=model.value)
        if origin is Origin.PARENT:
            text = f"$parent.{column.word}"
            return ColumnSource(kind, text, parent_column=column.parent_column)
        if origin is Origin.SOURCE_COLUMN:
            if column.word not in self._source_columns:
                self._source_columns.append(column.word)
            place = self._source_columns.index(column.word)
            return ColumnSource(kind, f"$source.{column.word}", source_column=place)
        if origin is Origin.PARENT_POSITION and table.model.recurse is None:
            at = (*column.location, "from")
            self.report.mistake(
                at, "$parent_position needs a table with `recurse`; elsewhere use $parent.COLUMN"
            )
        return ColumnSource(kind, "server_generated" if origin is Origin.SERVER else kind.value)

    @staticmethod
    def _assigned(text: str, names: _Names, column: ColumnDraft) -> Expression:
        expression = parse_expression(text, names)
        if column.type is None:
            return expression
        # What is masked or hashed is the text of the value, and that may be longer than what is left of it.
        return assign(expression, _ANY_TEXT if is_private(column) else column.type)

    def _captures(self, column: ColumnDraft, scope: int) -> ColumnSource | None:
        model = column.model
        pick = Pick(model.pick) if model.pick is not None else Pick.ONLY
        separator = ""
        if pick is Pick.JOIN:
            separator = model.separator if model.separator is not None else _DEFAULT_SEPARATOR
        if column.origin is Origin.XML:
            places: list[tuple[str, Location]] = [(model.xml or "", (*column.location, "xml"))]
            want: Leaf | None = Leaf.XML
            if pick is Pick.JOIN:
                self.report.mistake(
                    (*column.location, "pick"), "subtrees cannot be joined; use first or last"
                )
        else:
            at = (*column.location, "from")
            places = [(text, (*at, i)) for i, text in enumerate(model.from_ or ())]
            want = None
        captures = []
        for text, location in places:
            path = self._path(text, location, want, at_root=scope == 0)
            if path is not None:
                captures.append(self._scopes[scope].capture(Capture(path, pick, separator, model.skip_blank)))
        if len(captures) != len(places):
            return None
        return ColumnSource(SourceKind.CAPTURES, " | ".join(t for t, _ in places), captures=tuple(captures))

    def _order(self, table: TableDraft, needs: dict[int, set[int]]) -> tuple[int, ...]:
        """Sort the columns so that each comes after those its expression reads."""
        order: list[int] = []
        waiting = [i for i, column in enumerate(table.columns) if column.origin is not Origin.SERVER]
        while waiting:
            ready = [i for i in waiting if needs.get(i, set()) <= set(order)]
            if not ready:
                circle = self._circle(waiting, needs)
                first = table.columns[circle[0]]
                names = " → ".join(table.columns[i].name for i in [*circle, circle[0]])
                what = "refers to itself" if len(circle) == 1 else f"is part of a circle: {names}"
                self.report.mistake((*first.location, "expr"), f"column {first.name!r} {what}")
                needs[circle[0]] = set()
                continue
            order.extend(ready)
            waiting = [i for i in waiting if i not in ready]
        return tuple(order)

    @staticmethod
    def _circle(waiting: list[int], needs: dict[int, set[int]]) -> list[int]:
        chain = [waiting[0]]
        while True:
            following = min(need for need in needs[chain[-1]] if need in waiting)
            if following in chain:
                return chain[chain.index(following) :]
            chain.append(following)

    def _items(self, table: TableDraft, scope: int) -> tuple[Item, ...]:
        model = table.model.items
        if model is None:
            return ()
        items = []
        name_index = table.column_index(model.into.name)
        name_column = table.columns[name_index] if name_index is not None else None
        for name, text in model.values.items():
            location: Location = (*table.location, "items", "values", name)
            path = self._path(text, location, None, at_root=scope == 0)
            if path is not None:
                items.append(Item(name, self._scopes[scope].capture(Capture(path))))
            plain = (
                name_column is not None
                and not {"enum", "apply", "format"} & name_column.model.model_fields_set
            )
            if name_column is not None and name_column.type is not None and plain:
                problem = literal_problem(name, name_column.type, self._conversions.code_page)
                if problem is not None:
                    self.report.mistake(
                        location, f"this name does not fit {name_column.name!r}: {problem}", at_key=True
                    )
        return tuple(items)

    def _unique(self, table: TableDraft) -> Unique | None:
        model = table.model.unique
        if model is None:
            return None
        location: Location = (*table.location, "unique")
        by = [self._unique_column(table, name, (*location, "by", i)) for i, name in enumerate(model.by)]
        prefer_column = None
        values: list[Value] = []
        if model.prefer is not None:
            prefer_column = self._unique_column(table, model.prefer.column, (*location, "prefer", "column"))
            sql_type = table.columns[prefer_column].type if prefer_column is not None else None
            for i, text in enumerate(model.prefer.values):
                if sql_type is None:
                    break
                try:
                    values.append(parse_literal(text, sql_type, self._conversions.code_page))
                except ValueError as error:
                    self.report.mistake((*location, "prefer", "values", i), str(error))
        known = tuple(index for index in by if index is not None)
        return Unique(known, model.keep == "last", prefer_column, tuple(values))

    def _unique_column(self, table: TableDraft, name: str, location: Location) -> int | None:
        index = table.column_index(name)
        if index is None:
            if not table.has_lost(name):
                known = suggest(name, (column.name for column in table.columns))
                self.report.mistake(location, f"table {table.name!r} has no column {name!r}{known}")
            return None
        if table.columns[index].origin is Origin.SERVER:
            self.report.mistake(
                location, f"column {name!r} is numbered by the server: its value is not known here"
            )
            return None
        return index
