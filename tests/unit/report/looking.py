"""Looks at a page as a parser sees it."""

from __future__ import annotations

import base64
import hashlib
import re
from itertools import pairwise
from typing import Any

from lxml import html

ALLOWED = {
    *("html", "head", "meta", "title", "link", "style", "script", "body", "a", "header", "main", "footer"),
    *("section", "article", "div", "p", "span", "h1", "h2", "h3", "ul", "li", "dl", "dt", "dd", "button"),
    *("data", "bdi", "table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td", "details", "summary"),
    *("svg", "desc", "g", "path", "rect", "text", "tspan", "defs", "clippath", "use"),
}
"""Elements that a page is made of."""


def parsed(page: str) -> Any:
    return html.document_fromstring(page)


def figures(page: str) -> dict[str, float]:
    """The headline figures by name."""
    return {item.get("data-figure"): float(item.get("value")) for item in parsed(page).iter("data")}


def text_of(page: str) -> str:
    """All that can be read, on one line."""
    root = parsed(page)
    for part in [*root.iter("style"), *root.iter("script")]:
        part.text = None
    return re.sub(r"\s+", " ", root.text_content())


def check(page: str) -> None:
    """Fail if the page is not closed in itself, not accessible, or holds what no page of ours has."""
    root = parsed(page)
    tags = [element.tag for element in root.iter() if isinstance(element.tag, str)]
    assert set(tags) <= ALLOWED, set(tags) - ALLOWED
    assert [tags.count(tag) for tag in ("style", "script", "h1", "main", "header", "footer")] == [1] * 6
    identities = [element.get("id") for element in root.iter() if element.get("id") is not None]
    assert len(identities) == len(set(identities)), "an id is there twice"
    for element in root.iter():
        for name, value in element.attrib.items():
            assert not name.startswith("on"), f"{element.tag} has {name}"
            assert name != "style", "the policy forbids inline styles"
            if name in ("href", "src", "xlink:href", "action"):
                assert value == "data:," or value[1:] in identities, f"{element.tag} leads to {value}"
            if name == "aria-labelledby":
                assert set(value.split()) <= set(identities)
    _check_policy(root)
    _check_headings(root)
    for table in root.iter("table"):
        assert next(child.tag for child in table) == "caption"
        assert table.find("caption").text_content().strip()
        assert all(cell.get("scope") in ("col", "row") for cell in table.iter("th"))
        widths = {len(row) for row in table.iter("tr")}
        assert len(widths) == 1, widths
    for drawing in root.iter("svg"):
        if drawing.get("aria-hidden") != "true":
            assert drawing.get("role") == "img"
            assert drawing.find("title").text
            assert drawing.find("desc").text
    assert root.get("lang") == "en"
    assert len(page.encode()) < 2_000_000


def _check_policy(root: Any) -> None:
    (policy,) = root.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "http" not in policy
    for tag in ("style", "script"):
        digest = hashlib.sha256(next(root.iter(tag)).text.encode()).digest()
        assert f"{tag}-src 'sha256-{base64.b64encode(digest).decode()}'" in policy


def _check_headings(root: Any) -> None:
    levels = [int(tag[1]) for element in root.iter() if re.fullmatch("h[1-6]", tag := str(element.tag))]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels)), levels
