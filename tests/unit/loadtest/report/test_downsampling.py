"""Joined intervals lose nothing but their borders."""

from hypothesis import given
from hypothesis import strategies as st
from unrolled_loadtest.report.downsampling import joined
from unrolled_loadtest.results.histogram import Latencies

from tests.support.loadtest.records import any_intervals, record_of

COUNTS = ("offered_count", "sent_count", "late_count", "answered_count")


@given(any_intervals(), st.integers(1, 8))
def test_the_sums_stay_the_same(intervals, max_count):
    pieces = joined(intervals, max_count=max_count)
    for name in COUNTS:
        assert sum(getattr(piece, name) for piece in pieces) == sum(getattr(one, name) for one in intervals)
    latencies = [Latencies.merged(one.latency for one in parts) for parts in (pieces, intervals)]
    assert latencies[0].encoded() == latencies[1].encoded()
    assert total_errors(pieces) == total_errors(intervals)


def total_errors(intervals):
    return sum(sum(interval.error_counts.values()) for interval in intervals)


@given(any_intervals(), st.integers(1, 8))
def test_no_piece_has_both_of_the_warm_up_and_of_the_measurement(intervals, max_count):
    pieces = joined(intervals, max_count=max_count)
    assert all(piece.since_s >= 0 or piece.since_s + piece.length_s <= 1e-9 for piece in pieces)
    assert len(pieces) <= max_count + 2


def test_a_run_that_fits_stays_as_it_is():
    record = record_of("paused")
    assert joined(record.intervals, max_count=100) == list(record.intervals)


def test_ten_minutes_fit_a_chart_and_keep_their_worst_second():
    record = record_of("long")
    pieces = joined(record.intervals, max_count=240)
    assert len(pieces) == 1 + 200
    assert max(piece.latency.max_s for piece in pieces if piece.latency.count) == record.latency.max_s
