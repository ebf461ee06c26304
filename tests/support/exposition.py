"""What Prometheus's tools would say of an exposition: a stand-in for ``promtool check metrics``."""

from __future__ import annotations

import re

from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

NAME = re.compile(r"xml_extractor(_[a-z0-9]+)+")
BASE_UNITS = {"seconds", "bytes"}
OTHER_UNITS = re.compile(r"_(ms|milliseconds|minutes|hours|kb|mb|kilobytes|megabytes|percent)(_|$)")


def families(text: str) -> dict[str, Metric]:
    """Return the families of an exposition by name, after holding it against the conventions."""
    found = {family.name: family for family in text_string_to_metric_families(text)}
    for name, family in found.items():
        assert NAME.fullmatch(name), name
        assert family.documentation, f"{name} has no HELP"
        assert family.documentation[0].isupper(), name
        assert not family.documentation.endswith("."), name
        assert family.type in ("counter", "gauge", "histogram"), f"{name} has no TYPE"
        assert not OTHER_UNITS.search(name), f"{name} is in no base unit"
        assert f"# TYPE {name}{'_total' if family.type == 'counter' else ''} {family.type}\n" in text
        if family.type != "counter":
            assert not name.endswith("_total"), name
        series = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in family.samples]
        assert series, f"{name} has no samples"
        assert len(set(series)) == len(series), f"{name} has a time series twice"
        assert all(sample.timestamp is None for sample in family.samples), name  # the collector takes none
        if family.type == "histogram":
            check_histogram(family)
    return found


def check_histogram(family: Metric) -> None:
    buckets = [sample for sample in family.samples if sample.name.endswith("_bucket")]
    bounds = [float(sample.labels["le"]) for sample in buckets]
    counts = [sample.value for sample in buckets]
    assert bounds == sorted(set(bounds))
    assert bounds[-1] == float("inf")
    assert counts == sorted(counts), "buckets are not cumulative"
    (count,) = [sample.value for sample in family.samples if sample.name.endswith("_count")]
    assert counts[-1] == count


def check_openmetrics(text: str) -> None:
    """Hold an exposition in the OpenMetrics format against its grammar, which is strict about units."""
    assert text.endswith("# EOF\n")
    for family in openmetrics_families(text):
        if family.unit:
            assert family.unit in BASE_UNITS
            assert family.name.endswith("_" + family.unit)


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Return the value of each time series: (name, label, value, label, value …) → value."""
    return {
        (sample.name, *(part for label in sorted(sample.labels.items()) for part in label)): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
