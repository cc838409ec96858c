"""How metric families of several threads or workers become one."""

import operator
from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.samples import Sample

MAXIMA = frozenset({
    "unrolled_loop_lag_seconds", "unrolled_build_info", "unrolled_process_start_time_seconds",
})  # fmt: skip
"""Gauges of which the largest is exported; all other numbers are summed."""


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


def family_of(name: str, text: str, kind: str, samples: Iterable[Sample]) -> Metric:
    """Returns a family of any kind from its samples."""
    family = Metric(name, text, kind)
    family.samples = list(samples)
    return family
