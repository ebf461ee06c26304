"""Writes documents into the source table: the one place where the loader writes to a source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, TypeVar

from xml_extractor.contract.plan import SourcePlan
from xml_extractor.contract.types import SqlType
from xml_extractor.engines.base import Engine, Session, TableSpec
from xml_extractor.errors import LoaderError, SourceError
from xml_extractor.mapping.records import Key

T = TypeVar("T")


class StagingTable:
    """A writing connection to the source table, which is created by the first transaction if absent.

    Use it as a context manager, in one thread.  Leaving it by an exception rolls back what is open.
    All methods raise :class:`SourceError` when the database refuses.
    """

    def __init__(self, engine: Engine, source: SourcePlan, key_type: SqlType) -> None:
        self._engine = engine
        self._source = source
        self._key_type = key_type
        self._created = False
        self._session: Session | None = None

    def __enter__(self) -> StagingTable:
        self._session = self.guard("connect", self._connect)
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            if exception is not None:
                self.rollback()
            self._session.close()
            self._session = None

    def _connect(self, *, write: bool = True) -> Session:
        return self._engine.connect(write=write, application="xml_extractor stage")

    @property
    def session(self) -> Session:
        """The open connection."""
        if self._session is None:
            raise RuntimeError("the staging table is used as a context manager")
        return self._session

    def begin(self) -> None:
        """Start a transaction."""
        self.guard("begin a transaction", self.session.begin)
        if not self._created:
            self.create_if_absent(
                self._source.table, self._engine.staging_statements(self._source, self._key_type)
            )
            self._created = True

    def create_bookkeeping(self, table: TableSpec) -> None:
        """Create one of the loader's own tables, if absent, within the open transaction."""
        self.create_if_absent(table.name, self._engine.create_statements([table]))

    def create_if_absent(self, table: str, statements: Sequence[str]) -> None:
        """Run the statements if there is no such table."""
        if self._exists(table):
            return
        for statement in statements:
            self.guard(f"create table {table}", lambda sql=statement: self.session.execute(sql))  # type: ignore[misc]

    def _exists(self, table: str) -> bool:
        names = self.guard("list the tables", self.session.table_names)
        if table in names:
            return True
        # A name with a schema, or in another case than the catalogue's: only the database itself can tell.
        # A connection of its own, because a failed statement can spoil the open transaction.
        probe = self.guard("connect", lambda: self._connect(write=False))
        try:
            probe.query(f"SELECT 1 FROM {probe.table(table)} WHERE 1 = 0")
        except Exception:  # noqa: BLE001 - whatever it is: creating the table succeeds or says what is wrong
            return False
        finally:
            probe.close()
        return True

    def commit(self) -> None:
        """Commit the transaction."""
        self.guard("commit", self.session.commit)

    def rollback(self) -> None:
        """Roll back what is open; never raises."""
        try:
            self.session.rollback()
        except Exception:  # noqa: BLE001 - the connection is gone, and with it the transaction
            return

    def insert_new(self, rows: Sequence[tuple[Key, str]]) -> set[Key]:
        """Insert (key, document) rows; return the keys that are there already; their rows stay."""
        columns = (self._source.key, self._source.document)
        return self.guard(
            f"write to {self._source.table}",
            lambda: self.session.insert_new(self._source.table, columns, rows),
        )

    def documents(self, keys: Sequence[Key]) -> dict[Key, Any]:
        """Return the documents that are there under these keys."""
        columns = (self._source.key, self._source.document)
        rows = self.guard(
            f"read {self._source.table}",
            lambda: self.session.existing(self._source.table, columns, self._source.key, keys),
        )
        return {row[0]: row[1] for row in rows}

    def largest_key(self) -> int:
        """Return the largest key, or 0 for an empty table.

        Raises:
            SourceError: keys are not integers, so that no sequence can go on from them.
        """
        key, table = self._engine.quote(self._source.key), self.session.table(self._source.table)
        sql = f"SELECT MAX({key}) FROM {table}"
        rows = self.guard("find the largest key", lambda: self.session.query(sql))
        largest = rows[0][0]
        if largest is None:
            return 0
        if not isinstance(largest, int):
            raise SourceError(
                f"key column {self._source.key} of {self._source.table} is not an integer, so files "
                "cannot be numbered in order of arrival; name where the key stands in the document as "
                "stage.key in the contract"
            )
        return largest

    def guard(self, doing: str, call: Callable[[], T]) -> T:
        """Run a call of the session and say in the operator's words what fails."""
        try:
            return call()
        except LoaderError:
            raise
        except Exception as error:
            fault = self._engine.classify(error)
            code = fault.native_code or fault.code
            raise SourceError(
                f"{self._engine.display} failed to {doing}: {fault.message} ({code}); what was "
                "committed stays, and the same command, run again, goes on from there"
            ) from error
