from __future__ import annotations

import base64
import errno
import json
import pickle
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import target_plans
from tests.support.target_plans import loaded, refused, rows
from tests.support.target_plans import plan as two_tables
from xml_extractor.contract.plan import Plan
from xml_extractor.errors import TargetError, UsageError
from xml_extractor.mapping.records import DocumentRecord, State
from xml_extractor.target import files, open_target
from xml_extractor.target.base import LoadHandle, RunState, Target
from xml_extractor.target.files import JsonLinesEncoder, file_name


def prepare(target: Target, plan: Plan | None = None, *, dry_run: bool = False) -> LoadHandle:
    return target.prepare(
        plan or two_tables(),
        source_name="lending",
        source_name_explicit=False,
        create_tables=False,
        dry_run=dry_run,
        on_plan_change="report",
        settings={},
    )


def read(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# ------------------------------------------------------------------------------------------- null:


def test_null_counts_and_keeps_nothing() -> None:
    target = open_target("null:")
    assert not target.needs_hash
    assert target.max_insert_threads is None
    handle = prepare(target)
    assert handle.encoder is None
    assert handle.lookup([1, 2]) == {}
    assert (handle.load_id, handle.resumed) == (0, False)
    assert handle.started_at.utcoffset() is not None
    first, second = handle.writer(1), handle.writer(2)
    records = [DocumentRecord(key, State.LOADED, b"", row_counts=(1, key)) for key in (2, 3)]
    records[0].truncated_values = 4
    records[0].unknown_elements = ("odd",)
    result = first.commit_batch([*records, refused(4), refused(5, State.SKIPPED)])
    assert (result.loaded, result.already_loaded, result.quarantined, result.skipped) == (2, 0, 1, 1)
    assert result.rows == result.document_rows == (2, 5)
    assert result.truncated_values == 4
    assert result.unknown_elements == {"odd": 1}
    assert result.quarantine_reasons == {"not_well_formed": 1}
    assert second.commit_batch(records).loaded == 2
    handle.finish(RunState.FINISHED, {})


# ------------------------------------------------------------------------------------------ jsonl:


def test_jsonl_writes_one_file_a_table(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "out"
    target = open_target(f"jsonl:{folder}")
    handle = prepare(target)
    writer = handle.writer(1)
    encoder = handle.encoder
    assert encoder is not None
    result = writer.commit_batch([loaded(encoder, 2, 1), refused(4), refused(5, State.SKIPPED)])
    assert (result.loaded, result.quarantined, result.skipped) == (1, 1, 1)
    assert result.rows == (1, 1)
    writer.commit_batch([loaded(encoder, 1, 2, name="Zoë 漢")])
    assert {path.suffix for path in folder.iterdir()} == {".partial"}
    writer.close()
    handle.finish(RunState.FINISHED, {})
    handle.close()
    assert {path.name for path in folder.iterdir()} == {"base.jsonl", "contact.jsonl", "_quarantine.jsonl"}
    assert read(folder / "base.jsonl") == [
        {"id": 2, "name": "n2", "amount": "1.10"},
        {"id": 1, "name": "Zoë 漢", "amount": "1.10"},
    ]
    assert read(folder / "contact.jsonl") == [
        {"id": 2, "no": 1, "phone": "01"},
        {"id": 1, "no": 1, "phone": "01"},
        {"id": 1, "no": 2, "phone": "02"},
    ]
    assert read(folder / "_quarantine.jsonl") == [
        {
            "key": 4, "stage": "parse", "code": "not_well_formed", "message": "it is no XML", "table": None,
            "column": None, "path": "a/b",
        }
    ]  # fmt: skip


@pytest.mark.parametrize("state", [RunState.STOPPED, RunState.FAILED])
def test_jsonl_of_an_unfinished_load_cannot_be_taken_for_whole(tmp_path: Path, state: RunState) -> None:
    target = open_target(f"jsonl:{tmp_path / 'out'}")
    handle = prepare(target)
    handle.finish(state, {})
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".partial"}
    with pytest.raises(UsageError, match="not empty"):
        prepare(target)


def test_jsonl_wants_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        prepare(open_target(f"jsonl:{tmp_path}"))
    with pytest.raises(UsageError, match="is a file"):
        prepare(open_target(f"jsonl:{tmp_path / 'file'}"))
    with pytest.raises(UsageError, match="needs a folder"):
        open_target("jsonl:")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_jsonl_that_cannot_be_created_is_the_targets_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(TargetError, match="cannot be written"):
        prepare(open_target(f"jsonl:{tmp_path / 'file' / 'below'}"))


def test_jsonl_dry_run_writes_nothing(tmp_path: Path) -> None:
    handle = prepare(open_target(f"jsonl:{tmp_path / 'out'}"), dry_run=True)
    handle.finish(RunState.FINISHED, {})
    assert list(tmp_path.iterdir()) == []


def test_jsonl_write_that_fails_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = open_target(f"jsonl:{tmp_path / 'out'}")
    handle = prepare(target)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files._JsonLinesFiles, "write", full)
    with pytest.raises(TargetError, match="No space left"):
        handle.writer(1).commit_batch([refused(1)])
    monkeypatch.undo()
    handle.finish(RunState.FAILED, {})


VALUES = st.fixed_dictionaries(
    {
        "bit": st.none() | st.booleans(),
        "bigint": st.none() | st.integers(-(2**63), 2**63 - 1),
        "decimal(38,10)": st.none() | st.decimals(allow_nan=False, allow_infinity=False, places=10),
        "float": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "datetime2(7)": st.none() | st.just("2024-02-29 23:59:59.1234567"),
        "nvarchar(max)": st.none() | st.text(st.characters()),
        "varbinary(max)": st.none() | st.binary(),
        "uniqueidentifier": st.none() | st.just("6f9619ff-8b86-d011-b42d-00cf4fc964ff"),
    }
)


@given(VALUES)
def test_every_value_comes_back_exactly_from_json(values: dict[str, Any]) -> None:
    columns = [target_plans.column(f'c "{name}"', name, nullable=True) for name in values]
    numbered = target_plans.column("line", "int", server_generated=True)
    table = target_plans.table("t", [numbered, *columns], (0,))
    plan = two_tables()
    encoder = pickle.loads(pickle.dumps(JsonLinesEncoder.of(Plan(**{**_fields(plan), "tables": (table,)}))))
    (encoded,), size = encoder(([(None, *values.values())],))
    assert size == len(encoded)
    assert encoded.endswith(b"\n")
    assert encoded.count(b"\n") == 1
    row = json.loads(encoded)
    assert list(row) == [f'c "{name}"' for name in values]
    for (name, value), back in zip(values.items(), row.values(), strict=True):
        if value is None:
            assert back is None
        elif name == "varbinary(max)":
            assert base64.b64decode(back, validate=True) == value
        elif name == "decimal(38,10)":
            assert isinstance(back, str)
            assert "E" not in back.upper()
            assert Decimal(back) == value
        else:
            assert back == value
            assert type(back) is type(value)


def _fields(plan: Plan) -> dict[str, Any]:
    return {name: getattr(plan, name) for name in plan.__slots__}


def test_a_document_without_rows_is_no_bytes() -> None:
    encoded, size = JsonLinesEncoder.of(two_tables())(rows(1, 0))
    assert encoded[1] == b""
    assert size == len(encoded[0])


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("app_base", "app_base.jsonl"),
        ("dbo.app_base", "dbo.app_base.jsonl"),
        ("../etc/passwd", "..%2Fetc%2Fpasswd.jsonl"),
        ('a"b:c', "a%22b%3Ac.jsonl"),
    ],
)
def test_file_names_stay_in_the_folder(table: str, name: str) -> None:
    assert file_name(table) == name
