"""One database with the rows that expressions are evaluated on, for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.mssql_expressions.server import ExpressionServer, expression_server
from tests.integration.mssql_expressions.table import COLUMNS, ROWS
from tests.support.mssql_servers import MssqlServer
from xml_extractor.contract.types import Value


@pytest.fixture(scope="package")
def rows(mssql: MssqlServer) -> list[dict[str, Value]]:
    """The rows as the server can hold them."""
    held = [dict(row) for row in ROWS]
    if mssql.is_babelfish:  # six digits of a second
        for row in held[:-1]:
            row["moment"] = "2007-01-01 13:10:10.1111110"
    return held


@pytest.fixture(scope="package")
def server(mssql: MssqlServer, rows: list[dict[str, Value]]) -> Iterator[ExpressionServer]:
    """The server with these rows."""
    with expression_server(mssql, COLUMNS, rows) as opened:
        yield opened
