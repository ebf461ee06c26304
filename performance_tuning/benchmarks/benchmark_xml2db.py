"""Orders into PostgreSQL against xml2db, on the sample of orders that is in its own repository.

Each of the sample's documents is made so many times over, with numbers in its ids and names that make all of
them distinct.  xml2db's reuse of equal subtrees is off, and a contract of ours makes the same tables with
the same columns: rows, and values that are not NULL, are counted on both sides, column by column, and have to
be the same.  Both write primary and foreign keys while loading, into fresh databases on one server.

What counts is the time from the first read to the last commit, start-up apart on both sides (xml2db's model
of the schema; our worker processes).  xml2db is held against twice: inserting as many documents at a time as
we do, by the means that its documentation offers, and, for a few documents, one file at a time as its README
shows.  It has no workers; we run as our users do, and with one worker apart.

The sample is ``tests/sample_models/orders`` of https://github.com/cre-dev/xml2db.  xml2db is looked for in a
Python of its own: ``python -m venv peers && peers/bin/pip install discogskit xml2db psycopg2-binary``, then
``--peers peers/bin/python``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

import support
import yaml
from peers.peer_python import AskedProgram, add_peer_argument, peers_of

AT_LEAST: Final = 5.0
"""Our documents/s ÷ those of xml2db."""
COPIES: Final = 3000
README_DOCUMENTS: Final = 60
"""One file at a time takes 50 to 100 ms each."""
ORDERS_VARIABLE: Final = "XML_EXTRACTOR_ORDERS"
SCHEMA: Final = "orders.xsd"
KEY_COLUMNS: Final = frozenset({"order_key", "shiporder_no", "item_no", "feature_no"})
"""Those of ours that are not in the document, as xml2db's numbered keys are not."""
THEIR_KEY_COLUMN: Final = re.compile(r"pk_|temp_|fk_|xml2db_")

OURS: Final = "ours"
ONE_WORKER: Final = "ours, one worker"
THEIRS: Final = "xml2db"
README: Final = "xml2db, one file at a time"


@dataclass(frozen=True, slots=True)
class Run:
    """One load; seconds."""

    documents: int
    seconds: float  # from the first read to the last commit, start-up apart
    startup: float
    detail: str = ""

    @property
    def rate(self) -> float:
        """Documents a second."""
        return self.documents / self.seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return the exit status."""
    parser = support.make_parser(__doc__)
    parser.add_argument(
        "orders", nargs="?", type=Path, metavar="FOLDER",
        help=f"xml2db's sample of orders: {SCHEMA} and xml/*.xml [{ORDERS_VARIABLE}]",
    )  # fmt: skip
    parser.add_argument(
        "--copies", type=support.positive, default=COPIES, metavar="N",
        help="documents made from each of the sample's (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=support.positive, default=2, metavar="N", help="ours (default %(default)s)"
    )
    parser.add_argument("--executor", choices=("auto", "thread", "process", "serial"), default="auto")
    parser.add_argument(
        "--batch-size", type=support.positive, default=1000, metavar="N",
        help="documents inserted at a time, on both sides (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--readme-documents", type=support.positive, default=README_DOCUMENTS, metavar="N",
        help="documents that xml2db loads one file at a time (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--repeat", type=support.positive, default=3, metavar="N",
        help="runs of each side, by turns; the median counts (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--postgresql", metavar="URL", help="a server to make databases on [default: start one]"
    )
    add_peer_argument(parser)
    return support.run_benchmark(benchmark, parser.parse_args(arguments))


def benchmark(arguments: argparse.Namespace) -> int:
    """Make the documents, let all sides take turns, compare what they have written, and report."""
    peers = peers_of(arguments, ["xml2db", "psycopg2-binary"])
    sample = orders_folder(arguments.orders)
    texts = [file.read_text(encoding="utf-8") for file in sorted((sample / "xml").glob("*.xml"))]
    documents = arguments.copies * len(texts)
    with ExitStack() as stack:
        folder = stack.enter_context(support.temporary_folder())
        server = stack.enter_context(support.postgresql(arguments.postgresql, folder))
        contract = write_contract(folder)
        files = folder / "orders"
        files.mkdir()
        dump = folder / "orders.xml"
        write_documents(texts, documents, files, dump)
        source = stack.enter_context(support.SqliteFolder(folder).database())
        support.stage_dump(source, contract, dump, folder)
        program = stack.enter_context(peers.asked("load_with_xml2db.py", str(sample / SCHEMA), str(files)))
        ours = partial(_load, server, arguments, folder, source, contract, documents)
        theirs = partial(_load_with_xml2db, server, program)
        sides: dict[str, Callable[[], tuple[Run, Contents]]] = {
            OURS: partial(ours, arguments.workers),
            THEIRS: partial(theirs, documents, arguments.batch_size),
            ONE_WORKER: partial(ours, 1),
            README: partial(theirs, min(documents, arguments.readme_documents), 1),
        }
        runs: dict[str, list[Run]] = {side: [] for side in sides}
        contents: dict[str, Contents] = {}
        for number in range(arguments.repeat):
            order = list(sides) if number % 2 == 0 else list(reversed(sides))
            for side in order:
                run, contents[side] = sides[side]()
                runs[side].append(run)
    for side in (OURS, ONE_WORKER):
        check_same(contents[side], contents[THEIRS], side)
    figures = figures_of(runs, peers.versions["xml2db"], arguments.batch_size)
    return support.report("Orders into PostgreSQL, against xml2db", figures, arguments.json)


def figures_of(runs: Mapping[str, Sequence[Run]], version: str, at_a_time: int) -> list[support.Figure]:
    """Return our rate over xml2db's, run by run, and every side's own rate."""
    figures = []
    for side, other in ((OURS, THEIRS), (ONE_WORKER, THEIRS), (OURS, README)):
        ratios = [mine.rate / its.rate for mine, its in zip(runs[side], runs[other], strict=True)]
        figures.append(
            support.Figure(
                f"{side}: documents/s ÷ those of {other.replace(THEIRS, f'{THEIRS} {version}')}",
                median(ratios),
                "×",
                AT_LEAST if side == OURS else None,
                "ratios " + " ".join(f"{ratio:.2f}" for ratio in ratios),
                at_least=True,
            )
        )
    for side, its_runs in runs.items():
        middle = sorted(its_runs, key=lambda run: run.rate)[len(its_runs) // 2]
        times = "1" if side == README else f"{at_a_time:,}"
        figures.append(
            support.Figure(
                side, middle.rate, "documents/s", None,
                f"{middle.documents:,} documents, {times} at a time, in {middle.seconds:.2f} s; start-up "
                f"{middle.startup:.2f} s{middle.detail}",
            )
        )  # fmt: skip
    return figures


# ------------------------------------------------------------------------------------------ the documents


def orders_folder(named: Path | None) -> Path:
    """Return xml2db's sample: as named, else by the environment.

    Raises:
        BenchmarkError: there is none.
    """
    by_environment = os.environ.get(ORDERS_VARIABLE)
    folder = named or (Path(by_environment) if by_environment else None)
    if folder is None or not (folder / SCHEMA).is_file() or not list((folder / "xml").glob("*.xml")):
        raise support.BenchmarkError(
            f"{'no folder' if folder is None else folder} holds xml2db's sample of orders ({SCHEMA}, "
            "xml/*.xml): git clone https://github.com/cre-dev/xml2db, then name its "
            f"tests/sample_models/orders on the command line or by {ORDERS_VARIABLE}"
        )
    return folder


def distinct(text: str, number: int) -> str:
    """Return a document of orders with this number in its ids and in all its names."""
    text = re.sub(r'\b(batch_id|orderid)="[^"]*"', rf'\1="{number}"', text)
    return re.sub(r"<name>([^<]*)</name>", rf"<name>\1 {number}</name>", text)


def write_documents(texts: Sequence[str], documents: int, files: Path, dump: Path) -> None:
    """Write so many distinct documents: a file each, and all of them as one to stage ours from."""
    with dump.open("w", encoding="utf-8") as out:
        out.write("<batches>\n")
        for number in range(1, documents + 1):
            text = distinct(texts[(number - 1) % len(texts)], number)
            (files / f"{number}.xml").write_text(text, encoding="utf-8")
            out.write(re.sub(r"^\s*<\?xml[^>]*\?>", "", text) + "\n")
        out.write("</batches>\n")


def write_contract(folder: Path) -> Path:
    """Write the contract that fills the tables that xml2db makes of the schema with all its reuse off."""
    text = {"type": "nvarchar(1000)"}

    def contact(prefix: str, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, where in (
            ("name_attr", "@name"),
            ("name", "name"),
            ("address", "address"),
            ("city", "city"),
            ("zip_codingSystem", "zip/@codingSystem"),
            ("zip_state", "zip/@state"),
            ("zip_value", "zip"),
            ("country", "country"),
        ):
            yield f"{prefix}_{name}", {"from": f"{path}/{where}"} | text
        yield (
            f"{prefix}_phoneNumber",
            {"from": f"{path}/phoneNumber", "type": "nvarchar(4000)", "pick": "join", "separator": ","},
        )
        for name in ("companyId/ace", "companyId/bic", "companyId/lei", "coordinates"):
            yield f"{prefix}_{name.replace('/', '_')}", {"from": f"{path}/{name}"} | text
        long = "a_very_long_field_type_that_makes_col_name_exceeds_max_identifier_length"
        yield f"{prefix}_a_very_long_field", {"from": f"{path}/{long}"} | text

    parent, position = {"from": "$parent"}, {"from": "$position", "type": "int"}
    above: dict[str, Any] = {"order_key": parent, "shiporder_no": {"from": "$parent.shiporder_no"}}
    feature_keys = {**above, "item_no": {"from": "$parent.item_no"}, "feature_no": position}
    tables = {
        "orders": {
            "primary_key": ["order_key"],
            "columns": {
                "order_key": {"from": "$key", "type": "int"},
                "batch_id": {"from": "@batch_id"} | text,
                "version": {"from": "version", "type": "int"},
            },
        },
        "shiporder": {
            "parent": "orders",
            "rows": "shiporder",
            "primary_key": ["order_key", "shiporder_no"],
            "columns": {
                "order_key": parent,
                "shiporder_no": position,
                "orderid": {"from": "@orderid"} | text,
                "processed_at": {"from": "@processed_at", "type": "datetimeoffset(3)"},
                **dict(contact("orderperson", "orderperson")),
                **dict(contact("shipto", "shipto")),
            },
        },
        "item": {
            "parent": "shiporder",
            "rows": "item",
            "primary_key": ["order_key", "shiporder_no", "item_no"],
            "columns": {
                **above,
                "item_no": position,
                "product_name": {"from": "product/name"} | text,
                "product_version": {"from": "product/version"} | text,
                "note": {"from": "note"} | text,
                "comment": {"from": "comment"} | text,
                "quantity": {"from": "quantity", "type": "int"},
                "price": {"from": "price", "type": "float"},
                "currency": {"from": "currency", "type": "varchar(3)"},
                **dict(contact("delivery_from", "delivery/from")),
                **dict(contact("delivery_to", "delivery/to")),
            },
        },
        **{
            table: {
                "parent": "item",
                "rows": f"product/features/{element}",
                "primary_key": ["order_key", "shiporder_no", "item_no", "feature_no"],
                "columns": {**feature_keys, "id": {"from": "id"} | text, "value": {"from": "value"} | value},
            }
            for table, element, value in (
                (
                    "intfeature",
                    "intfeature_with_peculiarly_long_suffix_which_overflow_max_length",
                    {"type": "int"},
                ),
                ("stringfeature", "stringfeature", text),
            )
        },
    }
    contract = {
        "contract": "orders",
        "version": 1,
        "source": {"table": "order_xml", "key": "order_key", "document": "order_xml"},
        "document": {"root": "/orders"},
        "stage": {"record": "orders", "key": "@batch_id"},
        "tables": tables,
    }
    path = folder / "orders.yaml"
    path.write_text(yaml.safe_dump(contract, sort_keys=False), encoding="utf-8")
    return path


# ------------------------------------------------------------------------------------------ running


def _load(
    server: support.PostgresqlServer,
    arguments: argparse.Namespace,
    folder: Path,
    source: str,
    contract: Path,
    documents: int,
    workers: int,
) -> tuple[Run, Contents]:
    """Load as the product's users do, into a new database."""
    command = support.load_arguments(
        contract,
        workers=workers,
        executor=arguments.executor,
        batch_size=arguments.batch_size,
        folder=folder,
    )
    with server.database() as target:
        with support.MachineWatch(server.server_cpu_seconds) as machine:
            support.run_product(command, {"XML_EXTRACTOR_SOURCE": source, "XML_EXTRACTOR_TARGET": target})
        contents = look(target)
    summary = support.read_summary(folder)
    if summary["documents"]["loaded"] != documents:
        raise support.BenchmarkError(f"not every document was loaded: {summary['documents']}")
    seconds = summary["seconds"] - summary["startup_seconds"]
    run = Run(
        documents,
        seconds,
        machine.wall - seconds,
        f" (of the whole program); {summary['workers']} × {summary['executor']}; other programs meanwhile "
        f"{machine.others_share:.0%} of the machine",
    )
    return run, contents


def _load_with_xml2db(
    server: support.PostgresqlServer, program: AskedProgram, documents: int, at_a_time: int
) -> tuple[Run, Contents]:
    """Load with xml2db into a new database."""
    with server.database() as target:
        asked = {
            "url": target.replace("postgresql://", "postgresql+psycopg2://", 1),
            "documents": documents,
            "at_a_time": at_a_time,
        }
        taken = program.ask(json.dumps(asked))
        return Run(documents, taken["load"], taken["model"], " (of its model)"), look(target)


# ------------------------------------------------------------------------------------------ what was written


@dataclass(frozen=True, slots=True)
class Contents:
    """What a load has left in its database: rows per table, and values per column of the document."""

    rows: Mapping[str, int]
    values: Mapping[str, Sequence[tuple[str, int]]]  # per table: column, and in how many rows it has a value


_COLUMNS: Final = """
SELECT c.table_name, c.column_name FROM information_schema.columns c
WHERE c.table_schema = 'public' AND c.table_name !~ '^load_' ORDER BY c.table_name, c.ordinal_position
"""


def look(url: str) -> Contents:
    """Count rows and values, in our tables or in xml2db's."""
    import psycopg

    columns: dict[str, list[str]] = {}
    rows: dict[str, int] = {}
    values: dict[str, Sequence[tuple[str, int]]] = {}
    with psycopg.connect(url) as connection:
        for table, column in connection.execute(_COLUMNS).fetchall():
            if column not in KEY_COLUMNS and not THEIR_KEY_COLUMN.match(column):
                columns.setdefault(table, []).append(column)
        for table, names in columns.items():
            counts = ", ".join(f'count("{name}")' for name in names)
            found = connection.execute(f'SELECT count(*), {counts} FROM "{table}"').fetchone()
            assert found is not None
            # xml2db shortens the longest name, with a digest that is its own.
            name = "intfeature" if table.startswith("intfeature") else table
            rows[name] = found[0]
            values[name] = list(zip(names, found[1:], strict=True))
    return Contents(rows, values)


def check_same(ours: Contents, theirs: Contents, side: str) -> None:
    """Refuse to compare times of loads that did not write the same.

    Raises:
        BenchmarkError: with what differs.
    """
    if ours.rows != theirs.rows:
        raise support.BenchmarkError(
            f"the loads are not comparable: {side} wrote {dict(ours.rows)}, xml2db {dict(theirs.rows)}"
        )
    for table, columns in ours.values.items():
        mine, its = [[count for _, count in counts] for counts in (columns, theirs.values[table])]
        if mine != its:
            raise support.BenchmarkError(
                f"the loads are not comparable: values in {table}: {side} {list(columns)}, xml2db "
                f"{list(theirs.values[table])}"
            )


if __name__ == "__main__":
    sys.exit(main())
