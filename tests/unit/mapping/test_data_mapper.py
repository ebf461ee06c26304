from __future__ import annotations

import logging
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from tests.support.interpreters import needs_native
from tests.unit.mapping.mapping_support import STARTED_AT, map_document, plan_of
from xml_extractor.mapping.data_mapper import DataMapper, DocumentRejected
from xml_extractor.mapping.interpreter_choice import InterpreterChoice
from xml_extractor.mapping.layouts import Layout, LayoutEncoder, RowEncoder, TableLayout
from xml_extractor.mapping.records import Row, SourceDocument, Stage
from xml_extractor.mapping.xml_parser import DocumentParser

TABLES = """
    t:
      primary_key: [id]
      columns:
        id: {from: $key, type: int}
        x:  {from: x, type: int}
"""


def test_parse_and_map() -> None:
    mapper = DataMapper(plan_of(TABLES), STARTED_AT)
    for key in (1, 2):
        document = SourceDocument(key, f"<r><x>{key}</x></r>")
        assert mapper.map(mapper.parse(document), document).rows == ([(key, key)],)


def handle(mapper: DataMapper, document: SourceDocument) -> None:
    mapper.map(mapper.parse(document), document)


def test_a_rejected_document_leaves_nothing_behind() -> None:
    mapper = DataMapper(plan_of(TABLES), STARTED_AT)
    for content, stage in (("<r><x>no</x></r>", Stage.MAP), ("<r>", Stage.PARSE), (None, Stage.SOURCE)):
        with pytest.raises(DocumentRejected) as caught:
            handle(mapper, SourceDocument(1, content))
        assert caught.value.rejection.stage is stage
    document = SourceDocument(1, "<r/>")
    assert mapper.map(mapper.parse(document), document).rows == ([(1, None)],)


@pytest.mark.parametrize("stage", [Stage.PARSE, Stage.MAP])
def test_a_defect_of_ours_costs_one_document(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: object, *_: object, **__: object) -> None:
        raise ZeroDivisionError("SECRET")

    mapper = DataMapper(plan_of(TABLES), STARTED_AT)
    document = SourceDocument(1, "<r/>")
    tree = mapper.parse(document)
    if stage is Stage.PARSE:
        monkeypatch.setattr(DocumentParser, "parse", fail)
    else:
        monkeypatch.setattr(mapper, "_interpreter", SimpleNamespace(run=fail))
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            with pytest.raises(DocumentRejected) as caught:
                mapper.parse(document) if stage is Stage.PARSE else mapper.map(tree, document)
    rejection = caught.value.rejection
    assert (rejection.stage, rejection.code) == (stage, "internal_error")
    assert "ZeroDivisionError at test_data_mapper.py:" in rejection.message
    assert "SECRET" not in rejection.message
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert len(caplog.records) == 1
    assert "SECRET" not in caplog.text


def test_plans_travel_to_workers() -> None:
    plan = pickle.loads(pickle.dumps(plan_of(TABLES)))
    assert map_document(plan, "<r><x>1</x></r>")["t"] == [(1, 1)]


def broken(*_: object) -> NoReturn:
    raise TypeError("SECRET")


@dataclass(frozen=True, slots=True)
class BrokenTable(LayoutEncoder):
    """Knows no layout for its rows, and fails over them."""

    @property
    def layouts(self) -> tuple[TableLayout | None, ...]:
        return (None,)

    def encode_table(self, index: int, rows: Sequence[Row]) -> tuple[Any, int]:
        broken(rows)


@dataclass(frozen=True, slots=True)
class BrokenValue(BrokenTable):
    """Fails over a single value of rows that are laid out natively."""

    @property
    def layouts(self) -> tuple[TableLayout | None, ...]:
        return (TableLayout(Layout.JSON_ARRAYS, (0, 1), broken, checks_text=True),)


@pytest.mark.parametrize("encoder", [BrokenTable(), BrokenValue(), broken])
@pytest.mark.parametrize(
    "interpreter", [InterpreterChoice.PYTHON, pytest.param(InterpreterChoice.NATIVE, marks=needs_native)]
)
@pytest.mark.parametrize("key", ["k", "k\0"], ids=["plain", "left to Python by the native interpreter"])
def test_a_defect_of_an_encoder_ends_the_load_and_blames_no_document(
    key: str, encoder: RowEncoder, interpreter: InterpreterChoice, caplog: pytest.LogCaptureFixture
) -> None:
    columns = "{id: {from: $key, type: nvarchar(9)}, raw: {from: b, type: varbinary(9)}}"
    mapper = DataMapper(
        plan_of(f"t: {{primary_key: [id], columns: {columns}}}"), STARTED_AT, interpreter, encoder
    )
    document = SourceDocument(key, "<r><b>AAEC</b></r>")
    tree = mapper.parse(document)
    with caplog.at_level(logging.ERROR), pytest.raises(TypeError, match="SECRET"):
        mapper.encode(tree, document)
    (record,) = caplog.records
    assert record.getMessage().startswith(
        f"defect of the program while the rows of document {key!r} were encoded: TypeError at test_data_"
    )
    assert "SECRET" not in caplog.text
