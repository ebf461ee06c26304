"""Inputs that mean harm: archives that hold more than they seem to, and names that are no text."""

from __future__ import annotations

import gzip
import io
import os
import sys
import zipfile
from pathlib import Path

import pytest

from xml_extractor.errors import SourceError
from xml_extractor.source import record_splitter
from xml_extractor.source.input_files import InputFile, find_inputs
from xml_extractor.source.record_splitter import read_root, split_records


def records(data: bytes) -> list[str]:
    root = read_root(io.BytesIO(data))
    assert root is not None
    found = []
    for element in split_records(io.BytesIO(data), "dump.xml", root, "r", ignore_case=False):
        found.append(str(element.get("id")))
    return found


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_splitter, "CHUNK_BYTES", 512)
    monkeypatch.setattr(record_splitter, "MAX_RECORD_BYTES", 4096)


@pytest.mark.usefixtures("_small")
def test_a_record_without_end_is_given_up() -> None:
    data = b"<d><r id='1'/><r id='2'>" + b"<a/>" * 5000 + b"</r></d>"
    with pytest.raises(SourceError, match=r"a record that is larger than 0 MiB, after 1 complete record"):
        records(data)


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("piece", [b"<!-- c -->", b"<?p i?>", b" "])
def test_what_goes_on_behind_the_root_is_given_up(piece: bytes) -> None:
    with pytest.raises(SourceError, match="more behind its root element"):
        records(b"<d><r id='1'/></d>" + piece * 5000)


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize(
    "piece",
    [b"<r id='1'><a/></r>", b"<other><a/></other>", b"<!-- c -->", b"<r id='1'>" + b"<a/>" * 500 + b"</r>"],
)
def test_many_pieces_that_are_small_are_taken(piece: bytes) -> None:
    assert len(records(b"<d>" + piece * 500 + b"<r id='2'/></d>")) == 1 + 500 * piece.startswith(b"<r")


def test_a_member_is_found_wherever_its_name_points_and_nothing_is_written_there(tmp_path: Path) -> None:
    archive = tmp_path / "in" / "a.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("../../out.xml", "<r/>")
        content.writestr("/abs.xml", gzip.compress(b"<r/>"))
    for file in find_inputs([archive]):
        with file.open() as opened:
            assert opened.read() == b"<r/>"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.zip", "in"]


def test_names_cannot_write_lines_of_their_own_into_messages() -> None:
    file = InputFile(Path("a.zip"), "x\n2026-01-01 ERROR all is lost\x1b[31m\u202e.xml")
    assert file.name == r"a.zip!x\n2026-01-01 ERROR all is lost\x1b[31m\u202e.xml"


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names of files are text there")
def test_a_name_that_is_no_text_can_be_stored_and_shown(tmp_path: Path) -> None:
    Path(os.fsdecode(bytes(tmp_path) + b"/\xff\xe4.xml.gz")).write_bytes(gzip.compress(b"<r/>"))
    (file,) = find_inputs([tmp_path])
    assert file.base_name == r"\udcff\udce4.xml"
    file.name.encode()
    with file.open() as content:
        assert content.read() == b"<r/>"
