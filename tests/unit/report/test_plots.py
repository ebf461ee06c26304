from __future__ import annotations

import re

import pytest
from lxml import etree
from matplotlib import rcParams

from xml_extractor.profiling.report import canvas, plots, theme
from xml_extractor.profiling.report.heat_map import heat_map_svg
from xml_extractor.profiling.report.plots import Level, Line, Words

WORDS = Words("one", "A plot", "It shows something.")


def texts(svg: str) -> list[str]:
    return [element.text for element in etree.fromstring(svg).iter("text")]


def test_colours_are_classes_and_texts_are_text() -> None:
    svg = plots.time_line(
        [1, 2, 3], [Line([1.0, None, 5.0], "parse", filled=True)], WORDS, unit="documents/s"
    )
    assert "documents/s" in texts(svg)
    assert "seconds since the start" in texts(svg)
    assert not re.search(r"#[0-9a-f]{6}|style=|font-|xmlns|http", svg)
    assert set(re.findall(r"\b[fs]-([a-z0-9-]+)", svg)) <= set(theme.ROLES)


def test_a_drawing_is_the_same_each_time_and_leaves_no_settings_behind() -> None:
    before = dict(rcParams)
    first, second = (plots.ranked_bars([("a", "parse", 1.0, "b")], WORDS) for _ in range(2))
    assert first == second
    assert dict(rcParams) == before


def test_two_drawings_on_a_page_share_no_id() -> None:
    identities = []
    for name in ("one", "two"):
        words = Words(name, "t", "d")
        svg = plots.histogram([(1, 2, 3)], [(1.5, "p50")], words, role="map", unit="batches")
        identities += re.findall(r'\bid="([^"]+)"', svg)
        assert set(re.findall(r'(?:url\(#|href="#)([\w-]+)', svg)) <= set(identities)
    assert len(identities) == len(set(identities))


def test_a_colour_that_is_no_role_is_refused() -> None:
    with canvas.drawing():
        drawn = canvas.Drawing(100, left=0, right=0, top=0, bottom=0)
        drawn.axes.plot([0, 1], [0, 1], color="#123456")
        with pytest.raises(ValueError, match="#123456 is no colour of the theme"):
            drawn.svg(name="x", title="x", description="x")


@pytest.mark.parametrize(("longest", "unit"), [(90, "seconds"), (900, "minutes"), (90_000, "hours")])
def test_time_has_the_unit_that_suits_it(longest: float, unit: str) -> None:
    svg = plots.time_line([longest / 2, longest], [Line([1, 2], "parse")], WORDS, unit="x")
    assert f"{unit} since the start" in texts(svg)


@pytest.mark.parametrize("values", [[0.0, 0.0], [None, None], [1e12, 3.0], [1e-9, 2e-9]])
def test_any_values_can_be_drawn(values: list[float | None]) -> None:
    plots.time_line(
        [0.001, 0.002], [Line(values, "map", "dashed", steps=True)], WORDS, unit="x", level=Level(0, "m")
    )


@pytest.mark.parametrize(
    "buckets",
    [
        [(0.0, 0.001, 5)], [(0.0, 0.0, 1)], [(12.0, 12.1, 1)], [(1e-4, 9e7, 1)],
        [(0.0, 1.0, 10**9), (50.0, 60.0, 1)],
    ],
)  # fmt: skip
def test_any_durations_can_be_drawn(buckets: list[tuple[float, float, int]]) -> None:
    svg = plots.histogram(
        buckets, [(0.0, "p50"), (12.05, "p95"), (12.06, "p99")], WORDS, role="map", unit="x"
    )
    assert any(re.fullmatch(r"[\d.]+ (ms|s)|\d+ min \d\d s|[\d,]+ h \d\d min", text) for text in texts(svg))


def test_names_of_marks_do_not_run_into_each_other() -> None:
    buckets = [(1.0, 1000.0, 3)]
    near = plots.histogram(buckets, [(100, "p50"), (101, "p95"), (500, "p99")], WORDS, role="map", unit="x")
    assert {"p50 p95", "p99"} <= set(texts(near))


def test_a_share_too_small_for_its_label_has_none() -> None:
    svg = plots.stacked_bars([("worker 1", [("parse", 0.97), ("map", 0.03)])], WORDS)
    assert "97%" in texts(svg)
    assert "3%" not in texts(svg)


def test_a_heat_map_shows_each_figure_and_frames_the_best() -> None:
    svg = heat_map_svg(
        [[100.0, 2000.0], [None, 950.0]], row_labels=["2", "4"], column_labels=["500", "1,000"],
        row_title="workers", column_title="batch size", name="heat", title="Throughput",
        description="Documents per second.", best=(0, 1),
    )  # fmt: skip
    found = texts(svg)
    assert {"100", "2k", "950", "–", "2", "4", "500", "1,000", "batch size →", "↓ workers"} == set(found)
    assert "f-heat-0" in svg
    assert f"f-heat-{theme.HEAT_STEPS - 1}" in svg
    assert svg.count("s-blocked") == 1


@pytest.mark.parametrize("values", [[[5.0]], [[None]]])
def test_a_heat_map_of_one_cell(values: list[list[float | None]]) -> None:
    heat_map_svg(
        values, row_labels=["<b>"], column_labels=["$x$"], row_title="r" * 99, column_title="\x00",
        name="heat", title="t", description="d",
    )  # fmt: skip


@pytest.mark.parametrize(("values", "rows"), [([], []), ([[1.0]], ["a", "b"]), ([[1.0, 2.0]], ["a"])])
def test_a_heat_map_has_a_cell_for_each_pair(values: list[list[float]], rows: list[str]) -> None:
    with pytest.raises(ValueError, match="cells for"):
        heat_map_svg(
            values, row_labels=rows, column_labels=["x"], row_title="r", column_title="c", name="n",
            title="t", description="d",
        )  # fmt: skip


# --------------------------------------------------------------------------------------------- theme


def contrast(colours: dict[str, str], first: str, second: str) -> float:
    bright, dark = sorted((theme.luminance(colours[first]), theme.luminance(colours[second])), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colours", [theme.LIGHT, theme.DARK], ids=["light", "dark"])
def test_texts_and_shapes_stand_out(colours: dict[str, str]) -> None:
    """The browser's tests compute it from what is shown; this one knows all pairs, shown or not."""
    series = ("parse", "map", "blocked", "idle", "extra")
    on_texts = [
        (text, on) for text in ("ink", "muted", "link", "look", "bad") for on in ("ground", "surface")
    ]
    on_texts += [("on-fill", role) for role in series]
    on_texts += [(role, f"{role}-soft") for role in ("good", "look", "bad")] + [("ink", "raised")]
    on_texts += [(f"on-heat-{step}", f"heat-{step}") for step in range(theme.HEAT_STEPS)]
    for text, on in on_texts:
        assert contrast(colours, text, on) >= 4.5, (text, on)
    for role in (*series, "axis"):
        assert contrast(colours, role, "surface") >= 3, role


def test_both_themes_know_the_same_roles() -> None:
    assert theme.LIGHT.keys() == theme.DARK.keys()
    css = theme.theme_css()
    assert css.count("--surface:#") == 4  # light, chosen dark, the system's dark, paper
