"""A record goes through JSON unharmed, and people with jq find its numbers."""

import json
from dataclasses import fields, is_dataclass

import pytest
from hypothesis import given
from unrolled_loadtest.report.json_report import from_json, to_json
from unrolled_loadtest.results.histogram import Latencies

from tests.support.loadtest.records import RECORDS, any_records, record_of


def comparable(value):
    """The same value, with histograms as text, which can be compared, and NaN as a word."""
    if isinstance(value, Latencies):
        return value.encoded()
    if is_dataclass(value):
        return {field.name: comparable(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, list | tuple):
        return [comparable(item) for item in value]
    return "NaN" if value != value else value  # noqa: PLR0124 - that is what NaN is


@given(any_records())
def test_a_record_is_the_same_after_json(record):
    text = json.dumps(to_json(record), allow_nan=False)
    assert comparable(from_json(json.loads(text))) == comparable(record)


@pytest.mark.parametrize("name", RECORDS)
def test_the_usual_numbers_stand_beside_the_histograms(name):
    record = record_of(name)
    content = to_json(record)
    assert content["achieved_per_s"] == record.achieved_per_s
    for percent in (50, 90, 99, 99.9, 99.99):
        expected = record.latency.percentile(percent) if record.latency.count else None
        assert content["latency"][f"p{percent}_s"] == expected


def test_histograms_are_those_of_other_tools():
    """The text of HdrHistogram's second version, compressed, begins like this in every language."""
    assert to_json(record_of("usual"))["latency"]["hdr_v2"].startswith("HISTFAAA")


def test_what_a_later_version_adds_is_left_out():
    content = to_json(record_of("short"))
    more = {**content, "new": 1, "generator": {**content["generator"], "new": 2}}
    assert to_json(from_json(more)) == content


@pytest.mark.parametrize("content", [{}, {"format": "k6"}, {"format": "unrolled load", "version": 1}])
def test_what_is_no_such_record_is_refused(content):
    with pytest.raises(ValueError, match="record"):
        from_json(content)
