"""A record as JSON, for scripts and for reports that are made later.

Histograms are whole, in HdrHistogram's V2 form, with the usual percentiles beside them for people with jq.
"""

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

FORMAT = "unrolled load"
VERSION = 2
"""Raised when a reader of the old form would misunderstand the new one; new names alone do not raise it."""

_PERCENTS = (50, 90, 99, 99.9, 99.99)
_HISTOGRAM = "hdr_v2"


def to_json(record: Record) -> dict[str, Any]:
    """What `--json` writes: the record's names, and the rates that follow from it. No NaN: null."""
    rates = {"offered_per_s": record.offered_per_s, "achieved_per_s": record.achieved_per_s}
    return {"format": FORMAT, "version": VERSION, **rates, **_plain(record)}


def from_json(content: Mapping[str, Any]) -> Record:
    """The record that `to_json` was given.

    Raises:
        ValueError: It is something else, or of a newer version.
    """
    if content.get("format") != FORMAT:
        raise ValueError(f'not a record of the load tester: its "format" is not "{FORMAT}"')
    if content.get("version") != VERSION:
        raise ValueError(f"the record has version {content.get('version')}; this unrolled reads {VERSION}")
    return Record(
        **_taken(Record, content)
        | {
            "intervals": [Interval(**_taken(Interval, interval)) for interval in content["intervals"]],
            "verification": Verification(**_taken(Verification, content["verification"])),
            "generator": Generator(**_taken(Generator, content["generator"])),
            "after_end": Outcomes(**_taken(Outcomes, content["after_end"])),
            "from_warmup": Outcomes(**_taken(Outcomes, content["from_warmup"])),
            "search": None if content["search"] is None else _search(content["search"]),
        }
    )


def _search(content: Mapping[str, Any]) -> Search:
    return Search(
        **_taken(Search, content) | {"trials": [Trial(**_taken(Trial, one)) for one in content["trials"]]}
    )


def _taken(kind: Any, content: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a dataclass's fields, whatever else there is."""
    return {field.name: _read(field.type, content[field.name]) for field in fields(kind)}


def _read(kind: Any, value: Any) -> Any:
    if kind is Latencies:
        return Latencies.decoded(value[_HISTOGRAM])
    return math.nan if kind is float and value is None else value


def _plain(value: Any) -> Any:
    """A value in JSON's terms."""
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
