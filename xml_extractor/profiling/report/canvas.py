"""Drawing with matplotlib, and turning what it draws into SVG that is part of a page.

Colours are drawn as stand-ins, one a role of the theme, and become CSS classes; text stays text, in the
page's own font and size.  No element carries a ``style``: a strict Content-Security-Policy would ignore it.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from lxml import etree
from markupsafe import Markup

from xml_extractor.profiling.report.formats import clean
from xml_extractor.profiling.report.theme import ROLES

# It would tell of its font cache, on standard error, between our own lines.
logging.getLogger("matplotlib").setLevel(logging.ERROR)

import matplotlib  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

WIDTH: Final = 480.0
"""Of every drawing, in its own units, which are pixels where two plots stand side by side.  On a phone it is
shown at two thirds of that; the style sheet then draws text larger by as much."""

FONT: Final = 11.0
"""Size of text, in the same units; the style sheet has the last word."""

_RC: Any = matplotlib.rcParams  # its type lists the settings of one version
_STAND_INS: Final = {f"#fe{number >> 8:02x}{number & 255:02x}": role for number, role in enumerate(ROLES)}
_COLOURS: Final = {role: colour for colour, role in _STAND_INS.items()}
_SVG: Final = "{http://www.w3.org/2000/svg}"
_HREF: Final = "{http://www.w3.org/1999/xlink}href"
_LONG_NUMBER: Final = re.compile(r"-?\d+\.\d{3,}(?:e-?\d+)?")
_NAMESPACE: Final = re.compile(r' xmlns(?::\w+)?="[^"]*"|(?<=[</])ns\d+:')
_GEOMETRY: Final = ("d", "x", "y", "width", "height", "transform", "points")
_KEPT: Final = frozenset(
    {
        "stroke-width", "stroke-dasharray", "stroke-dashoffset", "stroke-linecap", "stroke-linejoin",
        "opacity", "fill-opacity", "stroke-opacity", "text-anchor",
    }
)  # fmt: skip
_SETTINGS: Final[dict[str, Any]] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a table may be called $x$
    "axes.unicode_minus": False,
    "path.simplify": True,
    "font.family": ["DejaVu Sans"],  # matplotlib's own: there on every machine
    "font.size": FONT,
}


def colour(role: str) -> str:
    """Return what matplotlib is to draw for a role of the theme."""
    return _COLOURS[role]


@contextmanager
def drawing() -> Iterator[None]:
    """Draw inside this: matplotlib's settings are ours, whatever the user's configuration says."""
    with warnings.catch_warnings(), matplotlib.rc_context():
        # Fonts that lack a letter: the browser has others.
        warnings.simplefilter("ignore")
        matplotlib.rcdefaults()
        _RC.update(_SETTINGS)
        yield


class Drawing:
    """Axes in a drawing of its own, with margins in the drawing's units and no frame.

    Args:
        height: of the drawing, in its units; its width is :data:`WIDTH`.
    """

    def __init__(self, height: float, *, left: float, right: float, top: float, bottom: float) -> None:
        self.height = height
        self._figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
        FigureCanvasSVG(self._figure)
        self._figure.patch.set_visible(False)
        self.axes: Axes = self._figure.add_axes(
            (left / WIDTH, bottom / height, (WIDTH - left - right) / WIDTH, (height - top - bottom) / height)
        )
        self.axes.patch.set_visible(False)
        for side in ("top", "right", "left"):
            self.axes.spines[side].set_visible(False)
        self.axes.spines["bottom"].set_color(colour("axis"))
        self.axes.tick_params(length=0, pad=6, labelcolor=colour("muted"), labelsize=FONT)
        self.axes.set_axisbelow(True)

    def text(self, x: float, y: float, text: str, *, role: str = "muted", anchor: str = "left") -> None:
        """Write on one line: ``x`` from the drawing's left edge, ``y`` (the baseline) from its top."""
        line = " ".join(clean(text).split())
        self._figure.text(
            x / WIDTH, 1 - y / self.height, line, color=colour(role), ha=anchor, va="baseline", fontsize=FONT
        )

    def svg(self, *, name: str, title: str, description: str) -> Markup:
        """Return the drawing as an ``svg`` element.

        Args:
            name: of the drawing, unique on its page; letters, digits and hyphens.
            title: what it is, for those who cannot see it.
            description: what it shows, in a sentence or two.

        Raises:
            ValueError: something was drawn in a colour that is no role of the theme.
        """
        text = io.StringIO()
        _RC["svg.hashsalt"] = name  # ids are then the same each time
        self._figure.savefig(text, format="svg", metadata={"Date": None})
        root = etree.fromstring(text.getvalue().encode(), etree.XMLParser(resolve_entities=False))
        for part in [*root.iter(f"{_SVG}metadata"), *root.iter(f"{_SVG}style")]:
            part.getparent().remove(part)
        etree.strip_tags(root, etree.Comment)
        used = set(re.findall(r"#([\w-]+)", etree.tostring(root, encoding="unicode")))
        for element in list(root.iter()):
            _make_plain(element, name, used)
        made = etree.Element("svg")
        made.set("viewBox", f"0 0 {WIDTH:g} {self.height:g}")
        made.set("class", "plot")
        made.set("role", "img")
        made.set("aria-labelledby", f"{name}-title {name}-description")
        for tag, identity, words in (("title", "title", title), ("desc", "description", description)):
            part = etree.SubElement(made, tag, id=f"{name}-{identity}")
            part.text = clean(words)
        made.extend(root)
        # lxml has escaped all text and attributes; the namespace is implied inside HTML.
        written = etree.tostring(made, encoding="unicode")
        return Markup(_NAMESPACE.sub("", written))


def _make_plain(element: Any, name: str, used: set[str]) -> None:
    """Turn an element's style into attributes and classes, make its id unique on the page, and leave out what
    says nothing."""
    identity = element.attrib.pop("id", None)
    if identity in used:
        element.set("id", f"{name}-{identity}")
    if _HREF in element.attrib:
        element.set("href", f"#{name}-{element.attrib.pop(_HREF)[1:]}")
    clip = element.get("clip-path")
    if clip:
        element.set("clip-path", clip.replace("url(#", f"url(#{name}-"))
    for attribute in _GEOMETRY:
        value = element.get(attribute)
        if value is not None:
            element.set(attribute, _LONG_NUMBER.sub(_rounded, value))
    classes = []
    for declaration in element.attrib.pop("style", "").split(";"):
        key, _, value = (word.strip() for word in declaration.partition(":"))
        if key in ("fill", "stroke") and value != "none":
            classes.append(f"{key[0]}-{_role(value)}")
        elif key in _KEPT or key in ("fill", "stroke"):
            element.set(key, value)
    if element.tag == f"{_SVG}text" and not any(word.startswith("f-") for word in classes):
        classes.append("f-ink")
    if classes:
        element.set("class", " ".join(classes))
    if element.get("transform", "").startswith("rotate(-0 "):
        del element.attrib["transform"]
    if element.tag != f"{_SVG}text":
        element.text = None  # line breaks and indentation
    element.tail = None
    if element.tag == f"{_SVG}g" and not element.attrib:
        _unwrap(element)


def _unwrap(group: Any) -> None:
    parent = group.getparent()
    at = parent.index(group)
    for part in reversed(group):
        parent.insert(at, part)
    parent.remove(group)


def _role(value: str) -> str:
    role = _STAND_INS.get(value)
    if role is None:
        raise ValueError(f"{value} is no colour of the theme: draw with colour(role)")
    return role


def _rounded(match: re.Match[str]) -> str:
    return f"{float(match[0]):.2f}".rstrip("0").rstrip(".")
