"""A second reading of contracts: slow, plain, and sharing no code with the interpreter.

It reads the contract's YAML as nested dicts, not the compiled plan, and documents by expat, not by libxml2;
every path is asked of XPath, row by row and column by column.  It shares with the product what has
oracles of its own: conversions of single texts (``tests/unit/mapping``), and single expressions
(``tests/unit/expressions``).

Not read by it: ``$source`` columns, plug-ins, masks and hashes, default namespaces, and documents with a
document type declaration.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from xml.etree import ElementTree

from lxml import etree

from xml_extractor.contract.expression import And, ColumnRef, Expression, PathRef, walk
from xml_extractor.contract.expression_parser import assign, parse_condition, parse_expression
from xml_extractor.contract.plan import Apply, Conversion, EnumMap, OnError, Rounding
from xml_extractor.contract.types import SqlType, Value, parse_type
from xml_extractor.mapping.conversion import constant_value, converter, missing_value, strict_converter
from xml_extractor.mapping.conversion_error import ConversionError, OverflowConversionError
from xml_extractor.mapping.evaluation_error import EvaluationError
from xml_extractor.mapping.expression_runtime import Environment, Frame, compile_condition, compile_expression

BLANKS = " \t\r\n"
Contract = dict[str, Any]
Rows = dict[str, list[tuple[Value, ...]]]


class Refused(Exception):
    """The document must be rejected."""


class Skipped(Exception):
    """The document is another contract's."""


class NotWellFormedError(Exception):
    """expat does not take it for XML."""


def tree_of(text: str) -> etree._Element:
    """Parse with expat, and build what it tells into a tree that XPath can be asked of."""
    if "\0" in text:
        raise NotWellFormedError  # expat would guess another encoding
    builder = etree.TreeBuilder()

    class Target:
        def start(self, tag: str, attributes: dict[str, str]) -> None:
            builder.start(tag, attributes)

        def end(self, tag: str) -> None:
            builder.end(tag)

        def data(self, data: str) -> None:
            builder.data(data)

        def close(self) -> Any:
            return builder.close()

    parser = ElementTree.XMLParser(target=Target())
    try:
        parser.feed(text.lstrip("\ufeff" + BLANKS))
        return parser.close()
    except (ElementTree.ParseError, ValueError) as error:
        raise NotWellFormedError from error


def canonical_xml(text: str, *, any_case: bool = False) -> str:
    """Write an element so that prefixes and the order of attributes do not matter, nor, if said, case."""
    out = io.StringIO()
    if any_case:
        root = etree.fromstring(text)
        _lower_names(root)
        text = etree.tostring(root, encoding="unicode")
    ElementTree.canonicalize(text, out=out, rewrite_prefixes=True)
    return out.getvalue()


# ------------------------------------------------------------------------------------------ one column


@dataclass
class Cell:
    """One column's value in one row, with what is wrong with it."""

    value: Value = None
    is_bad: bool = False
    overflow: ConversionError | EvaluationError | None = None
    is_default: bool = False  # nothing of the document is in it
    is_unreliable: bool = False


@dataclass
class Row:
    """A row that is being made, and where it stands."""

    table: Table
    element: etree._Element
    position: int
    outer_position: int | None
    parent: Row | None
    item: tuple[str, str] | None = None
    cells: dict[str, Cell] = field(default_factory=dict)

    def values(self) -> list[Value]:
        return [self.cells[name].value if name in self.cells else None for name in self.table.columns]


class Table:
    """A table of the contract."""

    def __init__(self, name: str, spec: dict[str, Any], parent: Table | None, index: int) -> None:
        self.name, self.spec, self.parent, self.index = name, spec, parent, index
        self.columns: dict[str, dict[str, Any]] = dict(spec["columns"])
        items = spec.get("items")
        if items:
            self.columns.setdefault(items["into"]["name"], {})
            self.columns.setdefault(items["into"]["value"], {})
        self.types: dict[str, SqlType] = {}
        self.needed: dict[str, bool] = {}
        for column, said in self.columns.items():
            source = parent_column(column, said)
            if source is not None:
                assert parent is not None
                self.types[column] = parse_type(said["type"]) if said.get("type") else parent.types[source]
                self.needed[column] = parent.needed[source] or said.get("required") == "true"
            else:
                self.types[column] = parse_type(said.get("type") or "nvarchar(max)")
                self.needed[column] = (
                    said.get("required") == "true"
                    or said.get("default") is not None
                    or said.get("value") is not None
                    or said.get("from") in ("$key", "$position", "$document")
                )


def parent_column(name: str, said: dict[str, Any]) -> str | None:
    """The parent's column that a column repeats; ``None`` for any other."""
    source = said.get("from")
    if source == "$parent":
        return name
    if isinstance(source, str) and source.startswith("$parent."):
        return source.removeprefix("$parent.")
    return None


class _Names:
    """Names in one expression: paths are numbered as they are met."""

    def __init__(self, table: Table | None, binary: bool) -> None:
        self.table, self.binary_collation = table, binary
        self.paths: list[str] = []

    def resolve_path(self, text: str) -> int:
        if text not in self.paths:
            self.paths.append(text)
        return self.paths.index(text)

    def resolve_column(self, table: str | None, column: str) -> ColumnRef:
        assert self.table is not None
        found = self.table
        while table is not None and found.name != table:
            assert found.parent is not None
            found = found.parent
        own = None if found is self.table else found.index
        return ColumnRef(own, list(found.columns).index(column), found.types[column], True)


class Oracle:
    """Maps documents by a contract.

    Args:
        contract: the YAML as nested dicts of texts.
        started_at: what GETUTCDATE() answers.
    """

    def __init__(self, contract: Contract, started_at: datetime) -> None:
        self.contract = contract
        document = contract["document"]
        roots = document["root"]
        self.namespaces: dict[str, str] = dict(document.get("namespaces") or {})
        self.ignore_case = document.get("ignore_case") == "true"
        self.roots = {
            self._clark(root.lstrip("/")) for root in ([roots] if isinstance(roots, str) else roots)
        }
        self.document_where: str | None = document.get("where")
        self.binary = contract.get("collation") == "binary"
        self.environment = Environment(started_at, converter)
        self.tables: list[Table] = []
        for name, spec in contract["tables"].items():
            parent = next((t for t in self.tables if t.name == spec.get("parent")), None)
            self.tables.append(Table(name, spec, parent, len(self.tables)))
        self._expressions: dict[object, tuple[Expression, list[str], Callable[[Frame], Any]]] = {}
        self._xpaths: dict[str, etree.XPath] = {}
        self.key: int | str = 0
        self.text = ""
        self.truncated = 0

    def _clark(self, name: str) -> str:
        prefix, _, local = name.rpartition(":")
        clark = f"{{{self.namespaces[prefix]}}}{local}" if prefix else local
        return _folded(clark) if self.ignore_case else clark

    # ---- the document

    def map(self, key: int | str, text: str) -> tuple[Rows, int]:
        """Return the rows, and how many values were truncated.

        Raises:
            Refused, Skipped, NotWellFormedError
        """
        root = tree_of(text)
        if self.ignore_case:
            _lower_names(root)
        self.key, self.text, self.truncated = key, text.lstrip("\ufeff"), 0
        if root.tag not in self.roots:
            raise Skipped
        if self.document_where is not None:
            holds, paths, compiled = self._condition(self.document_where, None)
            captured, several = self._captured(root, paths)
            if several & {n.capture for n in walk(holds) if isinstance(n, PathRef)}:
                raise Refused
            try:
                if compiled(Frame([], captured)) is not True:
                    raise Skipped
            except EvaluationError:
                raise Refused from None
        out: Rows = {table.name: [] for table in self.tables}
        dropped = [False]
        for table in self.tables:
            if table.parent is None:
                self._make(table, None, root, out, dropped)
        tops = [table for table in self.tables if table.parent is None]
        if not dropped[0] and not any(out[table.name] for table in tops):
            raise Refused
        return out, self.truncated

    # ---- rows

    def _make(
        self, table: Table, parent: Row | None, start: etree._Element, out: Rows, dropped: list[bool]
    ) -> None:
        candidates: list[Row] = []
        for row in self._rows(table, parent, start):
            for column in table.columns:
                self._cell(row, column)
            if not self._where_holds(row):
                dropped[0] = True
                continue
            if any(cell.is_bad for cell in row.cells.values()):
                raise Refused
            if table.spec.get("drop_empty") == "true" and self._is_empty(row):
                dropped[0] = True
                continue
            candidates.append(row)
        for row in self._unique(table, candidates):
            self._settle(row)
            if any(table.needed[name] and row.cells[name].value is None for name in table.columns):
                raise Refused
            out[table.name].append(tuple(row.values()))
            for child in self.tables:
                if child.parent is table:
                    self._make(child, row, row.element, out, dropped)

    def _rows(self, table: Table, parent: Row | None, start: etree._Element) -> Iterator[Row]:
        path = table.spec.get("rows")
        if path is None:
            places: list[tuple[etree._Element, int, int | None]] = [
                (start, parent.position if parent else 1, parent.outer_position if parent else None)
            ]
        else:
            places = []
            for element in self._nodes(start, path):
                self._with_nested(element, None, table.spec.get("recurse"), places)
        for element, position, outer in places:
            items = table.spec.get("items")
            if not items:
                yield Row(table, element, position, outer, parent)
                continue
            for name, item_path in items["values"].items():
                texts = self._texts(element, item_path)
                if texts and texts[0].strip(BLANKS):
                    yield Row(table, element, position, outer, parent, (name, item_path))

    def _with_nested(
        self,
        element: etree._Element,
        outer: int | None,
        recurse: str | None,
        places: list[tuple[etree._Element, int, int | None]],
    ) -> None:
        place = len(places) + 1
        places.append((element, place, outer))
        if recurse:
            for nested in self._nodes(element, recurse):
                self._with_nested(nested, place, recurse, places)

    def _is_empty(self, row: Row) -> bool:
        table = row.table
        keys = set(table.spec.get("primary_key") or ())
        for name, said in table.columns.items():
            cell = row.cells[name]
            if cell.overflow is not None:
                return False
            if cell.value is None:
                continue
            if cell.is_default:
                if said.get("default_makes_row") == "true":
                    return False
                continue
            source = said.get("from")
            is_ours = said.get("value") is not None or (
                isinstance(source, str) and source.startswith("$") and source != "$document"
            )
            if row.item is not None and table.spec["items"]["into"]["name"] == name:
                is_ours = True
            if is_ours or name in keys or parent_column(name, said) is not None:
                continue
            if said.get("expr") is not None and not self._reads_document(table, name):
                continue
            return False
        return True

    def _reads_document(self, table: Table, name: str) -> bool:
        expression = self._expression(table, name)[0]
        for node in walk(expression):
            if isinstance(node, PathRef):
                return True
            if isinstance(node, ColumnRef) and node.table is None:
                other = list(table.columns)[node.column]
                said = table.columns[other]
                if said.get("expr") is not None:
                    if self._reads_document(table, other):
                        return True
                elif said.get("value") is None and (
                    said.get("from") == "$document" or not str(said.get("from")).startswith("$")
                ):
                    return True
        return False

    def _unique(self, table: Table, rows: list[Row]) -> list[Row]:
        said = table.spec.get("unique")
        if not said:
            return rows
        by = [said["by"]] if isinstance(said["by"], str) else said["by"]
        prefer = said.get("prefer")
        ranks: dict[Value, int] = {}
        if prefer:
            type_ = table.types[prefer["column"]]
            for rank, text in enumerate(prefer["values"]):
                ranks.setdefault(constant_value(Conversion(type_), text), rank)
        groups: dict[tuple[Value, ...], list[Row]] = {}
        for row in rows:
            key = tuple(row.cells[name].value for name in by)
            if None not in key:
                groups.setdefault(key, []).append(row)
        losers: set[int] = set()
        for group in groups.values():
            ordered = list(reversed(group)) if said.get("keep") == "last" else group
            if prefer:
                column = prefer["column"]
                ordered = sorted(ordered, key=lambda row: ranks.get(row.cells[column].value, len(ranks)))
            losers.update(id(row) for row in ordered[1:])
        return [row for row in rows if id(row) not in losers]

    def _settle(self, row: Row) -> None:
        table = row.table
        changed: set[str] = set()
        waiting = [name for name in table.columns if row.cells[name].overflow is not None]
        for name in waiting:
            cell = row.cells[name]
            if table.columns[name].get("expr") is not None and self._read_by(table, name) & set(waiting):
                continue  # computed anew below
            self._settle_overflow(row, name, cell)
            changed.add(name)
        again = [name for name in table.columns if self._reads_any(table, name, changed | set(waiting))]
        for name in again:
            row.cells.pop(name)
        for name in again:
            cell = self._cell(row, name)
            if cell.is_bad:
                raise Refused
            if cell.overflow is not None:
                self._settle_overflow(row, name, cell)

    def _settle_overflow(self, row: Row, name: str, cell: Cell) -> None:
        said = row.table.columns[name]
        policy = said.get("on_overflow", "reject")
        if policy == "truncate" and isinstance(cell.overflow, OverflowConversionError):
            if cell.overflow.fitted is None:
                raise Refused
            self.truncated += 1
            cell.value = cell.overflow.fitted
        elif policy in ("null", None):
            cell.value = self._default(row.table, name)
        else:
            raise Refused
        cell.overflow = None

    # ---- columns

    def _cell(self, row: Row, name: str) -> Cell:
        if name in row.cells:
            return row.cells[name]
        said = row.table.columns[name]
        cell = Cell()
        try:
            if said.get("expr") is not None:
                self._evaluate(row, name, cell)
            else:
                self._take(row, name, said, cell)
        except Refused:
            cell.is_bad = True
        except OverflowConversionError as error:
            cell.overflow, cell.value = error, error.value
        except (ConversionError, EvaluationError) as error:
            if isinstance(error, EvaluationError) and error.code in ("overflow", "out_of_range", "too_long"):
                cell.overflow = error
            elif said.get("on_invalid", "reject") == "reject":
                cell.is_bad = True
        lost = cell.is_bad or (cell.overflow is not None and cell.value is None)
        cell.is_unreliable = cell.is_unreliable or lost
        if cell.value is None and not cell.is_unreliable:
            cell.value = self._default(row.table, name)
            cell.is_default = cell.value is not None
        row.cells[name] = cell
        return cell

    def _default(self, table: Table, name: str) -> Value:
        text = table.columns[name].get("default")
        return None if text is None else constant_value(Conversion(table.types[name]), text)

    def _take(self, row: Row, name: str, said: dict[str, Any], cell: Cell) -> None:
        """Everything but expressions."""
        conversion = self._conversion(row.table, name)
        source = said.get("from")
        if said.get("value") is not None:
            cell.value = constant_value(conversion, said["value"])
            return
        mirrored = parent_column(name, said)
        if mirrored is not None:
            assert row.parent is not None
            cell.value = row.parent.cells[mirrored].value
            return
        text: str | None
        if source == "$key":
            text = str(self.key)
        elif source == "$position":
            text = str(row.position)
        elif source == "$parent_position":
            text = None if row.outer_position is None else str(row.outer_position)
        elif source == "$document":
            text = self.text
        elif row.item is not None and source is None and said.get("xml") is None:
            into = row.table.spec["items"]["into"]
            text = row.item[0] if into["name"] == name else self._raw(row.element, [row.item[1]], {})
        elif said.get("xml") is not None:
            text = self._raw(row.element, [said["xml"]], said, xml=True)
        else:
            text = self._raw(row.element, [source] if isinstance(source, str) else source, said)
        if text is None:
            cell.value = missing_value(conversion)
            is_missing = True
        else:
            cell.value = strict_converter(conversion)(text)
            is_missing = not text.strip(BLANKS)
        # What an enum puts where the document has nothing is a default, too.
        if (
            conversion.enum is not None
            and conversion.enum.missing is not None
            and is_missing
            and cell.value is not None
        ):
            cell.is_default = True

    def _conversion(self, table: Table, name: str) -> Conversion:
        said = table.columns[name]
        type_ = table.types[name]
        steps = said.get("apply") or []
        apply = []
        for step in [steps] if isinstance(steps, (str, dict)) else steps:
            if isinstance(step, dict):
                pairs = tuple(self.contract["replacements"][step["replace"]].items())
                apply.append(Apply("replace", tuple((old, new or "") for old, new in pairs)))
            else:
                apply.append(Apply(step))
        formats = said.get("format") or ()
        return Conversion(
            type=type_,
            apply=tuple(apply),
            enum=self._enum(said.get("enum")),
            formats=(formats,) if isinstance(formats, str) else tuple(formats),
            binary_format=said.get("binary", "base64"),
            rounding=Rounding(said.get("rounding", "reject")),
            zone=said.get("zone"),
            default_zone=said.get("default_zone"),
            empty_is_null=said.get("empty", "keep") != "keep",
            on_invalid=OnError(said.get("on_invalid") or "null") if "on_invalid" in said else OnError.REJECT,
            on_overflow=OnError(said.get("on_overflow") or "null")
            if "on_overflow" in said
            else OnError.REJECT,
        )

    def _enum(self, name: str | None) -> EnumMap | None:
        if name is None:
            return None
        said = self.contract["enums"][name]
        unknown = said.get("unknown", "reject")
        return EnumMap(
            name,
            tuple(said["values"].items()),
            said.get("ignore_case") == "true",
            said.get("missing"),
            unknown == "reject",
            None if unknown == "reject" else unknown,
        )

    # ---- expressions

    def _expression(self, table: Table, name: str) -> tuple[Expression, list[str], Callable[[Frame], Any]]:
        key = (table.name, name)
        if key not in self._expressions:
            names = _Names(table, self.binary)
            tree = assign(parse_expression(table.columns[name]["expr"], names), table.types[name])
            self._expressions[key] = (tree, names.paths, compile_expression(tree, self.environment))
        return self._expressions[key]

    def _condition(
        self, text: str, table: Table | None
    ) -> tuple[Expression, list[str], Callable[[Frame], Any]]:
        key = (text, table.name if table else None, "where")
        if key not in self._expressions:
            names = _Names(table, self.binary)
            tree = parse_condition(text, names)
            self._expressions[key] = (tree, names.paths, compile_condition(tree, self.environment))
        return self._expressions[key]

    def _read_by(self, table: Table, name: str) -> set[str]:
        """The columns of its own row that an expression reads, directly or through others."""
        if table.columns[name].get("expr") is None:
            return set()
        names = list(table.columns)
        direct = {
            names[node.column]
            for node in walk(self._expression(table, name)[0])
            if isinstance(node, ColumnRef) and node.table is None
        }
        return direct.union(*(self._read_by(table, other) for other in direct))

    def _reads_any(self, table: Table, name: str, changed: set[str]) -> bool:
        return bool(self._read_by(table, name) & changed)

    def _evaluate(self, row: Row, name: str, cell: Cell) -> None:
        tree, paths, compiled = self._expression(row.table, name)
        for other in self._read_by(row.table, name):
            if self._cell(row, other).is_unreliable:
                cell.is_unreliable = True
        captured, several = self._captured(row.element, paths)
        if several & {node.capture for node in walk(tree) if isinstance(node, PathRef)}:
            raise Refused
        value = compiled(Frame(row.values(), captured, self._ancestors(row)))
        cell.value = None if value == "" and row.table.columns[name].get("empty", "keep") != "keep" else value

    def _ancestors(self, row: Row) -> dict[int, list[Value]]:
        found: dict[int, list[Value]] = {}
        above = row.parent
        while above is not None:
            found[above.table.index] = above.values()
            above = above.parent
        return found

    def _where_holds(self, row: Row) -> bool:
        text = row.table.spec.get("where")
        if text is None:
            return True
        whole, paths, _ = self._condition(text, row.table)
        captured, several = self._captured(row.element, paths)
        names = list(row.table.columns)
        doubt = False
        for part in _conjuncts(whole):
            reads = {n.capture for n in walk(part) if isinstance(n, PathRef)}
            own = {names[n.column] for n in walk(part) if isinstance(n, ColumnRef) and n.table is None}
            if reads & several or any(row.cells[name].is_unreliable for name in own):
                doubt = True
                continue
            try:
                if (
                    compile_condition(part, self.environment)(
                        Frame(row.values(), captured, self._ancestors(row))
                    )
                    is not True
                ):
                    return False
            except EvaluationError:
                doubt = True
        if doubt:
            raise Refused
        return True

    def _captured(self, element: etree._Element, paths: list[str]) -> tuple[list[str | None], set[int]]:
        captured: list[str | None] = []
        several: set[int] = set()
        for number, path in enumerate(paths):
            texts = self._texts(element, path)
            captured.append(texts[0] if texts else None)
            if len(texts) > 1:
                several.add(number)
        return captured, several

    # ---- paths

    def _nodes(self, element: etree._Element, path: str) -> list[Any]:
        if path not in self._xpaths:
            self._xpaths[path] = etree.XPath(
                path.lower() if self.ignore_case else path, namespaces=self.namespaces or None
            )
        found: list[Any] = self._xpaths[path](element)
        return found

    def _texts(self, element: etree._Element, path: str, *, xml: bool = False) -> list[str]:
        if xml:
            return [
                etree.tostring(node, encoding="unicode", with_tail=False)
                for node in self._nodes(element, path)
            ]
        if path == "text()" or path.endswith("/text()"):
            owners = self._nodes(element, path.removesuffix("/text()")) if "/" in path else [element]
            parts = [[str(text) for text in owner.xpath("text()")] for owner in owners]
            return ["".join(texts) for texts in parts if texts]
        return [
            str(node) if isinstance(node, str) else str(node.xpath("string()"))
            for node in self._nodes(element, path)
        ]

    def _raw(
        self, element: etree._Element, paths: list[str], said: dict[str, Any], *, xml: bool = False
    ) -> str | None:
        first: str | None = None
        for path in paths:
            text = self._picked(self._texts(element, path, xml=xml), said)
            if text is None:
                continue
            if text.strip(BLANKS):
                return text
            first = text if first is None else first
        return first

    @staticmethod
    def _picked(texts: list[str], said: dict[str, Any]) -> str | None:
        pick = said.get("pick")
        if pick and said.get("skip_blank") == "true":
            texts = [text for text in texts if text.strip(BLANKS)]
        if not texts:
            return None
        if pick == "first":
            return texts[0]
        if pick == "last":
            return texts[-1]
        if pick == "join":
            return str(said.get("separator", ", ")).join(texts)
        if len(texts) > 1:
            raise Refused
        return texts[0]


def _conjuncts(condition: Expression) -> list[Expression]:
    if isinstance(condition, And):
        return [part for operand in condition.operands for part in _conjuncts(operand)]
    return [condition]


def _lower_names(root: etree._Element) -> None:
    for element in root.iter():
        element.tag = _folded(element.tag)
        for name, value in list(element.attrib.items()):
            del element.attrib[name]
            element.attrib[_folded(name)] = value


def _folded(clark: str) -> str:
    space, brace, local = clark.rpartition("}")
    return space + brace + local.lower()
