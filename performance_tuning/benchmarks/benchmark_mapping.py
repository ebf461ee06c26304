"""Parse + map in one process against lxml alone, on real and on synthetic documents.

Every document goes through the worker that ``--target null:`` uses: parsed, checked and mapped to rows,
with no hash and nothing encoded.  *lxml alone* is the same documents, already as UTF-8 bytes, through a
warm parser, each tree dropped before the next.  All sides take turns, pass by pass, in CPU time of the
process (which is its wall where nothing else runs); the figure is the median over passes.  Both
interpreters of the plan are measured, side by side, where the native one was built.

With ``--peers PYTHON`` discogskit's parse + map of the same Discogs releases takes its turn with them, in
its own Python and process, which keeps its documents and its parser warm as ours does: as one release after
the other, its values in lists, and as one chunk for the function of its parse workers, Arrow tables included.
The faster of the two is what the product is held against: its rows as Python tuples, which are counted, and,
apart from the bound, its rows as a load into PostgreSQL encodes them, ready to be sent.
``pip install discogskit xml2db psycopg2-binary`` into a virtual environment of its own makes such a Python.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from time import process_time
from typing import Final
from unittest import mock

import support
from lxml import etree
from peers.peer_python import AskedProgram, PeerPython, add_peer_argument, named_python, peers_of

from xml_extractor.contract import read_contract
from xml_extractor.contract.plan import Plan
from xml_extractor.engines.encoding import CopyEncoder
from xml_extractor.mapping.interpreter_choice import VARIABLE as INTERPRETER_VARIABLE
from xml_extractor.mapping.interpreter_choice import InterpreterChoice, why_not_native
from xml_extractor.mapping.layouts import RowEncoder
from xml_extractor.mapping.records import SourceDocument, State
from xml_extractor.processing.document_worker import DocumentWorker
from xml_extractor.resources import shipped_config
from xml_extractor.source.sample import generate_applications

PYTHON, NATIVE = InterpreterChoice.PYTHON, InterpreterChoice.NATIVE
DISCOGS_BOUNDS: Final = {NATIVE: 1.6, PYTHON: 4.0}
# What conversions and expressions cost is nothing that the Python interpreter is bound to.
APPLICATION_BOUNDS: Final = {NATIVE: 2.0, PYTHON: None}
PASSES: Final = 20
ENCODED: Final = "native, encoded for PostgreSQL"
PEER_AT_LEAST: Final = 2.0
"""discogskit's parse + map ÷ that of the native interpreter."""
PEER_SIDES: Final = {"record": "one by one", "chunk": "as a chunk, with Arrow tables"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return the exit status."""
    parser = support.make_parser(__doc__)
    parser.add_argument(
        "discogs", nargs="?", type=Path, metavar="DUMP",
        help=f"Discogs releases, .xml or .xml.gz {support.DISCOGS_DEFAULTS}",
    )  # fmt: skip
    parser.add_argument("--only", choices=("discogs", "applications"), help="measure these documents only")
    parser.add_argument(
        "--documents", type=support.positive, default=1000, metavar="N",
        help="documents a pass (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--passes", type=support.positive, default=PASSES, metavar="N",
        help="passes of each side (default %(default)s)",
    )  # fmt: skip
    add_peer_argument(parser)
    return support.run_benchmark(benchmark, parser.parse_args(arguments))


def benchmark(arguments: argparse.Namespace) -> int:
    """Measure what was asked for."""
    figures: list[support.Figure] = []
    peers = peers_of(arguments, ["discogskit"]) if named_python(arguments) is not None else None
    if arguments.only != "applications":
        path = support.discogs_file(arguments.discogs)
        texts = support.discogs_documents(path)[: arguments.documents]
        figures += measure(
            "Discogs releases", "discogs_releases.yaml", texts, arguments.passes, DISCOGS_BOUNDS, peers
        )
    if arguments.only != "discogs":
        texts = [text for _, text in generate_applications(arguments.documents, support.SEED)]
        figures += measure(
            "loan applications", "loan_application.yaml", texts, arguments.passes, APPLICATION_BOUNDS
        )
    return support.report("Parse + map against lxml alone, one process", figures, arguments.json)


def measure(
    name: str,
    contract: str,
    texts: Sequence[str],
    passes: int,
    bounds: Mapping[InterpreterChoice, float | None],
    peers: PeerPython | None = None,
) -> list[support.Figure]:
    """Compare the interpreters with lxml, on those of the documents that the contract loads.

    Args:
        contract: a contract that ships with the product.
        texts: documents as a text column of the source holds them.
        bounds: per interpreter, what its figure is to stay below.
        peers: measure discogskit too, which can read Discogs releases and nothing else.
    """
    plan = read_contract(shipped_config(contract)).plan
    documents = loadable(plan, texts)
    contents = [bytes_of(document) for document in documents]
    choices = [choice for choice in bounds if choice is PYTHON or why_not_native() is None]
    workers = {choice: _worker(plan, choice) for choice in choices}
    encoding = (
        _worker(plan, NATIVE, CopyEncoder.of(plan)) if peers is not None and NATIVE in choices else None
    )
    sides: dict[str, Callable[[], float]] = {"": partial(_timed, partial(_parse_only, contents))}
    if encoding is not None:
        sides[ENCODED] = partial(_timed, partial(_parse_and_map, encoding, documents))
    for choice in choices:
        sides[choice] = partial(_timed, partial(_parse_and_map, workers[choice], documents))
    with ExitStack() as stack:
        if peers is not None:
            sides |= _peer_sides(peers, documents, stack)
        times: dict[str, list[float]] = {side: [] for side in sides}
        for number in range(passes + 1):
            order = list(sides) if number % 2 else list(reversed(sides))
            for side in order:
                times[side].append(sides[side]())
            if number == 0:  # a pass to warm up
                for side in sides:
                    times[side].clear()
                for worker in workers.values():
                    worker.clock.take()
    each = 1e6 / len(documents)
    kilobytes = sum(map(len, contents)) / len(contents) / 1000
    figures = []
    for choice in choices:
        clocks = workers[choice].clock.take()
        parse_share = clocks.parse / (clocks.parse + clocks.map)
        ours, theirs = median(times[choice]), median(times[""])
        figures.append(
            support.Figure(
                f"{name}, {choice}: parse + map ÷ lxml alone",
                median(mine / its for mine, its in zip(times[choice], times[""], strict=True)),
                "×",
                bounds[choice],
                f"{ours * each:.0f} µs a document (parse {ours * each * parse_share:.0f}, map "
                f"{ours * each * (1 - parse_share):.0f}) against {theirs * each:.0f} µs; "
                f"{len(documents):,} documents of {kilobytes:.1f} kB × {passes}",
            )
        )
    if peers is not None:
        mine = [*choices, *([ENCODED] if encoding is not None else [])]
        figures += _against_peer(times, mine, each, f"discogskit {peers.versions['discogskit']}")
    return figures


def _peer_sides(
    peers: PeerPython, documents: Sequence[SourceDocument], stack: ExitStack
) -> dict[str, Callable[[], float]]:
    """Return what makes a pass of discogskit over the same documents, in a process that lives until then."""
    file = stack.enter_context(support.temporary_folder()) / "documents.jsonl"
    with file.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(bytes_of(document).decode()) + "\n" for document in documents)
    program = stack.enter_context(peers.asked("map_with_discogskit.py", str(file)))
    return {side: partial(_ask, program, side) for side in PEER_SIDES}


def _ask(program: AskedProgram, side: str) -> float:
    return float(program.ask(side)["seconds"])


def _against_peer(
    times: Mapping[str, Sequence[float]], choices: Sequence[str], each: float, name: str
) -> list[support.Figure]:
    """Hold the interpreters against the faster way in which the peer does the same.

    Args:
        times: seconds of each pass, per side.
        each: microseconds a document of a pass that takes a second.
    """
    faster = min(PEER_SIDES, key=lambda side: median(times[side]))
    detail = ", ".join(f"{how} {median(times[side]) * each:.0f} µs" for side, how in PEER_SIDES.items())
    return [
        support.Figure(
            f"{name}: its parse + map ÷ {choice}",
            median(its / mine for its, mine in zip(times[faster], times[choice], strict=True)),
            "×",
            PEER_AT_LEAST if choice is NATIVE else None,
            f"{name} {detail}, against {median(times[choice]) * each:.0f} µs a document",
            at_least=True,
        )
        for choice in choices
    ]


def loadable(plan: Plan, texts: Sequence[str]) -> list[SourceDocument]:
    """Return the documents that end up loaded: what is refused half-way would make the product look fast."""
    worker = _worker(plan, InterpreterChoice.AUTO)
    documents = [
        SourceDocument(key, text.encode(), is_text=True)  # as the reader hands them over
        for key, text in enumerate(texts, start=1)
    ]
    return [document for document in documents if worker.process(document).state is State.LOADED]


def bytes_of(document: SourceDocument) -> bytes:
    """Return a document's text in UTF-8."""
    assert isinstance(document.content, bytes)
    return document.content


def _worker(plan: Plan, choice: InterpreterChoice, encoder: RowEncoder | None = None) -> DocumentWorker:
    with mock.patch.dict(os.environ, {INTERPRETER_VARIABLE: choice}):
        return DocumentWorker(plan, datetime.now(UTC), encoder=encoder, needs_hash=False)


def _timed(run_pass: Callable[[], None]) -> float:
    started = process_time()
    run_pass()
    return process_time() - started


def _parse_and_map(worker: DocumentWorker, documents: Sequence[SourceDocument]) -> None:
    worker.clock.charge_idle()  # the passes of the other sides
    for document in documents:
        worker.process(document)


def _parse_only(contents: Sequence[bytes]) -> None:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, collect_ids=False)
    for content in contents:
        etree.fromstring(content, parser)


if __name__ == "__main__":
    sys.exit(main())
