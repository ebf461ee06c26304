from __future__ import annotations

import gzip
import os
import zipfile
from pathlib import Path

import pytest

from xml_extractor.errors import SourceError, UsageError
from xml_extractor.source.input_files import InputFile, find_inputs


def contents(*paths: Path) -> dict[str, bytes]:
    found = {}
    for file in find_inputs(paths):
        with file.open() as content:
            found[file.base_name] = content.read()
    return found


def test_folders_archives_and_files_that_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "b.xml").write_bytes(b"<b/>")
    (folder / "deep" / "er" / "A.XML").write_bytes(b"<a/>")
    (folder / "deep" / "c.xml.gz").write_bytes(gzip.compress(b"<c/>"))
    (folder / "readme.txt").write_text("no")
    with zipfile.ZipFile(folder / "z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/d.xml", b"<d/>")
        archive.writestr("e.xml.gz", gzip.compress(b"<e/>"))
        archive.writestr("notes.txt", b"no")
    named = tmp_path / "named.data"
    named.write_bytes(b"<n/>")
    assert contents(folder, named) == {
        "b.xml": b"<b/>", "c.xml": b"<c/>", "A.XML": b"<a/>", "e.xml": b"<e/>", "d.xml": b"<d/>",
        "named.data": b"<n/>",
    }  # fmt: skip
    names = [file.name for file in find_inputs([folder])]
    assert names == sorted(names)  # the same order on every machine
    assert any(name.endswith("z.zip!x/d.xml") for name in names)


def test_compression_is_told_by_content_not_by_name(tmp_path: Path) -> None:
    (tmp_path / "plain.xml").write_bytes(gzip.compress(b"<g/>"))
    assert contents(tmp_path / "plain.xml") == {"plain.xml": b"<g/>"}


def test_a_missing_path_is_found_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<a/>")
    with pytest.raises(UsageError, match=r"gone\.xml does not exist"):
        next(find_inputs([tmp_path / "a.xml", tmp_path / "gone.xml"]))


def test_nothing_to_stage_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no")
    with pytest.raises(UsageError, match="holds no"):
        list(find_inputs([tmp_path]))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", "no")
    with pytest.raises(UsageError, match=r"archive .*a\.zip holds no"):
        list(find_inputs([tmp_path / "a.zip"]))


def read_all(path: Path) -> None:
    for file in find_inputs([path]):
        with file.open() as content:
            content.read()


def test_a_folder_that_cannot_be_read_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "a.xml").write_text("<a/>")
    (tmp_path / "shut").mkdir()
    (tmp_path / "shut" / "b.xml").write_text("<b/>")
    scandir = os.scandir

    def scan(path: str) -> os._ScandirIterator[str]:  # the tests may run as a user who may read everything
        if Path(path).name == "shut":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    with pytest.raises(SourceError, match=r"folder .*shut cannot be read: Permission denied"):
        list(find_inputs([tmp_path]))
    told: list[tuple[Path, Exception]] = []
    found = list(find_inputs([tmp_path], lambda path, error: told.append((path, error))))
    assert [file.path.name for file in found] == ["a.xml"]
    assert [(path.name, type(error)) for path, error in told] == [("shut", SourceError)]


def test_a_gzip_file_that_ends_early(tmp_path: Path) -> None:
    path = tmp_path / "cut.xml.gz"
    path.write_bytes(gzip.compress(b"<a>" + bytes(range(65, 90)) * 4000 + b"</a>")[:-20])
    with pytest.raises(SourceError, match=r"cut\.xml\.gz ends in the middle"):
        read_all(path)


def test_damaged_files(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(b"<a>" + bytes(range(65, 90)) * 4000 + b"</a>"))
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "bad.xml.gz").write_bytes(data)
    with pytest.raises(SourceError, match=r"bad\.xml\.gz is damaged"):
        read_all(tmp_path / "bad.xml.gz")
    (tmp_path / "not.xml.gz").write_bytes(b"<a/>")
    with pytest.raises(SourceError, match=r"not\.xml\.gz is not a gzip file"):
        read_all(tmp_path / "not.xml.gz")
    (tmp_path / "not.zip").write_bytes(b"<a/>")
    with pytest.raises(SourceError, match="not a zip archive"):
        read_all(tmp_path / "not.zip")
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04 and nothing more")
    with pytest.raises(SourceError, match=r"cut\.zip is damaged"):
        read_all(tmp_path / "cut.zip")


def test_a_damaged_member_names_archive_and_member(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m.xml", b"<a>unmistakable</a>")
    path.write_bytes(path.read_bytes().replace(b"unmistakable", b"unmistakablE"))
    with pytest.raises(SourceError, match=r"a\.zip!m\.xml is damaged"):
        read_all(path)


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(SourceError, match=r"gone\.xml cannot be read"),
        InputFile(tmp_path / "gone.xml").open(),
    ):
        pass
