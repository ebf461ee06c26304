"""Tables and columns of a contract while it is compiled: named, ordered and typed, not yet resolved.

Types and nullability do not depend on paths or expressions, so all of them are settled here first; what
refers to a column, in any order, finds its type.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import Enum
from typing import Final

from xml_extractor.contract.model import ColumnModel, TableModel
from xml_extractor.contract.reader import Location, Report
from xml_extractor.contract.structure import Structure
from xml_extractor.contract.types import TYPE_NAMES, Family, SqlType, parse_type

_MOST_NAMES: Final = 15  # that a message lists


class Origin(Enum):
    """Where a column's value comes from, as the contract says it."""

    PATHS = "a path"
    KEY = "$key"
    SOURCE_COLUMN = "$source"
    DOCUMENT = "$document"
    PARENT = "$parent"
    POSITION = "$position"
    PARENT_POSITION = "$parent_position"
    EXPRESSION = "expr"
    CONSTANT = "value"
    XML = "xml"
    SERVER = "server_generated"
    ITEM_NAME = "the item's name"
    ITEM_VALUE = "the item's value"


NEVER_NULL = frozenset(
    {Origin.KEY, Origin.DOCUMENT, Origin.POSITION, Origin.CONSTANT, Origin.SERVER, Origin.ITEM_NAME}
)


@dataclass(slots=True)
class ColumnDraft:
    """A column whose origin is known; ``type`` is None where a mistake about it has been told."""

    name: str
    model: ColumnModel
    location: Location
    origin: Origin
    word: str = ""  # what follows the $word: a column of the source or of the parent
    type: SqlType | None = None
    nullable: bool = True
    parent_column: int | None = None


@dataclass(slots=True)
class TableDraft:
    """A table whose parent is known; ``index`` is its place in the plan."""

    name: str
    model: TableModel
    location: Location
    index: int
    parent: TableDraft | None
    columns: list[ColumnDraft] = field(default_factory=list)
    primary_key: tuple[int, ...] = ()
    lost_columns: set[str] = field(default_factory=set)
    """Names of columns that were taken out for a mistake already told."""
    lost_all_columns: bool = False

    @property
    def is_damaged(self) -> bool:
        """Whether columns are missing here that the contract means to have."""
        return self.lost_all_columns or bool(self.lost_columns)

    def has_lost(self, name: str) -> bool:
        """Whether a name that is not found here is that of a column taken out."""
        return self.lost_all_columns or name.casefold() in (lost.casefold() for lost in self.lost_columns)

    def column_index(self, name: str) -> int | None:
        """Find a column by its name, in any case unless two differ only by it."""
        for index, column in enumerate(self.columns):
            if column.name == name:
                return index
        folded = [i for i, column in enumerate(self.columns) if column.name.casefold() == name.casefold()]
        return folded[0] if len(folded) == 1 else None

    def ancestors(self) -> Iterable[TableDraft]:
        """Yield the parent, its parent, and so on."""
        table = self.parent
        while table is not None:
            yield table
            table = table.parent


def suggest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean …?" or what there is, to be put at the end of a message."""
    names = list(known)
    by_fold = {known_name.casefold(): known_name for known_name in names}
    close = get_close_matches(name.casefold(), by_fold, n=1)
    if close:
        return f"; did you mean {by_fold[close[0]]!r}?"
    if not names:
        return "; there are none"
    more = ", …" if len(names) > _MOST_NAMES else ""
    return f"; there are {', '.join(names[:_MOST_NAMES])}{more}"


def draft_tables(structure: Structure, report: Report) -> list[TableDraft]:
    """Order the tables, parents first, and settle the types of their columns."""
    ordered = _ordered_tables(structure, report)
    for table in ordered:
        _Columns(table, structure, report).fill()
    return ordered


def _ordered_tables(structure: Structure, report: Report) -> list[TableDraft]:
    models = structure.model.tables
    _tell_equal_names(models, ("tables",), "table", report)
    parents: dict[str, str | None] = {}
    for name, model in models.items():
        location = ("tables", name)
        if name.rpartition(".")[2].casefold().startswith("load_"):
            report.mistake(location, f"{name!r}: names that begin with load_ are the ledger's", at_key=True)
        parent = model.parent
        if structure.is_damaged((*location, "parent")):
            parent = None
        elif parent is not None and parent not in models:
            if not structure.is_damaged(("tables", parent)):
                report.mistake(
                    (*location, "parent"), f"there is no table {parent!r}{suggest(parent, models)}"
                )
            parent = None
        parents[name] = parent
    _tell_cycles(parents, report)
    drafts: dict[str, TableDraft] = {}
    waiting = list(models)
    while waiting:
        ready = [n for n in waiting if (p := parents[n]) is None or p in drafts]
        # Only the first, so that tables stay in the contract's order wherever parents allow it.
        name = ready[0]
        waiting.remove(name)
        parent_name = parents[name]
        parent_draft = drafts[parent_name] if parent_name is not None else None
        drafts[name] = TableDraft(name, models[name], ("tables", name), len(drafts), parent_draft)
    return list(drafts.values())


def _tell_cycles(parents: dict[str, str | None], report: Report) -> None:
    """Tell each circle of parents once, and cut it open."""
    for start, first in list(parents.items()):
        chain = [start]
        parent = first
        while parent is not None and parent not in chain:
            chain.append(parent)
            parent = parents[parent]
        if parent == start:
            circle = " → ".join([*chain, start])
            what = "is its own parent" if len(chain) == 1 else f"is its own ancestor: {circle}"
            report.mistake(("tables", start, "parent"), f"table {start!r} {what}")
            parents[start] = None


def _tell_equal_names(names: Mapping[str, object], location: Location, what: str, report: Report) -> None:
    seen: dict[str, str] = {}
    for name in names:
        first = seen.setdefault(name.casefold(), name)
        if first != name:
            report.mistake(
                (*location, name),
                f"{what} {name!r} is given twice: databases take it for {first!r}",
                at_key=True,
            )


class _Columns:
    """Settles the columns of one table, whose parent's are settled already."""

    def __init__(self, table: TableDraft, structure: Structure, report: Report) -> None:
        self._table = table
        self._structure = structure
        self._report = report
        self._location: Location = (*table.location, "columns")

    def fill(self) -> None:
        table, items = self._table, self._table.model.items
        _tell_equal_names(table.model.columns, self._location, "column", self._report)
        self._note_damage()
        for name, model in table.model.columns.items():
            self._add(name, model, (*self._location, name))
        if items is not None:
            self._add_item_columns()
        if not any(column.origin in (Origin.PARENT, Origin.KEY) for column in table.columns):
            self._add_parent_key()
        if not table.columns and not table.is_damaged:
            self._report.mistake(table.location, f"table {table.name!r} has no columns", at_key=True)
        elif not table.is_damaged and all(column.origin is Origin.SERVER for column in table.columns):
            # Its rows would hold nothing by which anybody could tell whose they are, and no engine's bulk
            # insert takes rows without columns.
            self._report.mistake(
                table.location,
                f"every column of table {table.name!r} is numbered by the server, so its rows would hold "
                "nothing of the document; add a column, such as one `from: $key`",
                at_key=True,
            )
        self._settle_primary_key()

    def _note_damage(self) -> None:
        if self._structure.is_damaged(self._table.location):
            self._table.lost_all_columns = True
        depth = len(self._location)
        for place in self._structure.damaged:
            if place == self._location:
                self._table.lost_all_columns = True
            elif place[:depth] == self._location and len(place) == depth + 1:
                self._table.lost_columns.add(str(place[-1]))

    # ------------------------------------------------------------------ which columns

    def _add(self, name: str, model: ColumnModel, location: Location) -> None:
        origin, word = self._origin(name, model, location)
        if origin is None:
            self._table.lost_columns.add(name)
            return
        column = ColumnDraft(name, model, location, origin, word)
        self._table.columns.append(column)
        if origin is Origin.PARENT:
            self._inherit(column)
        else:
            column.type = self._type(column)
            column.nullable = model.drop or not (
                model.required or model.default is not None or origin in NEVER_NULL
            )

    def _add_item_columns(self) -> None:
        """Give the columns of ``items: into:`` a type by what is known of them, if they are not declared."""
        items = self._table.model.items
        assert items is not None
        if items.into.name.casefold() == items.into.value.casefold():
            self._report.mistake(
                (*self._table.location, "items", "into", "value"),
                "name and value go into one column; give them two",
            )
            return
        names = list(items.values)
        text = f"{'varchar' if all(n.isascii() for n in names) else 'nvarchar'}({max(map(len, names))})"
        for name, origin, type_text in (
            (items.into.name, Origin.ITEM_NAME, text),
            (items.into.value, Origin.ITEM_VALUE, "nvarchar(max)"),
        ):
            location = (*self._table.location, "items", "into")
            if self._table.column_index(name) is None and not self._structure.is_damaged(
                (*self._location, name)
            ):
                model = ColumnModel.model_validate({"type": type_text, "required": "true"})
                column = ColumnDraft(
                    name, model, location, origin, type=parse_type(type_text), nullable=False
                )
                self._table.columns.append(column)

    def _add_parent_key(self) -> None:
        """Carry the parent's key down where the contract leaves it unsaid."""
        parent = self._table.parent
        if parent is None:
            return
        carried = []
        for index in parent.primary_key:
            theirs = parent.columns[index]
            if theirs.origin is Origin.SERVER or self._table.column_index(theirs.name) is not None:
                continue
            model = ColumnModel.model_validate({"from": "$parent"})
            carried.append(
                ColumnDraft(
                    theirs.name,
                    model,
                    self._table.location,
                    Origin.PARENT,
                    theirs.name,
                    theirs.type,
                    theirs.nullable,
                    index,
                )
            )
        self._table.columns[:0] = carried

    # ------------------------------------------------------------------ where a column comes from

    def _origin(self, name: str, model: ColumnModel, location: Location) -> tuple[Origin | None, str]:
        given = [word for word in ("from", "expr", "value", "xml") if self._is_given(model, word, location)]
        if model.server_generated:
            given.append("server_generated")
        items = self._table.model.items
        is_item = items is not None and name in (items.into.name, items.into.value)
        if len(given) > 1:
            self._report.mistake(
                location,
                f"column {name!r} has {' and '.join(given)}; a value comes from one of them",
                at_key=True,
            )
            return None, ""
        if is_item and items is not None:
            if given:
                self._report.mistake(
                    (*location, given[0]),
                    f"column {name!r} is filled by `items: into:`; it takes no {given[0]}",
                    at_key=True,
                )
            return (Origin.ITEM_NAME if name == items.into.name else Origin.ITEM_VALUE), ""
        if not given:
            damaged = any(
                self._structure.is_damaged((*location, w)) for w in ("from", "expr", "value", "xml")
            )
            if not damaged:
                self._report.mistake(
                    location,
                    f"column {name!r} has no origin; give it `from:`, `expr:`, `value:`, `xml:` or "
                    "`server_generated: true`",
                    at_key=True,
                )
            return None, ""
        if model.from_ is not None:
            return self._loader_word(model.from_, location)
        return {
            "expr": Origin.EXPRESSION,
            "value": Origin.CONSTANT,
            "xml": Origin.XML,
            "server_generated": Origin.SERVER,
        }[given[0]], ""

    def _is_given(self, model: ColumnModel, word: str, location: Location) -> bool:
        if self._structure.is_damaged((*location, word)):
            return False
        return getattr(model, "from_" if word == "from" else word) is not None

    def _loader_word(self, texts: tuple[str, ...], location: Location) -> tuple[Origin | None, str]:
        words = [text for text in texts if text.strip().startswith("$")]
        if not words:
            return Origin.PATHS, ""
        at = (*location, "from")
        if len(texts) > 1:
            self._report.mistake(
                at, f"{words[0]!r} stands alone; a list holds paths only (expr: COALESCE(…) can mix columns)"
            )
            return None, ""
        text = texts[0].strip()
        simple = {
            "$key": Origin.KEY,
            "$document": Origin.DOCUMENT,
            "$position": Origin.POSITION,
            "$parent_position": Origin.PARENT_POSITION,
            "$parent": Origin.PARENT,
        }
        if text in simple:
            origin = simple[text]
            return origin, location[-1] if origin is Origin.PARENT and isinstance(location[-1], str) else ""
        head, dot, tail = text.partition(".")
        if dot and tail and head in ("$parent", "$source"):
            return (Origin.PARENT if head == "$parent" else Origin.SOURCE_COLUMN), tail
        if text == "$source":
            self._report.mistake(at, "$source names a column of the source row: write $source.COLUMN")
        else:
            known = (*simple, "$parent.COLUMN", "$source.COLUMN")
            self._report.mistake(at, f"{text!r} is not one of the loader's words{suggest(text, known)}")
        return None, ""

    # ------------------------------------------------------------------ types

    def _inherit(self, column: ColumnDraft) -> None:
        """Take type and nullability from the parent's column."""
        at = (*column.location, "from")
        parent = self._table.parent
        if parent is None:
            if (
                not self._structure.is_damaged((*self._table.location, "parent"))
                and self._table.model.parent is None
            ):
                self._report.mistake(
                    at, f"table {self._table.name!r} has no parent; a root table's key is from: $key"
                )
            return
        index = parent.column_index(column.word)
        if index is None:
            if not parent.has_lost(column.word):
                known = suggest(column.word, (c.name for c in parent.columns))
                self._report.mistake(at, f"the parent {parent.name!r} has no column {column.word!r}{known}")
            return
        theirs = parent.columns[index]
        if theirs.origin is Origin.SERVER:
            self._report.mistake(
                at,
                f"column {theirs.name!r} of {parent.name!r} is numbered by the server: its value is "
                "not known "
                "when this row is made; carry down a column that comes from the document",
            )
            return
        column.parent_column = index
        column.nullable = theirs.nullable and not column.model.required
        column.type = theirs.type
        if column.model.type is not None:
            given = self._type(column)
            if given is not None and theirs.type is not None and given != theirs.type:
                self._report.mistake(
                    (*column.location, "type"),
                    f"a $parent column has its parent's type, {theirs.type}; leave `type` out",
                )

    def _type(self, column: ColumnDraft) -> SqlType | None:
        text = column.model.type
        if text is None:
            if not self._structure.is_damaged((*column.location, "type")):
                self._report.mistake(
                    column.location,
                    f"column {column.name!r} has no type; give one such as `type: nvarchar(50)`",
                    at_key=True,
                )
            return None
        try:
            sql_type = parse_type(text)
        except ValueError as error:
            message = str(error)
            if message.startswith("unknown type"):
                name = text.partition("(")[0].strip()
                message = f"unknown type {name!r}{suggest(name, TYPE_NAMES)}"
            self._report.mistake((*column.location, "type"), message)
            return None
        at = (*column.location, "type")
        if column.origin in (Origin.POSITION, Origin.PARENT_POSITION, Origin.SERVER):
            if sql_type.family is not Family.INTEGER:
                self._report.mistake(
                    at, f"{column.origin.value} is a whole number; use int or bigint, not {sql_type}"
                )
                return None
        elif column.origin is Origin.XML and sql_type.family not in (Family.XML, Family.TEXT):
            self._report.mistake(
                at, f"a serialised subtree is text; use xml or nvarchar(max), not {sql_type}"
            )
            return None
        return sql_type

    # ------------------------------------------------------------------ primary key

    def _settle_primary_key(self) -> None:
        table = self._table
        names = table.model.primary_key
        if names is None:
            items = table.model.items
            if items is not None and table.parent is not None and table.model.rows is None:
                self._default_item_key()
            return
        key: list[int] = []
        for position, name in enumerate(names):
            at = (*table.location, "primary_key", position)
            index = table.column_index(name)
            if index is None:
                if not table.has_lost(name):
                    known = suggest(name, (c.name for c in table.columns))
                    self._report.mistake(at, f"primary key column {name!r} is not mapped{known}")
            elif index in key:
                self._report.mistake(at, f"{name!r} is in the primary key twice")
            else:
                key.append(index)
                self._check_key_column(table.columns[index], at)
        table.primary_key = tuple(key)

    def _check_key_column(self, column: ColumnDraft, at: Location) -> None:
        if column.model.drop:
            self._report.mistake(
                at, f"primary key column {column.name!r} is dropped; a key has a value: hash it instead"
            )
        elif column.nullable and (column.origin is not Origin.PARENT or column.type is not None):
            if not self._structure.is_damaged((*column.location, "required")):
                self._report.mistake(
                    at,
                    f"primary key column {column.name!r} can be NULL; say `required: true` where it is "
                    "defined",
                )
        elif column.type is not None and (
            column.type.family is Family.XML
            or (column.type.family in (Family.TEXT, Family.BINARY) and column.type.length is None)
        ):
            self._report.mistake(
                at, f"primary key column {column.name!r} is {column.type}; a key needs a bounded type"
            )

    def _default_item_key(self) -> None:
        table, items, parent = self._table, self._table.model.items, self._table.parent
        assert items is not None
        assert parent is not None
        carried = {c.parent_column: i for i, c in enumerate(table.columns) if c.origin is Origin.PARENT}
        name = table.column_index(items.into.name)
        if parent.primary_key and name is not None and all(i in carried for i in parent.primary_key):
            table.primary_key = (*(carried[i] for i in parent.primary_key), name)
