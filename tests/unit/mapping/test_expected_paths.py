"""What of a contract a document lacks."""

from __future__ import annotations

import pytest
from lxml import etree

from xml_extractor.contract import Contract
from xml_extractor.mapping.expected_paths import ExpectedPath, ExpectedPaths

TABLES = """
  orders:
    primary_key: [id]
    columns:
      id: {from: $key, type: int}
      quantity: {from: "@quantity", type: int, required: true}
      state: {from: "Status/State", type: int, required: true, default: 7}
      note: {from: "Notes/Note", type: varchar(20)}
  lines:
    parent: orders
    rows: Lines/Line
    primary_key: [id, number]
    columns:
      id: {from: $parent.id, type: int}
      number: {from: $position, type: int}
      article: {from: "Article[@kind='main']", type: varchar(9), required: true}
      price: {from: Price, type: "decimal(9,2)", required: true}
  remarks:
    parent: orders
    rows: Remarks/Remark
    drop_empty: true
    primary_key: [id, number]
    columns:
      id: {from: $parent.id, type: int}
      number: {from: $position, type: int}
      text: {from: Text, type: varchar(9), required: true}
"""


def paths_of(tables: str = TABLES, head: str = "", root: str = "Order") -> ExpectedPaths:
    return ExpectedPaths(
        Contract.from_text(
            "contract: orders\nversion: 1\nsource: {table: app_xml, key: id, document: body}\n"
            f"document: {{root: {root}}}\n{head}\ntables:{tables}"
        ).plan
    )


def absent(paths: ExpectedPaths, document: str) -> list[ExpectedPath]:
    return paths.absent(etree.fromstring(document))


WHOLE = (
    "<Order quantity='1'><Lines><Line><Article kind='main'>a</Article><Price>1</Price></Line></Lines></Order>"
)


def test_a_whole_document_lacks_nothing() -> None:
    assert absent(paths_of(), WHOLE) == []


def test_a_required_attribute_an_element_and_a_complex_path() -> None:
    found = absent(paths_of(), "<Order><Lines><Line><Article kind='x'/></Line></Lines></Order>")
    assert found == [
        ExpectedPath("Order/@quantity", "orders", "quantity"),
        ExpectedPath("Order/Lines/Line/Article[@kind='main']", "lines", "article"),
        ExpectedPath("Order/Lines/Line/Price", "lines", "price"),
    ]


def test_one_of_many_elements_that_lacks_it_is_enough() -> None:
    line = "<Line><Article kind='main'>a</Article><Price>1</Price></Line>"
    found = absent(
        paths_of(), f"<Order quantity='1'><Lines>{line}{line.replace('Price', 'Cost')}{line}</Lines></Order>"
    )
    assert [each.path for each in found] == ["Order/Lines/Line/Price"]


def test_rows_that_may_be_dropped_require_nothing() -> None:
    assert absent(paths_of(), WHOLE.replace("</Order>", "<Remarks><Remark/></Remarks></Order>")) == []


def test_elements_that_a_top_table_is_made_from() -> None:
    paths = paths_of(TABLES.replace("primary_key: [id]\n", "rows: Head\n    primary_key: [id]\n", 1))
    found = absent(paths, WHOLE)
    assert ExpectedPath("Order/Head", "orders") in found


def test_what_no_document_holds() -> None:
    paths = paths_of()
    absent(paths, WHOLE)
    assert "Order/Notes/Note" in paths.never_seen()
    assert "Order/@quantity" not in paths.never_seen()
    absent(paths, WHOLE.replace("</Order>", "<Notes><Note>x</Note></Notes></Order>"))
    assert "Order/Notes/Note" not in paths.never_seen()
    assert "Order/Status/State" in paths.never_seen()


@pytest.mark.parametrize(
    ("document", "fits"), [("<Order/>", True), ("<order/>", False), ("<o:Order xmlns:o='urn:o'/>", False)]
)
def test_the_root(document: str, fits: bool) -> None:
    assert paths_of().root_fits(etree.fromstring(document)) is fits


def test_letters_of_either_case_where_the_contract_says_so() -> None:
    paths = paths_of(TABLES, root="Order, ignore_case: true")
    assert paths.root_fits(etree.fromstring("<ORDER/>"))
    assert absent(paths, WHOLE.replace("Price", "PRICE").replace("quantity", "Quantity")) == []
