"""Axes reach around their values, with ticks at round numbers that do not meet."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from unrolled_loadtest.report.axis import (
    across_axis,
    count_axis,
    duration_axis,
    log_ticks,
    nines,
    percent_axis,
    time_axis,
)
from unrolled_loadtest.report.svg import Canvas

WIDTHS = st.sampled_from([300, 800])
VALUES = st.floats(1e-6, 1e7)


def canvas(width=800, height=200):
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    return Canvas(figure=figure, axes=figure.add_axes((0, 0, 1, 1)), width=width, height=height)


def gaps(axis, place, limits):
    """The pixels between neighbouring ticks."""
    low, high = limits
    places = [(place(tick) - place(low)) / (place(high) - place(low)) for tick in axis.get_ticklocs()]
    return [after - before for before, after in pairwise(places)]


@given(VALUES, VALUES)
def test_ticks_of_a_logarithmic_axis_enclose_its_values(one, other):
    low, high = sorted((one, other))
    ticks = log_ticks(low, high)
    assert ticks[0] <= low
    assert high <= ticks[-1]
    assert len(ticks) >= 2
    assert all(f"{tick:e}"[0] in "125" for tick in ticks)


@given(st.lists(st.floats(1e-6, 3_600), min_size=1, max_size=5))
def test_labels_of_durations_have_room(values):
    drawn = canvas()
    duration_axis(drawn, values)
    low, high = drawn.axes.get_ylim()
    assert low <= min(values) * 1e3
    assert max(values) * 1e3 <= high
    assert all(gap * drawn.height >= 12 for gap in gaps(drawn.axes.yaxis, math.log, (low, high)))


@given(st.floats(0, 60), st.floats(0.5, 86_400), WIDTHS)
def test_labels_of_time_have_room(warmup_s, end_s, width):
    drawn = canvas(width)
    time_axis(drawn, start_s=-warmup_s, end_s=end_s)
    assert drawn.axes.get_xlim() == (-warmup_s, end_s)
    assert all(gap * width >= 40 for gap in gaps(drawn.axes.xaxis, float, (-warmup_s, end_s)))


def test_a_run_that_ended_in_its_warm_up_has_ticks_too():
    drawn = canvas()
    time_axis(drawn, start_s=-2, end_s=-1)
    assert [label.get_text() for label in drawn.axes.get_xticklabels()][::5] == ["-2", "-1.5", "-1"]


def test_long_runs_have_clock_times():
    drawn = canvas()
    time_axis(drawn, start_s=-2, end_s=600)
    assert [label.get_text() for label in drawn.axes.get_xticklabels()][:3] == ["0:00", "1:00", "2:00"]


@given(st.just(0.0) | st.floats(1e-3, 1e7), WIDTHS)
def test_counts_begin_at_nothing_and_end_above_the_highest(highest, width):
    drawn = canvas(width)
    count_axis(drawn, highest)
    across_axis(drawn, highest, name="rate")
    for low, high in (drawn.axes.get_xlim(), drawn.axes.get_ylim()):
        assert low == 0
        assert high > highest
    assert len(drawn.axes.get_yticks()) <= 8
    assert all(gap * width >= 40 for gap in gaps(drawn.axes.xaxis, float, drawn.axes.get_xlim()))


@given(st.integers(1, 10**9), WIDTHS)
def test_percentiles_have_room_and_the_last_answer_is_the_end(count, width):
    drawn = canvas(width)
    percent_axis(drawn, count)
    assert drawn.axes.get_xlim() == (0, nines(100, count))
    assert all(gap * width >= 35 for gap in gaps(drawn.axes.xaxis, float, drawn.axes.get_xlim())[1:])


def test_each_nine_takes_as_much_room_as_the_last():
    places = [nines(percent, 10**6) for percent in (90, 99, 99.9, 99.99)]
    assert places == pytest.approx([1, 2, 3, 4])
