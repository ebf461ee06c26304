"""The benchmarks that hold the product against other programs and bare libraries: their arithmetic."""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import benchmark_discogskit
import benchmark_large_documents
import benchmark_million
import benchmark_scaling
import benchmark_sqlite
import benchmark_xml2db
import pytest
import support
from benchmark_discogskit import OURS, THEIRS, Written
from peers import peer_python
from support import BenchmarkError, Figure

from xml_extractor.contract import read_contract
from xml_extractor.errors import ExitCode
from xml_extractor.mapping.data_mapper import DataMapper
from xml_extractor.mapping.interpreter_choice import InterpreterChoice
from xml_extractor.mapping.records import SourceDocument
from xml_extractor.processing.document_worker import DocumentWorker
from xml_extractor.resources import shipped_config

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(("value", "holds"), [(1.5, True), (1.49, False), (9.0, True)])
def test_a_bound_can_be_the_least(value: float, holds: bool, capsys: pytest.CaptureFixture[str]) -> None:
    figure = Figure("a ratio", value, "×", 1.5, at_least=True)
    assert figure.holds is holds
    assert support.report("A title", [figure], None) is (ExitCode.OK if holds else ExitCode.NEEDS_A_LOOK)
    assert "≥ 1.50 ×" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------ peers


def test_without_peers_the_message_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(peer_python.VARIABLE, raising=False)
    with pytest.raises(BenchmarkError, match=r"pip install discogskit xml2db psycopg2-binary.*--peers"):
        peer_python.peers_of(argparse.Namespace(peers=None), ["discogskit"])


def test_a_python_without_the_peer_is_named() -> None:
    with pytest.raises(BenchmarkError, match="has no no-such-package: python -m venv"):
        peer_python.peers_of(argparse.Namespace(peers=Path(sys.executable)), ["no-such-package"])


def test_what_is_no_python_is_said(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="cannot be run as a Python"):
        peer_python.peers_of(argparse.Namespace(peers=tmp_path / "absent"), ["discogskit"])


def test_a_peers_python_is_found_by_the_environment_and_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(peer_python.VARIABLE, sys.executable)
    peers = peer_python.peers_of(argparse.Namespace(peers=None), ["lxml"])
    assert set(peers.versions) == {"lxml"}
    monkeypatch.setattr(peer_python, "FOLDER", tmp_path)
    (tmp_path / "twice.py").write_text(
        "import json, os, sys\nfor line in sys.stdin:\n"
        "    if line == 'end\\n': break\n"
        "    print(json.dumps({'twice': 2 * int(line), 'path': os.environ.get('PYTHONPATH')}), flush=True)\n"
    )
    monkeypatch.setenv("PYTHONPATH", "not for peers")
    with peers.asked("twice.py") as program:
        assert program.ask("4") == {"twice": 8, "path": None}
        assert program.ask("5")["twice"] == 10
        with pytest.raises(BenchmarkError, match=r"twice\.py ended without an answer"):
            program.ask("end")


# ------------------------------------------------------------------------------------------ discogskit


def test_the_contract_without_foreign_keys_makes_the_same_rows_and_refers_to_nothing(tmp_path: Path) -> None:
    shipped = shipped_config("discogs_releases.yaml")
    plan = read_contract(shipped).plan
    plain = read_contract(benchmark_discogskit.without_foreign_keys(shipped, tmp_path)).plan
    assert sum(bool(table.foreign_key) for table in plan.tables) == 14
    assert not any(table.foreign_key for table in plain.tables)
    assert [table.primary_key for table in plain.tables] == [table.primary_key for table in plan.tables]
    text = (
        '<release id="1"><title>A</title><formats><format name="CD"><descriptions>'
        "<description>x</description></descriptions></format></formats><tracklist><track><title>T</title><artists><artist><id>5</id>"
        "</artist></artists></track></tracklist></release>"
    )
    rows = []
    for one in (plan, plain):
        document = SourceDocument(1, text)
        mapper = DataMapper(one, NOW)
        rows.append(mapper.map(mapper.parse(document), document).rows)
    assert rows[0] == rows[1]


def test_loads_that_wrote_something_else_are_not_compared() -> None:
    def written(**changes: object) -> Written:
        rows = {"release": 3, "release_artist": 5}
        fields = {"rows": rows, "unlogged": [], "unindexed": [], "primary_keys": 2, "indexes": 0}
        return Written(**(fields | {"foreign_keys": 0} | changes))  # type: ignore[arg-type]

    check = benchmark_discogskit.check_written
    check({OURS: written(), THEIRS: written()}, 3)
    for changes, words in (
        ({"rows": {"release": 3, "release_artist": 4}}, "4 rows of release_artist, discogskit 5"),
        ({"unlogged": ["release"]}, "has release unlogged"),
        ({"unindexed": ["release_artist"]}, "no index on the release's id in release_artist"),
    ):
        with pytest.raises(BenchmarkError, match=words):
            check({OURS: written(**changes), THEIRS: written()}, 3)
    with pytest.raises(BenchmarkError, match="wrote 3 releases of 4"):
        check({OURS: written(), THEIRS: written()}, 4)


def test_rates_are_compared_run_by_run() -> None:
    def runs(*walls: float) -> list[benchmark_discogskit.Run]:
        return [benchmark_discogskit.Run(wall, 1.0, 0.5, 0.0) for wall in walls]

    written = {side: Written({"release": 3}, [], [], 1, 0, 0) for side in (OURS, THEIRS)}
    ratio, ours, theirs = benchmark_discogskit.figures_of(
        1000, 2, {OURS: runs(1.0, 2.0, 1.0), THEIRS: runs(2.0, 3.0, 1.6)}, written, "0.2"
    )
    assert (ratio.value, ratio.holds) == (1.6, True)
    assert "ratios 2.00 1.50 1.60" in ratio.detail
    assert (ours.value, theirs.value) == (1000.0, 500.0)


# ------------------------------------------------------------------------------------------ xml2db


ORDER = (
    '<?xml version="1.0"?>\n<orders batch_id="5"><version>2</version><shiporder orderid="1" '
    'processed_at="2023-09-10T09:37:00.000+02:00"><orderperson name="billing"><name>Bob</name>'
    "<phoneNumber>1</phoneNumber><phoneNumber>2</phoneNumber></orderperson><item><product><name>p</name>"
    "<version>v</version><features><stringfeature><id>color</id><value>red</value></stringfeature></features>"
    "</product><quantity>1</quantity><price>340.23</price><currency>EUR</currency></item></shiporder></orders>"
)


def test_the_contract_for_orders_maps_them(tmp_path: Path) -> None:
    plan = read_contract(benchmark_xml2db.write_contract(tmp_path)).plan
    mapper = DataMapper(plan, NOW)
    document = SourceDocument(7, ORDER)
    rows = dict(
        zip(
            (table.name for table in plan.tables),
            mapper.map(mapper.parse(document), document).rows,
            strict=True,
        )
    )
    assert {name: len(of) for name, of in rows.items()} == {
        "orders": 1, "shiporder": 1, "item": 1, "intfeature": 0, "stringfeature": 1,
    }  # fmt: skip
    assert "1,2" in rows["shiporder"][0]
    assert rows["stringfeature"] == [(7, 1, 1, 1, "color", "red")]


def test_documents_of_orders_are_made_distinct(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    benchmark_xml2db.write_documents([ORDER, ORDER], 3, files, tmp_path / "dump.xml")
    texts = [(files / f"{number}.xml").read_text(encoding="utf-8") for number in (1, 2, 3)]
    assert len(set(texts)) == 3
    assert 'batch_id="2"' in texts[1]
    assert "<name>Bob 2</name>" in texts[1]
    dump = (tmp_path / "dump.xml").read_text(encoding="utf-8")
    assert dump.count("<orders ") == 3
    assert "<?xml" not in dump


def test_columns_are_compared_in_their_order() -> None:
    ours = benchmark_xml2db.Contents({"t": 2}, {"t": [("a", 2), ("b", 1)]})
    same = benchmark_xml2db.Contents({"t": 2}, {"t": [("a", 2), ("b_other", 1)]})
    benchmark_xml2db.check_same(ours, same, "ours")
    for other in (
        benchmark_xml2db.Contents({"t": 3}, same.values),
        benchmark_xml2db.Contents({"t": 2}, {"t": [("a", 2), ("b", 0)]}),
    ):
        with pytest.raises(BenchmarkError, match="not comparable"):
            benchmark_xml2db.check_same(ours, other, "ours")


def test_a_sample_of_orders_that_is_not_there_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(benchmark_xml2db.ORDERS_VARIABLE, raising=False)
    for named in (None, tmp_path):
        with pytest.raises(BenchmarkError, match="git clone https://github"):
            benchmark_xml2db.orders_folder(named)


# ------------------------------------------------------------------------------------------ SQLite


def test_rows_are_prepared_in_batches_of_whole_documents_and_inserted_again(tmp_path: Path) -> None:
    path = tmp_path / "loaded.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE root (id INTEGER PRIMARY KEY, name TEXT)")
        connection.execute(
            "CREATE TABLE child (id INTEGER REFERENCES root, place INTEGER, PRIMARY KEY (id, place)) "
            "WITHOUT ROWID"
        )
        connection.execute("CREATE TABLE load_ledger (a)")
        connection.executemany("INSERT INTO root VALUES (?, ?)", [(3, "c"), (1, "a"), (2, "b")])
        connection.executemany("INSERT INTO child VALUES (?, ?)", [(3, 1), (1, 1), (1, 2)])
    tables, prepared = benchmark_sqlite.prepare(path, 2)
    assert len(tables) == 2
    assert [[rows for _, rows in batch] for batch in prepared] == [
        [[(1, "a"), (2, "b")], [(1, 1), (1, 2)]],
        [[(3, "c")], [(3, 1)]],
    ]
    again = tmp_path / "again.db"
    assert benchmark_sqlite.insert(again, {"foreign_keys": 1, "journal_mode": "wal"}, tables, prepared) > 0
    with closing(sqlite3.connect(again)) as connection:
        assert connection.execute("SELECT count(*) FROM child").fetchone() == (3,)


def test_rows_of_a_table_that_knows_no_document_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "loaded.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE root (id INTEGER PRIMARY KEY)")
        connection.execute("CREATE TABLE child (place INTEGER PRIMARY KEY)")
        connection.execute("INSERT INTO root VALUES (1)")
        connection.execute("INSERT INTO child VALUES (9)")
    with pytest.raises(BenchmarkError, match="the key of child does not begin with the key of root"):
        benchmark_sqlite.prepare(path, 10)


def test_the_bare_connection_is_set_as_the_products_own(tmp_path: Path) -> None:
    pragmas = benchmark_sqlite.pragmas_of(f"sqlite:///{(tmp_path / 'a.db').as_posix()}")
    assert pragmas["journal_mode"] == "wal"
    assert set(pragmas) == set(benchmark_sqlite.PRAGMAS)


def test_a_tiny_run_of_the_sqlite_benchmark(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    arguments = ["--only", "applications", "--documents", "30", "--repeat", "1", "--executor", "serial"]
    assert benchmark_sqlite.main([*arguments, "--json", str(file)]) in (ExitCode.OK, ExitCode.NEEDS_A_LOOK)
    [figure] = json.loads(file.read_text(encoding="utf-8"))["figures"]
    assert figure["value"] > 0


# ------------------------------------------------------------------------- large documents, scaling


def test_a_large_document_is_as_long_as_it_says_and_wants_little(tmp_path: Path) -> None:
    text = benchmark_large_documents.case(5, 200_000)
    assert len(text) == pytest.approx(200_000, rel=0.05)
    wanted = text[text.index("<positions>") :]
    assert len(wanted) / len(text) == pytest.approx(0.04, abs=0.005)
    path = tmp_path / "cases.yaml"
    path.write_text(benchmark_large_documents.CONTRACT, encoding="utf-8")
    plan = read_contract(path).plan
    benchmark_large_documents.check(plan, SourceDocument(5, text.encode()), InterpreterChoice.AUTO)
    with pytest.raises(BenchmarkError, match="not mapped as it should be"):
        benchmark_large_documents.check(plan, SourceDocument(5, b"<case/>"), InterpreterChoice.AUTO)


def test_sides_take_turns_and_the_first_pass_warms_up() -> None:
    order: list[str] = []

    def side(name: str) -> float:
        order.append(name)
        return float(len(order))

    times = benchmark_large_documents.by_turns({"a": lambda: side("a"), "b": lambda: side("b")}, 2)
    assert order == ["b", "a", "a", "b", "b", "a"]
    assert times == {"a": [3.0, 6.0], "b": [4.0, 5.0]}


@pytest.mark.parametrize("length", [1000, 16_000])
def test_invoices_are_as_long_as_they_are_to_be_and_wanted_whole(tmp_path: Path, length: int) -> None:
    path = tmp_path / "invoices.yaml"
    path.write_text(benchmark_scaling.CONTRACT, encoding="utf-8")
    worker = DocumentWorker(read_contract(path).plan, NOW, encoder=None, needs_hash=False)
    [(_, text), (key, _)] = benchmark_scaling.invoices(2, length)
    assert key == 2
    assert len(text) == pytest.approx(length, rel=0.1)
    record = worker.process(SourceDocument(1, text))
    assert record.row_counts == (1, text.count("<line "))


def test_autos_rate_is_held_against_the_better_executor() -> None:
    runs = {
        ("thread", 1): [(100.0, "thread")],
        ("thread", 2): [(150.0, "thread")],
        ("process", 1): [(100.0, "process")],
        ("process", 2): [(200.0, "process")],
        ("auto", 2): [(150.0, "thread")],
    }
    threads, processes, auto = benchmark_scaling.figures_of("4 kB, native", runs)
    assert (threads.value, processes.value, auto.value) == (1.5, 2.0, 0.75)
    assert "chose thread; better is process" in auto.detail


# ------------------------------------------------------------------------------------------ a million


def test_a_load_is_divided_into_tenths_by_its_samples() -> None:
    # Nothing settled for two seconds; then 50 a second, and 25 a second for the last tenth.
    settled = [0, 0, *range(50, 901, 50), *range(925, 1001, 25)]
    samples = {
        "documents": settled,
        "seconds": [0.5, *(1.0 + n for n in range(len(settled) - 1))],
        "memory_bytes": [50, None, 60, 70, *([65] * (len(settled) - 4))],
    }
    tenths = benchmark_million.tenth_seconds(samples, 1000)
    assert tenths == pytest.approx([2.0] * 9 + [4.0])
    assert benchmark_million.memory_peaks(samples, 1000) == (70, 65)


def test_a_load_that_is_too_short_is_not_divided() -> None:
    with pytest.raises(BenchmarkError, match="ask for more --documents"):
        benchmark_million.tenth_seconds({"documents": [0, 5, 10], "seconds": [0.0, 1.0, 2.0]}, 10)


def test_a_disk_that_is_too_small_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    benchmark_million.check_space(tmp_path, 1)
    with pytest.raises(BenchmarkError, match=r"want about .* GB .* --documents"):
        benchmark_million.check_space(tmp_path, 10**12)


def test_readings_are_mapped_whole(tmp_path: Path) -> None:
    path = tmp_path / "readings.yaml"
    path.write_text(benchmark_million.CONTRACT, encoding="utf-8")
    worker = DocumentWorker(read_contract(path).plan, NOW, encoder=None, needs_hash=False)
    for key, text in benchmark_million.readings(400):
        assert worker.process(SourceDocument(key, text)).row_counts == (1, 2)


# ------------------------------------------------------------------------------------------ every program


@pytest.mark.parametrize(
    "program",
    [
        benchmark_discogskit,
        benchmark_xml2db,
        benchmark_sqlite,
        benchmark_large_documents,
        benchmark_scaling,
        benchmark_million,
    ],
)
def test_every_program_explains_itself(program: object, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        program.main(["--help"])  # type: ignore[attr-defined]
    assert stop.value.code == 0
    assert "--json FILE" in capsys.readouterr().out
