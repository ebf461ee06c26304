"""Law 4: what ends up in the target depends on the documents and the contract alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.mssql_gaps import BULK_COPY
from tests.support.mssql_run import has_gap
from tests.support.tables import Tables, ledger, ledger_rows_match_tables, read_tables
from xml_extractor import Contract, LoadOptions, load
from xml_extractor.contract.plan import Plan
from xml_extractor.engines import open_engine
from xml_extractor.errors import UsageError
from xml_extractor.resources import shipped_config
from xml_extractor.settings import InsertPath
from xml_extractor.source.sample import write_sample
from xml_extractor.target.content_digest import table_digests

Undisturbed = tuple[Tables, dict[str, str], dict[str, str]]
"""Tables, states of the documents, digests of the tables."""

DOCUMENTS = 200  # with this seed, broken documents of several kinds are among them
SEED = 3


@pytest.fixture(scope="module")
def contract() -> Contract:
    return Contract.read(shipped_config("loan_application.yaml"))


@pytest.fixture(scope="module")
def sample_url(tmp_path_factory: pytest.TempPathFactory, contract: Contract) -> str:
    """An app_xml of synthetic applications in a SQLite file that no test writes to."""
    url = f"sqlite:///{(tmp_path_factory.mktemp('source') / 'source.db').as_posix()}"
    write_sample(open_engine(url), contract.plan, DOCUMENTS, SEED)
    return url


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, contract: Contract, sample_url: str) -> Undisturbed:
    """Tables and ledger of a serial load into SQLite."""
    url = f"sqlite:///{(tmp_path_factory.mktemp('serial') / 'serial.db').as_posix()}"
    options = LoadOptions(executor="serial", batch_size=100, create_tables=True)
    summary = load(sample_url, url, contract, options)
    assert summary.documents.loaded > 0.9 * DOCUMENTS
    assert summary.documents.quarantined > 0
    tables = read_tables(url, contract.plan)
    assert all(tables.values()), "every table has rows, or the comparison would prove little"
    return tables, ledger(url), digests(url, contract.plan)


def digests(url: str, plan: Plan) -> dict[str, str]:
    engine = open_engine(url)
    session = engine.connect(write=False, application="tests")
    try:
        return table_digests(engine, session, plan)
    finally:
        session.close()


def expect(url: str, plan: Plan, undisturbed: Undisturbed) -> None:
    tables, states, undisturbed_digests = undisturbed
    found = read_tables(url, plan)
    assert digests(url, plan) == undisturbed_digests
    assert found.keys() == tables.keys()
    for name in tables:
        assert found[name] == tables[name], f"table {name} differs"
    assert ledger(url) == states
    ledger_rows_match_tables(url, plan)


POSTGRESQL = pytest.param("postgresql", marks=pytest.mark.postgresql)
MSSQL = pytest.param("mssql", marks=pytest.mark.sqlserver)


@pytest.mark.parametrize("database_url", ["sqlite", POSTGRESQL], indirect=True)
@pytest.mark.parametrize("batch_size", [1, 7, 1000])
@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("executor", ["thread", "process", "serial"])
def test_any_way_of_loading_gives_the_same_tables(
    executor: str, workers: int, batch_size: int, database_url: str, contract: Contract, sample_url: str,
    undisturbed: Undisturbed,
) -> None:  # fmt: skip
    options = LoadOptions(executor=executor, workers=workers, batch_size=batch_size, create_tables=True)
    summary = load(sample_url, database_url, contract, options)
    assert summary.documents.read == DOCUMENTS
    assert summary.documents.unfinished == 0
    expect(database_url, contract.plan, undisturbed)


@pytest.mark.parametrize(
    ("executor", "workers", "batch_size", "insert_threads"),
    [("thread", 4, 1000, 1), ("thread", 2, 7, 3), ("process", 2, 50, 2), ("serial", 1, 100, 1)],
)
@pytest.mark.parametrize("insert_path", list(InsertPath))
def test_any_insert_path_gives_the_same_tables(
    insert_path: InsertPath, executor: str, workers: int, batch_size: int, insert_threads: int,
    mssql_url: str, contract: Contract, sample_url: str, undisturbed: Undisturbed,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    options = LoadOptions(
        executor=executor, workers=workers, batch_size=batch_size, insert_threads=insert_threads,
        insert_path=insert_path, create_tables=True,
    )  # fmt: skip
    refusal = ""
    try:
        summary = load(sample_url, mssql_url, contract, options)
    except UsageError as error:
        refusal = str(error)
    if refusal:
        # Whoever names a way that the server does not serve rightly is told so before anything is written.
        assert insert_path is InsertPath.BULKCOPY
        assert has_gap(request, BULK_COPY), refusal
        assert "--insert-path auto" in refusal
        return
    assert summary.documents.read == DOCUMENTS
    assert summary.documents.unfinished == 0
    assert summary.insert_path in (
        set(InsertPath) - {InsertPath.AUTO} if insert_path == "auto" else {insert_path}
    )
    expect(mssql_url, contract.plan, undisturbed)


def test_source_and_target_may_be_one_database(
    database_url: str, contract: Contract, undisturbed: Undisturbed
) -> None:
    write_sample(open_engine(database_url), contract.plan, DOCUMENTS, SEED)
    load(database_url, None, contract, LoadOptions(create_tables=True, batch_size=50))
    expect(database_url, contract.plan, undisturbed)
    again = load(database_url, None, contract, LoadOptions())
    assert again.documents.loaded == 0
    assert again.documents.already_loaded + again.documents.quarantined + again.documents.skipped == DOCUMENTS
    expect(database_url, contract.plan, undisturbed)


@pytest.mark.parametrize("database_url", [POSTGRESQL, MSSQL], indirect=True)
def test_a_server_into_sqlite(
    database_url: str, sqlite_url: str, contract: Contract, undisturbed: Undisturbed
) -> None:
    write_sample(open_engine(database_url), contract.plan, DOCUMENTS, SEED)
    load(database_url, sqlite_url, contract, LoadOptions(create_tables=True, executor="process"))
    expect(sqlite_url, contract.plan, undisturbed)


@pytest.mark.parametrize("database_url", [POSTGRESQL, MSSQL], indirect=True)
def test_several_insert_threads(
    database_url: str, sample_url: str, contract: Contract, undisturbed: Undisturbed
) -> None:
    options = LoadOptions(create_tables=True, insert_threads=3, batch_size=10, queue_size=20)
    summary = load(sample_url, database_url, contract, options)
    assert summary.insert_threads == 3
    expect(database_url, contract.plan, undisturbed)


def test_an_embedded_target_takes_one_insert_thread_and_says_so(
    sqlite_url: str, sample_url: str, contract: Contract, undisturbed: Undisturbed
) -> None:
    options = LoadOptions(create_tables=True, insert_threads=3, batch_size=10)
    summary = load(sample_url, sqlite_url, contract, options)
    assert summary.insert_threads == 1
    assert any("1 insert thread" in note for note in summary.notes)
    expect(sqlite_url, contract.plan, undisturbed)


def test_in_pieces(database_url: str, sample_url: str, contract: Contract, undisturbed: Undisturbed) -> None:
    """By limits and key ranges, overlapping: each document once all the same."""
    first = load(sample_url, database_url, contract, LoadOptions(create_tables=True, limit=37))
    assert first.documents.read == 37
    second = load(sample_url, database_url, contract, LoadOptions(app_id_start=30, app_id_end=99))
    assert second.documents.read == 70
    assert second.documents.loaded + second.documents.quarantined + second.documents.skipped >= 62
    load(sample_url, database_url, contract, LoadOptions(app_id_end=DOCUMENTS // 2, limit=10))
    load(sample_url, database_url, contract, LoadOptions())
    expect(database_url, contract.plan, undisturbed)


def test_jsonl_holds_the_same_rows(
    tmp_path: Path, sample_url: str, contract: Contract, undisturbed: Undisturbed
) -> None:
    folder = tmp_path / "out"
    summary = load(sample_url, f"jsonl:{folder}", contract, LoadOptions(executor="thread"))
    tables, _, _ = undisturbed
    for name, rows in tables.items():
        lines = (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        assert len(lines) == len(rows) == summary.rows[name]


def test_null_counts_the_same_rows(sample_url: str, contract: Contract, undisturbed: Undisturbed) -> None:
    summary = load(sample_url, "null:", contract, LoadOptions(executor="thread"))
    tables, _, _ = undisturbed
    assert summary.rows == {name: len(rows) for name, rows in tables.items()}


def test_a_dry_run_writes_nothing(database_url: str, sample_url: str, contract: Contract) -> None:
    load(sample_url, database_url, contract, LoadOptions(create_tables=True, limit=5))
    before = read_tables(database_url, contract.plan), ledger(database_url)
    summary = load(sample_url, database_url, contract, LoadOptions(dry_run=True))
    assert summary.documents.read == DOCUMENTS
    assert summary.documents.quarantined > 0
    assert (read_tables(database_url, contract.plan), ledger(database_url)) == before
