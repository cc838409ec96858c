"""Metric families of prometheus_client: short constructors, and the sum over threads and workers."""

import operator
from collections.abc import Iterable, Sequence

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.samples import Sample

MAXIMA = frozenset({
    "unrolled_loop_lag_seconds", "unrolled_proved_shapes", "unrolled_build_info",
    "unrolled_process_start_time_seconds",
})  # fmt: skip
"""Gauges of which the largest is exported; all other numbers are summed."""


def gauge(name: str, text: str, value: float) -> Metric:
    """Returns a gauge without labels."""
    return GaugeMetricFamily(name, text, value=value)


def counter(name: str, text: str, value: float) -> Metric:
    """Returns a counter without labels."""
    return CounterMetricFamily(name, text, value=value)


def labelled_counter(
    name: str, text: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], float]]
) -> Metric:
    """Returns a counter with a sample for each pair of labels' values and number."""
    family = CounterMetricFamily(name, text, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


def family_of(name: str, text: str, kind: str, samples: Iterable[Sample]) -> Metric:
    """Returns a family of any kind from its samples."""
    family = Metric(name, text, kind)
    family.samples = list(samples)
    return family


def merge(families: Iterable[Metric]) -> list[Metric]:
    """Returns one family for each name, with the samples of all summed, or the largest of them (`MAXIMA`)."""
    first: dict[str, Metric] = {}
    samples: dict[str, dict[tuple[str, tuple[str, ...]], Sample]] = {}
    for family in families:
        first.setdefault(family.name, family)
        merged = samples.setdefault(family.name, {})
        combine = max if family.name in MAXIMA else operator.add
        for sample in family.samples:
            key = sample.name, tuple(sample.labels.values())
            known = merged.get(key)
            value = sample.value if known is None else combine(known.value, sample.value)
            merged[key] = Sample(sample.name, sample.labels, value)
    return [
        family_of(name, family.documentation, family.type, samples[name].values())
        for name, family in first.items()
    ]
