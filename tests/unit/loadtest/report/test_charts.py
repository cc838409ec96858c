"""Charts show the record's numbers; each is one SVG element, and several fit on one page."""

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from matplotlib.figure import Figure
from unrolled_loadtest.report import charts
from unrolled_loadtest.report.charts import (
    errors_over_time,
    latency_over_time,
    percentile_curve,
    rate_over_time,
)
from unrolled_loadtest.results.histogram import Latencies

from tests.support.loadtest.records import record_of


@pytest.fixture
def lines_of(monkeypatch):
    """A function that draws a chart and returns the points of its lines by their labels."""

    def paint(_name, paint):
        axes = Figure().add_subplot()
        paint(axes)
        return {line.get_label(): line for line in axes.lines}

    def draw(chart, *arguments):
        monkeypatch.setattr(charts, "_svg", paint)
        return chart(*arguments)

    return draw


def short_with(**changes):
    return [replace(interval, **changes) for interval in record_of("short").intervals]


def test_latencies_are_drawn_at_their_values_and_times(lines_of):
    intervals = record_of("failing").intervals
    lines = lines_of(latency_over_time, intervals)
    assert list(lines) == ["maximum", "p99", "p50"]
    for interval, x, p99, p50 in zip(
        intervals, *lines["p99"].get_data(), lines["p50"].get_ydata(), strict=True
    ):
        assert x == interval.since_s + interval.length_s / 2
        expected = [interval.latency.percentile(percent) * 1e3 for percent in (99, 50)]
        np.testing.assert_equal([p99, p50], expected)


def test_rates_are_drawn_at_their_values(lines_of):
    intervals = record_of("saturated").intervals
    lines = lines_of(rate_over_time, intervals)
    assert list(lines["offered"].get_ydata()) == [interval.offered_count for interval in intervals]
    assert list(lines["achieved"].get_ydata()) == [interval.answered_count for interval in intervals]


def test_errors_have_a_line_for_each_code(lines_of):
    lines = lines_of(errors_over_time, short_with(error_counts={"INTERNAL": 50, "UNAVAILABLE": 100}))
    assert {code: list(line.get_ydata()) for code, line in lines.items()} == {
        "UNAVAILABLE": [100],
        "INTERNAL": [50],
    }


def test_a_single_point_between_gaps_is_visible(lines_of):
    """A line needs two points; a single one is drawn as a mark."""
    intervals = record_of("paused").intervals
    nothing = [replace(interval, latency=Latencies()) for interval in intervals]
    lines = lines_of(latency_over_time, [*nothing[:30], intervals[30], *nothing[31:]])
    assert 30 in lines["p99"].get_markevery()
    assert lines_of(latency_over_time, intervals)["p99"].get_markevery() == []


def test_the_percentile_curve_rises_to_the_maximum(lines_of):
    record = record_of("paused")
    x, y = lines_of(percentile_curve, {"from intended": record.latency})["from intended"].get_data()
    assert y[-1] == pytest.approx(record.latency.max_s * 1e3, rel=1e-3)
    assert (list(x), list(y)) == (sorted(x), sorted(y))
    assert y[np.searchsorted(x, 100)] == pytest.approx(record.latency.percentile(99) * 1e3, rel=0.2)


def test_without_measurements_nothing_is_drawn():
    record = record_of("unanswered")
    assert latency_over_time(record.intervals) is None
    assert percentile_curve({"from intended": record.latency}) is None
    assert rate_over_time([]) is None
    assert errors_over_time(record_of("usual").intervals) is None


def test_charts_of_a_page_have_unique_ids():
    """Two charts of the same numbers do not share ids either."""
    intervals = record_of("paused").intervals
    drawn = [latency_over_time(intervals), rate_over_time(intervals)]
    names = [re.findall(r' id="([^"]*)"', svg) for svg in drawn]
    assert len({*names[0], *names[1]}) == len(names[0]) + len(names[1])
    for svg, own in zip(drawn, names, strict=True):
        assert set(re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', svg)) <= {
            pair for name in own for pair in ((name, ""), ("", name))
        }


@pytest.mark.parametrize("code", ["<script>alert(1)</script>", "a&b\x00\udcff", "$x$", '"#id="'])
def test_labels_are_escaped(code):
    svg = errors_over_time(short_with(error_counts={code: 1}))
    assert svg.startswith("<svg")
    assert not re.search("<script|http|<style|<metadata", svg)
    texts = [element.text for element in ET.fromstring(svg.replace("xlink:", "")).iter("text")]
    assert charts.printable(code) in texts
