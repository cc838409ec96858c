"""Converts a record to JSON and back; histograms are in HdrHistogram's V2 form, with percentiles."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from unrolled_loadtest.results.histogram import Latencies
from unrolled_loadtest.results.record import (
    Generator,
    Interval,
    Outcomes,
    Record,
    Search,
    Trial,
    Verification,
)

FORMAT = "unrolled-load"
VERSION = 2
"""Increases when a reader of the old form would misunderstand the new one; an added field does not count."""

_PERCENTS = (50, 90, 99, 99.9, 99.99)
_HISTOGRAM = "hdr_v2"


def to_json(record: Record) -> dict[str, Any]:
    """Returns the record's fields and the rates that follow from them; NaN becomes null."""
    rates = {"offered_per_s": record.offered_per_s, "achieved_per_s": record.achieved_per_s}
    return {"format": FORMAT, "version": VERSION, **rates, **_plain(record)}


def from_json(content: Mapping[str, Any]) -> Record:
    """Returns the record that `to_json` converted.

    Raises:
        ValueError: It is not a record, or has another version.
    """
    if content.get("format") != FORMAT:
        raise ValueError(f'not a record of the load tester: its "format" is not "{FORMAT}"')
    if content.get("version") != VERSION:
        raise ValueError(f"the record has version {content.get('version')}; this unrolled reads {VERSION}")
    return Record(
        **_values(Record, content)
        | {
            "intervals": [Interval(**_values(Interval, interval)) for interval in content["intervals"]],
            "verification": Verification(**_values(Verification, content["verification"])),
            "generator": Generator(**_values(Generator, content["generator"])),
            "after_end": Outcomes(**_values(Outcomes, content["after_end"])),
            "from_warmup": Outcomes(**_values(Outcomes, content["from_warmup"])),
            "search": None if content["search"] is None else _search(content["search"]),
        }
    )


def _search(content: Mapping[str, Any]) -> Search:
    trials = [Trial(**_values(Trial, trial)) for trial in content["trials"]]
    return Search(**_values(Search, content) | {"trials": trials})


def _values(kind: Any, content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of a dataclass's fields and ignores all others."""
    return {field.name: _value(field.type, content[field.name]) for field in fields(kind)}


def _value(kind: Any, value: Any) -> Any:
    if kind is Latencies:
        return Latencies.decoded(value[_HISTOGRAM])
    return math.nan if kind is float and value is None else value


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
