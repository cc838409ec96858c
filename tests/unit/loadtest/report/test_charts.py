"""Lines are where their numbers are; what there is nothing of is not drawn."""

import math
import re
from dataclasses import replace

import pytest
from unrolled_loadtest.report.axis import log_ticks
from unrolled_loadtest.report.charts import (
    errors_over_time,
    latency_over_time,
    mean_parts,
    mean_split,
    percentile_curve,
    rate_over_time,
    search_trials,
)
from unrolled_loadtest.results.histogram import Latencies

from tests.support.loadtest.records import record_of

LEFT, RIGHT, TOP, BOTTOM = 56, 20, 10, 44
WIDE, NARROW, HEIGHT = 880, 380, 260


def lines_in(drawing, color):
    """The points of each line of a colour, in pixels."""
    paths = (
        path
        for path in drawing.iter("path")
        if f"stroke: var(--{color})" in path.get("style", "") and path.get("d")
    )
    numbers = (re.findall(r"[ML] (\S+) (\S+)", path.get("d")) for path in paths)
    return [[(float(x), float(y)) for x, y in points] for points in numbers if len(points) > 1]


@pytest.mark.parametrize(("kind", "width"), [(0, WIDE), (1, NARROW)])
def test_a_percentile_is_drawn_at_its_value_and_its_time(kind, width):
    record = record_of("failing")
    answered = [interval for interval in record.intervals if interval.latency.count]
    drawing = latency_over_time(record.intervals).drawings[kind]
    (points,) = lines_in(drawing, "orange")
    values = [v * 1e3 for i in answered for v in (i.latency.percentile(50), i.latency.max_s)]
    low, *_, high = log_ticks(min(values), max(values))
    start, end = record.intervals[0].since_s, record.intervals[-1].since_s + 1
    for (x, y), interval in zip(points, answered, strict=True):
        share = (interval.since_s + 0.5 - start) / (end - start)
        rise = math.log(interval.latency.percentile(99) * 1e3 / low) / math.log(high / low)
        assert x == pytest.approx(LEFT + share * (width - LEFT - RIGHT), abs=0.1)
        assert y == pytest.approx(TOP + (1 - rise) * (HEIGHT - TOP - BOTTOM), abs=0.1)


def test_rates_are_drawn_to_scale_from_zero():
    record = record_of("saturated")
    drawing = rate_over_time(record.intervals).drawings[0]
    (points,) = lines_in(drawing, "blue")
    for (_, y), interval in zip(points, record.intervals, strict=True):
        assert y == pytest.approx(
            TOP + (1 - interval.answered_count / 2_500) * (HEIGHT - TOP - BOTTOM), abs=0.1
        )


def test_errors_are_stacked_by_their_codes():
    """100 a second of one code, 50 of another: the second one's area ends at 150 of the axis's 200."""
    codes = {"UNAVAILABLE": 100, "INTERNAL": 50}
    intervals = [replace(interval, error_counts=codes) for interval in record_of("short").intervals]
    chart = errors_over_time(intervals)
    assert [stroke.name for stroke in chart.legend] == list(codes)
    for stroke, (low, high) in zip(chart.legend, ((0, 100), (100, 150)), strict=True):
        (area,) = (
            path.get("d")
            for path in chart.drawings[0].iter("path")
            if f"fill: var(--{stroke.color})" in path.get("style", "")
        )
        heights = [float(y) for _, y in re.findall(r"[ML] (\S+) (\S+)", area)]
        edges = [TOP + (1 - count / 200) * (200 - TOP - BOTTOM) for count in (high, low)]
        assert [min(heights), max(heights)] == pytest.approx(edges, abs=0.1)


def test_many_codes_share_the_last_name():
    codes = {f"CODE_{number}": 10 - number for number in range(7)}
    intervals = [replace(interval, error_counts=codes) for interval in record_of("short").intervals]
    chart = errors_over_time(intervals)
    assert [stroke.name for stroke in chart.legend] == ["CODE_0", "CODE_1", "CODE_2", "CODE_3", "other codes"]


def test_an_answer_between_gaps_is_seen():
    """A line needs two points; a lonely one has a mark, however many intervals there are."""
    record = record_of("paused")
    nothing = [replace(interval, latency=Latencies()) for interval in record.intervals]
    lonely = [*nothing[:30], record.intervals[30], *nothing[31:]]
    drawing = latency_over_time(lonely).drawings[0]
    assert [use.get("style") for use in drawing.iter("use") if "orange" in use.get("style", "")]


def test_mean_latency_is_the_sum_of_its_parts():
    record = record_of("paused")
    parts = mean_parts(record)
    assert list(parts) == ["before the send", "network and client", "server queue", "server compute"]
    assert sum(parts.values()) == pytest.approx(record.latency.mean_s)
    assert parts["server compute"] == record.server_compute.mean_s


def test_a_closed_loop_has_no_time_before_the_send():
    parts = mean_parts(record_of("closed"))
    assert "before the send" not in parts
    assert sum(parts.values()) == pytest.approx(record_of("closed").latency.mean_s)


def test_a_part_has_the_same_colour_in_every_run():
    legends = [mean_split(record_of(name)).legend for name in ("paused", "closed")]
    colors = [{stroke.name.rsplit(" ", 2)[0]: stroke.color for stroke in legend} for legend in legends]
    assert colors[1].items() < colors[0].items()


def test_the_percentile_curve_ends_at_the_longest():
    record = record_of("paused")
    drawing = percentile_curve({"from intended": record.latency}).drawings[0]
    (points,) = lines_in(drawing, "orange")
    low, *_, high = log_ticks(record.latency.percentile(0) * 1e3, record.latency.max_s * 1e3)
    rise = math.log(record.latency.max_s * 1e3 / low) / math.log(high / low)
    assert points[-1][0] == pytest.approx(WIDE - RIGHT, abs=0.1)
    assert points[-1][1] == pytest.approx(TOP + (1 - rise) * (HEIGHT - TOP - BOTTOM), abs=0.5)
    assert [x for x, _ in points] == sorted(x for x, _ in points)


def test_trials_have_the_mark_of_their_outcome():
    search = record_of("found").search
    drawing = search_trials(search).drawings[0]
    marks = [use.get("style") for use in drawing.iter("use")]
    assert sum("blue" in mark for mark in marks) == sum(trial.is_met for trial in search.trials)
    assert sum("orange" in mark for mark in marks) == sum(not trial.is_met for trial in search.trials)


def test_nothing_measured_is_nothing_drawn():
    record = record_of("unanswered")
    assert latency_over_time(record.intervals) is None
    assert percentile_curve({"from intended": record.latency}) is None
    assert mean_split(record) is None
    assert search_trials(record_of("not_found").search) is None
    assert rate_over_time([]) is None
    assert errors_over_time(record_of("usual").intervals) is None


def test_drawings_of_a_page_share_no_names():
    """Two charts of the same numbers are two drawings."""
    record = record_of("paused")
    drawings = [*latency_over_time(record.intervals).drawings, *rate_over_time(record.intervals).drawings]
    names = [part.get("id") for drawing in drawings for part in drawing.iter() if part.get("id")]
    assert len(names) == len(set(names))
