"""A thousand real Discogs releases, staged from their dump and loaded, read back with SQL."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from lxml import etree

from tests.support.program import CHECKOUT, run_command, run_program
from tests.support.tables import ledger_rows_match_tables, query, read_tables
from xml_extractor import Contract
from xml_extractor.resources import shipped_config

DUMP = Path(
    os.environ.get("XML_EXTRACTOR_DISCOGS")
    or CHECKOUT.parent / "shared" / "data" / "discogs_releases_1000.xml.gz"
)
pytestmark = pytest.mark.skipif(
    not DUMP.is_file(),
    reason="the Discogs sample is not part of the product; name it in XML_EXTRACTOR_DISCOGS",
)

# What each table must hold, counted in the dump by XPath, independently of the contract.
ROWS = {
    "release": "release",
    "release_artist": "release/artists/artist",
    "release_extra_artist": "release/extraartists/artist",
    "release_label": "release/labels/label",
    "release_series": "release/series/series",
    "release_format": "release/formats/format",
    "release_format_description": "release/formats/format/descriptions/description",
    "release_identifier": "release/identifiers/identifier",
    "release_video": "release/videos/video",
    "release_company": "release/companies/company",
    "release_track": "release/tracklist//track",
    "release_track_artist": "release/tracklist//track/artists/artist",
    "release_track_extra_artist": "release/tracklist//track/extraartists/artist",
    "release_genre": "release/genres/genre",
    "release_style": "release/styles/style",
}


@pytest.fixture(scope="module")
def releases() -> etree._Element:
    with gzip.open(DUMP) as dump:
        return etree.parse(dump, etree.XMLParser(huge_tree=True)).getroot()


def test_the_dump_is_staged_and_loaded_whole(
    database_url: str, tmp_path: Path, releases: etree._Element
) -> None:
    contract_file = shipped_config("discogs_releases.yaml")
    plan = Contract.read(contract_file).plan
    for expected in ("1,000", "0"):  # staging the same dump twice adds nothing
        staged = run_command(
            "stage", "--source", database_url, "--contract", contract_file, DUMP, folder=tmp_path
        )
        assert staged.returncode == 0, staged.stderr
        assert expected in staged.stdout
        assert query(database_url, f"SELECT COUNT(*) FROM {plan.source.table}") == [(1000,)]
    arguments = ["--source", database_url, "--contract", contract_file, "--create-tables"]
    program = run_program(*arguments, "--workers", 2, folder=tmp_path)
    assert program.process.returncode == 0, program.errors
    summary = program.summary()
    assert summary["documents"]["loaded"] == summary["documents"]["read"] == 1000
    counted = {name: int(releases.xpath(f"count({path})")) for name, path in ROWS.items()}
    assert summary["rows"] == counted
    tables = read_tables(database_url, plan)
    assert {name: len(rows) for name, rows in tables.items()} == counted
    ledger_rows_match_tables(database_url, plan)


def test_texts_arrive_as_they_stand_in_the_dump(
    database_url: str, tmp_path: Path, releases: etree._Element
) -> None:
    contract_file = shipped_config("discogs_releases.yaml")
    for command in (
        ["stage", "--source", database_url, "--contract", contract_file, DUMP],
        [
            "load",
            "--source",
            database_url,
            "--contract",
            contract_file,
            "--create-tables",
            "--progress",
            "none",
        ],
    ):
        done = run_command(*command, folder=tmp_path)
        assert done.returncode == 0, done.stderr
    titles = {int(release.get("id", "")): release.findtext("title") for release in releases}
    assert dict(query(database_url, "SELECT release_id, title FROM release")) == titles
    notes = {int(release.get("id", "")): release.findtext("notes") for release in releases}
    found = dict(query(database_url, "SELECT release_id, notes FROM release"))
    assert {key: found[key] or None for key in found} == {key: notes[key] or None for key in notes}
    sub_tracks = query(
        database_url,
        "SELECT c.release_id, c.title, p.title FROM release_track c JOIN release_track p "
        "ON p.release_id = c.release_id AND p.sequence = c.parent_sequence",
    )
    expected = [
        (int(release.get("id", "")), sub.findtext("title"), track.findtext("title"))
        for release in releases
        for track in release.iterfind("tracklist/track")
        for sub in track.iterfind("sub_tracks/track")
    ]
    assert sorted(map(repr, sub_tracks)) == sorted(map(repr, expected))
    assert expected
