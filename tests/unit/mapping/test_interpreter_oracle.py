"""Random contracts over random documents, held against a mapper that is slow and plain.

The oracle knows only XPath, one table after another: it shares no code with the interpreter but the
conversions, which have tests of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from tests.unit.mapping.mapping_support import STARTED_AT, plan_of
from xml_extractor.contract.plan import Conversion
from xml_extractor.contract.types import Value, parse_type
from xml_extractor.mapping.conversion import ConversionError, OverflowConversionError, strict_converter
from xml_extractor.mapping.data_mapper import DataMapper
from xml_extractor.mapping.records import SourceDocument
from xml_extractor.mapping.rejection import DocumentRejected

NAMES = ["a", "b", "c"]
TEXTS = ["", " ", "1", "22", "300", "x", "long text", "é", "🎵🎵", " 7 "]
TYPES = ["int", "tinyint", "nvarchar(4)", "nvarchar(max)", "varchar(4)", "char(3)", "decimal(4,1)", "bit"]


@dataclass
class ColumnSpec:
    path: str
    type: str
    options: dict[str, str] = field(default_factory=dict)


@dataclass
class TableSpec:
    name: str
    parent: TableSpec | None
    rows: str
    columns: list[ColumnSpec]
    recurse: str | None = None
    where: str | None = None
    drop_empty: bool = False
    unique: str | None = None


def yaml_of(tables: list[TableSpec]) -> str:
    lines: list[str] = []
    for table in tables:
        lines.append(f"{table.name}:")
        depth = 0
        ancestor = table.parent
        while ancestor is not None:
            depth, ancestor = depth + 1, ancestor.parent
        keys = [f"n{i}" for i in range(depth + 1)]
        if table.parent is not None:
            lines.append(f"  parent: {table.parent.name}")
            lines.append(f"  rows: '{table.rows}'")
        if table.recurse:
            lines.append(f"  recurse: {table.recurse}")
        if table.where:
            lines.append(f'  where: "{table.where}"')
        if table.drop_empty:
            lines.append("  drop_empty: true")
        if table.unique:
            lines.append(f"  unique: {{by: c0, keep: {table.unique}}}")
        lines.append(f"  primary_key: [{', '.join(keys)}]")
        lines.append("  columns:")
        for key in keys[:-1]:
            lines.append(f"    {key}: {{from: $parent}}")
        own = "{from: $key, type: int}" if table.parent is None else "{from: $position, type: int}"
        lines.append(f"    {keys[-1]}: {own}")
        for number, column in enumerate(table.columns):
            options = "".join(f", {key}: '{value}'" for key, value in column.options.items())
            lines.append(f"    c{number}: {{from: '{column.path}', type: '{column.type}'{options}}}")
    return "\n".join(lines)


# ---- documents and contracts


@st.composite
def elements(draw: st.DrawFn, depth: int = 4) -> str:
    name = draw(st.sampled_from(NAMES))
    attributes = draw(st.lists(st.sampled_from(["k", "l"]), unique=True, max_size=2))
    head = "".join(f' {a}="{draw(st.sampled_from(TEXTS))}"' for a in attributes)
    children = "" if depth == 0 else "".join(draw(st.lists(elements(depth - 1), max_size=3)))
    text, tail = draw(st.sampled_from(TEXTS)), draw(st.sampled_from(["", "", "t"]))
    noise = draw(st.sampled_from(["", "", "<!-- no -->", "<?pi no?>"]))
    return f"<{name}{head}>{text}{noise}{children}</{name}>{tail}"


DOCUMENTS = st.lists(elements(), max_size=6).map(lambda children: f"<r>{''.join(children)}</r>")
PATHS = st.sampled_from(
    [
        ".",
        "text()",
        "@k",
        "@l",
        "a",
        "b",
        "a/@k",
        "b/c",
        "a/b/@l",
        "c/text()",
        "*",
        "a[1]",
        "b[@k]/@k",
        "..//c",
    ]
)


@st.composite
def column_specs(draw: st.DrawFn) -> ColumnSpec:
    options: dict[str, str] = {}
    path, type_name = draw(PATHS), draw(st.sampled_from(TYPES))
    pick = draw(st.sampled_from([None, "first", "last", "join"]))
    if pick:
        options["pick"] = pick
        if draw(st.booleans()):
            options["skip_blank"] = "true"
    if draw(st.booleans()):
        options["on_invalid"] = "null"
    if draw(st.booleans()):
        truncates = "char" in type_name and draw(st.booleans())
        options["on_overflow"] = "truncate" if truncates else "null"
    if draw(st.booleans()):
        options["default"] = "1"
        if draw(st.booleans()):
            options["default_makes_row"] = "true"
    elif draw(st.integers(0, 5)) == 0:
        options["required"] = "true"
    if "char" in type_name and draw(st.booleans()):
        options["empty"] = "null"
    return ColumnSpec(path, type_name, options)


@st.composite
def contracts(draw: st.DrawFn) -> list[TableSpec]:
    tables = [TableSpec("t0", None, "", draw(st.lists(column_specs(), max_size=3)))]
    for number in range(1, draw(st.integers(1, 4))):
        table = TableSpec(
            f"t{number}",
            draw(st.sampled_from(tables)),
            draw(st.sampled_from(["a", "b", "a/b", "*", "a[@k]"])),
            draw(st.lists(column_specs(), min_size=1, max_size=4)),
            recurse=draw(st.sampled_from([None, None, "a", "b/c"])),
            drop_empty=draw(st.booleans()),
            unique=draw(st.sampled_from([None, None, "first", "last"])),
        )
        if draw(st.booleans()):
            table.where = draw(st.sampled_from(["c0 IS NOT NULL", f"n{depth_of(table)} > 1", "c0 IS NULL"]))
        tables.append(table)
    return tables


def depth_of(table: TableSpec) -> int:
    return 0 if table.parent is None else 1 + depth_of(table.parent)


# ---- the oracle


class Refused(Exception):
    pass


def string_of(node: object) -> str:
    return str(node) if isinstance(node, str) else str(node.xpath("string()"))  # type: ignore[attr-defined]


def nodes_of(element: etree._Element, path: str) -> list[str]:
    if path.endswith("text()"):
        owners = element.xpath(path.removesuffix("/text()")) if "/" in path else [element]
        texts = [[str(t) for t in owner.xpath("text()")] for owner in owners]  # type: ignore[union-attr]
        return ["".join(parts) for parts in texts if parts]
    return [string_of(node) for node in element.xpath(path)]  # type: ignore[union-attr]


BLANKS = " \t\r\n"


def raw_of(element: etree._Element, column: ColumnSpec) -> str | None:
    texts = nodes_of(element, column.path)
    pick = column.options.get("pick")
    if pick and column.options.get("skip_blank"):
        texts = [text for text in texts if text.strip(BLANKS)]
    if not texts:
        return None
    if pick == "first":
        return texts[0]
    if pick == "last":
        return texts[-1]
    if pick == "join":
        return ", ".join(texts)
    if len(texts) > 1:
        raise Refused
    return texts[0]


@dataclass
class Cell:
    value: Value = None
    is_bad: bool = False  # cannot be converted
    overflow: OverflowConversionError | None = None
    is_default: bool = False


def cell_of(element: etree._Element, column: ColumnSpec) -> Cell:
    conversion = Conversion(parse_type(column.type), empty_is_null=column.options.get("empty") == "null")
    cell = Cell()
    try:
        raw = raw_of(element, column)
        cell.value = None if raw is None else strict_converter(conversion)(raw)
    except Refused:
        return Cell(is_bad=True)
    except OverflowConversionError as error:
        return Cell(value=error.value, overflow=error)
    except ConversionError:
        if column.options.get("on_invalid") != "null":
            return Cell(is_bad=True)
    if cell.value is None:
        return default_cell(column)
    return cell


def default_cell(column: ColumnSpec) -> Cell:
    if "default" not in column.options:
        return Cell()
    value = strict_converter(Conversion(parse_type(column.type)))(column.options["default"])
    return Cell(value=value, is_default="default_makes_row" not in column.options)


def where_holds(table: TableSpec, position: int, cell: Cell) -> bool:
    if table.where is None:
        return True
    if "> 1" in table.where:
        return position > 1
    if cell.is_bad or (cell.overflow is not None and cell.value is None):
        raise Refused
    return (cell.value is None) == table.where.endswith("IS NULL")


def elements_of(parent: etree._Element, table: TableSpec) -> Iterator[etree._Element]:
    for element in parent.xpath(table.rows):  # type: ignore[union-attr]
        yield from with_nested(element, table)  # type: ignore[arg-type]


def with_nested(element: etree._Element, table: TableSpec) -> Iterator[etree._Element]:
    yield element
    if table.recurse:
        for nested in element.xpath(table.recurse):  # type: ignore[union-attr]
            yield from with_nested(nested, table)  # type: ignore[arg-type]


def oracle(tables: list[TableSpec], root: etree._Element) -> tuple[dict[str, list[tuple[Value, ...]]], int]:
    out: dict[str, list[tuple[Value, ...]]] = {table.name: [] for table in tables}
    truncated = 0

    def make(table: TableSpec, keys: tuple[Value, ...], found: list[etree._Element]) -> None:
        nonlocal truncated
        kept: list[tuple[int, etree._Element, list[Cell]]] = []
        for position, element in enumerate(found, 1):
            cells = [cell_of(element, column) for column in table.columns]
            if not where_holds(table, position, cells[0] if cells else Cell()):
                continue
            if any(cell.is_bad for cell in cells):
                raise Refused
            has_overflow = any(cell.overflow for cell in cells)
            if table.drop_empty and not has_overflow and all(c.value is None or c.is_default for c in cells):
                continue
            kept.append((position, element, cells))
        if table.unique:
            groups: dict[Value, int] = {}
            for index, (_, _, cells) in enumerate(kept):
                key = cells[0].value
                if key is not None and (table.unique == "last" or key not in groups):
                    groups[key] = index
            kept = [k for i, k in enumerate(kept) if k[2][0].value is None or groups[k[2][0].value] == i]
        for position, element, cells in kept:
            values: list[Value] = []
            for cell, column in zip(cells, table.columns, strict=True):
                value = cell.value
                if cell.overflow is not None:
                    policy = column.options.get("on_overflow")
                    if policy == "truncate":
                        value = cell.overflow.fitted
                        truncated += 1
                    elif policy == "null":
                        value = default_cell(column).value
                    else:
                        raise Refused
                if value is None and "required" in column.options:
                    raise Refused
                values.append(value)
            own = (*keys, 1 if table.parent is None else position)
            out[table.name].append((*own, *values))
            for child in tables:
                if child.parent is table:
                    make(child, own, list(elements_of(element, child)))

    make(tables[0], (), [root])
    return out, truncated


@settings(max_examples=60, deadline=None)
@given(contracts(), st.lists(DOCUMENTS, min_size=1, max_size=4))
def test_interpreter_agrees_with_the_oracle(tables: list[TableSpec], documents: list[str]) -> None:
    plan = plan_of(yaml_of(tables))
    mapper = DataMapper(plan, STARTED_AT)
    for text in documents:
        document = SourceDocument(1, text)
        tree = mapper.parse(document)
        try:
            expected = oracle(tables, mapper.parse(document))
        except Refused:
            with pytest.raises(DocumentRejected) as caught:
                mapper.map(tree, document)
            assert caught.value.rejection.code != "internal_error"
            continue
        result = mapper.map(tree, document)
        rows = {table.name: rows for table, rows in zip(plan.tables, result.rows, strict=True)}
        assert (rows, result.truncated_values) == expected
        assert [[tuple(map(type, r)) for r in rows[t.name]] for t in plan.tables] == [
            [tuple(map(type, r)) for r in expected[0][t.name]] for t in plan.tables
        ]
