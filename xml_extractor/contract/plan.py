"""The compiled plan: a contract turned into plain data that an interpreter can run.

Nothing here knows YAML, pydantic or sqlglot, and nothing here is code: a plan can be pickled to worker
processes and run by any interpreter.  The picture it paints:

* A **scope** is an element that rows are made from.  Scope 0 is the document's root; every other scope
  is reached from its parent scope by a path (``Contacts/Contact``) and has one *frame* per element that
  the path finds.  Tables whose rows come from the same element share a scope.
* A scope's **captures** are all raw texts that anything (columns, expressions, conditions) wants from
  its element: each distinct path is captured once, in one walk over the tree.
* A **table** belongs to one scope and makes its rows from that scope's frames: one row per frame, or one
  per named item present (``items``).  Its parent table's scope is the same one or an ancestor.
* A **column** takes its value from one source and converts it once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from xml_extractor.contract.types import SqlType, Value

if TYPE_CHECKING:
    from xml_extractor.contract.expression import Expression


# ------------------------------------------------------------------------------------------ paths


def fold_name(clark: str) -> str:
    """Write a Clark name as it is compared where a contract ignores case.

    A namespace is an identifier, not a name: its case counts always.
    """
    if clark[:1] != "{":
        return clark.lower()
    uri, brace, local = clark.rpartition("}")
    return uri + brace + local.lower()


class Leaf(Enum):
    """What a path takes from the elements it arrives at."""

    TEXT = "text"  # the element's string value (all text in it, as XPath's string())
    OWN_TEXT = "own_text"  # text(): only the element's own text, without its children's
    ATTRIBUTE = "attribute"
    XML = "xml"  # the element, serialised
    ELEMENT = "element"  # the element itself (paths of `rows`)


@dataclass(frozen=True, slots=True)
class Path:
    """A location path relative to a scope's element.

    ``steps`` are Clark names (``{uri}name`` or ``name``, lower case where the contract ignores case) of
    child elements, and only filled when the path is nothing but child steps: such paths are matched in
    the one walk.  Any other path (predicates, ``..``, ``//``, ``*``) is ``complex``: ``steps`` is empty
    and ``xpath`` holds an XPath 1.0 expression, prefixes bound by ``Plan.namespaces``, that selects
    elements (leaf TEXT, XML, ELEMENT) or attributes or text nodes.
    ``text`` is the path as the user wrote it, for messages.
    """

    text: str
    leaf: Leaf
    steps: tuple[str, ...] = ()
    attribute: str | None = None
    xpath: str | None = None

    @property
    def is_complex(self) -> bool:
        """Whether the path needs an XPath engine."""
        return self.xpath is not None


class Pick(Enum):
    """Which of several nodes found by one path gives the value."""

    ONLY = "only"  # more than one is an error
    FIRST = "first"
    LAST = "last"
    JOIN = "join"


@dataclass(frozen=True, slots=True)
class Capture:
    """A raw text wanted from a scope's element: ``None`` where the path finds nothing."""

    path: Path
    pick: Pick = Pick.ONLY
    separator: str = ""
    blank_is_absent: bool = False
    """For `first`/`last`/`join`: pass over nodes whose text is empty or blank."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Elements that rows are made from, found by ``path`` from the parent scope's element.

    With ``recurse`` (``sub_tracks/track``) the elements it finds below each element of the scope belong
    to the scope too, at any depth; ``$position`` then counts all of them in document order within the
    parent scope's frame, and ``$parent_position`` is the position of the enclosing one (NULL at the top).
    """

    parent: int | None
    path: Path | None
    recurse: Path | None
    captures: tuple[Capture, ...]


# ------------------------------------------------------------------------------------------ columns


class SourceKind(Enum):
    """Where a column's raw value comes from."""

    KEY = "$key"
    SOURCE_COLUMN = "$source"
    DOCUMENT = "$document"  # the whole document as text
    PARENT = "$parent"  # a column of the parent table's row; already a canonical value
    POSITION = "$position"
    PARENT_POSITION = "$parent_position"
    CONSTANT = "constant"  # raw text, converted once when the plan is interpreted
    CAPTURES = "captures"  # the first capture that is neither absent nor blank, else the first present
    EXPRESSION = "expression"
    ITEM_NAME = "$item_name"
    ITEM_VALUE = "$item_value"


@dataclass(frozen=True, slots=True)
class ColumnSource:
    """A column's source; which further member is filled depends on ``kind``."""

    kind: SourceKind
    text: str
    """What the user wrote, for messages: ``@id``, ``$key``, the expression."""
    captures: tuple[int, ...] = ()
    parent_column: int | None = None
    """PARENT: index of the column in the parent table."""
    source_column: int | None = None
    """SOURCE_COLUMN: index into ``Plan.source.columns``."""
    constant: str | None = None
    expression: Expression | None = None


class OnError(Enum):
    """What happens to a value that cannot be converted, is out of range, or is too long."""

    REJECT = "reject"
    NULL = "null"
    TRUNCATE = "truncate"  # text and binary that is too long only; counted in the summary


class Rounding(Enum):
    """What happens to decimal digits beyond the type's scale."""

    REJECT = "reject"
    HALF_UP = "half_up"  # half away from zero, as SQL Server rounds
    HALF_EVEN = "half_even"
    DOWN = "down"  # towards zero


@dataclass(frozen=True, slots=True)
class EnumMap:
    """A named table of codes: raw text → value (raw again; the column's type converts it)."""

    name: str
    values: tuple[tuple[str, str | None], ...]
    ignore_case: bool
    missing: str | None  # value where the source is absent or blank; None = NULL
    unknown_rejects: bool
    unknown: str | None  # value for a code not listed, where that does not reject


@dataclass(frozen=True, slots=True)
class Apply:
    """One cleaning step on the raw text before conversion.

    ``name`` is one of trim, upper, lower, digits, collapse, yes_no, replace, plugin; ``pairs`` belongs to
    replace (exact substrings, in order); ``target`` to plugin (``package.module:function``, called with
    the raw ``str`` and returning ``str | None``).
    """

    name: str
    pairs: tuple[tuple[str, str], ...] = ()
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Mask:
    """Keep ``count`` characters of a text, from its start or its end, or show as many asterisks."""

    keep: str  # first, last, or none
    count: int


@dataclass(frozen=True, slots=True)
class Hash:
    """Put a keyed digest in a value's place, of so many bytes; a text column takes it as hex digits."""

    size_bytes: int


@dataclass(frozen=True, slots=True)
class Conversion:
    """How raw text becomes a canonical value of the column's type."""

    type: SqlType
    apply: tuple[Apply, ...] = ()
    enum: EnumMap | None = None
    formats: tuple[str, ...] = ()  # strptime formats for temporal types; empty = ISO 8601
    binary_format: str = "base64"  # or hex
    rounding: Rounding = Rounding.REJECT
    zone: str | None = None
    """What to do with a zone in a type without one: None = reject, 'drop', 'utc' = convert to UTC."""
    default_zone: str | None = None
    """datetimeoffset from a text without a zone: None = reject, else an offset such as '+00:00'."""
    code_page: str = "cp1252"  # Python codec name, for char and varchar
    empty_is_null: bool = False  # text types: '' becomes NULL
    on_invalid: OnError = OnError.REJECT
    on_overflow: OnError = OnError.REJECT
    protection: Mask | Hash | None = None
    """What is done to a private text after cleaning and before it becomes a value of the type."""


@dataclass(frozen=True, slots=True)
class Column:
    """One target column."""

    name: str
    type: SqlType
    source: ColumnSource
    conversion: Conversion
    nullable: bool
    default: str | None = None  # raw text, converted once; used where the value would be NULL
    default_makes_row: bool = False
    server_generated: bool = False  # numbered by the server; never written by the loader


@dataclass(frozen=True, slots=True)
class Unique:
    """Which of several rows with equal ``by`` columns is kept, among the rows of one parent row."""

    by: tuple[int, ...]
    keep_last: bool
    prefer_column: int | None = None
    prefer_values: tuple[Value, ...] = ()
    """Canonical values, most preferred first; rows whose value is not listed come after all that are."""


@dataclass(frozen=True, slots=True)
class Item:
    """One named item of an ``items`` table: a row exists where the capture is present and not blank."""

    name: str
    capture: int


@dataclass(frozen=True, slots=True)
class Table:
    """One target table.  ``Plan.tables`` holds parents before their children."""

    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[int, ...]
    parent: int | None  # index into Plan.tables
    foreign_key: tuple[tuple[int, int], ...]  # (own column, parent's column); empty for a root table
    scope: int
    order: tuple[int, ...]  # the columns in the order in which their values can be computed
    where: Expression | None
    where_text: str | None
    unique: Unique | None
    items: tuple[Item, ...]
    drop_empty: bool  # drop rows in which only keys, positions, parent's columns and defaults are filled
    key_column: int | None  # the column that carries the source key, if any
    key_reaches_source: bool  # whether the primary key contains the source key (law 4)


# ------------------------------------------------------------------------------------------ plan


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """The table that documents are read from, as the contract names it."""

    name: str | None
    table: str
    key: str
    document: str
    where: str | None  # SQL, in the source's own dialect
    columns: tuple[str, ...]  # further columns that the contract refers to as $source.COLUMN


@dataclass(frozen=True, slots=True)
class StagePlan:
    """How files become rows of the source table."""

    record: str | None  # Clark name of the record element in a dump; None = each file is one document
    key: Path | None  # relative to the record; None = numbered in order of arrival


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole compiled contract."""

    contract: str
    version: int
    digest: str  # hex SHA-256 over everything that can change a row
    source: SourcePlan
    stage: StagePlan
    namespaces: tuple[tuple[str, str], ...]
    ignore_case: bool
    binary_collation: bool
    roots: tuple[str, ...]  # accepted Clark names of the root element; another root is skipped
    document_where: Expression | None  # over the captures of scope 0; documents where not true are skipped
    document_where_text: str | None
    report_unknown: bool
    scopes: tuple[Scope, ...]
    tables: tuple[Table, ...]
    halt_unknown: bool = False  # whether unknown elements in the sample halt a load

    @property
    def hashes(self) -> bool:
        """Whether any column holds a keyed digest, for which a salt is needed."""
        return any(
            isinstance(column.conversion.protection, Hash)
            for table in self.tables
            for column in table.columns
        )
