"""Statements, transactions, and the ledger's way of inserting: the same on both engines."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.support.plans import column, plan, table
from xml_extractor.contract.plan import Plan
from xml_extractor.engines.base import Engine, FaultKind, Session

Create = Callable[[Plan], None]
Connect = Callable[..., Session]

LEDGER = plan(
    table(
        "ledger",
        column("digest", "binary(16)", nullable=False),
        column("state", "varchar(20)"),
        column("batch", "bigint"),
        column("at", "datetime2(3)"),
        column("hash", "binary(16)"),
    )
)
COLUMNS = ("digest", "state", "batch", "at", "hash")


def digest(number: int) -> bytes:
    return number.to_bytes(16, "big")


def row(number: int, state: str = "loaded") -> tuple[object, ...]:
    return (digest(number), state, 2**63 - 1, "2024-01-02 03:04:05.120", None)


def test_parameters_and_row_counts(session: Session) -> None:
    session.execute("CREATE TABLE t (a integer, b varchar(20))")
    session.execute_many("INSERT INTO t (a, b) VALUES (?, ?)", [(i, f"n{i}") for i in range(10)])
    assert session.execute("UPDATE t SET b = ? WHERE a >= ?", ("x?'%", 7)) == 3
    assert session.query("SELECT a FROM t WHERE b = ? AND b <> '?' AND b LIKE '%' ORDER BY a", ("x?'%",)) == [
        (7,), (8,), (9,),
    ]  # fmt: skip
    assert session.execute("DELETE FROM t") == 10


def test_a_failed_execute_many_leaves_nothing(engine: Engine, session: Session) -> None:
    session.execute("CREATE TABLE t (a integer PRIMARY KEY)")
    with pytest.raises(Exception) as caught:
        session.execute_many("INSERT INTO t (a) VALUES (?)", [(1,), (2,), (1,)])
    assert engine.classify(caught.value).code == "unique_violation"
    assert session.query("SELECT * FROM t") == []


def test_rollback_undoes_and_is_harmless(session: Session) -> None:
    session.rollback()
    session.execute("CREATE TABLE t (a integer)")
    session.begin()
    session.execute("INSERT INTO t VALUES (1)")
    session.rollback()
    session.rollback()
    assert session.query("SELECT * FROM t") == []


def test_a_transaction_in_which_a_statement_failed_does_not_commit_the_rest(session: Session) -> None:
    session.execute("CREATE TABLE t (a integer NOT NULL)")
    session.begin()
    session.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(Exception, match=r"(?i)null"):
        session.execute("INSERT INTO t VALUES (NULL)")
    session.rollback()
    session.begin()
    session.execute("INSERT INTO t VALUES (2)")
    session.commit()
    assert session.query("SELECT a FROM t") == [(2,)]


def test_others_see_what_is_committed_only(engine: Engine, connect: Connect) -> None:
    writer, reader = connect(), connect(write=False)
    writer.execute("CREATE TABLE t (a integer)")
    writer.begin()
    writer.execute("INSERT INTO t VALUES (1)")
    found: list[object] = []
    reading = threading.Thread(target=lambda: found.append(reader.query("SELECT * FROM t")))
    reading.start()
    reading.join(1)
    # SQL Server has it wait, unless the database is set to READ_COMMITTED_SNAPSHOT.
    expected = [(1,)] if reading.is_alive() else []
    assert engine.name == "mssql" or not reading.is_alive()
    writer.commit()
    reading.join(15)
    assert found == [expected]
    assert reader.query("SELECT * FROM t") == [(1,)]


def test_a_reading_session_cannot_write(engine: Engine, connect: Connect) -> None:
    connect().execute("CREATE TABLE t (a integer)")
    with pytest.raises(Exception, match=r"(?i)read-?only") as caught:
        connect(write=False).execute("INSERT INTO t VALUES (1)")
    fault = engine.classify(caught.value)
    assert (fault.kind, fault.code) == (FaultKind.FATAL, "read_only")


def test_insert_new_reports_what_is_there(session: Session, create: Create) -> None:
    create(LEDGER)
    assert session.insert_new("ledger", COLUMNS, []) == set()
    assert session.insert_new("ledger", COLUMNS, [row(n) for n in range(2000)]) == set()
    session.begin()
    found = session.insert_new("ledger", COLUMNS, [row(n, "other") for n in range(1990, 2010)])
    session.commit()
    assert found == {digest(n) for n in range(1990, 2000)}
    assert session.query("SELECT state, count(*) FROM ledger GROUP BY state ORDER BY 1") == [
        ("loaded", 2000), ("other", 10),
    ]  # fmt: skip
    assert session.existing("ledger", COLUMNS, "digest", [digest(5), digest(9999)]) == [
        (digest(5), "loaded", 2**63 - 1, session.query("SELECT MIN(at) FROM ledger")[0][0], None)
    ]
    assert len(session.existing("ledger", ("batch",), "digest", [digest(n) for n in range(3000)])) == 2010
    assert session.existing("ledger", COLUMNS, "digest", []) == []


def test_insert_mostly_new_does_as_insert_new_whatever_is_there(session: Session, create: Create) -> None:
    """All new; the first there, one in the middle, the last; all there; and new again after each."""
    create(LEDGER)
    known: set[bytes] = set()
    start = 0
    for there in (set(), {0}, {200}, {399}, {3, 4, 300}, set(range(400)), set()):
        session.begin()
        session.insert_new("ledger", COLUMNS, [row(start + n, "before") for n in sorted(there)])
        session.commit()
        session.begin()
        found = session.insert_mostly_new("ledger", COLUMNS, [row(start + n) for n in range(400)])
        session.commit()
        assert found == {digest(start + n) for n in there}
        known |= found
        start += 400
    expected = [("before", len(known)), ("loaded", start - len(known))]
    assert session.query("SELECT state, count(*) FROM ledger GROUP BY state ORDER BY 1") == expected
    session.begin()
    assert session.insert_mostly_new("ledger", COLUMNS, []) == set()
    session.commit()


def test_insert_mostly_new_is_part_of_its_transaction(session: Session, create: Create) -> None:
    """What came before it stays, whatever it meets; and all goes when the transaction is rolled back."""
    create(LEDGER)
    session.insert_new("ledger", COLUMNS, [row(25, "before")])
    for end in (session.rollback, session.commit):
        session.begin()
        session.execute("UPDATE ledger SET state = 'touched'")
        rows = [row(n) for n in range(40)]
        assert session.insert_mostly_new("ledger", COLUMNS, rows) == {digest(25)}
        end()
    assert session.query("SELECT state, count(*) FROM ledger GROUP BY state ORDER BY 1") == [
        ("loaded", 39), ("touched", 1),
    ]  # fmt: skip


def test_insert_mostly_new_keeps_what_columns_hold(session: Session, create: Create) -> None:
    create(LEDGER)
    states = ["", "a\tb", "\\", "\\N", "line\nline", "\r", "'\"{},"]
    rows = [
        (
            digest(n),
            states[n % len(states)],
            (-1) ** n * n,
            "2024-01-02 03:04:05",
            digest(n) if n % 3 else None,
        )
        for n in range(40)
    ]
    session.begin()
    assert session.insert_mostly_new("ledger", COLUMNS, rows) == set()
    session.commit()
    columns = ("digest", "state", "batch", "hash")
    found = session.existing("ledger", columns, "digest", [line[0] for line in rows])
    assert sorted(found) == sorted((line[0], line[1], line[2], line[4]) for line in rows)


def test_insert_mostly_new_refuses_what_insert_new_refuses(engine: Engine, session: Session) -> None:
    """A value that another index or column does not take is never taken for a key that is there."""
    session.execute("CREATE TABLE t (a integer PRIMARY KEY, b integer NOT NULL UNIQUE)")
    session.insert_new("t", ("a", "b"), [(100, 1)])
    others = [(n, n + 100) for n in range(40)]
    for rows, code in (
        ([*others, (41, 1)], "unique_violation"),
        ([*others, (100, 7), (41, 1)], "unique_violation"),
        ([*others, (41, None)], "not_null_violation"),
    ):
        session.begin()
        with pytest.raises(Exception) as caught:
            session.insert_mostly_new("t", ("a", "b"), rows)
        session.rollback()
        assert engine.classify(caught.value).code == code
    assert session.query("SELECT a, b FROM t") == [(100, 1)]


def test_insert_new_takes_only_the_key_for_a_conflict(engine: Engine, session: Session) -> None:
    session.execute("CREATE TABLE t (a integer PRIMARY KEY, b integer UNIQUE)")
    session.insert_new("t", ("a", "b"), [(1, 1)])
    with pytest.raises(Exception) as caught:
        session.insert_new("t", ("a", "b"), [(2, 1)])
    assert engine.classify(caught.value).code == "unique_violation"


@pytest.mark.parametrize("method", ["insert_new", "insert_mostly_new"])
def test_two_sessions_insert_the_same_keys(
    engine: Engine, connect: Connect, create: Create, method: str
) -> None:
    """The second waits for the first, and then has what the first left: none of its keys, or all."""
    create(LEDGER)
    first, second = connect(), connect()
    for outcome in ("commit", "rollback"):
        base = 0 if outcome == "commit" else 100
        found: list[set[bytes]] = []

        def load_second(base: int = base, found: list[set[bytes]] = found) -> None:
            for attempt in range(3):
                second.begin()
                try:
                    rows = [row(base + n, "second") for n in range(40)]
                    found.append(getattr(second, method)("ledger", COLUMNS, rows))
                    second.commit()
                    return
                except Exception as error:
                    # A server may find out only now that the first has them: it is seen the next time.
                    second.rollback()
                    if attempt or engine.classify(error).kind is not FaultKind.TRANSIENT:
                        raise

        first.begin()
        assert first.insert_new("ledger", COLUMNS, [row(base + n, "first") for n in range(5)]) == set()
        thread = threading.Thread(target=load_second)
        thread.start()
        thread.join(0.5)
        assert thread.is_alive(), "the second did not wait for the first"
        getattr(first, outcome)()
        thread.join(15)
        assert found == [{digest(base + n) for n in range(5)} if outcome == "commit" else set()]
    assert first.query("SELECT state, count(*) FROM ledger GROUP BY state ORDER BY 1") == [
        ("first", 5), ("second", 75),
    ]  # fmt: skip


def test_abort_frees_a_session_that_waits(engine: Engine, connect: Connect, create: Create) -> None:
    create(LEDGER)
    holder, waiter = connect(), connect()
    holder.begin()
    holder.insert_new("ledger", COLUMNS, [row(1)])
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            waiter.begin()
            waiter.insert_new("ledger", COLUMNS, [row(1)])
        except Exception as error:  # noqa: BLE001 - whatever the driver raises
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join(0.5)
    assert thread.is_alive()
    waiter.abort()
    thread.join(2)
    assert not thread.is_alive(), "abort did not free the waiting session"
    assert engine.classify(errors[0]).kind is FaultKind.DISCONNECTED
    with pytest.raises(Exception, match="abort") as caught:
        waiter.query("SELECT 1")
    assert engine.classify(caught.value).kind is FaultKind.DISCONNECTED
    waiter.rollback()
    waiter.close()
    waiter.abort()  # harmless after close
    holder.rollback()
    holder.close()
    with pytest.raises(Exception, match="clos") as caught:
        holder.query("SELECT 1")
    assert engine.classify(caught.value).kind is FaultKind.DISCONNECTED
    with suppress(Exception):
        holder.rollback()


def test_engines_travel_to_other_processes(engine: Engine) -> None:
    copy = pickle.loads(pickle.dumps(engine))
    session = copy.connect(write=True, application="tests")
    assert session.query("SELECT 1") == [(1,)]
    session.close()
    encoder = pickle.loads(pickle.dumps(engine.encoder(LEDGER)))
    assert encoder(([row(1)],)) == engine.encoder(LEDGER)(([row(1)],))


def test_table_names(session: Session, create: Create) -> None:
    assert set(session.table_names()) == set()
    create(LEDGER)
    session.execute("CREATE VIEW v AS SELECT * FROM ledger")
    assert set(session.table_names()) == {"ledger", "v"}


@pytest.mark.parametrize(
    ("type_text", "keys"),
    [("int", [7, -1, 0, 2**31 - 1]), ("nvarchar(20)", ["a", "ab", "b?'%", "ä\\"]), ("binary(16)", None)],
)
def test_rows_are_counted_and_deleted_by_their_keys(
    session: Session, create: Create, type_text: str, keys: list[object] | None
) -> None:
    create(plan(table("item", column("no", "int", nullable=False), column("owner", type_text))))
    keys = keys or [digest(number) for number in range(4)]
    rows = [(number, keys[number % 3]) for number in range(10)]
    session.execute_many("INSERT INTO item (no, owner) VALUES (?, ?)", [*rows, (99, None)])
    assert session.count_rows("item", "owner", []) == {}
    assert session.count_rows("item", "owner", [keys[0], keys[2], keys[3]]) == {keys[0]: 4, keys[2]: 3}
    assert session.delete_rows("item", "owner", []) == 0
    session.begin()
    assert session.delete_rows("item", "owner", [keys[0], keys[2], keys[3]]) == 7
    session.rollback()
    assert session.delete_rows("item", "owner", [keys[0], keys[3]]) == 4
    assert sorted(session.query("SELECT no FROM item")) == [(1,), (2,), (4,), (5,), (7,), (8,), (99,)]


def test_the_first_rows_are_had_without_the_others(session: Session, create: Create) -> None:
    create(plan(table("item", column("no", "int", nullable=False), column("owner", "int"))))
    session.execute_many("INSERT INTO item (no, owner) VALUES (?, ?)", [(n, n % 2) for n in range(10)])
    sql = "SELECT no FROM item WHERE owner = ? ORDER BY no DESC"
    assert session.first_rows(sql, (1,), 3) == [(9,), (7,), (5,)]
    assert session.first_rows(sql, (1,), 100) == [(9,), (7,), (5,), (3,), (1,)]
    assert session.first_rows(sql, (2,), 100) == []
    assert session.query(f"SELECT owner, {session.count} FROM item GROUP BY owner ORDER BY owner") == [
        (0, 5), (1, 5),
    ]  # fmt: skip


def test_any_number_of_keys_is_counted_and_deleted(session: Session, create: Create) -> None:
    create(plan(table("item", column("no", "int", nullable=False), column("owner", "bigint"))))
    session.execute_many("INSERT INTO item (no, owner) VALUES (?, ?)", [(n, n // 2) for n in range(100)])
    wanted = list(range(25, 25_000))
    assert session.count_rows("item", "owner", wanted) == dict.fromkeys(range(25, 50), 2)
    assert session.delete_rows("item", "owner", wanted) == 50
    assert session.query("SELECT COUNT(*), MAX(owner) FROM item") == [(50, 24)]
