"""``quarantine list`` on terminals: what matters is there whole on one of eighty columns, too."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime

import pytest
from rich.console import Console

from xml_extractor.cli_output import Output
from xml_extractor.cli_quarantine_tables import show_documents, show_groups
from xml_extractor.operations.quarantine import QuarantinedDocument, QuarantineGroup

AT = datetime(2026, 3, 1, 9, 30, 5, tzinfo=UTC)
KEY = "550e8400-e29b-41d4-a716-446655440000"
MESSAGE = "the value is not of type date"
TABLE, COLUMN, PATH = "app_decision", "decided_on", "Decision/@on"


def group(code: str, documents: int, contract: str = "loans") -> QuarantineGroup:
    return QuarantineGroup(
        contract, "target", code, TABLE, COLUMN, PATH, f"{TABLE}.{COLUMN}: {MESSAGE}", documents, AT, KEY
    )


def document(key: str, table: str | None = TABLE) -> QuarantinedDocument:
    return QuarantinedDocument(
        key, "target", "foreign_key_violation", MESSAGE, table, COLUMN, PATH, 1, "loans", "shop", AT, None,
        False, b"", 1, 1, None,
    )  # fmt: skip


def terminal(width: int) -> tuple[Output, io.StringIO]:
    output, stream = Output(), io.StringIO()
    output.out = Console(file=stream, force_terminal=True, width=width, soft_wrap=True, highlight=False)
    return output, stream


def lines(stream: io.StringIO, width: int) -> list[str]:
    found = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue()).splitlines()
    assert max(map(len, found)) <= width
    return [line.rstrip() for line in found]


@pytest.mark.parametrize("several", [False, True], ids=["one contract", "several contracts"])
def test_reasons_and_counts_have_room_on_eighty_columns(several: bool) -> None:
    output, stream = terminal(80)
    other = "payments_of_all_years" if several else "loans"
    show_groups(output, [group("foreign_key_violation", 1_234_567), group("not_convertible", 12, other)])
    found = lines(stream, 80)
    assert any(line.startswith(" 1,234,567   foreign_key_violation   ") for line in found)
    assert any(line.startswith("        12   not_convertible   ") for line in found)
    assert sum(line.endswith(f"   {MESSAGE}") for line in found) == 2, "the message is on one line"
    whole = re.sub(r"\s", "", "".join(found))  # a long key may go on in the next line
    assert whole.count(f"first(UTC)2026-03-0109:30:05,suchaskey{KEY}") == 2


def test_documents_have_room_for_their_reason_on_eighty_columns() -> None:
    output, stream = terminal(80)
    show_documents(output, [document("17"), document("18", None)])
    found = lines(stream, 80)
    assert [line.split()[:2] for line in found if "foreign_key_violation" in line] == [
        ["17", "foreign_key_violation"], ["18", "foreign_key_violation"],
    ]  # fmt: skip
    assert sum(line.endswith(f"   {MESSAGE}") for line in found) == 2
    assert sum(line.endswith("   since (UTC) 2026-03-01 09:30:05") for line in found) == 2


def test_a_wide_terminal_has_a_column_for_each() -> None:
    output, stream = terminal(140)
    show_groups(output, [group("foreign_key_violation", 2)])
    show_documents(output, [document("17")])
    found = "\n".join(lines(stream, 140))
    assert re.search(r"documents +reason +where and why +first \(UTC\) +such as key", found)
    assert re.search(r"key +reason +where and why +since \(UTC\)", found)
    assert KEY in found
