"""Parse + map in one process against lxml alone, on real and on synthetic documents.

Every document goes through the worker that ``--target null:`` uses: parsed, checked and mapped to rows,
with no hash and nothing encoded.  *lxml alone* is the same documents, already as UTF-8 bytes, through a
warm parser, each tree dropped before the next.  Both sides take turns, pass by pass, in CPU time of the
process (which is its wall where nothing else runs); the figure is the median over pairs of passes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import process_time
from typing import Final

import support
from lxml import etree

from xml_extractor.contract import read_contract
from xml_extractor.contract.plan import Plan
from xml_extractor.mapping.records import SourceDocument, State
from xml_extractor.processing.document_worker import DocumentWorker
from xml_extractor.resources import shipped_config
from xml_extractor.source.sample import generate_applications

DISCOGS_BOUND: Final = 4.0
PASSES: Final = 20


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
    return support.run_benchmark(benchmark, parser.parse_args(arguments))


def benchmark(arguments: argparse.Namespace) -> int:
    """Measure what was asked for."""
    figures: list[support.Figure] = []
    if arguments.only != "applications":
        path = support.discogs_file(arguments.discogs)
        texts = support.discogs_documents(path)[: arguments.documents]
        figures += [
            measure("Discogs releases", "discogs_releases.yaml", texts, arguments.passes, DISCOGS_BOUND)
        ]
    if arguments.only != "discogs":
        texts = [text for _, text in generate_applications(arguments.documents, support.SEED)]
        # No bound: these documents are there for what conversions and expressions cost.
        figures += [measure("loan applications", "loan_application.yaml", texts, arguments.passes, None)]
    return support.report("Parse + map against lxml alone, one process", figures, arguments.json)


def measure(
    name: str, contract: str, texts: Sequence[str], passes: int, bound: float | None
) -> support.Figure:
    """Compare both sides on those of the documents that the contract loads.

    Args:
        contract: a contract that ships with the product.
        texts: documents as a text column of the source holds them.
    """
    plan = read_contract(shipped_config(contract)).plan
    documents = loadable(plan, texts)
    contents = [str(document.content).encode("utf-8") for document in documents]
    worker = _worker(plan)
    product: list[float] = []
    alone: list[float] = []
    for number in range(passes + 1):
        sides: list[tuple[list[float], Callable[[], None]]] = [
            (product, lambda: _parse_and_map(worker, documents)),
            (alone, lambda: _parse_only(contents)),
        ]
        for times, run in sides if number % 2 else reversed(sides):
            started = process_time()
            run()
            times.append(process_time() - started)
        if number == 0:  # a pass to warm up
            product.clear()
            alone.clear()
            worker.clock.take()
    clocks = worker.clock.take()
    parse_share = clocks.parse / (clocks.parse + clocks.map)
    each = 1e6 / len(documents)
    ours, theirs = median(product), median(alone)
    kilobytes = sum(map(len, contents)) / len(contents) / 1000
    return support.Figure(
        f"{name}: parse + map ÷ lxml alone",
        median(mine / its for mine, its in zip(product, alone, strict=True)),
        "×",
        bound,
        f"{ours * each:.0f} µs a document (parse {ours * each * parse_share:.0f}, map "
        f"{ours * each * (1 - parse_share):.0f}) against {theirs * each:.0f} µs; "
        f"{len(documents):,} documents of {kilobytes:.1f} kB × {passes}",
    )


def loadable(plan: Plan, texts: Sequence[str]) -> list[SourceDocument]:
    """Return the documents that end up loaded: what is refused half-way would make the product look fast."""
    worker = _worker(plan)
    documents = [SourceDocument(key, text) for key, text in enumerate(texts, start=1)]
    return [document for document in documents if worker.process(document).state is State.LOADED]


def _worker(plan: Plan) -> DocumentWorker:
    return DocumentWorker(plan, datetime.now(UTC), encoder=None, needs_hash=False)


def _parse_and_map(worker: DocumentWorker, documents: Sequence[SourceDocument]) -> None:
    for document in documents:
        worker.process(document)


def _parse_only(contents: Sequence[bytes]) -> None:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, collect_ids=False)
    for content in contents:
        etree.fromstring(content, parser)


if __name__ == "__main__":
    sys.exit(main())
