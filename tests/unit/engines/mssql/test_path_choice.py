"""The way in is chosen by what is there and by how far the server is."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.plans import column, plan, table
from xml_extractor.contract.types import SqlType
from xml_extractor.engines.base import EngineOptions
from xml_extractor.engines.mssql import path_choice
from xml_extractor.engines.mssql.bulkcopy import BulkCopyWriter, BulkEncoder, Service
from xml_extractor.engines.mssql.encoders import JsonEncoder, TextTupleEncoder
from xml_extractor.engines.mssql.insert_paths import INSERT_PATHS
from xml_extractor.engines.mssql.openjson import OpenJsonWriter
from xml_extractor.engines.mssql.path_choice import PathChoice, choose, settle
from xml_extractor.engines.mssql.rowwise import ExecuteManyWriter
from xml_extractor.errors import UsageError

TWO_TABLES = plan(
    table("a", column("id", "int", nullable=False), column("d", "decimal(9,2)")),
    table("b", column("id", "int", nullable=False), column("x", "xml")),
)


def chosen(round_trip_ms: float, documents: int = 1000, **unavailable: str) -> str:
    missing = {name.replace("_", "-"): why for name, why in unavailable.items()}
    path, _ = choose("auto", missing, documents=documents, tables=12, round_trip_seconds=round_trip_ms / 1000)
    return path


def test_next_to_the_server_the_path_of_most_rows_is_taken() -> None:
    assert chosen(0.2) == "bulkcopy"
    assert chosen(0.2, bulkcopy="x") == "openjson"
    assert chosen(0.2, bulkcopy="x", openjson="x") == "fast-executemany"
    assert chosen(0.2, bulkcopy="x", openjson="x", fast_executemany="x") == "executemany"


def test_far_from_the_server_the_path_of_fewest_round_trips_is_taken() -> None:
    assert chosen(40) == "openjson"
    assert chosen(40, openjson="x", bulkcopy="x") == "fast-executemany"
    assert chosen(5, documents=100) == "openjson"
    assert chosen(5, documents=10_000) == "bulkcopy"


def test_the_reason_names_what_was_passed_over() -> None:
    _, reason = choose(
        "auto", {"bulkcopy": "it is not served"}, documents=1, tables=1, round_trip_seconds=0.001
    )
    assert "not bulkcopy: it is not served" in reason
    assert "1.0 ms" in reason


def test_a_path_that_is_asked_for_is_taken_or_refused() -> None:
    common: dict[str, Any] = {"documents": 1000, "tables": 12, "round_trip_seconds": 0.04}
    for path in INSERT_PATHS:
        assert choose(path, {}, **common) == (path, "as set")
        with pytest.raises(UsageError, match=f"--insert-path {path}: no luck; use --insert-path auto"):
            choose(path, {path: "no luck"}, **common)


def test_nothing_to_choose_from_names_every_reason() -> None:
    with pytest.raises(UsageError, match=r"bulkcopy: no reason.*executemany: no reason"):
        choose("auto", dict.fromkeys(INSERT_PATHS, "no reason"), documents=1, tables=1, round_trip_seconds=0)


class Server:
    """Answers what is asked before a load."""

    def __init__(self, level: int = 150, *, has_openjson: bool | None = None) -> None:
        self.level = level
        self.has_openjson = level >= 130 if has_openjson is None else has_openjson

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        if "compatibility_level" in sql:
            return [(self.level, "db")]
        if "OPENJSON" in sql:
            if not self.has_openjson:
                raise LookupError("Invalid object name 'OPENJSON'.")
            if not parameters:
                return [("1",)]
            sent = json.loads(parameters[0])[0]
            return [(sent[0], bytes.fromhex(sent[1]), sent[2])]
        return [(1,)]


def settled(
    server: Server, served: frozenset[SqlType] | str | None = None, insert_path: str = "auto"
) -> PathChoice:
    asked: list[frozenset[SqlType]] = []

    def try_bulk_copy(kinds: frozenset[SqlType]) -> Service | str:
        asked.append(kinds)
        return served if isinstance(served, str) else Service(kinds if served is None else served, True)

    return settle(
        server,
        TWO_TABLES,
        EngineOptions(insert_path=insert_path),
        keep_identity=frozenset({"a"}),
        fast_problem=None,
        try_bulk_copy=try_bulk_copy,
    )


def types(*names: str) -> frozenset[SqlType]:
    return frozenset(c.type for t in TWO_TABLES.tables for c in t.columns if str(c.type) in names)


def test_tables_that_bulk_copy_does_not_serve_go_by_openjson() -> None:
    choice = settled(Server(), types("int", "decimal(9,2)"))
    assert (choice.path, choice.by_json, choice.keep_identity) == ("bulkcopy", {"b"}, {"a"})
    assert pickle.loads(pickle.dumps(choice)) == choice


def test_bulk_copy_that_serves_no_table_is_not_taken() -> None:
    assert settled(Server(), types("decimal(9,2)")).path == "openjson"
    with pytest.raises(UsageError, match="bulk copy does not keep"):
        settled(Server(), types("decimal(9,2)"), "bulkcopy")
    with pytest.raises(UsageError, match="the library is missing"):
        settled(Server(), "the library is missing", "bulkcopy")


def test_an_old_compatibility_level_has_no_openjson() -> None:
    assert settled(Server(120), "no").path == "fast-executemany"
    with pytest.raises(UsageError, match="needs compatibility level 130, and the database has 120"):
        settled(Server(120), None, "openjson")
    with pytest.raises(UsageError, match="bulkcopy: it needs OPENJSON to fall back on"):
        settled(Server(120), None, "bulkcopy")


def test_a_server_that_has_openjson_whatever_it_calls_its_level_uses_it() -> None:
    assert settled(Server(120, has_openjson=True), "no").path == "openjson"


def test_bulk_copy_is_tried_out_only_where_it_would_be_taken() -> None:
    def refuse(kinds: frozenset[SqlType]) -> str:
        raise AssertionError("asked")

    choice = settle(
        Server(), TWO_TABLES, EngineOptions(insert_path="openjson"), keep_identity=frozenset(),
        fast_problem=None, try_bulk_copy=refuse,
    )  # fmt: skip
    assert (choice.path, choice.by_json) == ("openjson", frozenset())


def test_encoders_and_writers_belong_to_their_paths() -> None:
    made = {
        path: (
            type(path_choice.encoder(PathChoice(path, ""), TWO_TABLES)),
            type(path_choice.row_writer(PathChoice(path, ""), EngineOptions())),
        )
        for path in INSERT_PATHS
    }
    assert made == {
        "bulkcopy": (BulkEncoder, BulkCopyWriter),
        "openjson": (JsonEncoder, OpenJsonWriter),
        "fast-executemany": (TextTupleEncoder, ExecuteManyWriter),
        "executemany": (TextTupleEncoder, ExecuteManyWriter),
    }
