"""The page of ``--report`` as a browser shows it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.browser.window import Window
from tests.support import made_up_loads as made_up
from tests.support.program import run_command, run_program
from tests.unit.report.test_load_page import HOSTILE, hostile
from xml_extractor.errors import ExitCode
from xml_extractor.profiling.report.load_page import write_load_report
from xml_extractor.profiling.summary import DocumentCounts, LoadSummary


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def page(folder: Path) -> Path:
    """The report of a large load that has all there can be on a page."""
    return written(
        folder / "page.html",
        made_up.summary(
            profile=made_up.profile(samples=120, workers=12, tables=20),
            rows={f"a_rather_long_name_of_a_table_{'x' * at}": at for at in range(60)}, changed=3, replaced=2,
            error="the target went away\nand stayed away", error_code=ExitCode.TARGET_FAILED,
        ),
    )  # fmt: skip


def written(file: Path, summary: LoadSummary) -> Path:
    write_load_report(summary, file)
    return file


def overflow(window: Window) -> int:
    """By how many pixels the page is wider than its window."""
    wider = window.run("return document.documentElement.scrollWidth - window.innerWidth")
    assert isinstance(wider, int)
    return wider


def test_a_real_loads_figures_are_shown_and_nothing_is_fetched(window: Window, tmp_path: Path) -> None:
    database = f"sqlite:///{(tmp_path / 'load.db').as_posix()}"
    report = tmp_path / "report.html"
    assert run_command("sample", "--source", database, "--documents", 400, folder=tmp_path).returncode == 0
    program = run_program(
        "--source", database, "--create-tables", "--report", report, "--batch-size", 50, folder=tmp_path
    )
    assert program.process.returncode == 3, program.errors
    data = program.summary()
    window.open(report)
    shown = window.run(
        "return Object.fromEntries([...document.querySelectorAll('data[data-figure]')]"
        ".map(item => [item.dataset.figure, [Number(item.value), item.textContent]]))"
    )
    assert shown["documents.loaded"] == [data["documents"]["loaded"], f"{data['documents']['loaded']:,}"]
    assert shown["documents.quarantined"][0] == data["documents"]["quarantined"]
    assert shown["rows.total"] == [sum(data["rows"].values()), f"{sum(data['rows'].values()):,}"]
    assert shown["seconds"][0] == data["seconds"]
    assert shown["documents_per_second"][0] == data["documents_per_second"]
    assert shown["peak_memory_bytes"][0] == data["peak_memory_bytes"]
    assert shown["queue.max_depth"][0] == data["queue"]["max_depth"]
    for name in ("p50", "p95", "p99"):
        assert shown[f"insert_ms.{name}"][0] == data["insert_ms"][name]
    assert data["bottleneck"] in window.run(
        "return document.querySelector('[data-text=bottleneck]').innerText"
    )
    assert window.requests == [report.resolve().as_uri()]
    assert window.complaints == []
    assert report.stat().st_size < 2_000_000


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_is_wider_than_the_window(window: Window, page: Path, width: int) -> None:
    window.open(page, width=width)
    assert window.run("return document.querySelectorAll('svg.plot').length") >= 10
    assert overflow(window) <= 0
    # With every table unfolded, too: those that are wider scroll in boxes of their own.
    window.run("for (const part of document.querySelectorAll('details')) part.open = true")
    assert overflow(window) <= 0
    assert window.complaints == []
    assert window.requests == [page.resolve().as_uri()]


def test_texts_in_drawings_are_large_enough_on_a_phone(window: Window, page: Path) -> None:
    window.open(page, width=390)
    sizes = window.run(
        "return [...document.querySelectorAll('svg.plot text')].map(text => "
        "parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a)"
    )
    assert min(sizes) >= 10


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_everything_stands_out_in_both_themes(window: Window, page: Path, width: int, dark: bool) -> None:
    window.open(page, width=width, dark=dark)
    window.run("for (const part of document.querySelectorAll('details')) part.open = true")
    found = window.contrasts()
    assert len([one for one in found if one["kind"] == "text"]) > 300
    assert len([one for one in found if one["kind"] == "shape"]) > 50
    low = [one for one in found if one["contrast"] < (4.5 if one["kind"] == "text" else 3)]
    assert not low, json.dumps(low[:5], indent=1)
    is_dark = window.run("return getComputedStyle(document.body).backgroundColor") != "rgb(244, 246, 249)"
    assert is_dark is dark


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_run_that_found_nothing_pending_shows_that_and_no_plots(
    window: Window, folder: Path, dark: bool
) -> None:
    file = written(
        folder / "idle.html",
        made_up.empty(
            documents=DocumentCounts(read=30, already_loaded=28, quarantined=2), rows={"note": 0},
            profile=made_up.profile(samples=3), settings={"on_change": "ignore"},
        ),
    )  # fmt: skip
    window.open(file, width=390, dark=dark)
    assert "Nothing was pending" in window.run(
        "return document.querySelector('main').innerText.slice(0, 100)"
    )
    assert window.run("return document.querySelectorAll('svg.plot').length") == 0
    assert overflow(window) <= 0
    low = [one for one in window.contrasts() if one["contrast"] < (4.5 if one["kind"] == "text" else 3)]
    assert not low, json.dumps(low[:5], indent=1)
    assert window.complaints == []


def test_paper_is_white(window: Window, page: Path) -> None:
    window.open(page, dark=True, paper=True)
    assert window.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    low = [one for one in window.contrasts() if one["contrast"] < (4.5 if one["kind"] == "text" else 3)]
    assert not low, json.dumps(low[:5], indent=1)


def test_the_button_changes_the_theme_and_says_which_is_next(window: Window, page: Path) -> None:
    window.open(page, dark=True)
    ground = "return getComputedStyle(document.body).backgroundColor"
    seen = []
    for _ in range(3):
        seen.append((window.run("return document.getElementById('theme').innerText"), window.run(ground)))
        window.run("document.getElementById('theme').click()")
    assert [label for label, _ in seen] == ["Light theme", "Dark theme", "Light theme"]
    assert seen[0][1] == seen[2][1] != seen[1][1]
    window.open(page, dark=True)
    assert window.run(ground) == seen[1][1], "what was chosen is kept"
    window.run("localStorage.clear()")
    assert window.complaints == []


def test_hostile_texts_run_nothing(window: Window, folder: Path) -> None:
    for number, text in enumerate(HOSTILE):
        file = written(folder / f"hostile-{number}.html", hostile(text))
        window.open(file, width=390)
        assert window.run("return document.querySelectorAll('script').length") == 1
        assert window.run("return document.querySelectorAll('img, iframe, object, form').length") == 0
        assert window.complaints == []
        assert window.requests == [file.resolve().as_uri()]
        assert overflow(window) <= 0


def test_the_policy_holds(window: Window, page: Path) -> None:
    """What the page is not made of does nothing, even if it got into it."""
    file = page.with_name("injected.html")
    text = page.read_text(encoding="utf-8")
    injected = (
        "<script>window.hurt = 1</script><img src='http://127.0.0.1:9/x.png' onerror='window.hurt = 1'>"
    )
    assert "</main>" in text
    file.write_text(text.replace("</main>", f"{injected}</main>"), encoding="utf-8")
    window.open(file)
    assert window.run("return window.hurt === undefined")
    assert any("Content Security Policy" in complaint for complaint in window.complaints)


def test_a_load_of_nothing_is_shown(window: Window, folder: Path) -> None:
    file = written(folder / "empty.html", made_up.empty(error="no source", error_code=ExitCode.SOURCE_FAILED))
    window.open(file, width=390, dark=True)
    assert overflow(window) <= 0
    assert "no source" in window.run("return document.body.innerText")
    assert window.complaints == []
