"""A small plan and records for it, made by hand, so that the target's tests need no contract and no XML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from xml_extractor.contract.plan import (
    Column,
    ColumnSource,
    Conversion,
    Plan,
    Scope,
    SourceKind,
    SourcePlan,
    StagePlan,
    Table,
)
from xml_extractor.contract.types import parse_type
from xml_extractor.mapping.layouts import RowEncoder
from xml_extractor.mapping.records import (
    DocumentRecord,
    Key,
    Previous,
    Rejection,
    Row,
    Stage,
    State,
)

CONTRACT = "loan"
SOURCE = "lending"
DIGEST = "a" * 64
OTHER_DIGEST = "b" * 64


def column(
    name: str,
    type_text: str,
    kind: SourceKind = SourceKind.CAPTURES,
    *,
    nullable: bool = False,
    parent_column: int | None = None,
    server_generated: bool = False,
) -> Column:
    type_ = parse_type(type_text)
    source = ColumnSource(kind, kind.value, parent_column=parent_column)
    return Column(name, type_, source, Conversion(type_), nullable, server_generated=server_generated)


def table(
    name: str, columns: Sequence[Column], primary_key: tuple[int, ...], *, child: bool = False
) -> Table:
    return Table(
        name=name,
        columns=tuple(columns),
        primary_key=primary_key,
        parent=0 if child else None,
        foreign_key=((0, 0),) if child else (),
        scope=0,
        order=tuple(range(len(columns))),
        where=None,
        where_text=None,
        unique=None,
        items=(),
        drop_empty=False,
        key_column=0,
        key_reaches_source=True,
    )


def plan(digest: str = DIGEST, key_type: str = "int", contract: str = CONTRACT) -> Plan:
    """``base`` (id, name, amount) and its child ``contact`` (id, no, phone)."""
    base = table(
        "base",
        [
            column("id", key_type, SourceKind.KEY),
            column("name", "nvarchar(20)"),
            column("amount", "decimal(12,2)", nullable=True),
        ],
        (0,),
    )
    contact = table(
        "contact",
        [
            column("id", key_type, SourceKind.PARENT, parent_column=0),
            column("no", "int", SourceKind.POSITION),
            column("phone", "varchar(20)", nullable=True),
        ],
        (0, 1),
        child=True,
    )
    return Plan(
        contract=contract,
        version=1,
        digest=digest,
        source=SourcePlan(None, "app_xml", "app_id", "app_xml", None, ()),
        stage=StagePlan(None, None),
        namespaces=(),
        ignore_case=False,
        binary_collation=False,
        roots=("a",),
        document_where=None,
        document_where_text=None,
        report_unknown=False,
        scopes=(Scope(None, None, None, ()),),
        tables=(base, contact),
    )


def rows(key: Key, contacts: int = 2, name: str | None = None) -> tuple[list[Row], ...]:
    """The rows of one document."""
    from decimal import Decimal

    return (
        [(key, f"n{key}" if name is None else name, Decimal("1.10"))],
        [(key, number, f"0{number}") for number in range(1, contacts + 1)],
    )


def loaded(
    encoder: RowEncoder,
    key: Key,
    contacts: int = 2,
    *,
    name: str | None = None,
    previous: Previous | None = None,
    document_rows: tuple[list[Row], ...] | None = None,
) -> DocumentRecord:
    """A record to be loaded."""
    mapped = rows(key, contacts, name) if document_rows is None else document_rows
    encoded, size = encoder(mapped)
    return DocumentRecord(
        key=key,
        state=State.LOADED,
        document_hash=b"h" * 16,
        rows=encoded,
        row_counts=tuple(map(len, mapped)),
        size_bytes=size,
        previous=previous,
    )


def refused(key: Key, state: State = State.QUARANTINED, previous: Previous | None = None) -> DocumentRecord:
    """A record that a worker rejected or skipped."""
    return DocumentRecord(
        key=key,
        state=state,
        document_hash=b"",
        rejection=Rejection(Stage.PARSE, "not_well_formed", "it is no XML", path="a/b"),
        previous=previous,
    )


def without_key(plan_: Plan) -> Plan:
    """The plan with a child table that does not carry the source key."""
    return replace(plan_, tables=(plan_.tables[0], replace(plan_.tables[1], key_column=None)))
