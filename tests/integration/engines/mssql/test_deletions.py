"""Rows are deleted by their keys in statements that leave others the table."""

from __future__ import annotations

from contextlib import closing

import pytest

from xml_extractor.engines import open_engine
from xml_extractor.engines.base import EngineOptions


@pytest.mark.parametrize("avoid", [True, False])
@pytest.mark.sqlserver
def test_deletions_stay_below_lock_escalation(mssql_url: str, avoid: bool) -> None:
    engine = open_engine(mssql_url, options=EngineOptions(avoid_lock_escalation=avoid))
    with closing(engine.connect(write=True, application="tests")) as session:
        session.execute("CREATE TABLE item (id int NOT NULL PRIMARY KEY, owner int NOT NULL)")
        session.execute("CREATE TABLE deleted_at_once (n int)")
        session.execute(
            "CREATE TRIGGER item_deleted ON item AFTER DELETE AS "
            "INSERT INTO deleted_at_once SELECT COUNT(*) FROM deleted"
        )
        session.execute("INSERT INTO item SELECT value, value % 3 FROM OPENJSON(?) WITH (value int '$')",
                        (str(list(range(15_000))),))  # fmt: skip
        session.begin()
        assert session.delete_rows("item", "owner", [0, 1, 77]) == 10_000
        session.commit()
        counts = [n for (n,) in session.query("SELECT n FROM deleted_at_once")]
        assert sorted(counts) == ([2_000, 4_000, 4_000] if avoid else [10_000])
        assert session.query("SELECT owner, COUNT(*) FROM item GROUP BY owner") == [(2, 5_000)]
