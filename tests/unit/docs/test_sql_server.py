"""The page about SQL Server lists exactly what the server that it was tested on cannot do."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support import mssql_gaps
from xml_extractor.engines.mssql import ddl, insert_paths
from xml_extractor.settings import FIELDS, flag

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "sql-server.md").read_text(encoding="utf-8")


def test_the_exceptions_of_the_tests_server_are_listed() -> None:
    listed = PAGE.split("<!-- gaps -->")[1].split("<!-- /gaps -->")[0].strip()
    assert listed == "\n".join(f"- {gap.reason}" for gap in mssql_gaps.ALL), (
        "put what this prints between the gaps marks of docs/sql-server.md: "
        'python -c "from tests.support.mssql_gaps import ALL\n'
        "for gap in ALL: print('-', gap.reason)\""
    )


def test_every_way_in_is_described() -> None:
    assert re.findall(
        r"^\| `([a-z-]+)` \|", PAGE.split("`--insert-path` | how")[1].split("\n\n")[0], re.M
    ) == [*insert_paths.INSERT_PATHS]


def test_every_setting_of_sql_server_is_named() -> None:
    for name, field in FIELDS.items():
        if (field.description or "").startswith("SQL Server"):
            assert flag(name) in PAGE, f"docs/sql-server.md does not speak of {flag(name)}"


def test_the_limits_are_the_programs() -> None:
    for limit in (ddl.CLUSTERED_KEY_BYTES, ddl.INDEX_KEY_BYTES, ddl.TABLE_COLUMNS, ddl.ROW_BYTES):
        assert f"{limit:,}" in PAGE
    assert f"more than {insert_paths.LOCK_ESCALATION_ROWS:,} rows" in PAGE
