"""Converts a record to JSON; histograms are in HdrHistogram's V2 form, with percentiles beside them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from unrolled_loadtest.results.histogram import Latencies
from unrolled_loadtest.results.record import Record

FORMAT = "unrolled-load"
VERSION = 2
"""Increases when a reader of the old form would misunderstand the new one, but not for added fields."""

_PERCENTS = (50, 90, 99, 99.9, 99.99)
_HISTOGRAM = "hdr_v2"


def to_json(record: Record) -> dict[str, Any]:
    """Returns the record's fields and the rates that follow from them; NaN becomes null."""
    rates = {"offered_per_s": record.offered_per_s, "achieved_per_s": record.achieved_per_s}
    return {"format": FORMAT, "version": VERSION, **rates, **_plain(record)}


def _plain(value: Any) -> Any:
    """Converts a value to what JSON can hold."""
    if isinstance(value, Latencies):
        return _latencies(value)
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _latencies(latencies: Latencies) -> dict[str, Any]:
    percentiles = {f"p{percent}_s": latencies.percentile(percent) for percent in _PERCENTS}
    numbers = {"count": latencies.count, "mean_s": latencies.mean_s, **percentiles, "max_s": latencies.max_s}
    return {**_plain(numbers), _HISTOGRAM: latencies.encoded()}
