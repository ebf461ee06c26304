"""What a contract may say: its fields, their meaning and their defaults.

The models describe the YAML as written; the JSON Schema for editors and the reference page are generated
from them, so every field has a description.  All scalars arrive as the text that stands in the file (see
:mod:`xml_extractor.contract.reader`).  What one field means for another is checked by the compiler.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, WithJsonSchema


def _flag(value: Any) -> Any:
    words = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
    if isinstance(value, str) and value in words:
        return words[value]
    raise ValueError("write true or false")


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _null_word(value: Any) -> Any:
    return "null" if value is None else value


_SCALAR_SCHEMA: Final = {"type": ["string", "number", "boolean"]}
_STRINGS_SCHEMA: Final = {
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]
}

Text = Annotated[str, Field(min_length=1)]
Scalar = Annotated[str, WithJsonSchema(_SCALAR_SCHEMA)]
NullableScalar = Annotated[str | None, WithJsonSchema({"type": ["string", "number", "boolean", "null"]})]
Flag = Annotated[bool, BeforeValidator(_flag), WithJsonSchema({"type": "boolean"})]
Strings = Annotated[
    tuple[Text, ...], Field(min_length=1), BeforeValidator(_as_list), WithJsonSchema(_STRINGS_SCHEMA)
]
Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\"'`\[\].]+$")]
TableName = Annotated[
    str, Field(min_length=1, max_length=257, pattern=r"^[^\x00-\x1f\"'`\[\].]+(\.[^\x00-\x1f\"'`\[\].]+)?$")
]
RejectOrNull = Annotated[
    Literal["reject", "null"], BeforeValidator(_null_word), WithJsonSchema({"enum": ["reject", "null", None]})
]
RejectNullOrTruncate = Annotated[
    Literal["reject", "null", "truncate"],
    BeforeValidator(_null_word),
    WithJsonSchema({"enum": ["reject", "null", "truncate", None]}),
]
KeepOrNull = Annotated[
    Literal["keep", "null"], BeforeValidator(_null_word), WithJsonSchema({"enum": ["keep", "null", None]})
]


class Model(BaseModel):
    """Base of all parts of a contract: unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=False)


class SourceModel(Model):
    """The table that documents are read from.  It is only ever read."""

    name: Text | None = Field(
        None,
        description="What the ledger calls this source. Left out: database and table. `--source-name` wins.",
        examples=["lending"],
    )
    table: TableName = Field(
        description="The table, with its schema where needed.", examples=["app_xml", "dbo.app_xml"]
    )
    key: Name = Field(
        description="The column that identifies a document: unique, never NULL.", examples=["app_id"]
    )
    document: Name = Field(description="The column that holds the XML.", examples=["app_xml"])
    where: Text | None = Field(
        None,
        description=(
            "A filter on the source's rows, in the source's own SQL. It does not change what a row looks "
            "like, so it is no part of the plan's digest."
        ),
        examples=["status = 'NEW'"],
    )


class DocumentModel(Model):
    """Which documents the contract is for, and how names in its paths are meant."""

    root: Strings = Field(
        description=(
            "The root element, or a list of those accepted. Documents with another root are skipped: "
            "remembered and counted apart, for another contract may be theirs."
        ),
        examples=["/Application", ["/Application", "/LoanApplication"]],
    )
    namespaces: dict[str, Text] = Field(
        default_factory=dict,
        description=(
            'Prefixes used in paths, with their URIs; documents may use others. The prefix `""` is the '
            "namespace of unprefixed element names; unprefixed attributes are in none."
        ),
        examples=[{"d": "http://example.org/d", "": "http://example.org/default"}],
    )
    ignore_case: Flag = Field(
        False, description="Whether element and attribute names match in any case.", examples=[True]
    )
    where: Text | None = Field(
        None,
        description=(
            "A condition on the document, over `path('…')` from the root element. Documents for which it "
            "is not true are skipped."
        ),
        examples=["path('@type') = 'LOAN'"],
    )


class StageModel(Model):
    """How files and dumps become rows of the source table (`stage` command)."""

    record: Text | None = Field(
        None,
        description="The element on which a dump is split. Left out: each file is one document.",
        examples=["Application"],
    )
    key: Text | None = Field(
        None,
        description=(
            "The path of a document's key, from the record's element. Left out: documents are numbered in "
            "order of arrival."
        ),
        examples=["@id"],
    )


class EnumModel(Model):
    """A table of codes: what the document says → what the column holds."""

    description: str | None = Field(None, description="A note for readers.")
    values: dict[str, NullableScalar] = Field(
        min_length=1,
        description=(
            "Each code and its value; null stands for NULL. Codes and values are texts as written (`NO`, "
            "`007` and `1.10` need no quotes); the column's type converts the value."
        ),
        examples=[{"A": 1, "D": 2, "P": 3}],
    )
    missing: NullableScalar = Field(
        None,
        description=(
            "The value where the source is absent or blank. Left out: NULL. (To refuse it, the column says "
            "`required: true`.)"
        ),
        examples=["0"],
    )
    unknown: NullableScalar = Field(
        "reject",
        description="What becomes of a code that is not listed: `reject` the document, null, or a value.",
        examples=["reject", None, "99"],
    )
    ignore_case: Flag = Field(False, description="Whether codes match in any case.", examples=[True])


class ReplaceStep(Model):
    """A cleaning step that replaces texts."""

    replace: Text = Field(description="The name of a table under `replacements`.", examples=["street"])


class PluginStep(Model):
    """A cleaning step of your own."""

    plugin: str = Field(
        pattern=r"^[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*$",
        description=(
            "`package.module:function`, called with the text (`str`), returning `str` or `None`. It must "
            "be importable by the workers and give the same answer each time; its code is no part of the "
            "plan's digest."
        ),
        examples=["acme.cleaning:normalise_phone"],
    )


def _kind_of_step(value: Any) -> str:
    if isinstance(value, dict):
        return "plugin" if "plugin" in value else "replace"
    if isinstance(value, ReplaceStep):
        return "replace"
    if isinstance(value, PluginStep):
        return "plugin"
    return "word"


StepWord = Literal["trim", "upper", "lower", "digits", "collapse", "yes_no"]
ApplyStep = Annotated[
    Annotated[StepWord, Tag("word")]
    | Annotated[ReplaceStep, Tag("replace")]
    | Annotated[PluginStep, Tag("plugin")],
    Discriminator(_kind_of_step),
]


def _as_steps(value: Any) -> Any:
    return [value] if isinstance(value, (str, dict)) else value


class ColumnModel(Model):
    """One column: where its value comes from and how it is converted."""

    description: str | None = Field(None, description="A note for readers.")
    from_: Strings | None = Field(
        None,
        alias="from",
        description=(
            "A path; a list of paths, of which the first that is not blank gives the value; or one of the "
            "loader's words: `$key` (source key), `$parent` or `$parent.column` (the parent row's column), "
            "`$position` (place of the element among those that `rows` matched, from 1, before `where`), "
            "`$parent_position` (place of the enclosing element, with `recurse`), `$source.COLUMN` "
            "(another column of the source row), `$document` (the whole document)."
        ),
        examples=["@id", "Decision/@code", ["Mobile", "Phone"], "$key", "$parent", "$source.received_at"],
    )
    expr: Text | None = Field(
        None,
        description="An expression: see Expressions.",
        examples=["COALESCE(path('Income/@salary', 'decimal(12,2)'), 0)"],
    )
    value: Scalar | None = Field(
        None, description="A constant, as text; the column's type converts it.", examples=["USD"]
    )
    xml: Text | None = Field(
        None,
        description="The path of an element whose serialised subtree is the value; `.` is the row's element.",
        examples=["Remarks", "."],
    )
    server_generated: Flag = Field(
        False,
        description=(
            "The server numbers this column (identity); the loader never writes it, and nothing may refer "
            "to it."
        ),
        examples=[True],
    )
    type: Text | None = Field(
        None,
        description=(
            "The SQL type. Only a `$parent` column, which has the parent's, and the `into` columns of "
            "`items` can do without."
        ),
        examples=["int", "decimal(12,2)", "nvarchar(50)", "datetime2(3)"],
    )
    required: Flag = Field(
        False,
        description=(
            "NOT NULL: a row that lacks the value rejects its document. Implied for `$key`, `$position`, "
            "`$document`, constants, `$parent` of such columns, and columns with a default."
        ),
        examples=[True],
    )
    default: Scalar | None = Field(
        None, description="Text converted to the type and used where the value would be NULL.", examples=["0"]
    )
    default_makes_row: Flag = Field(
        False,
        description="With the table's `drop_empty`: whether the default alone makes a row.",
        examples=[True],
    )
    enum: Text | None = Field(
        None,
        description="The name of a table under `enums` that translates the value.",
        examples=["decision"],
    )
    apply: Annotated[tuple[ApplyStep, ...], BeforeValidator(_as_steps)] = Field(
        (),
        description=(
            "Cleaning steps on the text before it is converted, in order: `trim` (blanks at both ends), "
            "`upper`, `lower`, `digits` (all else removed, zeros kept), `collapse` (runs of blanks become "
            "one), `yes_no` (Y/N, yes/no, true/false, 1/0 → 1/0), `{replace: NAME}`, `{plugin: "
            "module:function}`."
        ),
        examples=[["trim", "upper"], ["digits"], [{"replace": "street"}]],
    )
    format: Strings | None = Field(
        None,
        description="`strptime` format of a date or time, or a list tried in order. Left out: ISO 8601.",
        examples=["%d.%m.%Y", ["%m/%d/%Y", "%Y%m%d"]],
    )
    pick: Literal["first", "last", "join"] | None = Field(
        None,
        description=(
            "Which node gives the value where a path finds several. Left out: several nodes reject the "
            "document."
        ),
        examples=["last"],
    )
    separator: Scalar | None = Field(
        None, description="What `pick: join` puts between the texts. Left out: `, `.", examples=["; "]
    )
    skip_blank: Flag = Field(
        False, description="`pick` passes over nodes whose text is empty or blank.", examples=[True]
    )
    empty: KeepOrNull = Field(
        "keep",
        description=(
            "What an empty text means for a text type: '' itself, or NULL. For other types it is always "
            "missing."
        ),
        examples=["null"],
    )
    on_invalid: RejectOrNull = Field(
        "reject",
        description="A value that cannot be converted: `reject` the document, or null.",
        examples=["null"],
    )
    on_overflow: RejectNullOrTruncate = Field(
        "reject",
        description=(
            "A value too long or out of range: `reject` the document, null, or `truncate` (text and binary "
            "only; counted in the summary)."
        ),
        examples=["truncate"],
    )
    rounding: Literal["reject", "half_up", "half_even", "down"] = Field(
        "reject",
        description=(
            "Digits beyond the type's scale (of a second, too): `reject` the document, or round half away "
            "from zero (`half_up`, as T-SQL's ROUND does), half to even, or towards zero (`down`)."
        ),
        examples=["half_up"],
    )
    zone: Literal["drop", "utc"] | None = Field(
        None,
        description=(
            "A zone in a value whose type has none: `drop` it, or convert to `utc`. Left out: the document "
            "is rejected."
        ),
        examples=["utc"],
    )
    default_zone: str | None = Field(
        None,
        pattern=r"^[+-](0\d|1[0-4]):[0-5]\d$",
        description="datetimeoffset: the zone of a value without one. Left out: the document is rejected.",
        examples=["+00:00"],
    )
    binary: Literal["base64", "hex"] = Field(
        "base64", description="How a binary value is written in the document.", examples=["hex"]
    )
    mask: str | None = Field(
        None,
        pattern=r"^(all|(first|last)[1-9])$",
        description=(
            "Keeps a part of the text only: `lastN` or `firstN` (N = 1 to 9) characters; `all` keeps "
            "nothing and leaves asterisks. See Private values."
        ),
        examples=["last4", "first2", "all"],
    )
    hash: Flag = Field(
        False,
        description=(
            "Puts a keyed digest in the value's place (HMAC-SHA-256; the key is the environment variable "
            "XML_EXTRACTOR_HASH_SALT). See Private values."
        ),
        examples=[True],
    )
    drop: Flag = Field(
        False,
        description="The value is never taken from the document: the column is NULL. See Private values.",
        examples=[True],
    )


class IntoModel(Model):
    """The two columns that a named item fills."""

    name: Name = Field(description="The column that holds the item's name.", examples=["score_code"])
    value: Name = Field(description="The column that holds its value.", examples=["score"])


class ItemsModel(Model):
    """Rows from named items: one for each that is present and not blank (key/value tables)."""

    into: IntoModel = Field(
        description="The columns for name and value; under `columns` they are declared without an origin."
    )
    values: dict[str, Text] = Field(
        min_length=1,
        description="Each item's name and its path.",
        examples=[{"TU": "Bureau/@tu", "EX": "Bureau/@ex"}],
    )


class PreferModel(Model):
    """An order of preference over a column's values."""

    column: Name = Field(description="The column looked at.", examples=["role"])
    values: tuple[Scalar, ...] = Field(
        min_length=1,
        description="Its values, most preferred first; rows with others come after these.",
        examples=[["PRIMARY", "JOINT"]],
    )


class UniqueModel(Model):
    """Which of several rows that are alike is kept, among the rows of one parent row (after `where`)."""

    by: Strings = Field(
        description="The column, or columns, whose values make rows alike.", examples=["contact_id"]
    )
    keep: Literal["first", "last"] = Field(
        "first",
        description="Which one stays, in the order of the document; with `prefer`, it settles ties.",
        examples=["last"],
    )
    prefer: PreferModel | None = Field(
        None, description="Keep the row that comes first in an order of preference."
    )


class TableModel(Model):
    """One target table."""

    description: str | None = Field(None, description="A note for readers.")
    parent: TableName | None = Field(
        None,
        description=(
            "The table whose rows these belong to. Left out: a root table, whose rows belong to the "
            "document. There must be at least one of those."
        ),
        examples=["app_base"],
    )
    rows: Text | None = Field(
        None,
        description=(
            "The path of the elements that make rows, from the parent's element (for a root table, the "
            "root element). Left out: one row per row of the parent, from the same element."
        ),
        examples=["Contacts/Contact"],
    )
    recurse: Text | None = Field(
        None,
        description=(
            "A path from each such element to further ones of the same kind, at any depth; they make rows "
            "of this table too."
        ),
        examples=["sub_tracks/track"],
    )
    items: ItemsModel | None = Field(None, description="One row per named item instead of one per element.")
    where: Text | None = Field(
        None,
        description=(
            "A condition; rows for which it is not true are left out. What is wrong with such a row "
            "(required, too long) does not matter."
        ),
        examples=["path('@role') IN ('PRIMARY', 'JOINT') AND contact_id IS NOT NULL"],
    )
    unique: UniqueModel | None = Field(None, description="Keep one of several rows that are alike.")
    primary_key: Strings | None = Field(
        None,
        description=(
            "The key column, or columns. It should contain the source key: otherwise two documents can "
            "write the same row."
        ),
        examples=["app_id", ["app_id", "contact_id"]],
    )
    drop_empty: Flag = Field(
        False,
        description="Leave out rows in which only keys, positions, parent's columns and defaults are filled.",
        examples=[True],
    )
    columns: dict[Name, ColumnModel] = Field(
        default_factory=dict, description="The columns, in the order of the table."
    )


class ContractModel(Model):
    """A whole contract."""

    contract: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$",
        max_length=100,
        description=(
            "Its name. The ledger keeps documents apart by it: rename a contract and every document counts "
            "as pending again."
        ),
        examples=["loan_application"],
    )
    version: Annotated[int, Field(ge=1)] = Field(
        description="Its version, recorded with every document loaded.", examples=[1]
    )
    description: str | None = Field(None, description="A note for readers.")
    source: SourceModel = Field(description="The table that documents are read from.")
    document: DocumentModel = Field(description="Which documents the contract is for.")
    stage: StageModel = Field(
        default=StageModel(record=None, key=None), description="How files become rows of the source table."
    )
    collation: Literal["default", "binary"] = Field(
        "default",
        description=(
            "How expressions compare text: ignoring case and trailing blanks, as T-SQL's usual "
            "collation does, or exactly (`binary`)."
        ),
        examples=["binary"],
    )
    code_page: Text = Field(
        "cp1252",
        description=(
            "The code page of char and varchar, as Python names it. Lengths count its bytes; a character "
            "that it lacks rejects the document."
        ),
        examples=["cp1252", "utf-8"],
    )
    unknown_elements: Literal["ignore", "report", "halt"] = Field(
        "ignore",
        description=(
            "Elements that no path of the contract reaches: ignored, named in the summary, or (`halt`) named "
            "in the summary and halting a load before its first document when the sample that is tried "
            "then (`--drift-sample`) holds one."
        ),
        examples=["report", "halt"],
    )
    enums: dict[Name, EnumModel] = Field(default_factory=dict, description="Tables of codes, by name.")
    replacements: dict[Name, Annotated[dict[str, Scalar], Field(min_length=1)]] = Field(
        default_factory=dict,
        description="Tables of texts to be replaced, by name: exact substrings, in this order.",
        examples=[{"street": {" St.": " Street"}}],
    )
    tables: dict[TableName, TableModel] = Field(min_length=1, description="The target tables, by name.")
