"""Contracts in a few lines, for the tests of this folder."""

from __future__ import annotations

from xml_extractor.contract import CheckResult, Contract, check_text
from xml_extractor.contract.plan import Column, Plan, Table

HEAD = """\
contract: test
version: 1
source: {table: app_xml, key: app_id, document: app_xml}
document: {root: /Application}
"""


def with_columns(*lines: str, head: str = HEAD) -> str:
    """A contract with one root table `t`, whose key is `id`, and these column lines."""
    body = "".join(f"      {line}\n" for line in ("id: {from: $key, type: int}", *lines))
    return f"{head}tables:\n  t:\n    primary_key: id\n    columns:\n{body}"


def plan_of(text: str) -> Plan:
    return Contract.from_text(text).plan


def table_of(text: str, name: str = "t") -> Table:
    return next(table for table in plan_of(text).tables if table.name == name)


def column_of(text: str, name: str, table: str = "t") -> Column:
    return next(column for column in table_of(text, table).columns if column.name == name)


def mistakes(text: str) -> list[str]:
    """The mistakes of a contract, each as `line:column: message`."""
    result: CheckResult = check_text(text, "c.yaml")
    assert (result.contract is None) == bool(result.mistakes)
    return [str(mistake).removeprefix("c.yaml:") for mistake in result.mistakes]


def only_mistake(text: str) -> str:
    found = mistakes(text)
    assert len(found) == 1, found
    return found[0]


def warnings(text: str) -> list[str]:
    result = check_text(text, "c.yaml")
    assert not result.mistakes, [str(mistake) for mistake in result.mistakes]
    return [warning.message for warning in result.warnings]
