"""Baselines as files: whole or not at all, and what is none is refused and left as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from performance_tuning.baseline.document import check_place, read_baseline, write_baseline
from performance_tuning.measuring.errors import MeasuringError
from tests.unit.performance_tuning.baselines import baseline

WHOLE = baseline(3)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = tmp_path / "baseline.json"
    write_baseline(WHOLE, file)
    assert read_baseline(file) == WHOLE
    assert [path.name for path in tmp_path.iterdir()] == ["baseline.json"]
    later = baseline(5, seed=2)
    write_baseline(later, file)
    assert read_baseline(file) == later


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("whole") / "baseline.json"
    write_baseline(WHOLE, file)
    return file.read_text(encoding="utf-8")


def changed(text: str, **changes: Any) -> str:
    return json.dumps({**json.loads(text), **changes})


def refusal_of(content: str | bytes, tmp_path: Path) -> str:
    file = tmp_path / "some.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    with pytest.raises(MeasuringError) as refusal:
        read_baseline(file)
    assert "some.json" in str(refusal.value)
    assert refusal.value.exit_code == 2
    return str(refusal.value)


def test_damaged_and_other_files_are_told_apart(text: str, tmp_path: Path) -> None:
    assert "it is empty" in refusal_of("", tmp_path)
    assert "cut short" in refusal_of(text[: len(text) // 2], tmp_path)
    assert "not text" in refusal_of(b"\xff\xfe\x00", tmp_path)
    assert "was not written by establish_baseline.py" in refusal_of("[1, 2]", tmp_path)
    assert "was not written by establish_baseline.py" in refusal_of('{"documents": {"read": 1}}', tmp_path)
    assert "version 2" in refusal_of(changed(text, schema_version=2), tmp_path)
    assert "runs" in refusal_of(changed(text, runs=[]), tmp_path)
    assert "warm_up" in refusal_of(changed(text, warm_up="often"), tmp_path)
    assert "something" in refusal_of(changed(text, something=1), tmp_path)
    unequal = json.loads(text)
    del unequal["runs"][0]["figures"]["insert_p50_ms"]
    assert "same figures" in refusal_of(json.dumps(unequal), tmp_path)
    infinite = text.replace('"yardstick_us": ', '"yardstick_us": 1e999, "others_share": 0, "x": ', 1)
    assert "damaged" in refusal_of(infinite, tmp_path)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(MeasuringError, match=r"absent\.json cannot be read: No such file"):
        read_baseline(tmp_path / "absent.json")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_damage_gets_past_as_anything_but_a_refusal(
    text: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(text) - 1))
    length = data.draw(st.integers(1, 200))
    put = data.draw(st.sampled_from(["", "null", "{", '"', "-1", "NaN", "\x00"]))
    file = tmp_path_factory.getbasetemp() / "damaged.json"
    file.write_text(text[:at] + put + text[at + length :], encoding="utf-8")
    try:
        found = read_baseline(file)
    except MeasuringError:
        return
    assert len(found.runs) >= 1  # what is still whole is a baseline


def test_an_earlier_baseline_may_be_replaced_and_no_other_file(text: str, tmp_path: Path) -> None:
    earlier, other = tmp_path / "earlier.json", tmp_path / "other.json"
    earlier.write_text(text, encoding="utf-8")
    other.write_text("mine", encoding="utf-8")
    check_place(earlier)
    with pytest.raises(MeasuringError, match=r"left as it is; name another file"):
        check_place(other)
    assert other.read_text(encoding="utf-8") == "mine"
    check_place(tmp_path / "new" / "baseline.json")
    assert (tmp_path / "new").is_dir()


def test_a_place_that_cannot_be_written_to_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(MeasuringError, match="cannot be made"):
        check_place(file / "below" / "baseline.json")
    with pytest.raises(MeasuringError, match="cannot be written"):
        write_baseline(WHOLE, tmp_path / "absent" / "baseline.json")
