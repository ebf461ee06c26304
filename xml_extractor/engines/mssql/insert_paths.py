"""The ways in: their names, and what each of them is to a session.

:mod:`.path_choice` finds out which of them a server offers, chooses, and makes encoders and writers
(``settle``, ``encoder``, ``row_writer``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from xml_extractor.contract.plan import Table
from xml_extractor.engines.mssql.wires import Wire

BULKCOPY: Final = "bulkcopy"
OPENJSON: Final = "openjson"
FAST_EXECUTEMANY: Final = "fast-executemany"
EXECUTEMANY: Final = "executemany"
INSERT_PATHS: Final = (BULKCOPY, OPENJSON, FAST_EXECUTEMANY, EXECUTEMANY)
"""Fastest first, as measured next to the server."""

LOCK_ESCALATION_ROWS: Final = 4_000
"""Rows a statement where lock escalation is to be avoided: the server locks the whole table once a statement
holds 5,000 locks on one table or index (Microsoft's "Transaction locking and row versioning guide")."""


class RowWriter(Protocol):
    """Writes encoded rows over a wire, inside the transaction that is open on it.  One session's."""

    table_seconds: dict[str, float]
    """Of the last :meth:`write_tables`: table → seconds, where a table has requests of its own."""

    def write_tables(self, wire: Wire, tables: Sequence[tuple[Table, Sequence[Any]]]) -> list[int]:
        """Insert the rows of several tables, parents first; return the rows that each table took.

        Args:
            tables: each with what the path's encoder made of the table's rows, document by document.
        """
        ...
