"""Durations keep three digits, whatever their size, and are encoded as HdrHistogram."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unrolled_loadtest.results.histogram import Latencies

from tests.support.loadtest.records import decoded, latencies_of, merged

DURATIONS = st.lists(st.floats(1e-6, 3_000), min_size=1, max_size=200)


@given(DURATIONS, st.sampled_from([50, 90, 99, 99.9, 100]))
def test_percentiles_are_accurate_to_a_thousandth(durations, percent):
    expected = np.percentile(durations, percent, method="inverted_cdf")
    found = latencies_of(durations).percentile(percent)
    assert found == pytest.approx(expected, rel=2e-3, abs=1e-6)


@given(DURATIONS)
def test_the_mean_is_accurate_to_a_thousandth(durations):
    assert latencies_of(durations).mean_s == pytest.approx(np.mean(durations), rel=1e-3, abs=1e-6)


@given(DURATIONS, st.sampled_from([50, 90, 99]))
def test_no_more_durations_exceed_a_percentile_than_its_share(durations, percent):
    limit = latencies_of(durations).percentile(percent)
    longer = sum(duration_s > limit + 1e-6 for duration_s in durations)
    assert longer <= len(durations) * (100 - percent) / 100


@given(DURATIONS, DURATIONS)
def test_merged_parts_equal_the_whole(first, second):
    whole = merged([latencies_of(first), latencies_of(second)])
    assert whole.encoded() == latencies_of([*first, *second]).encoded()


@given(DURATIONS)
def test_encoding_round_trips(durations):
    latencies = latencies_of(durations)
    again = decoded(latencies.encoded())
    assert (again.count, again.max_s, again.percentile(50)) == (
        len(durations),
        latencies.max_s,
        latencies.percentile(50),
    )


def test_the_percentile_curve_rises_to_the_maximum():
    points = list(latencies_of(np.linspace(0.001, 1, 1_000)).curve())
    assert points == sorted(points)
    assert points[-1][0] == 100


def test_durations_out_of_range_are_clamped():
    latencies = latencies_of([0.0, 10_000.0])
    assert latencies.count == 2
    assert latencies.max_s == pytest.approx(3_600, rel=1e-3)


def test_an_empty_histogram_has_no_percentiles():
    assert math.isnan(Latencies().percentile(99))
    assert math.isnan(Latencies().max_s)
