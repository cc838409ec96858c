"""Aggregation of events into counts, latencies and intervals."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unrolled_loadtest.generator.events import FLAG_AT_LIMIT, UNANSWERED, UNSENT, pack_event
from unrolled_loadtest.generator.protocol import Progress
from unrolled_loadtest.results.aggregate import MAX_INTERVALS, Aggregator
from unrolled_loadtest.results.record import Outcomes

from tests.support.loadtest.plans import closed_plan, open_plan

UNAVAILABLE, DEADLINE_EXCEEDED = 14, 4


def event(due_s, sent_s=None, done_s=None, *, code=0, flags=0, queue_s=math.nan, compute_s=math.nan):
    sent_s = due_s if sent_s is None else sent_s
    done_s = sent_s + 0.01 if done_s is None else done_s
    return pack_event(due_s, sent_s, done_s, queue_s, compute_s, code, flags)


def report(interval, *events, at_s=None, cpu_s=0.0, in_flight_count=0, sent_count=0):
    return Progress(
        interval=interval,
        at_s=interval + 1.0 if at_s is None else at_s,
        cpu_s=cpu_s,
        in_flight_count=in_flight_count,
        sent_count=sent_count,
        events=b"".join(events),
    )


def aggregator_of(*events, plan=None):
    """Returns an aggregator that received these events from one process in one report."""
    aggregator = Aggregator(plan or open_plan(duration_s=3.0, warmup_s=1.0))
    aggregator.add(0, report(None, at_s=-1))
    aggregator.add(0, report(None, *events, at_s=4))
    return aggregator


def test_every_request_has_exactly_one_outcome():
    totals = aggregator_of(
        event(0.0),
        event(0.1, 0.2),
        event(0.2, code=UNAVAILABLE),
        event(0.3, code=DEADLINE_EXCEEDED, done_s=2.3),
        event(2.9, done_s=3.1),
        event(2.8, code=UNANSWERED, done_s=4.0),
        event(1.0, math.nan, 4.0, code=UNSENT),
        event(-0.5),
    ).totals
    assert (totals.offered_count, totals.unsent_count) == (7, 1)
    assert totals.record_fields()["sent_count"] == 6
    assert (totals.answered_count, totals.unanswered_count) == (3, 1)
    assert totals.after_end == Outcomes(answered_count=1), "one came when the measurement was over"
    assert dict(totals.error_counts) == {"UNAVAILABLE": 1, "DEADLINE_EXCEEDED": 1}
    assert (totals.late_count, totals.max_late_s) == (1, pytest.approx(0.1))


def test_latency_starts_at_the_due_time_and_includes_unanswered_requests():
    totals = aggregator_of(
        event(0.0, 0.1, 0.15),
        event(0.0, 0.0, 2.0, code=DEADLINE_EXCEEDED),
        event(1.0, math.nan, 4.0, code=UNSENT),
        event(2.0, 2.5, 4.0, code=UNANSWERED),
        event(0.0, 0.0, 0.001, code=UNAVAILABLE),
    ).totals
    assert (totals.latency.count, totals.latency_from_send.count) == (4, 3)
    assert totals.latency.max_s == pytest.approx(3.0, rel=1e-3)
    assert totals.latency.percentile(25) == pytest.approx(0.15, rel=1e-3)
    assert totals.latency_from_send.percentile(1) == pytest.approx(0.05, rel=1e-3)


def test_the_servers_times_are_those_of_its_replies():
    totals = aggregator_of(event(0, queue_s=0.001, compute_s=0.002), event(1), event(-1, queue_s=9.0)).totals
    assert (totals.server_queue.count, totals.server_compute.count) == (1, 1)
    assert totals.server_compute.max_s == pytest.approx(0.002, rel=1e-3)


def test_a_delay_by_the_in_flight_limit_is_not_the_generators_own():
    totals = aggregator_of(event(0, 0.1, flags=FLAG_AT_LIMIT), event(0, 0.1), event(0, 0.0009)).totals
    assert (totals.late_count, totals.own_late_count) == (2, 1)


def test_intervals_count_requests_by_due_time_and_answers_by_arrival():
    aggregator = aggregator_of(
        event(-0.5, done_s=0.2),
        event(0.9, done_s=1.2),
        event(1.5, 2.1, 2.2),
        event(1.5, math.nan, 4.0, code=UNSENT),
        event(2.0, code=UNAVAILABLE, done_s=2.5),
    )
    found = aggregator.intervals(ended_s=3.0)
    assert [(i.since_s, i.length_s) for i in found] == [(-1, 1), (0, 1), (1, 1), (2, 1)]
    assert [i.offered_count for i in found] == [1, 1, 2, 1]
    assert [i.sent_count for i in found] == [1, 1, 1, 1]
    assert [i.late_count for i in found] == [0, 0, 1, 0]
    assert [i.answered_count for i in found] == [0, 1, 1, 1]
    assert [i.error_counts for i in found] == [{}, {}, {}, {"UNAVAILABLE": 1}]
    assert [i.latency.count for i in found] == [1, 1, 2, 0]
    assert aggregator.totals.from_warmup == Outcomes(answered_count=1)


def test_warm_up_and_end_may_be_fractions_of_a_second():
    aggregator = aggregator_of(event(-0.2), event(1.2), plan=open_plan(duration_s=1.25, warmup_s=0.5))
    found = aggregator.intervals(ended_s=1.25)
    assert [(i.since_s, i.length_s) for i in found] == [(-0.5, 0.5), (0, 1), (1, 0.25)]


def test_an_interrupted_run_has_the_intervals_until_its_end():
    found = aggregator_of(event(0.2), event(1.1)).intervals(ended_s=1.5)
    assert [(i.since_s, i.length_s) for i in found] == [(-1, 1), (0, 1), (1, 0.5)]
    during_warmup = aggregator_of(event(-0.9)).intervals(ended_s=-0.25)
    assert [(i.since_s, i.length_s) for i in during_warmup] == [(-1, 0.75)]


@pytest.mark.parametrize("warmup_s", [0.0, 0.3, 1.0])
def test_a_run_that_ended_before_its_load_began_has_no_intervals(warmup_s):
    """For example after a signal while the workers wait for the start."""
    plan = open_plan(duration_s=3.0, warmup_s=warmup_s)
    assert aggregator_of(plan=plan).intervals(ended_s=-warmup_s) == []


def test_a_long_run_has_longer_intervals():
    plan = open_plan(duration_s=MAX_INTERVALS * 2.5, rate="1", warmup_s=2)
    aggregator = aggregator_of(*(event(at + 0.5) for at in range(-2, 1_500)), plan=plan)
    found = aggregator.intervals(ended_s=1_500.0)
    assert [i.length_s for i in found[:2]] == [2, 3]
    assert {i.offered_count for i in found[1:]} == {3}
    assert len(found) <= MAX_INTERVALS + 1


def test_a_live_interval_is_complete_when_all_processes_have_reported_it():
    aggregator = Aggregator(open_plan(rate="100", duration_s=2.0, warmup_s=0.0, process_count=2))
    for process in (0, 1):
        aggregator.add(process, report(None, at_s=0))
    aggregator.add(0, report(0, event(0.5, done_s=0.9), sent_count=50, in_flight_count=3))
    assert list(aggregator.live_intervals()) == []
    aggregator.add(1, report(0, sent_count=40, in_flight_count=4))
    (live,) = aggregator.live_intervals()
    assert (live.offered_count, live.sent_count, live.in_flight_count) == (100, 90, 7)
    assert (live.answered_count, live.latency.count) == (1, 1)
    assert list(aggregator.live_intervals()) == []


def test_the_load_of_the_generator_is_that_of_its_busiest_process():
    aggregator = Aggregator(open_plan(duration_s=2.0, warmup_s=1.0, process_count=2))
    for process, cpu_s in ((0, (0.0, 0.9, 1.1, 1.3)), (1, (0.0, 0.1, 0.7, 1.3))):
        for interval, used_s in zip((None, -1, 0, 1), cpu_s, strict=True):
            at_s = -1.0 if interval is None else interval + 1.0
            aggregator.add(process, report(interval, at_s=at_s, cpu_s=used_s))
    assert aggregator.busy(ended_s=2.0) == pytest.approx(0.6)
    assert [i.generator_busy for i in aggregator.intervals(ended_s=2.0)] == pytest.approx([0.9, 0.6, 0.6])


def test_in_a_closed_loop_a_request_is_due_when_it_is_sent():
    totals = aggregator_of(event(0.0, 0.1, 0.2), plan=closed_plan()).totals
    assert totals.late_count == 0
    assert totals.latency.max_s == pytest.approx(0.1, rel=1e-3)


CODES = st.sampled_from([0, 0, 0, UNAVAILABLE, DEADLINE_EXCEEDED, UNANSWERED, UNSENT])
REQUESTS = st.lists(st.tuples(st.floats(-1, 2.999), st.floats(0, 2.9), CODES), max_size=100)


@given(REQUESTS, st.booleans(), st.floats(0.1, 3.0))
def test_counts_are_consistent_for_any_outcomes(requests, is_open, ended_s):
    """Totals and intervals agree, also for an interrupted run."""
    plan = open_plan(duration_s=3.0, warmup_s=1.0) if is_open else closed_plan(duration_s=3.0, warmup_s=1.0)
    requests = [(min(due_s, ended_s), latency_s, code) for due_s, latency_s, code in requests]
    if ended_s < 3.0:  # then there is no waiting for answers
        requests = [(due_s, min(latency_s, ended_s - due_s), code) for due_s, latency_s, code in requests]
    if not is_open:
        requests = [(due_s, latency_s, 0 if code == UNSENT else code) for due_s, latency_s, code in requests]
    events = [
        event(due_s, math.nan if code == UNSENT else due_s, due_s + latency_s, code=code)
        for due_s, latency_s, code in requests
    ]
    aggregator = aggregator_of(*events, plan=plan)
    totals, measured = aggregator.totals, [i for i in aggregator.intervals(ended_s=ended_s) if i.since_s >= 0]
    errors, sent_count = totals.error_counts.total(), totals.record_fields()["sent_count"]
    assert totals.offered_count == sent_count + totals.unsent_count
    assert sent_count == totals.answered_count + errors + totals.unanswered_count
    assert totals.latency.count == (
        totals.answered_count
        + totals.error_counts["DEADLINE_EXCEEDED"]
        + totals.unanswered_count
        + totals.unsent_count
    )
    assert totals.offered_count == sum(i.offered_count for i in measured)
    assert sent_count == sum(i.sent_count for i in measured)
    assert totals.latency.count == sum(i.latency.count for i in measured)
    answered_count = totals.answered_count - totals.after_end.answered_count
    assert sum(i.answered_count for i in measured) == answered_count + totals.from_warmup.answered_count
    error_count = errors - totals.after_end.error_count + totals.from_warmup.error_count
    assert sum(sum(i.error_counts.values()) for i in measured) == error_count


@given(st.lists(st.tuples(st.floats(-1, 2.999), st.floats(0, 0.9)), max_size=200), st.integers(1, 4))
def test_totals_and_intervals_agree_however_the_events_were_split(requests, parts):
    """The latencies of the totals are those of all intervals."""
    events = [event(due_s, done_s=due_s + latency_s) for due_s, latency_s in requests]
    aggregator = Aggregator(open_plan(duration_s=3.0, warmup_s=1.0))
    for part in range(parts):
        aggregator.add(0, report(None, *events[part::parts], at_s=4))
    measured = [i for i in aggregator.intervals(ended_s=3.0) if i.since_s >= 0]
    assert sum(i.latency.count for i in measured) == aggregator.totals.latency.count
    assert sum(i.offered_count for i in measured) == aggregator.totals.offered_count
    whole = np.sort([latency_s for due_s, latency_s in requests if due_s >= 0])
    if len(whole):
        assert aggregator.totals.latency.max_s == pytest.approx(whole[-1], rel=1e-3, abs=2e-6)
