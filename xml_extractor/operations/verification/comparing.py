"""Holds sums against each other, and has looked into what differs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from xml_extractor.contract.plan import Table
from xml_extractor.operations.verification import ledger_side, locating, table_side
from xml_extractor.operations.verification.content import ContentLocator, MappedSums
from xml_extractor.operations.verification.differences import Difference, Differences, Kind
from xml_extractor.operations.verification.kept_sums import sums_of
from xml_extractor.operations.verification.ledger_side import LedgerSums
from xml_extractor.operations.verification.report import TableReport, VerifyReport
from xml_extractor.operations.verification.subject import Connections
from xml_extractor.operations.verification.worker import TableSums
from xml_extractor.operations.verification.workers import Workers
from xml_extractor.target.content_digest import BucketSums


class Comparison:
    """Compares what was read.  One thread's.

    Args:
        most: documents whose values are told one by one.
        read: told how many rows were read, after each piece.
    """

    def __init__(
        self,
        connections: Connections,
        differences: Differences,
        report: VerifyReport,
        most: int,
        read: Callable[[int], None],
    ) -> None:
        self._connections = connections
        self._subject = connections.subject
        self._plan = connections.subject.plan
        self._differences = differences
        self._report = report
        self._most = most
        self._read = read

    def keys(self, source: BucketSums, ledger: LedgerSums, details: BucketSums) -> None:
        """Look for documents that source, ledger and quarantine do not agree about."""
        self._report.source_documents = source.count
        self._report.documents = dict(ledger.states)
        self._report.other_plan, self._report.others = ledger.other_plan, ledger.others
        for key in ledger.damaged:
            self._differences.add(Difference(Kind.LEDGER_ROW_DAMAGED, key))
        if ledger.damaged_count > len(ledger.damaged):
            further = ledger.damaged_count - len(ledger.damaged)
            self._differences.add(Difference(Kind.LEDGER_ROW_DAMAGED, count=further))
        buckets = source.differing(ledger.keys)
        if buckets:
            locating.locate_keys(self._connections, buckets, self._differences, self._read)
        unlike = details.differing(ledger.quarantined)
        if unlike:
            sizes = {
                bucket: details.count_in(bucket) + ledger.quarantined.count_in(bucket) for bucket in unlike
            }
            locating.locate_details(self._connections, sizes, self._differences, self._read)

    def rows(self, ledger: LedgerSums, sums: Mapping[str, TableSums]) -> None:
        """Look for tables that hold more or fewer rows than the ledger recorded."""
        differing: dict[str, dict[int, int]] = {}
        for table in self._plan.tables:
            name = table.name
            found = sums[name]
            keyed = name in self._subject.keyed_tables
            self._report.tables.append(TableReport(name, ledger.rows[name], found.rows, keyed))
            if keyed:
                buckets = _differing(ledger.tables[name], sums_of(found.keys))
                if buckets:
                    differing[name] = buckets
            else:
                self._report.untold.append(
                    f"{name}: no column carries the source key as it is, so that its rows were compared in "
                    "total, not document by document"
                )
                if found.rows != ledger.rows[name]:
                    self._compare_total(table)
        if differing:
            locator = locating.RowLocator(self._connections, differing, self._differences, self._read)
            locator.run()
            self._report.in_motion += locator.in_motion

    def _compare_total(self, table: Table) -> None:
        """Compare a table's rows in total, once more, while the ledger stays as it is."""
        for _ in range(locating.ATTEMPTS):
            before = self._ledger_now()
            with self._connections.target() as connection:
                rows = self._connections.ask(
                    connection,
                    f"counting {table.name}",
                    lambda session: table_side.total(session, table),
                )
            expected = before.rows[table.name]
            if rows == expected:
                return
            if self._ledger_now().rows[table.name] == expected:
                kind = Kind.ROWS_MISSING if rows < expected else Kind.ROWS_EXTRA
                self._differences.add(Difference(kind, None, table.name, count=abs(rows - expected)))
                return
        self._report.in_motion += 1

    def _ledger_now(self) -> LedgerSums:
        with self._connections.target() as connection:
            return self._connections.ask(
                connection,
                "reading the ledger",
                lambda session: ledger_side.ledger_sums(session, self._subject, self._read),
            )

    def content(
        self, workers: Workers, documents: MappedSums, ledger: LedgerSums, sums: Mapping[str, TableSums]
    ) -> None:
        """Look for values that are not what documents make."""
        report = self._report
        report.compared, report.other_plan = documents.compared, documents.other_plan
        if documents.other_plan:
            report.untold.append(
                f"{documents.other_plan:,} documents were loaded under another version of the contract: "
                "their values were not compared; verify them with that version's file"
            )
        for note in documents.notes():
            self._differences.add(note)
        whole = not (
            documents.other_plan or documents.changed_count or documents.refused_count or ledger.others
        )
        differing: dict[str, dict[int, int]] = {}
        for table, mapped in zip(self._plan.tables, documents.tables, strict=True):
            buckets = _differing(mapped, sums_of(sums[table.name].content))
            if not buckets:
                continue
            if table.name in self._subject.keyed_tables:
                differing[table.name] = buckets
            elif not whole:
                report.untold.append(
                    f"{table.name}: it holds rows of documents that were not compared, which cannot be told "
                    "from the others, so that no values there were compared"
                )
            elif not self._ledger_now().keys.differing(ledger.keys):
                self._differences.add(Difference(Kind.CONTENT_DIFFERS, None, table.name))
            else:
                report.in_motion += 1
        if differing:
            locator = ContentLocator(self._connections, workers, differing, self._differences, self._most)
            locator.run()
            report.in_motion += locator.in_motion
            report.unlocated = locator.unlocated


def _differing(one: BucketSums, other: BucketSums) -> dict[int, int]:
    """The buckets that differ, with the elements that both hold there."""
    return {bucket: one.count_in(bucket) + other.count_in(bucket) for bucket in one.differing(other)}
