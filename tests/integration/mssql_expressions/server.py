"""Expressions as a server evaluates them: the same texts, over a table of the same typed columns."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from tests.support.mssql_servers import MssqlServer
from xml_extractor.contract.types import Family, SqlType, Value

STATEMENT_SECONDS: Final = 20
BATCH: Final = 40
"""Expressions asked for in one statement."""

Row = Mapping[str, Value]


@dataclass(frozen=True)
class Question:
    """An expression to be evaluated on one row of the table; ``type`` is what the loader says it gives."""

    text: str
    type: SqlType | None
    row: int


@dataclass(frozen=True)
class Failure:
    """The server could not evaluate an expression."""

    message: str


@dataclass(frozen=True)
class DeclaredType:
    """A result's type in the server's words: its name without lengths, and a number's or time's digits."""

    name: str
    precision: int
    scale: int


class ExpressionServer:
    """A database with the table ``data`` (one row per ``row_id``) and ``parent``.  One thread's.

    Values come as text, by the server's own conversion: a server that sends what its own description of
    the result does not allow (and there is one) would otherwise break the connection.
    """

    def __init__(
        self, server: MssqlServer, url: str, columns: Mapping[str, str], rows: Sequence[Row]
    ) -> None:
        import pyodbc  # needs a library of the system, as in mssql_servers.py

        # A server's error, or an answer that is no value of the type that it should have.
        self._errors = (pyodbc.Error, ValueError, ArithmeticError)
        self._server, self._url = server, url
        self._connection = self._connected()
        declared = ", ".join(f"[{name}] {type_}" for name, type_ in columns.items())
        self._connection.execute(f"CREATE TABLE data (row_id int NOT NULL, {declared})")
        self._connection.execute("CREATE TABLE parent (id int, label varchar(10))")
        self._connection.execute("INSERT INTO parent VALUES (77, 'parent')")
        for index, row in enumerate(rows):
            values = ", ".join(_constant(row[name], type_) for name, type_ in columns.items())
            self._connection.execute(f"INSERT INTO data VALUES ({index}, {values})")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def values(self, questions: Sequence[Question], *, alone: bool = False) -> list[Value | Failure]:
        """The values, in the questions' order; ``alone`` asks for each in a statement of its own."""
        results: list[Value | Failure] = [None] * len(questions)
        by_row: dict[int, list[int]] = {}
        for place, question in enumerate(questions):
            by_row.setdefault(question.row, []).append(place)
        for row, places in by_row.items():

            def ask(chosen: Sequence[int], row: int = row) -> list[Any]:
                return self._ask([questions[i] for i in chosen], row)

            for place, result in self._in_batches(places, ask, 1 if alone else BATCH):
                results[place] = result
        return results

    def types(self, texts: Sequence[str], *, alone: bool = False) -> list[DeclaredType | Failure]:
        """The types of expressions, in their order; nothing is evaluated but constants."""

        def ask(chosen: Sequence[int]) -> list[Any]:
            return self._declared([texts[i] for i in chosen])

        found = dict(self._in_batches(range(len(texts)), ask, 1 if alone else BATCH))
        return [found[place] for place in range(len(texts))]

    def _in_batches(
        self, places: Sequence[int], ask: Callable[[Sequence[int]], list[Any]], size: int
    ) -> Iterator[tuple[int, Any | Failure]]:
        """Ask in batches; where one fails, halve it until what fails stands alone."""
        pending = [places[start : start + size] for start in range(0, len(places), size)]
        while pending:
            batch = pending.pop()
            try:
                yield from zip(batch, ask(batch), strict=True)
            except self._errors as error:
                if len(batch) == 1:
                    yield batch[0], Failure(str(error))
                else:
                    middle = len(batch) // 2
                    pending += [batch[:middle], batch[middle:]]

    def _connected(self) -> Any:
        connection = self._server.connect(self._url)
        connection.timeout = STATEMENT_SECONDS
        for number in (-16, -155):  # sql_variant, datetimeoffset: pyodbc wants to be told what to do
            connection.add_output_converter(number, bytes)
        return connection

    def _ask(self, questions: Sequence[Question], row: int) -> list[Any]:
        columns = ", ".join(_asked(question) for question in questions)
        select = f"SELECT {columns} FROM data CROSS JOIN parent WHERE row_id = {row}"
        with self._kept():
            [texts] = self._connection.execute(select).fetchall()
        return [canonical(text, question.type) for text, question in zip(texts, questions, strict=True)]

    @contextlib.contextmanager
    def _kept(self) -> Iterator[None]:
        """Connect anew after an error that has broken the connection."""
        try:
            yield
        except self._errors:
            if not self._answers():
                self._connection = self._connected()
            raise

    def _answers(self) -> bool:
        with contextlib.suppress(*self._errors):
            return bool(self._connection.execute("SELECT 1").fetchval() == 1)
        return False

    def _declared(self, texts: Sequence[str]) -> list[DeclaredType]:
        columns = ", ".join(f"{text} AS c{place}" for place, text in enumerate(texts))
        select = f"SELECT {columns} FROM data CROSS JOIN parent"
        with self._kept():
            described = self._connection.execute("EXEC sp_describe_first_result_set ?", select).fetchall()
            description = self._connection.execute(f"{select} WHERE 1 = 0").description
        return [
            DeclaredType(row.system_type_name.partition("(")[0], column[4], column[5])
            for row, column in zip(described, description, strict=True)
        ]


@contextlib.contextmanager
def expression_server(
    server: MssqlServer, columns: Mapping[str, str], rows: Sequence[Row], *, options: str = ""
) -> Iterator[ExpressionServer]:
    """A database of its own with the table, dropped in the end."""
    with (
        server.database(options=options) as url,
        contextlib.closing(ExpressionServer(server, url, columns, rows)) as expressions,
    ):
        yield expressions


def _constant(value: Value, type_: str) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    if isinstance(value, bool):
        return str(int(value))
    text = repr(value) if isinstance(value, float) else str(value)
    if isinstance(value, Decimal):
        text = f"{value:f}"
    quoted = text.replace("'", "''")
    return f"CAST(N'{quoted}' AS {type_})"


def _asked(question: Question) -> str:
    """The expression as text that loses nothing."""
    type_, text = question.type, question.text
    if type_ is not None and type_.family is Family.BINARY:
        return text
    if type_ is not None and type_.name in ("money", "smallmoney"):
        text = f"CAST({text} AS decimal(19,4))"
    style = _STYLES.get(type_.family, "") if type_ is not None else ""
    return f"CONVERT(nvarchar(max), {text}{style})"


_STYLES: Final = {
    Family.FLOAT: ", 3", Family.DATE: ", 121", Family.TIME: ", 121", Family.DATETIME: ", 121",
    Family.DATETIMEOFFSET: ", 121",
}  # fmt: skip


def canonical(value: Value, type_: SqlType | None) -> Value:
    """A value, or its text from a server, so that it can be compared: without digits of no meaning."""
    if value is None or type_ is None:
        return value
    if type_.family is Family.BIT:
        return value in (True, "1")
    if type_.family is Family.INTEGER:
        return int(value)
    if type_.family is Family.DECIMAL:
        return Decimal(str(value))
    if type_.family is Family.FLOAT:
        number = float(value)
        return struct.unpack("<f", struct.pack("<f", number))[0] if type_.name == "real" else number
    if type_.family is Family.GUID:
        return str(value).lower()
    if type_.family in (Family.TIME, Family.DATETIME, Family.DATETIMEOFFSET):
        zoned = type_.family is Family.DATETIMEOFFSET
        moment, zone = (str(value)[:-6].rstrip(" "), str(value)[-6:]) if zoned else (str(value), "")
        return (moment.rstrip("0").rstrip(".") if "." in moment else moment) + zone
    return value
