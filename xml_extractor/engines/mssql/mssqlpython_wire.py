"""A connection by mssql-python, which brings its own ODBC driver and needs no driver manager.

It gives temporals as Python's own types: of a seventh digit of a second it keeps six.
"""

from __future__ import annotations

import contextlib
import importlib
import math
from collections.abc import Callable, Sequence
from typing import Any

from xml_extractor.engines.mssql import drivers
from xml_extractor.engines.mssql.connection import ConnectionSettings, odbc_string
from xml_extractor.engines.mssql.dbapi_wire import DbapiWire
from xml_extractor.engines.mssql.native_errors import keep_diagnostics
from xml_extractor.engines.mssql.wires import canonical


class MssqlPythonWire(DbapiWire):
    """See :class:`.wires.Wire`; use :meth:`open`."""

    @classmethod
    def open(
        cls,
        settings: ConnectionSettings,
        *,
        application: str,
        connect_seconds: float,
        statement_seconds: float,
        read_only_intent: bool = False,
    ) -> MssqlPythonWire:
        """Connect; see :meth:`.pyodbc_wire.PyodbcWire.open`.

        Args:
            application: stands in the session's CONTEXT_INFO: this driver sets the program's name itself.
        """
        module = drivers.import_mssql_python()
        # A connection out of the driver's own pool would come with another session's settings.
        module.pooling(enabled=False)
        text = odbc_string(settings, application=application, driver=None, read_only_intent=read_only_intent)
        connection = module.connect(text, autocommit=True, timeout=max(1, math.ceil(connect_seconds)))
        try:
            connection.timeout = math.ceil(statement_seconds)
            wire = cls(connection)
            wire.driver = f"mssql-python {module.__version__}"
            wire.execute(f"SET CONTEXT_INFO 0x{application.encode('ascii', 'replace')[:128].hex()}")
        except BaseException:
            with contextlib.suppress(Exception):
                connection.close()
            raise
        return wire

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self._records: list[tuple[str, str]] = []
        """What the driver beneath says of an error whose statement is given up before anyone can ask."""

    def _cursor(self) -> Any:
        cursor = super()._cursor()
        reset: Callable[[], None] | None = getattr(cursor, "_reset_cursor", None)
        if reset is not None:
            give_up = reset

            def keep_and_reset() -> None:
                # Cursor.execute does so when the server refuses; the numbers go with the statement.
                self._records = _diagnostics(cursor)
                give_up()

            cursor._reset_cursor = keep_and_reset
        return cursor

    def _complete(self, error: Exception, cursor: Any) -> None:
        records, self._records = self._records or _diagnostics(cursor), []
        if records:
            keep_diagnostics(error, records)

    def _bind(self, values: Sequence[Any]) -> Sequence[Any]:
        return values

    def _canonical_rows(self, rows: list[Any]) -> list[tuple[Any, ...]]:
        return [tuple(map(canonical, row)) for row in rows]

    def _touched(self, cursor: Any) -> int:
        # The cursor keeps the first result's count; the driver beneath knows the present one's.  That is not
        # documented: where it is gone, the first one has to do, which is another's only after a trigger.
        try:
            bindings: Any = importlib.import_module("mssql_python.ddbc_bindings")
            count: int = bindings.DDBCSQLRowCount(cursor.hstmt)
        except (ImportError, AttributeError):
            return super()._touched(cursor)
        return count

    def _as_arrays(self, cursor: Any) -> None:
        """It always does."""

    def _break_off(self, cursor: Any) -> None:
        # Not part of the driver's documented interface; where it is gone, the time limits have to do.
        cursor.hstmt._cancel()


def _diagnostics(cursor: Any) -> list[tuple[str, str]]:
    """Return the records of the last error on a cursor's statement, with the server's numbers.

    Not part of the driver's documented interface: where it is gone, or the driver raised the error itself,
    there are none, and errors are told by their words.
    """
    with contextlib.suppress(Exception):
        bindings: Any = importlib.import_module("mssql_python.ddbc_bindings")
        if cursor.hstmt is not None:
            return [
                (str(state), str(text)) for state, text in bindings.DDBCSQLGetAllDiagRecords(cursor.hstmt)
            ]
    return []
