"""A load's figures as Prometheus has them: names, units, types, labels."""

from __future__ import annotations

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from tests.support import watched
from tests.support.exposition import check_openmetrics, families, samples
from xml_extractor.profiling.live_figures import FIGURES, LiveFigures
from xml_extractor.profiling.metrics import Metrics, metric_name

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def metrics(**labels: str) -> Metrics:
    figures = LiveFigures()
    figures.begin(watched.watched())
    figures.batch(watched.batch())
    figures.end(watched.summary(profile=watched.profile()))
    return Metrics(figures, labels or {"contract": "loan"})


def test_all_figures_are_there_and_keep_the_conventions() -> None:
    found = families(metrics().text().decode())
    names = {metric_name(figure) + ("_info" if figure.kind.value == "info" else "") for figure in FIGURES}
    assert found.keys() == names | {"xml_extractor_insert_duration_seconds"}
    for figure in FIGURES:
        if figure.unit == "s":
            assert metric_name(figure).endswith("_seconds")


def test_the_format_of_openmetrics_is_served_to_those_who_want_it() -> None:
    page, content_type = metrics().page(OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    check_openmetrics(page.decode())
    plain, content_type = metrics().page("text/html")
    assert content_type.startswith("text/plain; version=0.0.4")
    families(plain.decode())


def test_before_the_beginning_there_are_only_zeros() -> None:
    made = Metrics(LiveFigures(), {"contract": "loan"})
    families(made.text().decode())
    check_openmetrics(made.page(OPENMETRICS)[0].decode())
    assert samples(made.text().decode())["xml_extractor_running", "contract", "loan"] == 0


def test_values_arrive() -> None:
    found = samples(metrics().text().decode())
    contract = ("contract", "loan")
    assert found["xml_extractor_documents_settled_total", *contract, "state", "loaded"] == 80
    assert found["xml_extractor_insert_duration_seconds_bucket", *contract, "le", "0.1"] == 0
    assert found["xml_extractor_insert_duration_seconds_bucket", *contract, "le", "0.25"] == 1
    assert found["xml_extractor_insert_duration_seconds_sum", *contract] == 0.25
    (info,) = [name for name in found if name[0] == "xml_extractor_load_info"]
    assert dict(zip(info[1::2], info[2::2], strict=True)).items() >= {
        "contract": "loan", "executor": "thread", "insert_path": "copy", "database_system": "postgresql",
    }.items()  # fmt: skip


@pytest.mark.parametrize("hostile", ['quo"te', "back\\slash", "new\nline", "Größe 表", "{a=b} 1.0"])
def test_names_of_tables_cannot_break_the_format(hostile: str) -> None:
    figures = LiveFigures()
    figures.begin(watched.watched(the_summary=watched.summary(rows={hostile: 7})))
    made = Metrics(figures, {"contract": hostile})
    check_openmetrics(made.page(OPENMETRICS)[0].decode())
    (row,) = [
        sample
        for family in text_string_to_metric_families(made.text().decode())
        for sample in family.samples
        if sample.name == "xml_extractor_rows_committed_total"
    ]
    assert row.labels == {"table": hostile, "contract": hostile}
    assert row.value == 7


def test_nothing_is_left_in_the_registry_that_all_share() -> None:
    before = {family.name for family in REGISTRY.collect()}
    metrics()
    assert {family.name for family in REGISTRY.collect()} == before
