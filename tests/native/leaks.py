"""Maps documents natively, a million unless told otherwise, and watches the process: it must not grow.

Watched are the Python objects that are alive, which are counted exactly, and the memory of the process.
Documents that are refused, skipped, made the careful way or no XML at all are among them, and each is
mapped as well as encoded by a worker for two engines.  Ends with 1 where something is left of documents.

    python -m tests.native.leaks [--documents N] [--seed N]
"""

from __future__ import annotations

import argparse
import gc
import itertools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from tests.fuzz.invariants import STARTED_AT, outcome
from tests.native.workloads import Workload, workloads
from xml_extractor.contract.plan import Plan
from xml_extractor.engines import open_engine
from xml_extractor.mapping.data_mapper import DataMapper
from xml_extractor.mapping.interpreter_choice import InterpreterChoice
from xml_extractor.mapping.records import SourceDocument
from xml_extractor.processing.document_worker import DocumentWorker

PARTS = 10
POOL = 300
"""Documents of a workload that are made beforehand and come again and again: making them fills caches."""
MOST_OBJECTS = 100
"""Python objects that a part may leave: other caches fill.  A document leaves none."""
MOST_MEMORY = 8 * 2**20
"""Bytes by which the second half may grow: allocators keep what they once had, and not always the same."""

Consumer = Callable[[SourceDocument], object]


@dataclass(frozen=True, slots=True)
class Growth:
    """What is left of the documents of one run, after the first of its parts.

    ``objects`` is the least that any part left, because a leak is there in all of them; ``memory`` the
    bytes by which the last part's end exceeds the middle's.
    """

    documents: int
    objects: int
    memory: int

    @property
    def is_leak(self) -> bool:
        """Whether it grows."""
        return self.objects > MOST_OBJECTS or self.memory > MOST_MEMORY


def watch(workload: Workload, consume: Consumer, count: int) -> Growth:
    """Give so many documents of a workload to a consumer."""
    process = psutil.Process()
    objects: list[int] = []
    memory: list[int] = []
    each = max(1, count // PARTS)
    documents = itertools.cycle(list(itertools.islice(workload.documents, POOL)))
    for part in range(PARTS):
        for number in range(each):
            consume(SourceDocument(part * each + number, next(documents)))
        gc.collect()
        objects.append(sys.getallocatedblocks())
        memory.append(process.memory_info().rss)
    later = [end - start for start, end in itertools.pairwise(objects[1:])]
    return Growth(PARTS * each, min(later), memory[-1] - memory[PARTS // 2])


def mapping(plan: Plan) -> Consumer:
    """Map alone."""
    mapper = DataMapper(plan, STARTED_AT, InterpreterChoice.NATIVE)
    return lambda document: outcome(mapper, document)


def encoding(plan: Plan, url: str) -> Consumer:
    """Map and encode, as a worker of a load does."""
    return DocumentWorker(plan, STARTED_AT, open_engine(url).encoder(plan), needs_hash=True).process


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--documents", type=int, default=1_000_000, help="how many documents, in all")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    status = 0
    for name in ("mapped", "sqlite:///unused.db", "postgresql://unused/unused"):
        found = workloads(options.seed)
        for workload in found:
            # Half of all documents are small ones, which cost next to nothing.
            share = 2 if workload.name == "small" else 2 * (len(found) - 1)
            count = options.documents // (3 * share)
            consume = mapping(workload.plan) if name == "mapped" else encoding(workload.plan, name)
            started = time.monotonic()
            growth = watch(workload, consume, count)
            status = status or int(growth.is_leak)
            sys.stdout.write(
                f"{name.partition(':')[0]:12} {workload.name:32} {growth.documents:9,} documents  "
                f"{time.monotonic() - started:6.0f} s  objects {growth.objects:+6,}  "
                f"memory {growth.memory / 1024:+8,.0f} KiB{'   GROWS' if growth.is_leak else ''}\n"
            )
            sys.stdout.flush()
    return status


if __name__ == "__main__":
    sys.exit(main())
