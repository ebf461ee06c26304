from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import made_up_loads as made_up
from xml_extractor.errors import ExitCode, UsageError
from xml_extractor.profiling.profile import VERSION
from xml_extractor.profiling.report.load_page import load_page
from xml_extractor.profiling.report.page import render
from xml_extractor.profiling.report.reading import read_summary
from xml_extractor.profiling.summary import LoadSummary


@pytest.mark.parametrize(
    "summary",
    [
        made_up.summary(profile=made_up.profile(samples=3)),
        made_up.empty(error="no", error_code=ExitCode.USAGE),
        made_up.empty(error="no", error_code=ExitCode.HALTED),
        made_up.empty(stopped_by_signal=2),
    ],
)
def test_the_page_from_the_file_is_the_page_of_the_load(summary: LoadSummary, tmp_path: Path) -> None:
    file = tmp_path / "summary.json"
    summary.write(file)
    again = read_summary(file)
    assert again.to_json() == summary.to_json()
    assert render(load_page(again)) == render(load_page(summary))


def changed(**changes: Any) -> str:
    data = made_up.empty().to_json() | {"profile": None} | changes
    return json.dumps(data)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is no summary: it is not JSON"),
        ("[1, 2", "is no summary: it is not JSON"),
        ("[" * 100_000, "is no summary: it is not JSON"),
        ("[]", "is no summary of a load"),
        ('{"documents": {}}', "is no summary of a load"),
        (json.dumps(made_up.empty().to_json()), "written by an earlier version, which kept no profile"),
        (changed(seconds=float("nan")), "is no summary: it is not JSON"),
        (changed(documents={"read": "many"}), "is no summary of this version: documents.read"),
        (changed(rows=None), "is no summary of this version: rows"),
        (changed(worker_time={"parse": 7, "map": 0, "blocked": 0, "idle": 0}), "worker_time.parse"),
        (changed(profile={}), "no profile of a load"),
        (changed(profile={"version": VERSION + 1}), f"reads version {VERSION}"),
        (changed(profile={"version": VERSION, "samples": {}}), "cannot be read"),
    ],
)
def test_a_file_that_is_no_summary_is_refused_with_what_is_wrong(
    content: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "summary.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_summary(file)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_summary(tmp_path / "nothing.json")
    with pytest.raises(UsageError, match="cannot be read"):
        read_summary(tmp_path)
    bytes_of_a_page = tmp_path / "latin.json"
    bytes_of_a_page.write_bytes(b'{"error": "\xe9"}')
    with pytest.raises(UsageError, match="not text in UTF-8"):
        read_summary(bytes_of_a_page)
