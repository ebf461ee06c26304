"""A load's figures as Prometheus has them, by its official client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from xml_extractor.profiling.live_figures import DURATION_BOUNDS, FIGURES, Figure, Kind, LiveFigures

PREFIX: Final = "xml_extractor_"

# What OpenTelemetry's rules for Prometheus make of these units; the others are left out of names.
_UNITS: Final = {"s": "seconds", "By": "bytes"}


def metric_name(figure: Figure) -> str:
    """Return the name of a figure's metric, without the ``_total`` or ``_info`` that its kind adds."""
    unit = _UNITS.get(figure.unit)
    name = PREFIX + figure.name.replace(".", "_")
    return name if unit is None or name.endswith(f"_{unit}") else f"{name}_{unit}"


class Metrics(Collector):
    """The metrics of one load, in a registry of their own.  Thread-safe.

    Args:
        labels: put on every metric; few and lasting, as each combination is a time series of its own.
    """

    def __init__(self, figures: LiveFigures, labels: Mapping[str, str]) -> None:
        self._figures = figures
        self._labels = dict(labels)
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def text(self) -> bytes:
        """Return all metrics in the text format that every Prometheus and node_exporter reads."""
        return generate_latest(self._registry)

    def page(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics in the format that suits an ``Accept`` header best, and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def describe(self) -> list[Metric]:
        """Tell the registry nothing: it would otherwise collect once when it is made."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics as they are now."""
        values = self._figures.values()
        for figure in FIGURES:
            if values.get(figure.name):
                family = self._family(figure)
                for labels, value in values[figure.name]:
                    self._add(family, labels, value)
                yield family
        yield self._insert_durations()

    def _family(self, figure: Figure) -> Metric:
        name, unit = metric_name(figure), _UNITS.get(figure.unit, "")
        labels = [*self._labels, *figure.labels]
        if figure.kind is Kind.COUNTER:
            return CounterMetricFamily(name, figure.about, labels=labels, unit=unit)
        if figure.kind is Kind.INFO:
            return InfoMetricFamily(name, figure.about, labels=list(self._labels))
        return GaugeMetricFamily(name, figure.about, labels=labels, unit=unit)

    def _add(self, family: Metric, labels: Mapping[str, str], value: float) -> None:
        if isinstance(family, InfoMetricFamily):
            family.add_metric(list(self._labels.values()), dict(labels))
        elif isinstance(family, (CounterMetricFamily, GaugeMetricFamily)):
            family.add_metric([*self._labels.values(), *labels.values()], value)

    def _insert_durations(self) -> Metric:
        durations = self._figures.insert_durations()
        bounds = [*map(str, DURATION_BOUNDS), "+Inf"]
        family = HistogramMetricFamily(
            f"{PREFIX}insert_duration_seconds",
            "How long batches took, from their first statement to the end of commit",
            labels=list(self._labels),
            unit="seconds",
        )
        family.add_metric(
            list(self._labels.values()),
            buckets=list(zip(bounds, map(float, durations.cumulative), strict=True)),
            sum_value=durations.total_seconds,
        )
        return family
