"""Plans put together by hand, for tests of what runs plans."""

from __future__ import annotations

from xml_extractor.contract.plan import (
    Column,
    ColumnSource,
    Conversion,
    Plan,
    SourceKind,
    SourcePlan,
    StagePlan,
    Table,
)
from xml_extractor.contract.types import parse_type

SOURCE = SourcePlan(name=None, table="app_xml", key="app_id", document="app_xml", where=None, columns=())


def column(name: str, type_: str, *, nullable: bool = True, server_generated: bool = False) -> Column:
    """A column; where its value comes from does not matter here."""
    kind = parse_type(type_)
    return Column(
        name=name,
        type=kind,
        source=ColumnSource(SourceKind.CONSTANT, "constant"),
        conversion=Conversion(kind),
        nullable=nullable,
        server_generated=server_generated,
    )


def table(
    name: str,
    *columns: Column,
    primary_key: tuple[int, ...] = (0,),
    parent: int | None = None,
    foreign_key: tuple[tuple[int, int], ...] = (),
) -> Table:
    """A table of the root's scope."""
    return Table(
        name=name,
        columns=columns,
        primary_key=primary_key,
        parent=parent,
        foreign_key=foreign_key,
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


def plan(*tables: Table, source: SourcePlan = SOURCE) -> Plan:
    """A plan of these tables."""
    return Plan(
        contract="test",
        version=1,
        digest="0" * 64,
        source=source,
        stage=StagePlan(None, None),
        namespaces=(),
        ignore_case=False,
        binary_collation=False,
        roots=("root",),
        document_where=None,
        document_where_text=None,
        report_unknown=False,
        scopes=(),
        tables=tables,
    )
