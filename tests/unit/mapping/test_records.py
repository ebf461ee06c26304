"""Records on their way from one process to another."""

from __future__ import annotations

import pickle
from dataclasses import fields

from xml_extractor.mapping.records import DocumentRecord, Look, Previous, Rejection, Stage, State


def test_a_record_comes_back_as_it_was() -> None:
    records = [
        DocumentRecord(1, State.LOADED, b"h" * 16, (b"a\tb\n", b""), (1, 0), 99, None, 2, ("x/y",)),
        DocumentRecord(
            "k", State.QUARANTINED, b"", rejection=Rejection(Stage.MAP, "too_long", "…", "t", "c", "p")
        ),
        DocumentRecord(
            2, State.LOADED, b"", previous=Previous(State.LOADED, 7, "digest"), look=Look.UNCHANGED
        ),
    ]
    assert pickle.loads(pickle.dumps(records, protocol=5)) == records


def test_nothing_of_a_record_is_left_behind() -> None:
    values = {field.name: object() for field in fields(DocumentRecord)}
    record = DocumentRecord(**values)  # type: ignore[arg-type]
    make, arguments = record.__reduce__()
    again = make(*arguments)
    assert {name: getattr(again, name) for name in values} == values
