"""How parsing and mapping scale from one worker to two, by threads and by processes, by size of document.

The load is the product's own program with ``--target null:``: documents are read from SQLite, parsed and
mapped, and nothing is written.  Rates are over the time from the first read to the last document, start-up of
processes apart.  Both interpreters of the plan are measured.  This is the evidence on which ``--executor
auto`` chooses; what it chose, with two workers, is printed beside the better of the two, its trial included.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any, Final

import support

from xml_extractor.mapping.interpreter_choice import VARIABLE as INTERPRETER_VARIABLE
from xml_extractor.mapping.interpreter_choice import InterpreterChoice, why_not_native

SIZES_KB: Final = (1, 4, 16, 64, 200)
SIDES: Final = (("thread", 1), ("thread", 2), ("process", 1), ("process", 2), ("auto", 2))
CONTRACT: Final = """
contract: invoices
version: 1
source: {table: invoice_xml, key: invoice_id, document: invoice_xml}
document: {root: /invoice}
tables:
  invoice:
    primary_key: [invoice_id]
    columns:
      invoice_id: {from: $key, type: int}
      number:     {from: "@number", type: varchar(20), required: true}
      issued:     {from: issued, type: date}
      customer:   {from: customer, type: nvarchar(100)}
  invoice_line:
    parent: invoice
    rows: line
    primary_key: [invoice_id, line]
    columns:
      invoice_id: {from: $parent}
      line:       {from: $position, type: int}
      sku:        {from: "@sku", type: varchar(20)}
      name:       {from: name, type: nvarchar(100)}
      quantity:   {from: quantity, type: int}
      price:      {from: price, type: "decimal(12,2)"}
"""
_HEAD: Final = '<invoice number="I-{0}"><issued>2026-01-{1:02d}</issued><customer>Customer no. {0}</customer>'
_LINE: Final = (
    '<line sku="S-{0:06d}"><name>Article {0} of the list</name><quantity>{1}</quantity><price>{2}.50</price>'
    "</line>"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return the exit status."""
    parser = support.make_parser(__doc__)
    parser.add_argument(
        "--sizes", type=support.positive, nargs="+", default=SIZES_KB, metavar="KB",
        help="kilobytes of a document (default: 1 4 16 64 200)",
    )  # fmt: skip
    parser.add_argument(
        "--megabytes", type=support.positive, default=64, metavar="MB",
        help="documents of each size, all together (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--repeat", type=support.positive, default=1, metavar="N",
        help="runs of each side, by turns; the median counts (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--interpreter", choices=("native", "python"), help="this interpreter only (default: both)"
    )
    return support.run_benchmark(benchmark, parser.parse_args(arguments))


def benchmark(arguments: argparse.Namespace) -> int:
    """Measure every size with every interpreter."""
    choices = [InterpreterChoice.NATIVE, InterpreterChoice.PYTHON]
    if arguments.interpreter:
        choices = [InterpreterChoice(arguments.interpreter)]
    elif why_not_native() is not None:
        choices.remove(InterpreterChoice.NATIVE)
    figures: list[support.Figure] = []
    with support.temporary_folder() as folder:
        contract = folder / "invoices.yaml"
        contract.write_text(CONTRACT, encoding="utf-8")
        for kilobytes in arguments.sizes:
            with support.SqliteFolder(folder).database() as source:
                documents = fill(source, kilobytes * 1000, arguments.megabytes * 1_000_000)
                for choice in choices:
                    runs: dict[tuple[str, int], list[Run]] = {side: [] for side in SIDES}
                    for number in range(arguments.repeat):
                        for side in SIDES if number % 2 == 0 else reversed(SIDES):
                            runs[side].append(measure(source, contract, documents, side, choice, folder))
                    figures += figures_of(f"{kilobytes} kB, {choice}", runs)
    return support.report("Parse + map with one worker and with two", figures, arguments.json)


Run = tuple[float, str]
"""Documents/s, and the executor that ran."""


def figures_of(name: str, runs: Mapping[tuple[str, int], Sequence[Run]]) -> list[support.Figure]:
    """Return how threads and processes scale, and what the product's own choice is worth."""
    rates = {side: median(rate for rate, _ in its_runs) for side, its_runs in runs.items()}
    best = max(rates["thread", 2], rates["process", 2])
    chosen = " ".join(executor for _, executor in runs["auto", 2])
    return [
        *(
            support.Figure(
                f"{name}: two {executor}{'es' if executor == 'process' else 's'} ÷ one",
                rates[executor, 2] / rates[executor, 1],
                "×",
                None,
                f"{rates[executor, 1]:,.0f} and {rates[executor, 2]:,.0f} documents/s",
            )
            for executor in ("thread", "process")
        ),
        support.Figure(
            f"{name}: auto ÷ the better of them",
            rates["auto", 2] / best,
            "×",
            None,
            f"{rates['auto', 2]:,.0f} documents/s, chose {chosen}; better is "
            f"{'thread' if rates['thread', 2] >= rates['process', 2] else 'process'}, {best:,.0f}",
        ),
    ]


def measure(
    source: str,
    contract: Path,
    documents: int,
    side: tuple[str, int],
    choice: InterpreterChoice,
    folder: Path,
) -> Run:
    """Load once into nothing."""
    executor, workers = side
    arguments = support.load_arguments(
        contract, workers=workers, executor=executor, batch_size=1000, folder=folder
    )
    arguments.remove("--create-tables")
    variables = {
        "XML_EXTRACTOR_SOURCE": source,
        "XML_EXTRACTOR_TARGET": "null:",
        INTERPRETER_VARIABLE: choice,
    }
    support.run_product(arguments, variables)
    summary: dict[str, Any] = support.read_summary(folder)
    if summary["documents"]["loaded"] != documents:
        raise support.BenchmarkError(f"not every document was mapped: {summary['documents']}")
    return documents / (summary["seconds"] - summary["startup_seconds"]), summary["executor"]


def fill(url: str, length: int, total: int) -> int:
    """Put documents of this many bytes into the source table, up to a total; return how many."""
    count = max(1, total // length)
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("CREATE TABLE invoice_xml (invoice_id INTEGER PRIMARY KEY, invoice_xml TEXT)")
        connection.executemany("INSERT INTO invoice_xml VALUES (?, ?)", invoices(count, length))
    return count


def invoices(count: int, length: int) -> Iterator[tuple[int, str]]:
    """Yield invoices with their keys, each of about so many bytes, all of which the contract wants."""
    head, line = _HEAD.format(1000, 1), _LINE.format(1000, 1, 100)
    lines = "".join(
        _LINE.format(number, number % 9 + 1, 100 + number % 900)
        for number in range(1, max(1, round((length - len(head)) / len(line))) + 1)
    )
    for key in range(1, count + 1):
        yield key, _HEAD.format(key, key % 28 + 1) + lines + "</invoice>"


if __name__ == "__main__":
    sys.exit(main())
