"""Contracts and documents that change, and contracts that share a source."""

from __future__ import annotations

from tests.integration.contracts.support import (
    contract_of,
    loaded,
    refused,
    replace_document,
    rows_of,
    stage_documents,
)
from tests.support.tables import ledger, ledger_rows_match_tables, query
from xml_extractor import Contract, LoadOptions, LoadSummary, load
from xml_extractor.engines import open_engine
from xml_extractor.mapping.records import Key
from xml_extractor.operations.bookkeeping import Bookkeeping
from xml_extractor.operations.load import source_name
from xml_extractor.operations.quarantine import QuarantineFilter, replay_keys
from xml_extractor.settings import ExecutorChoice

TABLES = """
t:
  primary_key: k
  columns: {{k: {{from: $key, type: int}}, v: {{expr: "LEFT(path('v'), {width})", type: nvarchar(9)}}}}
u:
  parent: t
  rows: u
  where: "path('.') <> '{but}'"
  primary_key: [k, n]
  columns: {{k: {{from: $parent}}, n: {{from: $position, type: int}}, v: {{from: ., type: nvarchar(5)}}}}
"""


def counts(summary: LoadSummary) -> tuple[int, ...]:
    """Loaded, already loaded, quarantined, skipped."""
    documents = summary.documents
    assert documents.unfinished == 0
    return documents.loaded, documents.already_loaded, documents.quarantined, documents.skipped


def replayed(url: str, contract: Contract) -> LoadSummary:
    name = source_name(LoadOptions(), contract, open_engine(url))
    with Bookkeeping(url) as bookkeeping:
        keys = list(replay_keys(bookkeeping.ask, QuarantineFilter(), source_name=name, contract="t"))
    return load(url, None, contract, LoadOptions(executor=ExecutorChoice.SERIAL), keys=keys)


def test_reload_under_a_changed_plan_then_replay(database_url: str) -> None:
    old = contract_of(TABLES.format(width=3, but="zz"))
    new = contract_of(TABLES.format(width=5, but="a"))
    documents: dict[Key, str | None] = {
        1: "<r><v>abcdef</v><u>a</u><u>b</u></r>", 2: "<r><u>too long</u></r>", 3: "<r><v>x</v><u>c</u></r>",
        4: "<q/>", 5: "<r><v>1</v></r",
    }  # fmt: skip
    stage_documents(database_url, documents)
    assert counts(loaded(database_url, old)) == (2, 0, 2, 1)
    before = rows_of(database_url, old)
    assert before == {"t": [(1, "abc"), (3, "x")], "u": [(1, 1, "a"), (1, 2, "b"), (3, 1, "c")]}

    replace_document(database_url, 3, "<r><v>broken")
    replace_document(database_url, 5, "<r><v>5</v><u>q</u></r>")
    reported = loaded(database_url, new)
    assert counts(reported) == (0, 2, 2, 1)
    assert reported.loaded_under_another_plan >= 2
    assert rows_of(database_url, new) == before

    assert counts(loaded(database_url, new, on_plan_change="reload")) == (2, 0, 2, 1)
    assert rows_of(database_url, new) == {"t": [(1, "abcde"), (5, "5")], "u": [(1, 2, "b"), (5, 1, "q")]}
    assert refused(database_url) == {"2": "too_long", "3": "not_well_formed"}
    ledger_rows_match_tables(database_url, new.plan)
    assert counts(loaded(database_url, new, on_plan_change="reload")) == (0, 2, 2, 1)

    replace_document(database_url, 3, "<r><v>new</v><u>n</u></r>")
    assert counts(replayed(database_url, new)) == (1, 0, 1, 0)
    assert rows_of(database_url, new)["t"] == [(1, "abcde"), (3, "new"), (5, "5")]
    assert refused(database_url) == {"2": "too_long"}
    assert ledger(database_url) == {
        "1": "loaded", "2": "quarantined", "3": "loaded", "4": "skipped", "5": "loaded",
    }  # fmt: skip
    ledger_rows_match_tables(database_url, new.plan)


def test_replay_after_the_contract_is_mended(database_url: str) -> None:
    old = contract_of(TABLES.format(width="1 / (LEN(path('v')) - 2)", but="a"))
    stage_documents(database_url, {1: "<r><v>ab</v><u>b</u></r>", 2: "<r><v>abc</v></r>"})
    assert counts(loaded(database_url, old)) == (1, 0, 1, 0)
    assert refused(database_url) == {"1": "division_by_zero"}
    new = contract_of(TABLES.format(width=2, but="a"))
    assert counts(replayed(database_url, new)) == (1, 0, 0, 0)
    assert rows_of(database_url, new) == {"t": [(1, "ab"), (2, "a")], "u": [(1, 1, "b")]}
    assert refused(database_url) == {}


def test_two_contracts_share_a_source(database_url: str) -> None:
    def half(name: str) -> Contract:
        return Contract.from_text(
            f"contract: {name}\nversion: 1\nsource: {{table: app_xml, key: app_id, document: app_xml}}\n"
            f"document: {{root: /r, where: \"path('@t') = '{name}'\"}}\ntables:\n  table_{name}:\n"
            "    primary_key: k\n    columns: {k: {from: $key, type: int}, v: {from: v, type: varchar(3)}}\n"
        )

    documents: dict[Key, str | None] = {
        1: '<r t="A"><v>1</v></r>', 2: '<r t="B"><v>2</v></r>', 3: '<r t="a "><v>3</v></r>', 4: "<z/>",
        5: '<r t="B"><v>long</v></r>',
    }  # fmt: skip
    stage_documents(database_url, documents)
    a, b = half("A"), half("B")
    assert counts(loaded(database_url, a)) == (2, 0, 0, 3)
    assert counts(loaded(database_url, b)) == (1, 0, 1, 3)
    assert counts(loaded(database_url, a)) == (0, 2, 0, 3)
    assert counts(loaded(database_url, b)) == (0, 1, 1, 3)
    assert rows_of(database_url, a) == {"table_A": [(1, "1"), (3, "3")]}
    assert rows_of(database_url, b) == {"table_B": [(2, "2")]}
    states = query(database_url, "SELECT state, COUNT(*) FROM load_ledger GROUP BY state")
    assert {str(state): int(n) for state, n in states} == {"loaded": 3, "skipped": 6, "quarantined": 1}
