"""What editors and readers get from the models: a JSON Schema and the reference page."""

from __future__ import annotations

import json
import types
import typing
from typing import Any, Final, Literal, Union

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from xml_extractor.contract.expression_functions import FUNCTIONS
from xml_extractor.contract.model import (
    ColumnModel,
    ContractModel,
    DocumentModel,
    EnumModel,
    IntoModel,
    ItemsModel,
    PluginStep,
    PreferModel,
    ReplaceStep,
    SourceModel,
    StageModel,
    TableModel,
    UniqueModel,
)

_SECTIONS: Final[tuple[tuple[str, type[BaseModel]], ...]] = (
    ("The contract", ContractModel),
    ("`source`", SourceModel),
    ("`document`", DocumentModel),
    ("`stage`", StageModel),
    ("`enums.NAME`", EnumModel),
    ("`tables.NAME`", TableModel),
    ("`tables.NAME.items`", ItemsModel),
    ("`tables.NAME.items.into`", IntoModel),
    ("`tables.NAME.unique`", UniqueModel),
    ("`tables.NAME.unique.prefer`", PreferModel),
    ("`tables.NAME.columns.NAME`", ColumnModel),
    ("A step `{replace: …}` of `apply`", ReplaceStep),
    ("A step `{plugin: …}` of `apply`", PluginStep),
)

_INTRODUCTION: Final = """\
# Contract reference

A mapping contract says which documents it is for, where they are read from, and which rows of which tables
they become. It is YAML; JSON, being YAML, is accepted. This page is generated from the models that read it
(`python -m xml_extractor contract schema` prints the same as a JSON Schema, for editors).

**Scalars are read as they stand.** `yes`, `NO`, `007`, `1.10` and `2024-01-01` are the texts you see,
with or without quotes; only a plain `null` or `~` is NULL. `true` and `false` are flags where a flag is
expected. Texts with `@ [ ] { } , : #` in them are best put in quotes. Anchors, aliases and `<<` work; a
key given twice is a mistake.

`python -m xml_extractor contract check FILE` lists all mistakes at once, each with its file, line and
column, and the way out.
"""

_PATHS: Final = """\
## Paths

A path leads from the row's element (for a root table without `rows`, the document's root element) to
elements, attributes or text.

| path | finds |
|---|---|
| `Child`, `A/B/C`, `p:Child` | child elements, step by step; the value is all the text in the element |
| `@attr`, `A/@attr` | an attribute |
| `.`, `..`, `../Sibling` | the element itself, its parent, a neighbour |
| `text()`, `A/text()` | only the element's own text, without its children's |
| `*`, `A/*` | any child element |
| `A//B`, `//B` | descendants at any depth; `//` at the start means anywhere in the document |
| `/Application/A` | from the document's root, whatever the row's element is |
| `A[1]`, `A[last()]` | the first, the last of the `A` within one parent element |
| `A[@type='X']`, `A[B='x']`, `A[@a='x' and not(@b)]` | those that satisfy a condition (XPath 1.0) |
| `A[@type='X'][last()]` | the last of those that satisfy a condition |

Paths of child steps only (with an attribute or `text()` at the end) are matched in the one walk over the
document and cost next to nothing; all others are run as XPath for each row. A path that finds several
nodes for one value rejects the document unless the column says which to `pick`.
"""

_COLUMNS: Final = """\
A column has exactly one origin: `from`, `expr`, `value`, `xml` or `server_generated`; the two `into`
columns of an `items` table have none. A child table that has neither a `$parent` nor a `$key` column
gets the parent's primary key columns in front, under their own names, unless it has columns of these
names. An `items` table may leave out its `into` columns (then the name is a varchar as long as the
longest name, the value nvarchar(max)) and, without `rows`, its primary key (then the parent's key and
the name).
"""

_EXPRESSIONS: Final = """\
## Expressions

`expr` and `where` hold the scalar subset of T-SQL, with T-SQL's meaning. Bare names are columns of the
row, in any order; `table.column` is a column of an ancestor's row. The document is reached by
`path('…')`, which is text, or `path('…', 'type')`. The condition under `document` comes before any row
and knows `path` only. An `expr` is assigned to its column as in T-SQL: decimals are rounded to the
column's scale, text that is too long is an error.

Operators: `+ - * / %`, `= <> < > <= >=`, `AND OR NOT`, `IN`, `BETWEEN`, `LIKE … ESCAPE`,
`IS [NOT] NULL`, `CASE`. Functions: """


_PRIVACY: Final = """\
## Private values

`mask`, `hash` and `drop` take effect in the worker: the value itself never reaches the target, the queue
or a message. They are done to the text of the document after `apply` and before the conversion to the
column's type, which is the type of what is left. Blanks at both ends do not count, and blanks alone are
no value: the column is NULL (or its `default`, which is not protected).

- `mask: last4` (`last1` to `last9`), for text columns of that length: the last 4 characters of a text that
  has at least twice as many, 8; of a shorter one `****`.
- `mask: first2` (`first1` to `first9`): the first 2 characters of a text that has at least 4; of a shorter
  one `**`.
- `mask: all`: `****`, whatever the length of the value.
- `hash: true`, for text of 32 characters and binary of 16 bytes or more: HMAC-SHA-256 of the text in UTF-8
  (of a binary source column: of its bytes) with the salt as its key, as lower-case hex digits or as bytes.
  A column of at least 64 characters or 32 bytes holds all of it, a shorter one the first half.
- `drop: true`, for every type: NULL. The column stays in the table, cannot be `required` and has no
  `default`.

Equal values have equal hashes, in every column and table, so hashed columns can be joined; clean what is
to be equal first (`apply: [digits]`, `[trim, upper]`). The salt is the environment variable
XML_EXTRACTOR_HASH_SALT, of 16 characters or more; where it is missing no load starts. A load of documents
into tables that hold rows of another salt is refused. `pick: join` and lists of paths are settled before.

All that refers to a protected column (`where`, `unique`, `expr`, `$parent`) sees what is stored; only
`path('…')` reads the document. An `expr` can be protected itself: then its text is. What is in the ledger
is not protected: a `$key` that is hashed in a table still stands in `load_ledger` as it is, and the source
has its documents. Rows of a table whose `$key` is only there hashed cannot be found by key: they can be
neither replaced nor rolled back.

`contract check` warns where another column holds the same text as it is: by the same path, by `xml` or the
text of an element around it, by `$document`. It compares paths of child steps; of others only their last
name.
"""


def contract_schema() -> dict[str, Any]:
    """Return the JSON Schema of contracts (draft 2020-12), for editors that complete YAML by it."""
    schema = ContractModel.model_json_schema(by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Mapping contract",
    }


def contract_reference_markdown() -> str:
    """Return the page docs/contract-reference.md."""
    parts = [_INTRODUCTION]
    for title, model in _SECTIONS:
        parts.append(f"## {title}\n\n{_docstring(model)}\n")
        if model is ColumnModel:
            parts.append(_COLUMNS)
        parts.append(_table(model))
    functions = ", ".join(f"`{name}`" for name in sorted(FUNCTIONS))
    parts += [_PATHS, _PRIVACY, f"{_EXPRESSIONS}{functions}."]
    return "\n".join(parts) + "\n"


def _docstring(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())


def _table(model: type[BaseModel]) -> str:
    lines = ["| key | is | meaning |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        key = field.alias or name
        mark = " (required)" if field.is_required() else ""
        meaning = field.description or ""
        default = _default(field)
        if default:
            meaning += f" Default: {default}."
        if field.examples:
            meaning += " Examples: " + ", ".join(_code(example) for example in field.examples) + "."
        cells = (f"`{key}`{mark}", _kind(field.annotation, field), meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _default(field: FieldInfo) -> str:
    default = field.default
    if field.is_required() or field.default_factory is not None or not isinstance(default, (bool, str)):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _code(example: Any) -> str:
    if isinstance(example, bool):
        return f"`{str(example).lower()}`"
    if example is None:
        return "`null`"
    text = example if isinstance(example, str) else json.dumps(example, ensure_ascii=False).replace('"', "'")
    return f"`{text}`"


def _kind(annotation: Any, field: FieldInfo | None = None) -> str:
    """Say in a word what a field holds."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _kind(typing.get_args(annotation)[0], field)
    if origin in (Union, types.UnionType):
        members = [a for a in typing.get_args(annotation) if a is not type(None)]
        if len(members) == 1:
            return _kind(members[0], field)
        return "list of steps"
    if origin is Literal:
        return " \\| ".join(f"`{value}`" for value in typing.get_args(annotation)).replace("\\|", "or")
    if origin is dict:
        return f"mapping of names to {_plural(_kind(typing.get_args(annotation)[1]))}"
    if origin is tuple:
        inner = _kind(typing.get_args(annotation)[0])
        return (
            inner
            if inner == "list of steps"
            else "list of texts"
            if _is_plain_list(field)
            else "text or list"
        )
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping"
    return {bool: "true or false", int: "number"}.get(annotation, "text")


def _is_plain_list(field: FieldInfo | None) -> bool:
    return (
        field is not None and field.examples is not None and all(isinstance(e, list) for e in field.examples)
    )


def _plural(kind: str) -> str:
    return {"text": "texts", "mapping": "mappings"}.get(kind, kind)
