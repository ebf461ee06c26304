"""What runs under a memory checker: all workloads, the fuzzer's corpus and random contracts, natively.

Both interpreters map each document and are compared; workers encode it for two engines.

    python -m tests.native.exercise [--documents N] [--contracts N] [--seed N]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.contracts import contracts, documents
from tests.fuzz.invariants import CONTRACTS, STARTED_AT, Checked, Outcome, outcome
from tests.native.leaks import encoding
from tests.native.workloads import corpus, workloads
from tests.support.interpreters import BothMappers
from xml_extractor.contract import check_text, read_contract
from xml_extractor.mapping.interpreter_choice import why_not_native
from xml_extractor.mapping.records import SourceDocument


def word(found: Outcome) -> str:
    """Say what became of a document."""
    return "loaded" if found.mapped else "refused" if found.rejected else "skipped"


def of_workloads(count: int, number: int) -> None:
    """So many documents of each workload."""
    for workload in workloads(number):
        plan, seen = workload.plan, Counter[str]()
        both = BothMappers(plan, STARTED_AT)
        consumers = [encoding(plan, url) for url in ("sqlite:///unused.db", "postgresql://unused/unused")]
        for key in range(count):
            document = SourceDocument(key, next(workload.documents))
            seen[word(outcome(both, document))] += 1
            for consume in consumers:
                consume(document)
        say(workload.name, seen)


def of_corpus() -> None:
    """What the fuzzer has kept."""
    plans = [read_contract(path).plan for path in CONTRACTS.values()]
    checkers = {id(plan): Checked(plan) for plan in plans}
    seen = Counter[str]()
    for plan, content in corpus(plans):
        seen[word(checkers[id(plan)].check(content))] += 1
    say("the fuzzer's corpus", seen)


def of_random_contracts(count: int, number: int) -> None:
    """Random contracts, each with a few random documents."""
    seen = Counter[str]()

    @seed(number)
    @settings(
        max_examples=count, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(contracts(), st.lists(documents(), min_size=2, max_size=6))
    def both(text: str, many: list[str]) -> None:
        contract = check_text(text).contract
        if contract is None:
            return
        mappers = BothMappers(contract.plan, STARTED_AT)
        for content in many:
            seen[word(outcome(mappers, SourceDocument(7, content)))] += 1

    both()
    say("random contracts", seen)


def say(name: str, seen: Counter[str]) -> None:
    """Write one line."""
    counts = ", ".join(f"{count:,} {what}" for what, count in sorted(seen.items())) or "nothing there"
    sys.stdout.write(f"{name:32} {counts}\n")
    sys.stdout.flush()


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--documents", type=int, default=1000, help="of each workload")
    parser.add_argument("--contracts", type=int, default=200, help="random ones")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if why_not_native() is not None:
        sys.stderr.write(f"there is no native interpreter to check: {why_not_native()}\n")
        return 2
    started = time.monotonic()
    of_workloads(options.documents, options.seed)
    of_corpus()
    if options.contracts > 0:
        of_random_contracts(options.contracts, options.seed)
    sys.stdout.write(f"no difference and no error in {time.monotonic() - started:,.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
