"""Holds the mapper against the oracle, document by document."""

from __future__ import annotations

import re
from itertools import zip_longest
from typing import Any

from tests.fuzz.invariants import STARTED_AT, Broken, Outcome, outcome
from tests.fuzz.oracle import NotWellFormedError, Oracle, Refused, Rows, Skipped, canonical_xml
from tests.support.interpreters import BothMappers
from xml_extractor.contract import Contract
from xml_extractor.contract.reader import read_yaml
from xml_extractor.mapping.records import SourceDocument, Stage

_OLD_NAMES = re.compile(r"[^\x00-\x7f]")


class Pair:
    """A contract, read twice: by the product and by the oracle."""

    def __init__(self, text: str) -> None:
        self.plan = Contract.from_text(text).plan
        self.mapper = BothMappers(self.plan, STARTED_AT)
        self.oracle = Oracle(read_yaml(text, "contract").document.data, STARTED_AT)
        self._xml = {
            table.name: [i for i, said in enumerate(table.columns.values()) if said.get("xml") is not None]
            for table in self.oracle.tables
        }

    def agree(self, text: str, key: int | str = 7) -> str:
        """Map a document both ways; return what became of it: loaded, refused, skipped or not XML.

        Raises:
            Broken: the two differ.
        """
        got = outcome(self.mapper, SourceDocument(key, text))
        word = _word(got)
        expected: tuple[Rows, int] | None = None
        try:
            expected = self.oracle.map(key, text)
            wanted = "loaded"
        except Refused:
            wanted = "refused"
        except Skipped:
            wanted = "skipped"
        except NotWellFormedError:
            wanted = "not XML"
        if got.rejected is not None:
            if got.rejected.code == "internal_error":
                raise Broken(got.rejected.message)
            if got.rejected.code == "limit_exceeded":
                return "beyond a limit"  # which expat does not have
        if word != wanted:
            if "not XML" in (word, wanted) and _is_known_difference(text):
                return "not XML"
            raise Broken(f"the mapper says {word} ({got.rejected or got.skipped}), the oracle {wanted}")
        if expected is not None:
            assert got.mapped is not None
            self._compare(expected, got)
        return word

    def _compare(self, expected: tuple[Rows, int], got: Outcome) -> None:
        assert got.mapped is not None
        rows, truncated = expected
        for table, mapped in zip(self.plan.tables, got.mapped.rows, strict=True):
            mine, wanted = self._plain(table.name, mapped), self._plain(table.name, rows[table.name])
            if mine != wanted:
                pairs = [pair for pair in zip_longest(mine, wanted) if pair[0] != pair[1]]
                raise Broken(f"rows of {table.name} differ:\n  mapper {pairs[0][0]}\n  oracle {pairs[0][1]}")
        if truncated != got.mapped.truncated_values:
            raise Broken(f"truncated values: mapper {got.mapped.truncated_values}, oracle {truncated}")

    def _plain(self, table: str, rows: list[tuple[Any, ...]]) -> list[str]:
        """Rows as text, so that 1, True and Decimal('1.0') are three; XML without its prefixes."""
        xml, any_case = self._xml[table], self.oracle.ignore_case
        return [
            repr(
                tuple(canonical_xml(v, any_case=any_case) if i in xml and v else v for i, v in enumerate(row))
            )
            for row in rows
        ]


def _word(got: Outcome) -> str:
    if got.mapped is not None:
        return "loaded"
    if got.skipped is not None:
        return "skipped"
    assert got.rejected is not None
    return "refused" if got.rejected.stage is Stage.MAP else "not XML"


def _is_known_difference(text: str) -> bool:
    """Whether two sound parsers may differ over a document.

    expat goes by the names of XML 1.0's fourth edition, libxml2 by the fifth's, which has more letters.
    """
    return any(_OLD_NAMES.search(tag) for tag in re.findall(r"<[^<>]*", text))
