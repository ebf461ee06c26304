"""Writes, per table, the Python function that makes rows with nothing wrong in them.

Rows are made for every element of every document, so this is where a mapped document's time goes.  A
loop over column descriptions costs three times as much as the straight-line code that one would write by
hand for the table; so that code is written here, as :mod:`dataclasses` writes an ``__init__``.  The text
holds fixed words and numbers of the plan only; converters, defaults and conditions go in by name, and
nothing a contract or document says becomes code.

The function is for rows that are in order.  At anything else it raises and makes nothing, and its caller
makes the same rows the careful way (:mod:`xml_extractor.mapping.rows`), which says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from xml_extractor.contract.plan import OnError, SourceKind
from xml_extractor.contract.types import Family, Value
from xml_extractor.mapping.captures import PARENT_POSITION, POSITION, SEVERAL, ScopeFrame
from xml_extractor.mapping.columns import CompiledColumn
from xml_extractor.mapping.conversion import strict_converter
from xml_extractor.mapping.conversion_error import ConversionError, OverflowConversionError
from xml_extractor.mapping.expression_runtime import Frame
from xml_extractor.mapping.numbers import XML_BLANKS, safe_digits
from xml_extractor.mapping.texts import UNLIMITED, inline_limit

Made = tuple[Sequence[Value], ScopeFrame]
"""A row and the frame it was made from."""

RowMaker = Callable[[Sequence[ScopeFrame], Sequence[Value], Frame], tuple[list[Any], bool]]
"""Takes the frames below one parent row, the values that all their rows share, and a frame for
expressions; returns the rows (bare where asked for, else :data:`Made`) and whether any were dropped."""

SHARED: Final = frozenset(
    {SourceKind.PARENT, SourceKind.KEY, SourceKind.SOURCE_COLUMN, SourceKind.DOCUMENT, SourceKind.CONSTANT}
)
"""Kinds of columns that have one value in all rows below one parent row."""


class TakeCareError(Exception):
    """Something about a row is not in order: it has to be made the careful way."""


class _Code:
    """The text of one function, and the objects that it names."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = {"TakeCare": TakeCareError, "BLANKS": XML_BLANKS}

    def add(self, depth: int, line: str) -> None:
        self.lines.append("    " * depth + line)

    def name(self, prefix: str, number: int, value: object) -> str:
        name = f"{prefix}{number}"
        self.names[name] = value
        return name

    def compile(self, place: str) -> RowMaker:
        exec(compile("\n".join(self.lines), place, "exec"), self.names)
        maker: RowMaker = self.names["make_rows"]
        return maker


def row_maker(
    *,
    width: int,
    size: int,
    columns: Sequence[CompiledColumn],
    shared: Sequence[int],
    doubtful: Sequence[int],
    captures: frozenset[int],
    where: Callable[[Frame], bool | None] | None,
    items: Sequence[tuple[str, int]],
    counted: frozenset[int] | None,
    bare: bool,
) -> RowMaker | None:
    """Write a table's function; ``None`` where its rows can only be made the careful way.

    Args:
        width: columns of the table.
        size: captures of its scope.
        columns: the columns in the order in which they can be computed.
        shared: columns whose values the function is given.
        doubtful: required columns that can come out as NULL.
        captures: all captures the table reads.
        where: the compiled row condition.
        items: names and captures of named items.
        counted: columns that keep a row from being dropped as empty; ``None`` = never dropped.
        bare: return bare tuples.
    """
    by_index = {compiled.index: compiled for compiled in columns}
    filled_in = {i for i, c in by_index.items() if c.default is not None or c.missing is not None}
    if counted is not None and not filled_in.isdisjoint(counted):
        return None  # only the careful way tells a default from a value
    code = _Code()
    code.add(0, "def make_rows(frames, shared, expressions):")
    code.add(1, "made = []")
    code.add(1, "dropped = False")
    for place, index in enumerate(shared):
        code.add(1, f"v{index} = shared[{place}]")
    code.add(1, "for frame in frames:")
    if captures:
        code.names["captures"] = captures
        code.add(2, f"if frame[{size + SEVERAL}] is not None:")
        code.add(3, f"if not captures.isdisjoint(frame[{size + SEVERAL}]): raise TakeCare")
    depth = 2
    if items:
        depth = 3
        code.names["items"] = item_values(columns, items)
        code.add(2, "for item_name, slot in items:")
        code.add(3, "item = frame[slot]")
        code.add(3, "if item is None or not item.strip(BLANKS): continue")
    values: list[str] = ["None"] * width
    computed: list[CompiledColumn] = []
    for index in shared:
        values[index] = f"v{index}"
    for compiled in columns:
        if compiled.index in shared:
            continue
        if compiled.column.source.kind is SourceKind.EXPRESSION:
            computed.append(compiled)
        else:
            values[compiled.index] = _add_column(code, depth, compiled, size)
    row = f"({', '.join(values)},)"
    if computed or where is not None:
        code.add(depth, f"row = [{', '.join(values)}]")
        code.add(depth, "expressions.row = row")
        code.add(depth, "expressions.captured = frame")
        for compiled in computed:
            name = code.name("e", compiled.index, compiled.evaluate)
            code.add(depth, f"value = {name}(expressions)")
            if compiled.default is not None:
                default = code.name("d", compiled.index, compiled.default)
                code.add(depth, f"if value is None: value = {default}")
            code.add(depth, f"row[{compiled.index}] = value")
            values[compiled.index] = f"row[{compiled.index}]"
        row = "tuple(row)"
    if where is not None:
        code.names["where"] = where
        code.add(depth, "if where(expressions) is not True:")
        code.add(depth + 1, "dropped = True")
        code.add(depth + 1, "continue")
    if counted is not None:
        tests = [f"{values[i]} is None" for i in sorted(counted) if values[i] != "None"]
        code.add(depth, f"if {' and '.join(tests) or 'True'}:")
        code.add(depth + 1, "dropped = True")
        code.add(depth + 1, "continue")
    for index in doubtful:
        code.add(depth, f"if {values[index]} is None: raise TakeCare")
    code.add(depth, f"made.append({row if bare else f'({row}, frame)'})")
    code.add(1, "return made, dropped")
    return code.compile("<rows of a table>")


def item_values(
    columns: Sequence[CompiledColumn], items: Sequence[tuple[str, int]]
) -> tuple[tuple[Value, int], ...]:
    """Convert the items' names once; a name that cannot be converted is left to the careful way."""
    naming = [c for c in columns if c.column.source.kind is SourceKind.ITEM_NAME]
    if not naming:
        return tuple((None, slot) for _, slot in items)
    convert = strict_converter(naming[0].column.conversion)
    pairs: list[tuple[Value, int]] = []
    for name, slot in items:
        try:
            value = convert(name)
        except ConversionError:
            value = TROUBLE
        pairs.append((naming[0].default if value is None else value, slot))
    return tuple(pairs)


TROUBLE: Final = "\0trouble"
"""Stands for an item's name that cannot be converted.  NUL cannot occur in a contract."""


def _add_column(code: _Code, depth: int, compiled: CompiledColumn, size: int) -> str:
    """Add the lines that compute one column; return the expression that then stands for its value."""
    column, index = compiled.column, compiled.index
    kind, conversion = column.source.kind, column.conversion
    absent_value = compiled.default if compiled.missing is None else compiled.missing
    absent = "None" if absent_value is None else code.name("a", index, absent_value)
    value = f"v{index}"
    plain = not conversion.apply and conversion.enum is None and conversion.protection is None
    if kind is SourceKind.ITEM_NAME:
        code.names["TROUBLE"] = TROUBLE
        code.add(depth, "if item_name is TROUBLE: raise TakeCare")
        return "item_name"
    if kind in (SourceKind.POSITION, SourceKind.PARENT_POSITION):
        member = size + (POSITION if kind is SourceKind.POSITION else PARENT_POSITION)
        if column.type.name in ("int", "bigint") and plain and absent_value is None:
            return f"frame[{member}]"  # no document holds 2**31 elements
        convert = code.name("c", index, lenient_converter(compiled))
        code.add(depth, f"{value} = frame[{member}]")
        code.add(depth, f"{value} = {absent} if {value} is None else {convert}(str({value}))")
        return value
    convert = code.name("c", index, lenient_converter(compiled))
    if kind is SourceKind.ITEM_VALUE:
        raw = "item"
    elif len(column.source.captures) == 1:
        raw = f"frame[{column.source.captures[0]}]"
    else:
        raw = code.name("first", index, _first_filled(column.source.captures)) + "(frame)"
    limit = inline_limit(column.type, conversion.code_page) if plain else None
    if limit is not None and column.type.is_unicode:
        empty_goes = conversion.empty_is_null
        if limit == UNLIMITED and (empty_goes or absent_value is None):
            return f"({raw} or {absent})" if empty_goes else raw
        code.add(depth, f"{value} = {raw}")
        code.add(depth, f"if {'not ' + value if empty_goes else value + ' is None'}: {value} = {absent}")
        code.add(depth, f"elif len({value}) > {limit}: {value} = {convert}({value})")
        return value
    code.add(depth, f"{value} = {raw}")
    code.add(depth, f"if {value} is None: {value} = {absent}")
    if limit is not None and not conversion.empty_is_null:
        code.add(
            depth,
            f"elif len({value}) > {limit} or not {value}.isascii(): {value} = {convert}({value})",
        )
    elif plain and column.type.family is Family.INTEGER:
        digits = safe_digits(column.type)
        code.add(
            depth,
            f"elif len({value}) <= {digits} and {value}.isdigit() and {value}.isascii(): "
            f"{value} = int({value})",
        )
        code.add(depth, f"else: {value} = {convert}({value})")
    else:
        code.add(depth, f"else: {value} = {convert}({value})")
    return value


def _first_filled(slots: tuple[int, ...]) -> Callable[[ScopeFrame], str | None]:
    """Return the function that finds the first capture that is not blank, else the first present."""

    def find(frame: ScopeFrame) -> str | None:
        first: str | None = None
        for slot in slots:
            text: str | None = frame[slot]
            if text is not None:
                if text.strip(XML_BLANKS):
                    return text
                if first is None:
                    first = text
        return first

    return find


def lenient_converter(compiled: CompiledColumn) -> Callable[[str], Value]:
    """Return the column's converter with what can be settled at once: invalid as NULL, and the default."""
    conversion, default = compiled.column.conversion, compiled.default
    convert = strict_converter(conversion)
    forgive = conversion.on_invalid is OnError.NULL
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
