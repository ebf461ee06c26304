"""From a page's blocks to one HTML file: no network, all texts escaped, written whole or not at all."""

from __future__ import annotations

import base64
import hashlib
import os
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from xml_extractor.profiling.report import blocks
from xml_extractor.profiling.report.formats import clean
from xml_extractor.profiling.report.theme import theme_css


def render(page: blocks.Page) -> str:
    """Return the page as HTML.

    All texts may come from anywhere: they are escaped.  The page may run its own style and script and nothing
    else, as its Content-Security-Policy says by their hashes.
    """
    style, script = theme_css() + _template("page.css"), _template("page.js")
    policy = "; ".join(
        (
            "default-src 'none'",
            f"style-src {_hash(style)}",
            f"script-src {_hash(script)}",
            "img-src data:",  # the empty icon, without which a browser asks a server for one
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    return _environment().get_template("page.html").render(
        page=page,
        kind=lambda block: type(block).__name__,
        policy=policy,
        style=Markup(style),
        script=Markup(script),
    )  # fmt: skip


def write(html: str, path: Path) -> None:
    """Write a page; a reader never sees half a file, and a failure leaves the earlier file as it was.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            file.write(html)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _template(name: str) -> str:
    folder = resources.files("xml_extractor.profiling.report") / "templates"
    return (folder / name).read_text(encoding="utf-8").replace("\r\n", "\n")


@cache
def _environment() -> Environment:
    return Environment(
        loader=FunctionLoader(_template),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _printable(value: Any) -> Any:
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value
