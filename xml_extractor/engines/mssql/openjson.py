"""Rows as JSON: all tables of a batch in one request, typed by SQL.

One parameter a statement holds a table's rows as an array of arrays, and the WITH clause of OPENJSON says
what each position is.  The number of rows that each INSERT took comes back with the answer, so a batch
usually costs one round trip.  OPENJSON needs compatibility level 130 (SQL Server 2016).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

from xml_extractor.contract.plan import Table
from xml_extractor.contract.types import Family
from xml_extractor.engines.encoding import written_columns
from xml_extractor.engines.mssql.encoders import Unstorable, fragment, fragment_rows, storable
from xml_extractor.engines.mssql.insert_paths import LOCK_ESCALATION_ROWS, RowWriter
from xml_extractor.engines.mssql.names import quote_identifier, quote_table
from xml_extractor.engines.mssql.rowwise import IdentityInsert, ValuesWriter
from xml_extractor.engines.mssql.types import from_json, json_type
from xml_extractor.engines.mssql.wires import MOST_CHARACTERS, Queryable, Wire, utf16_length
from xml_extractor.errors import TargetError

REQUEST_CHARACTERS: Final = 16 * 1024 * 1024
"""JSON in one request, in characters; 32 MiB as UTF-16.  The server holds a request's parameters in memory or
in tempdb until it is done, and so does the driver; a batch of 1,000 documents is some 2 to 5 million."""

MOST_PARAMETERS: Final = 1000
"""Statements, with one parameter each, in one request; SQL Server takes 2,100 parameters."""

ESCAPES: Final = "escapes"
HEXADECIMAL: Final = "hexadecimal"
LONG_TEXTS: Final = "long texts"

_PROBE: Final = (
    "SELECT c0, CONVERT(varbinary(4), c1, 2), c2 FROM OPENJSON(?) "
    "WITH (c0 nvarchar(20) '$[0]', c1 varchar(8) '$[1]', c2 nvarchar(max) '$[2]')"
)
_PROBE_TEXT: Final = 'a"\\/\n\t\x01é'
_PROBE_BYTES: Final = b"\x00\xff"
_PROBE_LONG_TEXT: Final = "x" * (MOST_CHARACTERS + 1)


def openjson_gaps(session: Queryable) -> frozenset[str]:
    """Ask the server what its OPENJSON does not give back as it was; nothing is written.

    SQL Server has no gaps.  Servers that only speak its language have been seen to leave JSON's escapes in
    texts, to take hexadecimal digits for the bytes themselves, and to cut nvarchar(max) at 4,000 characters.

    Raises:
        Exception: the driver's; the server may have no OPENJSON at all.
    """
    sent = fragment([[_PROBE_TEXT, _PROBE_BYTES.hex(), _PROBE_LONG_TEXT]])
    (text, data, long_text), *_ = session.query(_PROBE, (f"[{sent}]",))
    kept = {
        ESCAPES: text == _PROBE_TEXT,
        HEXADECIMAL: data == _PROBE_BYTES,
        LONG_TEXTS: long_text == _PROBE_LONG_TEXT,
    }
    return frozenset(gap for gap, is_kept in kept.items() if not is_kept)


class OpenJsonWriter(RowWriter):
    """Writes the fragments of :class:`~xml_extractor.engines.mssql.encoders.JsonEncoder`.

    Args:
        schema: where tables named without a schema are.
        keep_identity: tables, named as the contract does, into whose identity column it puts values.
        avoid_lock_escalation: split statements so that none takes the locks of a whole table.
        gaps: what :func:`openjson_gaps` found; rows that would suffer go by parameters, within the same
            transaction.
    """

    def __init__(
        self,
        schema: str | None = None,
        *,
        keep_identity: Collection[str] = (),
        avoid_lock_escalation: bool = False,
        gaps: Collection[str] = (),
    ) -> None:
        self._schema = schema
        self._identity = IdentityInsert(schema, keep_identity)
        self._most_rows = LOCK_ESCALATION_ROWS if avoid_lock_escalation else None
        self._gaps = frozenset(gaps)
        self._by_parameters = ValuesWriter(schema, keep_identity=keep_identity)
        self.table_seconds: dict[str, float] = {}  # none: one request serves several tables
        self._inserts: dict[str, str] = {}
        self._requests: dict[tuple[str, ...], str] = {}

    def write_tables(
        self, wire: Wire, tables: Sequence[tuple[Table, Sequence[str | Unstorable]]]
    ) -> list[int]:
        """Insert the rows of several tables, parents first; return the rows that each table took.

        Raises:
            UnstorableText: a text that must not be stored; nothing was sent to the server.
            Exception: the driver's.
        """
        taken = [0] * len(tables)
        request: list[tuple[int, Table, str]] = []
        characters = 0
        all_pieces = [storable(pieces) for _, pieces in tables]
        for index, (table, _) in enumerate(tables):
            sent, apart = self._sorted_out(table, all_pieces[index])
            for array in _arrays(sent, self._most_rows):
                if request and (
                    characters + len(array) > REQUEST_CHARACTERS or len(request) == MOST_PARAMETERS
                ):
                    self._send(wire, request, taken)
                    request, characters = [], 0
                request.append((index, table, array))
                characters += len(array)
            if apart:
                if request:  # parents first
                    self._send(wire, request, taken)
                    request, characters = [], 0
                taken[index] += self._by_parameters.write_table(wire, table, _parameters(table, apart))
        if request:
            self._send(wire, request, taken)
        return taken

    def _sorted_out(self, table: Table, pieces: list[str]) -> tuple[list[str], list[str]]:
        """Divide a table's fragments into those for OPENJSON and those that this server would get wrong."""
        if not self._gaps:
            return pieces, []
        types = [table.columns[i].type for i in written_columns(table)]
        if HEXADECIMAL in self._gaps and any(kind.family is Family.BINARY for kind in types):
            return [], pieces
        has_escapes = ESCAPES in self._gaps
        has_long = LONG_TEXTS in self._gaps and any(json_type(kind) == "nvarchar(max)" for kind in types)

        def is_wrong(piece: str) -> bool:
            # A backslash in JSON is an escape, whatever stands behind it.
            return (has_escapes and "\\" in piece) or (has_long and _has_long_text(piece))

        sent: list[str] = []
        apart: list[str] = []
        for piece in pieces:
            (apart if is_wrong(piece) else sent).append(piece)
        return sent, apart

    def _send(self, wire: Wire, request: list[tuple[int, Table, str]], taken: list[int]) -> None:
        names = tuple(table.name for _, table, _ in request)
        sql = self._requests.get(names)
        if sql is None:
            sql = self._requests[names] = self._request([table for _, table, _ in request])
        rows = wire.query(sql, [array for _, _, array in request])
        if len(rows) != 1 or len(rows[0]) != len(request):
            raise TargetError(
                f"an INSERT into one of {', '.join(dict.fromkeys(names))} answered with rows of its own; "
                "look for a trigger that holds a SELECT, and take it out. Nothing of the batch was "
                "committed; what was committed before stays"
            )
        for (index, _, _), count in zip(request, rows[0], strict=True):
            taken[index] += count

    def _request(self, tables: Sequence[Table]) -> str:
        """The SQL of one request: an INSERT for each table given, and a row of their counts."""
        counts = [f"@n{i}" for i in range(len(tables))]
        lines = ["SET NOCOUNT ON;", f"DECLARE {', '.join(f'{count} bigint' for count in counts)};"]
        for count, table in zip(counts, tables, strict=True):
            lines += self._identity.around(table, f"{self._insert(table)}; SET {count} = @@ROWCOUNT;")
        lines += ["SET NOCOUNT OFF;", f"SELECT {', '.join(counts)};"]
        return "\n".join(lines)

    def _insert(self, table: Table) -> str:
        sql = self._inserts.get(table.name)
        if sql is None:
            columns = [table.columns[i] for i in written_columns(table)]
            names = ", ".join(quote_identifier(column.name) for column in columns)
            values = ", ".join(from_json(column.type, f"c{i}") for i, column in enumerate(columns))
            types = ", ".join(f"c{i} {json_type(column.type)} '$[{i}]'" for i, column in enumerate(columns))
            sql = self._inserts[table.name] = (
                f"INSERT INTO {quote_table(table.name, self._schema)} ({names}) "
                f"SELECT {values} FROM OPENJSON(?) WITH ({types})"
            )
        return sql


def _arrays(pieces: Sequence[str], most_rows: int | None) -> Iterator[str]:
    """Join fragments to JSON arrays, none much longer than a request and none of more rows than given."""
    group: list[str] = []
    characters = rows = 0
    for piece in pieces if most_rows is None else _halved(pieces, most_rows):
        # "],[" may also stand within a text: then rows are overestimated, which does no harm.
        count = 0 if most_rows is None else piece.count("],[") + 1
        if group and (
            characters + len(piece) > REQUEST_CHARACTERS
            or (most_rows is not None and rows + count > most_rows)
        ):
            yield f"[{','.join(group)}]"
            group, characters, rows = [], 0, 0
        group.append(piece)
        characters += len(piece) + 1
        rows += count
    if group:
        yield f"[{','.join(group)}]"


def _halved(pieces: Sequence[str], most_rows: int) -> Iterator[str]:
    """The fragments, those of more rows than given in parts."""
    for piece in pieces:
        if piece.count("],[") < most_rows:
            yield piece
            continue
        rows = fragment_rows(piece)
        for first in range(0, len(rows), most_rows):
            yield fragment(rows[first : first + most_rows])


def _parameters(table: Table, pieces: Sequence[str]) -> list[tuple[Any, ...]]:
    """Fragments as rows of parameters, as :class:`~.encoders.TextTupleEncoder` makes them."""
    hexadecimal = [table.columns[i].type.family is Family.BINARY for i in written_columns(table)]
    return [
        tuple(
            int(value)
            if value.__class__ is bool
            else bytes.fromhex(value)
            if is_hexadecimal and value is not None
            else value
            for value, is_hexadecimal in zip(row, hexadecimal, strict=True)
        )
        for piece in pieces
        for row in fragment_rows(piece)
    ]


def _has_long_text(piece: str) -> bool:
    """Whether a fragment holds a text longer than an nvarchar that is not (max)."""
    # Characters outside of ASCII may be two units.
    if len(piece) <= MOST_CHARACTERS // 2 or (len(piece) <= MOST_CHARACTERS and piece.isascii()):
        return False
    return any(
        isinstance(value, str) and utf16_length(value) > MOST_CHARACTERS
        for row in fragment_rows(piece)
        for value in row
    )
