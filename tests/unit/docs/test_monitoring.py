"""Dashboard, alerts and page speak of metrics that a real load really has, in words that Prometheus takes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from tests.support.exposition import families, samples
from xml_extractor import Contract, LoadOptions, load
from xml_extractor.engines import open_engine
from xml_extractor.profiling.live_figures import FIGURES, Kind
from xml_extractor.profiling.metrics import metric_name
from xml_extractor.profiling.metrics_textfile import MetricsTextfile
from xml_extractor.resources import shipped_config
from xml_extractor.source.sample import write_sample

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE = (DOCS / "monitoring.md").read_text(encoding="utf-8")
DASHBOARD = json.loads((DOCS / "grafana-dashboard.json").read_text(encoding="utf-8"))
ALERTS = yaml.safe_load((DOCS / "prometheus-alerts.yml").read_text(encoding="utf-8"))
METRIC = re.compile(r"\bxml_extractor_[a-z0-9_]+\b")


@pytest.fixture(scope="module")
def exposition(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a real load leaves behind, some of whose documents are refused."""
    folder = tmp_path_factory.mktemp("load")
    url = f"sqlite:///{(folder / 'database.db').as_posix()}"
    contract = Contract.read(shipped_config("loan_application.yaml"))
    write_sample(open_engine(url), contract.plan, 700, 1)
    textfile = MetricsTextfile(folder / "load.prom", contract.plan.contract)
    # Refused documents are no failure, and each run tells of its own.
    load(url, None, contract, LoadOptions(create_tables=True, drift_sample=0), observers=[textfile])
    return (folder / "load.prom").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def series(exposition: str) -> dict[str, set[str]]:
    """Name of each time series → its labels, Prometheus's own among them."""
    found: dict[str, set[str]] = {}
    for name, *labels in samples(exposition):
        found.setdefault(name, {"instance", "job"}).update(labels[::2])
    return found


def expressions() -> Iterator[tuple[str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"].replace("$__rate_interval", "1m")
    for group in ALERTS["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


EXPRESSIONS = list(expressions())


def selectors(node: Any) -> Iterator[Any]:
    """Yield all vector selectors of an expression."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for name in ("expr", "lhs", "rhs", "vector_selector", "args", "param"):
        below = getattr(node, name, None)
        for one in below if isinstance(below, list) else [below]:
            if one is not None and not isinstance(one, str):
                yield from selectors(one)


def test_a_real_load_keeps_the_conventions(exposition: str) -> None:
    found = families(exposition)
    for figure in FIGURES:
        suffix = "_info" if figure.kind is Kind.INFO else ""
        assert metric_name(figure) + suffix in found, figure.name


@pytest.mark.parametrize(
    ("where", "text"), EXPRESSIONS, ids=[f"{title}-{at}" for at, (title, _) in enumerate(EXPRESSIONS)]
)
def test_expressions_ask_for_what_is_there(where: str, text: str, series: dict[str, set[str]]) -> None:
    asked = list(selectors(promql_parser.parse(text)))
    assert len(asked) == len(METRIC.findall(text)), "a selector was overlooked"
    for selector in asked:
        assert selector.name in series, f"{where} asks for {selector.name}"
        labels = {matcher.name for matcher in selector.matchers.matchers}
        assert labels <= series[selector.name], f"{where}: {selector.name} has no such labels"
    for grouped in re.findall(r"\b(?:by|ignoring|on) \(([^)]*)\)", text):
        for label in filter(None, re.split(r",\s*", grouped)):
            assert any(label in series[selector.name] for selector in asked), f"{where} groups by {label}"
    # rate() is for counters, and a counter is told by its name.
    for name in re.findall(r"\b(?:rate|increase)\((xml_extractor_\w+)", text):
        assert name.endswith(("_total", "_bucket")), where
    for name in METRIC.findall(text):
        if "histogram_quantile" in text:
            assert name.endswith("_bucket")


def test_whatever_looks_like_a_metric_is_one(series: dict[str, set[str]]) -> None:
    known = series.keys() | {"xml_extractor_insert_duration_seconds"}
    for file in ("grafana-dashboard.json", "prometheus-alerts.yml", "monitoring.md"):
        unknown = set(METRIC.findall((DOCS / file).read_text(encoding="utf-8"))) - known
        assert not unknown, f"{file} names {unknown}"


def test_the_page_lists_every_metric() -> None:
    suffixes = {Kind.COUNTER: ("_total", "counter"), Kind.GAUGE: ("", "gauge"), Kind.INFO: ("_info", "gauge")}
    rows = []
    for figure in FIGURES:
        suffix, kind = suffixes[figure.kind]
        labels = ", ".join(f"`{label}`" for label in figure.labels)
        rows.append(f"| `{metric_name(figure)}{suffix}` | {kind} | {labels} | {figure.about} |")
    table = PAGE.split("<!-- metrics -->")[1].split("<!-- /metrics -->")[0].strip().splitlines()[2:]
    assert table[:-1] == rows
    assert table[-1].startswith("| `xml_extractor_insert_duration_seconds` | histogram |")


def test_the_page_explains_every_alert() -> None:
    alerts = [rule["alert"] for group in ALERTS["groups"] for rule in group["rules"]]
    assert re.findall(r"^\| (XmlExtractor\w+) \|", PAGE, re.M) == alerts


def test_alerts_are_as_prometheus_wants_them(series: dict[str, set[str]]) -> None:
    assert set(ALERTS) == {"groups"}
    for group in ALERTS["groups"]:
        assert set(group) <= {"name", "rules", "interval"}
        for rule in group["rules"]:
            assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
            assert rule["labels"]["severity"] in ("warning", "critical")
            for text in rule["annotations"].values():
                # What an aggregation drops cannot be shown.
                shown = set(re.findall(r"\$labels\.(\w+)", text))
                kept = re.findall(r"\bby \(([^)]*)\)", rule["expr"])
                for labels in kept:
                    assert shown <= set(re.split(r",\s*", labels)), rule["alert"]
                assert text.count("{{") == text.count("}}")


def test_the_dashboard_is_as_grafana_wants_it() -> None:
    assert DASHBOARD["id"] is None  # Grafana gives it one
    assert DASHBOARD["uid"]
    assert DASHBOARD["schemaVersion"] >= 39  # Grafana 11
    variables = [one["name"] for one in DASHBOARD["templating"]["list"]]
    assert variables == ["datasource", "contract", "instance"]
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells
        if panel["type"] == "row":
            continue
        assert panel["description"], panel["title"]
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for target in panel["targets"]:
            assert '{contract=~"$contract", instance=~"$instance"' in target["expr"]
            named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert all(f"by ({label})" in target["expr"] for label in named)
