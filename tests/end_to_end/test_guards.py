"""The drift guard and the circuit breaker: they halt before harm is done, and what is halted goes on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.program import Program, run_program
from tests.support.tables import dialect_of, execute, ledger, portable, query, read_tables
from xml_extractor import Contract, LoadOptions, LoadSummary, load
from xml_extractor.engines import open_engine
from xml_extractor.errors import ExitCode, HaltedError, LoaderError
from xml_extractor.mapping.records import Key

SECRET = "S3CR3T"
CONTRACT = """\
contract: orders
version: 1
source: {name: shop, table: app_xml, key: app_id, document: app_xml}
document: {root: Order}
tables:
  orders:
    primary_key: [order_id]
    columns:
      order_id: {from: $key, type: varchar(40)}
      quantity: {from: "@quantity", type: int, required: true}
      note: {from: "Notes/Note", type: nvarchar(20)}
"""
GOOD = "<Order quantity='5'/>"
RENAMED = f"<Order><Quantity>7</Quantity><Remark>{SECRET}</Remark></Order>"
NO_NUMBER = f"<Order quantity='{SECRET}'/>"


def contract(head: str = "") -> Contract:
    return Contract.from_text(CONTRACT.replace("tables:", f"{head}\ntables:"))


def write_source(url: str, documents: Mapping[Key, str]) -> str:
    kind = "{name}" if any(isinstance(key, str) for key in documents) else "BIGINT"
    execute(
        url, portable(dialect_of(url), f"CREATE TABLE app_xml (app_id {kind} PRIMARY KEY, app_xml {{text}})")
    )
    session = open_engine(url).connect(write=True, application="tests")
    try:
        session.execute_many("INSERT INTO app_xml (app_id, app_xml) VALUES (?, ?)", list(documents.items()))
    finally:
        session.close()
    return url


@pytest.fixture
def source_url(tmp_path: Path) -> str:
    return f"sqlite:///{(tmp_path / 'source.db').as_posix()}"


def documents(number: int, bad: int = 0, what: str = NO_NUMBER) -> dict[Key, str]:
    """So many documents, of which so many are bad, evenly spread."""
    return {
        key: what if (key * bad) // number != ((key - 1) * bad) // number else GOOD
        for key in range(1, number + 1)
    }


def run(source: str, target: str, given: Contract | None = None, **options: Any) -> LoadSummary:
    options = {"create_tables": True, "executor": "thread", **options}
    return load(source, target, given or contract(), LoadOptions(**options))


def halted(source: str, target: str, given: Contract | None = None, **options: Any) -> str:
    with pytest.raises(HaltedError) as caught:
        run(source, target, given, **options)
    assert caught.value.exit_code is ExitCode.HALTED
    text = str(caught.value)
    assert SECRET not in text
    return text


def expect_nothing_written(url: str) -> None:
    for table in ("orders", "load_ledger", "load_quarantine", "load_ranges"):
        assert query(url, f"SELECT COUNT(*) FROM {table}") == [(0,)]
    assert {state for (state,) in query(url, "SELECT state FROM load_runs")} == {"halted"}


# ----------------------------------------------------------------------------------- the drift guard


def test_a_load_whose_documents_changed_halts_with_what_differs_and_goes_on_once_mended(
    database_url: str, source_url: str, tmp_path: Path
) -> None:
    write_source(source_url, documents(3_000, bad=1_500, what=RENAMED))
    text = halted(source_url, database_url)
    expect_nothing_written(database_url)
    assert re.search(r"\b(9\d|10\d) of 200 sampled\s+documents", text)
    for words in ("orders.quantity", "Order/@quantity", "Order/Quantity", "Order/Remark", "Order/Notes/Note"):
        assert words in text
    assert halted(source_url, database_url) == text, "the same sample, the same words"
    assert query(database_url, "SELECT COUNT(*) FROM load_runs") == [(1,)], "the load is resumed"
    mended = Contract.from_text(CONTRACT.replace('from: "@quantity"', 'from: ["@quantity", Quantity]'))
    assert run(source_url, database_url, mended).documents.loaded == 3_000
    whole = f"sqlite:///{(tmp_path / 'whole.db').as_posix()}"
    run(source_url, whole, mended, drift_sample=0)
    assert read_tables(database_url, mended.plan) == read_tables(whole, mended.plan)
    assert ledger(database_url) == ledger(whole)


def test_mended_documents_are_loaded_by_the_same_load(database_url: str, source_url: str) -> None:
    write_source(source_url, documents(1_000, bad=900))
    halted(source_url, database_url)
    execute(source_url, f"UPDATE app_xml SET app_xml = '{GOOD.replace(chr(39), chr(34))}'")
    summary = run(source_url, database_url)
    assert (summary.load_id, summary.documents.loaded) == (1, 1_000)
    assert query(database_url, "SELECT load_id, state FROM load_runs") == [(1, "finished")]


@pytest.mark.parametrize("keys", ["numbers", "texts"])
def test_the_sample_reaches_the_end_of_the_key_range_on_every_engine(database_url: str, keys: str) -> None:
    # Only what comes after the first documents has changed.
    good = dict.fromkeys(range(1, 2_201), GOOD) | dict.fromkeys(range(2_201, 6_001), NO_NUMBER)
    named = {(f"APP-{key:06}" if keys == "texts" else key): text for key, text in good.items()}
    write_source(database_url, named)
    assert "sampled" in halted(database_url, database_url)
    expect_nothing_written(database_url)
    # A range of keys that holds none of them is loaded.
    last: Key = "APP-002200" if keys == "texts" else 2_200
    assert run(database_url, database_url, app_id_end=last).documents.loaded == 2_200
    # What is left is now judged by itself.
    assert "200 of 200" in halted(database_url, database_url)


@pytest.mark.parametrize(("bad", "halts"), [(40, False), (41, True)])
def test_exactly_the_allowed_share_passes(source_url: str, sqlite_url: str, bad: int, halts: bool) -> None:
    write_source(source_url, documents(200, bad=bad))
    if halts:
        assert f"{bad} of 200" in halted(source_url, sqlite_url)
    else:
        assert run(source_url, sqlite_url).documents.quarantined == bad
    assert run(source_url, sqlite_url, max_drift=100).documents.quarantined == bad


def test_of_fewer_than_200_pending_documents_nothing_is_said(
    source_url: str, sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "xml_extractor.processing.drift_guard")
    write_source(source_url, documents(199, bad=199))
    assert run(source_url, sqlite_url).documents.quarantined == 199
    assert "199 pending documents is too small to judge by" in caplog.text


def test_documents_that_are_settled_already_are_not_judged(source_url: str, sqlite_url: str) -> None:
    write_source(source_url, documents(300, bad=300))
    run(source_url, sqlite_url, limit=150)
    assert run(source_url, sqlite_url).documents.quarantined == 300, "150 were pending"


def test_the_limit_of_a_load_is_the_limit_of_its_sample(source_url: str, sqlite_url: str) -> None:
    write_source(source_url, documents(1_000) | dict.fromkeys(range(1_001, 5_001), NO_NUMBER))
    assert run(source_url, sqlite_url, limit=1_000).documents.loaded == 1_000
    halted(source_url, sqlite_url, limit=1_000)


def test_the_filter_of_the_source_is_the_sample_s_too(source_url: str, sqlite_url: str) -> None:
    write_source(source_url, documents(4_000, bad=2_000))
    filtered = Contract.from_text(
        CONTRACT.replace("document: app_xml}", "document: app_xml, where: \"app_xml LIKE '%=''5''%'\"}")
    )
    assert run(source_url, sqlite_url, filtered).documents.loaded == 2_000


def test_with_no_sample_nothing_is_halted(source_url: str, sqlite_url: str) -> None:
    write_source(source_url, documents(300, bad=300))
    assert run(source_url, sqlite_url, drift_sample=0).documents.quarantined == 300


def test_documents_of_another_root_are_skipped_and_do_not_halt(source_url: str, sqlite_url: str) -> None:
    write_source(source_url, documents(300, bad=300, what="<Invoice/>"))
    assert run(source_url, sqlite_url).documents.skipped == 300


def test_other_roots_are_named_where_the_load_halts(source_url: str, sqlite_url: str) -> None:
    write_source(source_url, documents(300, bad=150) | documents(100, bad=100, what="<Invoice/>"))
    assert "Invoice (the contract expects Order)" in halted(source_url, sqlite_url)


def test_unknown_elements_halt_where_the_contract_says_so(database_url: str, source_url: str) -> None:
    write_source(source_url, documents(300, bad=3, what=f"<Order quantity='1'><New>{SECRET}</New></Order>"))
    text = halted(source_url, database_url, contract("unknown_elements: halt"))
    expect_nothing_written(database_url)
    assert "Order/New" in text
    assert "unknown_elements: report" in text
    summary = run(source_url, database_url, contract("unknown_elements: report"))
    assert (summary.documents.loaded, summary.unknown_elements) == (300, {"Order/New": 3})


def test_unknown_elements_of_fewer_than_200_documents_halt_too(source_url: str, sqlite_url: str) -> None:
    write_source(source_url, documents(20, bad=1, what="<Order quantity='1'><New/></Order>"))
    assert "Order/New" in halted(source_url, sqlite_url, contract("unknown_elements: halt"))


def test_elements_that_are_only_asked_to_be_reported_do_not_halt(source_url: str, sqlite_url: str) -> None:
    write_source(source_url, documents(20, bad=20, what="<Order quantity='1'><New/></Order>"))
    summary = run(source_url, sqlite_url, contract("unknown_elements: report"))
    assert summary.unknown_elements == {"Order/New": 20}


def test_a_dry_run_is_not_halted_and_says_that_the_load_would_be(source_url: str, sqlite_url: str) -> None:
    write_source(source_url, documents(300, bad=300))
    summary = run(source_url, sqlite_url, dry_run=True)
    assert summary.documents.quarantined == 300
    assert any("would be halted before the first document: 200 of 200" in note for note in summary.notes)


def test_a_throttled_load_has_its_sample_throttled(source_url: str, sqlite_url: str) -> None:
    write_source(source_url, documents(2_400, bad=2_400))
    halted(source_url, sqlite_url, throttle=400)
    # A sample that would hold the load back for longer than a minute is left out.
    with pytest.raises(LoaderError, match="max-quarantined"):
        run(source_url, sqlite_url, throttle=3, limit=300, max_quarantined="0", batch_size=1)


@pytest.mark.parametrize("executor", ["serial", "process", "auto"])
def test_every_executor_tries_a_sample(source_url: str, sqlite_url: str, executor: str) -> None:
    write_source(source_url, documents(300, bad=300))
    halted(source_url, sqlite_url, executor=executor)
    expect_nothing_written(sqlite_url)


def test_the_program_halts_with_six_shows_no_value_and_says_halted(
    source_url: str, sqlite_url: str, tmp_path: Path
) -> None:
    write_source(source_url, documents(300, bad=150) | documents(40, bad=40, what=RENAMED))
    (tmp_path / "orders.yaml").write_text(CONTRACT, encoding="utf-8")
    log = tmp_path / "load.log"
    arguments = ["--source", source_url, "--target", sqlite_url, "--contract", "orders.yaml"]
    program = run_program(
        *arguments, "--create-tables", "--log-level", "debug", "--log-file", log, folder=tmp_path
    )
    assert program.process.returncode == 6, program.errors
    summary = program.summary()
    assert summary["exit_code"] == 6
    assert summary["error"].startswith("halted before the first document")
    everything = program.output + program.errors + log.read_text(encoding="utf-8") + str(summary)
    everything += str(query(sqlite_url, "SELECT summary FROM load_runs"))
    assert SECRET not in everything


# ------------------------------------------------------------------------------- the circuit breaker

NIGHT: dict[str, Any] = {"drift_sample": 0, "batch_size": 50, "queue_size": 100, "workers": 2}


@pytest.mark.parametrize("executor", ["serial", "thread", "process"])
def test_a_load_that_fills_quarantine_halts_and_goes_on(
    source_url: str, sqlite_url: str, tmp_path: Path, executor: str
) -> None:
    expect_halt_and_resume(source_url, sqlite_url, tmp_path, executor)


def test_a_load_that_fills_quarantine_halts_and_goes_on_on_every_engine(
    source_url: str, database_url: str, tmp_path: Path
) -> None:
    expect_halt_and_resume(source_url, database_url, tmp_path, "thread")


def expect_halt_and_resume(source_url: str, database_url: str, tmp_path: Path, executor: str) -> None:
    number = 4_000
    write_source(source_url, documents(number, bad=1_000))
    summaries: list[LoadSummary] = []
    with pytest.raises(HaltedError) as caught:
        load(
            source_url, database_url, contract(),
            LoadOptions(create_tables=True, executor=executor, max_quarantined="100", **NIGHT),
            on_failure=summaries.append,
        )  # fmt: skip
    assert "not_convertible" in str(caught.value)
    assert SECRET not in str(caught.value)
    halted_at = summaries[0].documents
    assert halted_at.quarantined > 100
    assert halted_at.read < number, "it was halted too late to prove anything"
    assert halted_at.unfinished == 0, "what was in flight is committed"
    assert halted_at.read == halted_at.loaded + halted_at.quarantined
    states = ledger(database_url)
    assert len(states) == halted_at.read
    assert query(database_url, "SELECT state FROM load_runs") == [("halted",)]
    assert query(database_url, "SELECT COUNT(*) FROM load_quarantine") == [(halted_at.quarantined,)]

    again = run(source_url, database_url, **NIGHT)
    assert again.load_id == 1
    assert again.documents.loaded + halted_at.loaded == 3_000
    whole = f"sqlite:///{(tmp_path / 'whole.db').as_posix()}"
    run(source_url, whole, **NIGHT)
    assert read_tables(database_url, contract().plan) == read_tables(whole, contract().plan)
    assert ledger(database_url) == ledger(whole)


def test_what_went_to_quarantine_in_former_runs_does_not_count(source_url: str, sqlite_url: str) -> None:
    write_source(source_url, documents(1_000, bad=100))
    assert run(source_url, sqlite_url, drift_sample=0, limit=500).documents.quarantined == 50
    summary = run(source_url, sqlite_url, drift_sample=0, max_quarantined="50")
    assert summary.documents.quarantined == 100


@pytest.mark.parametrize(("limit", "halts"), [("10%", False), ("9.9%", True), ("30", False), ("29", True)])
def test_the_limit_itself_passes(source_url: str, sqlite_url: str, limit: str, halts: bool) -> None:
    write_source(source_url, documents(300, bad=30))
    if halts:
        halted(source_url, sqlite_url, max_quarantined=limit)
    else:
        assert run(source_url, sqlite_url, max_quarantined=limit).documents.quarantined == 30


def test_a_share_of_fewer_than_200_documents_is_not_judged(source_url: str, sqlite_url: str) -> None:
    write_source(source_url, documents(199, bad=199))
    assert run(source_url, sqlite_url, max_quarantined="1%").documents.quarantined == 199


def test_documents_that_the_target_refuses_count_too(source_url: str, sqlite_url: str) -> None:
    write_source(source_url, documents(400))
    run(source_url, sqlite_url, limit=1)
    execute(
        sqlite_url,
        "CREATE TRIGGER no BEFORE INSERT ON orders BEGIN SELECT RAISE(ABORT, 'no'); END",
    )
    text = halted(source_url, sqlite_url, max_quarantined="20", batch_size=40, queue_size=40)
    assert "of the" in text
    states = list(ledger(sqlite_url).values())
    assert states.count("quarantined") > 20


def test_the_program_halted_by_the_breaker_says_what_to_do(
    source_url: str, sqlite_url: str, tmp_path: Path
) -> None:
    write_source(source_url, documents(2_000, bad=200))
    (tmp_path / "orders.yaml").write_text(CONTRACT, encoding="utf-8")
    program = Program(
        "--source", source_url, "--target", sqlite_url, "--contract", "orders.yaml", "--create-tables",
        "--max-quarantined", "5%", "--batch-size", "100", folder=tmp_path,
    )  # fmt: skip
    assert program.wait() == 6, program.errors
    assert "Halted after" in program.output
    for words in ("--max-quarantined allows 5%", "not_convertible", "quarantine replay", "run the same"):
        assert words in program.errors
    assert SECRET not in program.output + program.errors
