"""What a server that the tests run on cannot do, though SQL Server can: the one list of all exceptions.

Each gap names the tests that it keeps from passing.  They are expected to fail there (strictly: one that
passes after all is an error, and comes off the list), or are left out where even trying would do harm.
A test that only has to go without some values asks :func:`tests.support.mssql_run.has_gap`.  The run's
last lines print which gaps it met, and how many tests each one touched.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass

from tests.support.mssql_servers import MssqlServer


@dataclass(frozen=True)
class Gap:
    """One thing that Babelfish lacks."""

    reason: str
    tests: tuple[str, ...] = ()
    """Ids of tests, from the file's path on; ``*`` stands for anything."""
    runs: bool = True
    """Whether the tests are run, to see that they fail."""

    def on(self, server: MssqlServer) -> bool:
        return server.is_babelfish


READING = "tests/integration/source/test_mssql_reading.py"
CATALOGUE = "tests/integration/engines/mssql/test_catalogue.py"
INSERT_PATHS = "tests/integration/engines/mssql/test_insert_paths.py"

SIX_DIGITS = Gap("datetime2, datetimeoffset and time keep six digits of a second instead of seven")
CODE_PAGES_OF_UTF_8 = Gap("no collation keeps char and varchar in UTF-8 (…_UTF8)")
CLOSING_BRACKETS = Gap(
    "a closing bracket in a name, doubled in the brackets around it, is a syntax error",
    (
        f"{CATALOGUE}::test_a_name_with_a_closing_bracket",
        f"{READING}::test_a_table_name_with_a_closing_bracket",
    ),
)
JAPANESE = Gap(
    "there are no collations Japanese_XJIS_100_…",
    ("tests/integration/contracts/test_values.py::test_code_page_counts_bytes[mssql]",),
)
UNNAMED_TABLES = Gap("the message of a unique violation names the constraint and not the table")
SYNONYMS = Gap("CREATE SYNONYM is refused", (f"{CATALOGUE}::test_synonyms",))
FILTERED_INDEXES = Gap(
    "sys.indexes does not tell that an index is filtered",
    (f"{CATALOGUE}::test_a_filtered_index_makes_no_key_unique",),
)
TEXT_FOREIGN_KEYS = Gap(
    "a foreign key over text of a binary collation fails at the first row",
    (
        f"{CATALOGUE}::test_foreign_keys_of_text_are_exact",
        "tests/integration/target/test_exactly_once.py::test_documents_are_reloaded_*[mssql-varchar(10)]",
        "tests/integration/contracts/test_rows.py::test_odd_keys_stay_apart[mssql-text]",
    ),
)
BULK_COPY = Gap(
    "bulk copy is answered with metadata that the library misreads, or not at all",
    (f"{INSERT_PATHS}::*[bulkcopy-*",),
    runs=False,
)

ALL: tuple[Gap, ...] = (
    BULK_COPY, SIX_DIGITS, CODE_PAGES_OF_UTF_8, CLOSING_BRACKETS, SYNONYMS, FILTERED_INDEXES,
    TEXT_FOREIGN_KEYS, UNNAMED_TABLES, JAPANESE,
)  # fmt: skip


def gap_of(test: str, server: MssqlServer) -> Gap | None:
    """The gap that keeps a test from passing on this server."""
    return next(
        (gap for gap in ALL if gap.on(server) and any(_matches(test, pattern) for pattern in gap.tests)), None
    )


def _matches(test: str, pattern: str) -> bool:
    # Square brackets are part of a test's id, not sets of characters.
    return fnmatch.fnmatchcase(test, pattern.replace("[", "[[]"))
