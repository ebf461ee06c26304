"""Large documents of which the contract wants little: parse + map + hash against lxml alone, and two threads.

Each document is a case of 200 kB: its positions, 4 % of its bytes, are mapped to rows; the rest is a history
of entries that no path of the contract touches.  Every document goes through the worker that a load uses,
hash included, with nothing encoded.  *lxml alone* is the same documents, already as UTF-8 bytes, through a
warm parser, each tree dropped before the next.  The rates are by CPU time, pass by pass, all sides by turns.

Then the same documents are given to one thread, and half of them to each of two, by the wall: a worker for
each thread, in one process.  lxml alone by two threads is printed beside it: more than that is not to be had
on this machine.  Both interpreters of the plan are measured; the bounds are for the native one.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Final
from unittest import mock

import support
from lxml import etree

from xml_extractor.contract import read_contract
from xml_extractor.contract.plan import Plan
from xml_extractor.mapping.interpreter_choice import VARIABLE as INTERPRETER_VARIABLE
from xml_extractor.mapping.interpreter_choice import InterpreterChoice, why_not_native
from xml_extractor.mapping.records import SourceDocument, State
from xml_extractor.processing.document_worker import DocumentWorker

NATIVE, PYTHON = InterpreterChoice.NATIVE, InterpreterChoice.PYTHON
RATE_AT_LEAST: Final = 0.85
"""Rate of parse + map + hash ÷ rate of lxml alone."""
THREADS_AT_LEAST: Final = 1.7
"""Rate of two threads ÷ rate of one."""
KILOBYTES: Final = 200
WANTED_SHARE: Final = 0.04

CONTRACT: Final = """
contract: cases
version: 1
source: {table: case_xml, key: case_id, document: case_xml}
document: {root: /case}
tables:
  case_file:
    primary_key: [case_id]
    columns:
      case_id:   {from: $key, type: int}
      opened_at: {from: "@opened", type: datetime2(0)}
      customer:  {from: customer/name, type: nvarchar(100), required: true}
      city:      {from: customer/city, type: nvarchar(100)}
  case_position:
    parent: case_file
    rows: positions/position
    primary_key: [case_id, position]
    columns:
      case_id:  {from: $parent}
      position: {from: $position, type: int}
      code:     {from: "@code", type: varchar(20)}
      title:    {from: title, type: nvarchar(100)}
      quantity: {from: quantity, type: int}
      price:    {from: price, type: "decimal(12,2)"}
"""
_POSITION: Final = (
    '<position code="P-{0:05d}"><title>Item no. {0} of the case, as ordered</title>'
    "<quantity>{1}</quantity><price>{2}.{3:02d}</price></position>"
)
_ENTRY: Final = (
    '<entry no="{0}"><at>2026-03-{1:02d}T08:{2:02d}:00</at><by>clerk {3}</by>'
    "<text>Looked into by the office, asked for what was missing, and answered {0} days later</text></entry>"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return the exit status."""
    parser = support.make_parser(__doc__)
    parser.add_argument(
        "--documents", type=support.positive, default=400, metavar="N",
        help="documents a pass (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--passes", type=support.positive, default=10, metavar="N",
        help="passes of each side (default %(default)s)",
    )  # fmt: skip
    return support.run_benchmark(benchmark, parser.parse_args(arguments))


def benchmark(arguments: argparse.Namespace) -> int:
    """Measure both interpreters and lxml, all by turns."""
    with support.temporary_folder() as folder:
        path = folder / "cases.yaml"
        path.write_text(CONTRACT, encoding="utf-8")
        plan = read_contract(Path(path)).plan
    texts = [case(number, KILOBYTES * 1000) for number in range(1, arguments.documents + 1)]
    contents = [text.encode("utf-8") for text in texts]
    documents = [  # as the reader hands them over
        SourceDocument(number, content, is_text=True) for number, content in enumerate(contents, start=1)
    ]
    choices = [choice for choice in (NATIVE, PYTHON) if choice is PYTHON or why_not_native() is None]
    for choice in choices:
        check(plan, documents[0], choice)
    figures = rates(plan, documents, contents, choices, arguments.passes)
    figures += threads(plan, documents, contents, choices, arguments.passes)
    return support.report("Large documents of which little is wanted", figures, arguments.json)


def case(number: int, length: int) -> str:
    """Return a document of about so many bytes, of which the share that is wanted lies in its positions."""
    position = _POSITION.format(1, 1, 100, 0)
    entry = _ENTRY.format(1, 1, 1, 1)
    wanted = "".join(
        _POSITION.format(place, place % 9 + 1, 10 + place, number % 100)
        for place in range(1, round(length * WANTED_SHARE / len(position)) + 1)
    )
    rest = "".join(
        _ENTRY.format(place, place % 28 + 1, place % 60, place % 7)
        for place in range(1, round(length * (1 - WANTED_SHARE) / len(entry)) + 1)
    )
    return (
        f'<case opened="2026-02-{number % 28 + 1:02d}T09:30:00"><customer><name>Customer {number}</name>'
        f"<city>Springfield</city></customer><history>{rest}</history>"
        f"<positions>{wanted}</positions></case>"
    )


def check(plan: Plan, document: SourceDocument, choice: InterpreterChoice) -> None:
    """Make sure that the rows are what is measured: all positions, and nothing refused."""
    record = _worker(plan, choice).process(document)
    assert isinstance(document.content, bytes)
    if record.state is not State.LOADED or record.row_counts != (1, document.content.count(b"<position ")):
        raise support.BenchmarkError(f"a case was not mapped as it should be: {record.rejection}")


def rates(
    plan: Plan,
    documents: Sequence[SourceDocument],
    contents: Sequence[bytes],
    choices: Sequence[InterpreterChoice],
    passes: int,
) -> list[support.Figure]:
    """Compare parse + map + hash with lxml alone, on one thread, by CPU time."""
    sides: dict[str, Callable[[], None]] = {"": partial(_parse, contents)}
    sides |= {choice: partial(_process, _worker(plan, choice), documents) for choice in choices}
    times = by_turns({name: partial(_timed, side, process_time) for name, side in sides.items()}, passes)
    each = 1e6 / len(documents)
    return [
        support.Figure(
            f"{choice}: rate of parse + map + hash ÷ lxml alone",
            median(alone / mine for mine, alone in zip(times[choice], times[""], strict=True)),
            "×",
            RATE_AT_LEAST if choice is NATIVE else None,
            f"{median(times[choice]) * each:,.0f} µs a document against {median(times['']) * each:,.0f} µs; "
            f"{len(documents):,} documents of {len(contents[0]) / 1000:.0f} kB × {passes}",
            at_least=True,
        )
        for choice in choices
    ]


def threads(
    plan: Plan,
    documents: Sequence[SourceDocument],
    contents: Sequence[bytes],
    choices: Sequence[InterpreterChoice],
    passes: int,
) -> list[support.Figure]:
    """Compare two threads with one, by the wall."""
    half = len(documents) // 2
    sides: dict[str, Callable[[], float]] = {}
    for choice in choices:
        first, second = _worker(plan, choice), _worker(plan, choice)
        sides[f"{choice} 1"] = partial(_together, [partial(_process, first, documents[: 2 * half])])
        sides[f"{choice} 2"] = partial(
            _together,
            [
                partial(_process, first, documents[:half]),
                partial(_process, second, documents[half : 2 * half]),
            ],
        )
    sides["lxml alone 1"] = partial(_together, [partial(_parse, contents[: 2 * half])])
    sides["lxml alone 2"] = partial(
        _together, [partial(_parse, contents[:half]), partial(_parse, contents[half : 2 * half])]
    )
    with support.MachineWatch() as machine:
        times = by_turns(sides, passes)
    return [
        support.Figure(
            f"{name}: two threads ÷ one",
            median(one / two for one, two in zip(times[f"{name} 1"], times[f"{name} 2"], strict=True)),
            "×",
            THREADS_AT_LEAST if name == NATIVE else None,
            f"{2 * half / median(times[f'{name} 1']):,.0f} documents/s with one thread, "
            f"{2 * half / median(times[f'{name} 2']):,.0f} with two; other programs meanwhile "
            f"{machine.others_share:.0%} of the machine",
            at_least=True,
        )
        for name in (*choices, "lxml alone")
    ]


def by_turns(sides: Mapping[str, Callable[[], float]], passes: int) -> dict[str, list[float]]:
    """Return what each side measured in each pass, after one to warm up; every other pass goes backwards."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(passes + 1):
        for name in sides if number % 2 else reversed(list(sides)):
            seconds = sides[name]()
            if number:
                times[name].append(seconds)
    return times


def _together(tasks: Sequence[Callable[[], None]]) -> float:
    """Run each task on a thread of its own and return the seconds until the last has ended."""
    runners = [threading.Thread(target=task, name=f"benchmark-{n}") for n, task in enumerate(tasks)]
    started = perf_counter()
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()
    return perf_counter() - started


def _timed(side: Callable[[], None], clock: Callable[[], float]) -> float:
    started = clock()
    side()
    return clock() - started


def _worker(plan: Plan, choice: InterpreterChoice) -> DocumentWorker:
    with mock.patch.dict(os.environ, {INTERPRETER_VARIABLE: choice}):
        return DocumentWorker(plan, datetime.now(UTC), encoder=None, needs_hash=True)


def _process(worker: DocumentWorker, documents: Sequence[SourceDocument]) -> None:
    for document in documents:
        worker.process(document)


def _parse(contents: Sequence[bytes]) -> None:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, collect_ids=False)
    for content in contents:
        etree.fromstring(content, parser)


if __name__ == "__main__":
    sys.exit(main())
