"""The JSON report has the whole record and the usual numbers beside each histogram."""

import json
from dataclasses import fields, is_dataclass

import pytest
from hypothesis import given
from unrolled_loadtest.report.json_report import to_json
from unrolled_loadtest.results.histogram import Latencies

from tests.support.loadtest.records import RECORDS, any_records, decoded, record_of


def read_back(value, content):
    """Asserts that JSON has every field of a value; histograms decode to the same, and NaN is null."""
    if isinstance(value, Latencies):
        assert decoded(content["hdr_v2"]).encoded() == value.encoded()
        assert content["count"] == value.count
    elif is_dataclass(value):
        for field in fields(value):
            read_back(getattr(value, field.name), content[field.name])
    elif isinstance(value, list | tuple):
        for item, item_content in zip(value, content, strict=True):
            read_back(item, item_content)
    else:
        assert content == (None if value != value else value)  # noqa: PLR0124 - true for NaN alone


@given(any_records())
def test_json_has_the_whole_record(record):
    read_back(record, json.loads(json.dumps(to_json(record), allow_nan=False)))


@pytest.mark.parametrize("name", RECORDS)
def test_the_usual_numbers_are_next_to_the_histograms(name):
    record = record_of(name)
    content = to_json(record)
    assert content["achieved_per_s"] == record.achieved_per_s
    for percent in (50, 90, 99, 99.9, 99.99):
        expected = record.latency.percentile(percent) if record.latency.count else None
        assert content["latency"][f"p{percent}_s"] == expected


def test_histograms_have_the_format_of_hdrhistogram():
    """Compressed HdrHistograms of version 2 begin like this in every language."""
    assert to_json(record_of("usual"))["latency"]["hdr_v2"].startswith("HISTFAAA")
