"""The contracts that ship with the product, held against counts that XPath makes of the same documents."""

from __future__ import annotations

import gzip
import os
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from lxml import etree

from tests.support.document_text import text_of
from xml_extractor.contract import check_contract, read_contract
from xml_extractor.contract.plan import Plan, SourceKind
from xml_extractor.engines import dialect_engine, dialect_names, open_engine
from xml_extractor.mapping.data_mapper import DataMapper, DocumentRejected
from xml_extractor.mapping.records import MappedDocument, SourceDocument
from xml_extractor.resources import shipped_config
from xml_extractor.source.reader import SourceReader
from xml_extractor.source.sample import generate_applications, write_sample
from xml_extractor.source.staging import stage

SHIPPED = ("loan_application.yaml", "discogs_releases.yaml")
ROOT = Path(__file__).resolve().parents[3]
DISCOGS = Path(
    os.environ.get("XML_EXTRACTOR_DISCOGS", ROOT.parent / "shared" / "data" / "discogs_releases_1000.xml.gz")
)
STARTED = datetime(2025, 1, 1)

LOAN_COUNTS = {
    "app_base": "1",
    "app_contact": "count(Contacts/Contact[@role!='WITNESS'])",
    "app_address": "count(Contacts/Contact[@role!='WITNESS']/Addresses/Address[normalize-space(Street)!=''])",
    "app_employment": "count(Contacts/Contact[@role!='WITNESS']/Employments/Employment)",
    "app_asset": "count(Assets/Asset[number(Value) > 0])",
    "app_score": "count(Bureau/@*[. >= 300 and . <= 900])",
    "app_decision": "count(Decisions/Decision)",
    "app_decision_reason": "count(Decisions/Decision/Reasons/Reason)",
    "app_note": "count(Notes/Note[not(@internal='true')])",
}
DISCOGS_COUNTS = {
    "release": "count(/releases/release)",
    "release_artist": "count(/releases/release/artists/artist)",
    "release_extra_artist": "count(/releases/release/extraartists/artist)",
    "release_label": "count(/releases/release/labels/label)",
    "release_series": "count(/releases/release/series/series)",
    "release_format": "count(/releases/release/formats/format)",
    "release_format_description": "count(//format/descriptions/description)",
    "release_identifier": "count(/releases/release/identifiers/identifier)",
    "release_video": "count(/releases/release/videos/video)",
    "release_company": "count(/releases/release/companies/company)",
    "release_track": "count(//tracklist//track)",
    "release_track_artist": "count(//track/artists/artist)",
    "release_track_extra_artist": "count(//track/extraartists/artist)",
    "release_genre": "count(/releases/release/genres/genre)",
    "release_style": "count(/releases/release/styles/style)",
}


def plan_of(name: str) -> Plan:
    return read_contract(shipped_config(name)).plan


def counts(plan: Plan, mapped: MappedDocument) -> Counter[str]:
    return Counter({table.name: len(rows) for table, rows in zip(plan.tables, mapped.rows, strict=True)})


def keys_are_unique(plan: Plan, mapped: MappedDocument) -> bool:
    for table, rows in zip(plan.tables, mapped.rows, strict=True):
        keys = [tuple(row[i] for i in table.primary_key) for row in rows]
        if len(set(keys)) < len(keys) or any(None in key for key in keys):
            return False
    return True


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_contracts_are_without_mistakes_and_warnings(name: str) -> None:
    result = check_contract(shipped_config(name))
    assert [*result.mistakes, *result.warnings] == []
    assert result.contract is not None
    plan = result.contract.plan
    assert all(table.key_reaches_source and table.primary_key for table in plan.tables)
    assert all(table.foreign_key for table in plan.tables if table.parent is not None)
    for dialect in dialect_names():
        assert dialect_engine(dialect).unsupported(plan) == []


def test_the_loan_contract_is_rich_enough_for_figures_to_mean_something() -> None:
    plan = plan_of("loan_application.yaml")
    columns = [column for table in plan.tables for column in table.columns]
    assert len(plan.tables) >= 7
    assert sum(column.source.kind is SourceKind.EXPRESSION for column in columns) >= 10
    assert sum(table.where is not None for table in plan.tables) >= 3
    assert len({column.conversion.enum.name for column in columns if column.conversion.enum}) >= 4


def test_loan_applications_map_to_what_xpath_counts() -> None:
    plan = plan_of("loan_application.yaml")
    mapper = DataMapper(plan, STARTED)
    seen: Counter[str] = Counter()
    for app_id, text in generate_applications(500, 11):
        document = SourceDocument(app_id, text)
        try:
            mapped = mapper.map(mapper.parse(document), document)
        except DocumentRejected:
            continue
        root = etree.fromstring(text.encode())
        wanted = {
            table: int(float(str(root.xpath(path)))) if path != "1" else 1
            for table, path in LOAN_COUNTS.items()
        }
        found = counts(plan, mapped)
        assert found == Counter(wanted), app_id
        seen += found
    assert set(seen) == set(LOAN_COUNTS)


def discogs() -> etree._Element:
    if not DISCOGS.is_file():
        pytest.skip(f"no Discogs sample at {DISCOGS} (XML_EXTRACTOR_DISCOGS)")
    with gzip.open(DISCOGS) as content:
        return etree.fromstring(content.read())


def test_real_releases_map_to_what_xpath_counts() -> None:
    root = discogs()
    plan = plan_of("discogs_releases.yaml")
    mapper = DataMapper(plan, STARTED)
    found: Counter[str] = Counter({table.name: 0 for table in plan.tables})
    parents = 0
    for release in root:
        document = SourceDocument(int(release.get("id", "")), etree.tostring(release, encoding="unicode"))
        mapped = mapper.map(mapper.parse(document), document)
        assert keys_are_unique(plan, mapped)
        for name, count in counts(plan, mapped).items():
            found[name] += count
        track = next(i for i, table in enumerate(plan.tables) if table.name == "release_track")
        parents += sum(row[2] is not None for row in mapped.rows[track])
    wanted = {table: int(float(str(root.xpath(path)))) for table, path in DISCOGS_COUNTS.items()}
    assert dict(found) == wanted
    assert parents == len(root.findall("release/tracklist/track/sub_tracks/track")) > 0
    assert wanted["release"] == 1000


def test_series_are_mapped_too() -> None:
    plan = plan_of("discogs_releases.yaml")
    text = '<release id="5"><title>T</title><series><series name="S" catno="" id="9"/></series></release>'
    mapper = DataMapper(plan, STARTED)
    document = SourceDocument(5, text)
    mapped = mapper.map(mapper.parse(document), document)
    series = next(i for i, table in enumerate(plan.tables) if table.name == "release_series")
    assert mapped.rows[series] == [(5, 1, 9, "S", None)]


def test_a_real_dump_is_staged_and_read_back(database_url: str) -> None:
    root = discogs()
    engine = open_engine(database_url)
    plan = plan_of("discogs_releases.yaml")
    summary = stage(engine, plan, [DISCOGS])
    assert (summary.staged, summary.documents, summary.needs_a_look) == (1000, 1000, False)
    assert stage(engine, plan, [DISCOGS]).already_staged == 1000
    reader = SourceReader(engine, plan.source)
    reader.open()
    reader.check()
    keys = [key for page in reader.key_pages(page_size=300) for key in page]
    documents = {d.key: text_of(d) for d in reader.documents(keys)}
    reader.close()
    wanted = {int(r.get("id", "")): etree.tostring(r, encoding="unicode", with_tail=False) for r in root}
    assert documents == wanted


def test_the_sample_is_written_once_and_completed(database_url: str) -> None:
    engine = open_engine(database_url)
    plan = plan_of("loan_application.yaml")
    told: list[int] = []
    assert write_sample(engine, plan, 0, 1) == 0  # the table is there, and empty
    assert write_sample(engine, plan, 1500, 1, told.append) == 1500
    assert told == [1000, 1500]
    assert write_sample(engine, plan, 1600, 1) == 100
    reader = SourceReader(engine, plan.source)
    reader.open()
    found = [(d.key, text_of(d)) for d in _documents(reader)]
    reader.close()
    assert found == list(generate_applications(1600, 1))


def _documents(reader: SourceReader) -> Iterator[SourceDocument]:
    for page in reader.key_pages():
        yield from reader.documents(page)
