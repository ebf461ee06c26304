"""The catalogue of servers that are not at hand: synonyms, encryption, types of the CLR."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from tests.support.plans import SOURCE
from xml_extractor.engines.base import Session
from xml_extractor.engines.checks import ExistingColumn
from xml_extractor.engines.mssql import catalogue
from xml_extractor.engines.mssql.catalogue import KeyColumn


class Scripted:
    """Answers queries by a word in them, and remembers what was asked."""

    def __init__(self, answers: dict[str, list[tuple[Any, ...]]]) -> None:
        self._answers = answers
        self.asked: list[tuple[str, tuple[Any, ...]]] = []

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        self.asked.append((sql, tuple(parameters)))
        return next((rows for word, rows in self._answers.items() if word in sql), [])


def column_row(name: str, declared: str, base: str | None, **changes: Any) -> tuple[Any, ...]:
    row = {
        "name": name, "declared": declared, "base": base, "max_length": 8, "precision": 0, "scale": 0,
        "nullable": True, "has_default": 0, "generated": 0, "encrypted": 0, "xml_collection": 0,
        "collation": None, "code_page": None,
    }  # fmt: skip
    return tuple({**row, **changes}.values())


def described(*rows: tuple[Any, ...]) -> tuple[ExistingColumn, ...]:
    session = Scripted({"sys.objects": [(7,)], "sys.columns": list(rows)})
    found = catalogue.describe(cast("Session", session), "t", None)
    assert found is not None
    return found.columns


def test_columns_of_odd_types() -> None:
    columns = described(
        column_row("a", "geography", None),
        column_row("b", "xml", "xml", xml_collection=65536),
        column_row("c", "nvarchar", "nvarchar", max_length=18, encrypted=1),
        column_row("d", "money_type", "numeric", precision=9, scale=2),
        column_row("e", "datetime2", "datetime2", scale=7, generated=1),
        column_row("f", "timestamp", "timestamp", nullable=False),
    )
    assert [c.type_text for c in columns] == [
        "geography", "xml with a schema collection", "nvarchar(9), encrypted", "money_type (decimal(9,2))",
        "datetime2(7)", "rowversion",
    ]  # fmt: skip
    assert [c.kind for c in columns] == ["geography", "xml", "encrypted", "decimal", "datetime2", "timestamp"]
    assert [c.never_written for c in columns] == [False] * 4 + [True] * 2
    assert [c.has_default for c in columns] == [False] * 4 + [True] * 2


def test_a_synonym_for_a_table_of_another_database() -> None:
    session = Scripted(
        {
            "[other].sys.objects": [(9,)],
            "sys.synonyms": [("[other].[dbo].[t]", "other", None)],
            "[other].sys.columns": [column_row("i", "int", "int")],
        }
    )
    found = catalogue.describe(cast("Session", session), "s", "app")
    assert found is not None
    assert [c.name for c in found.columns] == ["i"]
    assert ("[app].[s]",) == session.asked[0][1] == session.asked[1][1]
    assert session.asked[2][1] == ("[other].[dbo].[t]",)
    assert session.asked[3][1] == (9,)


def test_a_synonym_for_a_table_of_another_server() -> None:
    session = Scripted(
        {"[other].sys.objects": [(9,)], "sys.synonyms": [("[far].[other].[dbo].[t]", "other", "far")]}
    )
    assert catalogue.describe(cast("Session", session), "s", None) is None


@pytest.mark.parametrize(
    ("type_sql", "collation", "parameter"),
    [
        ("bigint", None, "CAST(? AS bigint)"),
        ("decimal(18,0)", None, "CAST(? AS decimal(18,0))"),
        ("char(9)", "C1", "CAST(? COLLATE C1 AS varchar(8000)) COLLATE C1"),
        ("nvarchar(9)", "C2", "CAST(? COLLATE C2 AS nvarchar(4000)) COLLATE C2"),
        ("varchar(max)", "C3", "CAST(? COLLATE C3 AS varchar(max)) COLLATE C3"),
    ],
)
def test_parameters_of_keys(type_sql: str, collation: str | None, parameter: str) -> None:
    key = KeyColumn("k", type_sql, collation, collation is None, False, False, True)
    assert key.parameter == parameter


def key_problem(
    *, repeated: int, in_bytes: int, base: str = "varchar", max_length: int = 9
) -> tuple[str | None, list[str]]:
    session = Scripted(
        {
            "CATALOG_DEFAULT": [(1,)],
            "sys.objects": [(7,)],
            "sys.indexes": [],
            "sys.columns": [
                column_row("app_id", base, base, max_length=max_length, nullable=False,
                           collation="Latin1_General_CI_AS" if base == "varchar" else None),
                column_row("app_xml", "xml", "xml"),
            ],
            "varbinary": [(in_bytes,)],
            "repeated": [(repeated,)],
        }
    )  # fmt: skip
    problem = catalogue.key_problem(cast("Session", session), SOURCE, "the database", "app")
    return problem, [sql for sql, _ in session.asked if "repeated" in sql]


def test_keys_that_are_one_to_the_collation() -> None:
    problem, asked = key_problem(repeated=1, in_bytes=0)
    assert "1 key of column app_xml.app_id" in (problem or "")
    assert "under the column's collation Latin1_General_CI_AS" in (problem or "")
    assert "FROM [app].[app_xml] GROUP BY [app_id] HAVING" in asked[0]
    assert "CAST([app_id] AS varbinary(8000))" in asked[1]


def test_keys_that_are_one() -> None:
    assert "2 keys occur more than once" in (key_problem(repeated=2, in_bytes=1)[0] or "")
    problem, asked = key_problem(repeated=2, in_bytes=0, base="int")
    assert "2 keys occur more than once" in (problem or "")
    assert len(asked) == 1
    assert key_problem(repeated=0, in_bytes=0)[0] is None


def test_keys_of_any_length() -> None:
    _, asked = key_problem(repeated=1, in_bytes=0, max_length=-1)
    assert "CAST([app_id] AS varbinary(max))" in asked[1]
