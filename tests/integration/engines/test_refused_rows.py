"""Which row a database stumbles over, where it says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.support.plans import column, plan, table
from xml_extractor.contract.plan import Plan
from xml_extractor.engines.base import Engine, Fault, FaultKind, Session

Create = Callable[[Plan], None]
WRITTEN = plan(table("t", column("id", "int", nullable=False), column("text", "nvarchar(9)")))


def write(engine: Engine, session: Session, rows: Sequence[tuple[Any, ...]]) -> Fault | None:
    """Write rows as documents of seven; return what is wrong with them."""
    encode = engine.encoder(WRITTEN)
    pieces = [encode((list(rows[first : first + 7]),))[0][0] for first in range(0, len(rows), 7)]
    session.begin()
    try:
        session.write_rows(WRITTEN.tables[0], pieces)
    except Exception as error:  # noqa: BLE001 - the driver's own
        session.rollback()
        return engine.classify(error)
    session.commit()
    return None


@pytest.mark.parametrize("at", [0, 1, 99, 100, 130, 199, 200, 249])
def test_the_row_is_named(engine: Engine, session: Session, create: Create, at: int) -> None:
    if engine.name == "mssql":
        pytest.skip("SQL Server says which key, not which row")
    create(WRITTEN)
    assert write(engine, session, [(-1, "there")]) is None
    rows = [(-1 if place == at else place, "a\nb\\\t") for place in range(250)]
    fault = write(engine, session, rows)
    assert fault is not None
    assert (fault.kind, fault.code) == (FaultKind.DATA, "unique_violation")
    assert session.refused_row == ("t", at)
    assert session.query("SELECT id FROM t") == [(-1,)]
    assert write(engine, session, [(1, "x")]) is None
    assert session.refused_row is None


@pytest.mark.parametrize("way", ["ROLLBACK", "FAIL"])
def test_no_row_is_tried_again_where_a_trigger_has_ended_the_transaction_or_kept_rows(
    engine: Engine, session: Session, create: Create, way: str
) -> None:
    if engine.name != "sqlite":
        pytest.skip("a trigger cannot do either there")
    create(WRITTEN)
    session.execute(
        f"CREATE TRIGGER strict BEFORE INSERT ON t WHEN new.id = 50 BEGIN SELECT RAISE({way}, 'no'); END"
    )
    fault = write(engine, session, [(place, None) for place in range(250)])
    assert fault is not None
    assert fault.code == "raised_by_trigger"
    assert session.refused_row is None
    assert session.query("SELECT COUNT(*) FROM t") == [(0,)]


def test_words_of_the_row_do_not_name_another(engine: Engine, session: Session, create: Create) -> None:
    if engine.name == "mssql":
        pytest.skip("SQL Server says which key, not which row")
    create(WRITTEN)
    # PostgreSQL's context quotes the row that a CHECK refuses.
    session.execute("DROP TABLE t")
    session.execute("CREATE TABLE t (id int CHECK (id > 0), text varchar(9))")
    rows = [(-1 if place == 40 else 5, ", line 1") for place in range(250)]
    fault = write(engine, session, rows)
    assert fault is not None
    assert fault.code == "check_violation"
    assert session.refused_row == ("t", 40)
