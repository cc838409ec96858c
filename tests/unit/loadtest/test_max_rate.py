"""The search for the highest rate that meets a target."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unrolled_client import InvalidRequestError, UnavailableError
from unrolled_loadtest.generator.process_pool import GeneratorError
from unrolled_loadtest.max_rate import PRECISION, Goal, find_max_rate, next_rate, parse_goal
from unrolled_loadtest.results.histogram import Latencies
from unrolled_loadtest.results.record import Generator, Record, Trial, Verification

from tests.support.loadtest.plans import open_plan
from tests.support.loadtest.records import latencies_of

GOAL = Goal(percent=99, limit_s=0.05)


def record_of(
    rate_per_s, *, latency_s=0.01, answered=1.0, errors=0, ending="done", bound_by=None, differing=0
):
    count = round(rate_per_s)
    latency = latencies_of([latency_s] * count)
    return Record(
        command="",
        target="",
        machine={},
        server={},
        started_at="",
        load={},
        transport="unary",
        is_open=True,
        warmup_s=0.0,
        duration_s=1.0,
        intervals=(),
        latency=latency,
        latency_from_send=latency,
        server_queue=Latencies(),
        server_compute=Latencies(),
        offered_count=count,
        sent_count=count,
        unsent_count=0,
        late_count=0,
        max_late_s=0.0,
        answered_count=round(count * answered),
        unanswered_count=0,
        error_counts={"UNAVAILABLE": errors} if errors else {},
        verification=Verification(
            mode="bits", checked_count=count, distinct_count=1, differing_count=differing
        ),
        generator=Generator(process_count=1, ceiling_per_s=None, busy=0.1, bound_by=bound_by),
        search=None,
        ending=ending,
    )


def search(capacity_per_s, *, first_per_s=100.0, **more):
    """Runs the search on a server that is fast up to its capacity and slow beyond."""

    def run(plan):
        rate_per_s = plan.load.segments[0].from_per_s
        return record_of(rate_per_s, latency_s=0.01 if rate_per_s <= capacity_per_s else 1.0, **more)

    return find_max_rate(open_plan(), GOAL, first_per_s=first_per_s, run=run)


@given(st.floats(1, 100_000), st.floats(10, 5_000))
def test_the_capacity_is_found_to_within_5_percent(capacity_per_s, first_per_s):
    found = search(capacity_per_s, first_per_s=first_per_s).search
    assert found.found_per_s is not None
    assert found.found_per_s <= capacity_per_s <= found.found_per_s * (1 + PRECISION) * (1 + 1e-9)
    assert len(found.trials) <= 25


def test_rates_double_and_then_converge():
    rates = [trial.rate_per_s for trial in search(300).search.trials]
    assert rates[:3] == [100, 200, 400]
    assert rates[3] == pytest.approx((200 * 400) ** 0.5)


def test_the_result_is_the_record_of_the_highest_rate_that_met_the_target():
    found = search(300)
    assert found.offered_count == round(found.search.found_per_s)
    assert found.latency.max_s == pytest.approx(0.01, rel=1e-3)


def test_a_target_that_no_rate_meets_ends_at_one_a_second():
    found = search(0.5)
    assert found.search.found_per_s is None
    assert found.search.trials[-1].rate_per_s == 1
    assert len(found.search.trials) < 10


def trial(rate_per_s, *, is_met):
    return Trial(rate_per_s=rate_per_s, achieved_per_s=0, percentile_s=0, error_share=0, is_met=is_met)


def test_a_missed_target_does_not_bound_a_higher_rate_that_met_it():
    trials = [trial(100, is_met=True), trial(200, is_met=False), trial(400, is_met=True)]
    assert next_rate(trials, first_per_s=1) == 800


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (UnavailableError("the server is unavailable"), "server gone"),
        (GeneratorError("a process ended"), "generator failed"),
        (OSError("no more files"), "generator failed"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_an_error_in_a_trial_keeps_the_results_of_the_others(error, ending):
    def run(plan):
        rate_per_s = plan.load.segments[0].from_per_s
        if rate_per_s > 300:
            raise error
        return record_of(rate_per_s)

    found = find_max_rate(open_plan(), GOAL, first_per_s=100, run=run)
    assert (found.ending, found.reason) == (ending, str(error))
    assert (found.search.found_per_s, len(found.search.trials)) == (200, 2)


@pytest.mark.parametrize("error", [UnavailableError("gone"), KeyboardInterrupt()])
def test_an_error_in_the_first_trial_is_raised(error):
    def run(_plan):
        raise error

    with pytest.raises(type(error)):
        find_max_rate(open_plan(), GOAL, first_per_s=100, run=run)


def test_an_interrupted_search_reports_its_trials():
    found = search(1_000, ending="interrupted")
    assert len(found.search.trials) == 1
    assert (found.ending, found.search.found_per_s) == ("interrupted", None)


def test_a_search_that_ended_at_the_generators_limit_is_marked():
    def run(plan):
        rate = plan.load.segments[0].from_per_s
        is_bound = rate > 300
        return record_of(
            rate, latency_s=1.0 if is_bound else 0.01, bound_by="it was busy" if is_bound else None
        )

    found = find_max_rate(open_plan(), GOAL, first_per_s=100, run=run)
    assert "/s it was busy" in found.generator.bound_by


def test_a_wrong_answer_at_any_rate_counts():
    def run(plan):
        rate = plan.load.segments[0].from_per_s
        return record_of(rate, latency_s=1.0 if rate > 300 else 0.01, differing=rate > 300)

    found = find_max_rate(open_plan(), GOAL, first_per_s=100, run=run)
    assert found.verification.differing_count >= 1
    assert found.verification.checked_count > found.offered_count


@pytest.mark.parametrize(
    ("record", "is_met"),
    [
        (record_of(1_000), True),
        (record_of(1_000, latency_s=0.06), False),
        (record_of(1_000, answered=0.9), False),
        (record_of(10_000, errors=9), True),
        (record_of(10_000, errors=10), False),
        (replace(record_of(1_000), latency=Latencies(), answered_count=0), False),
    ],
)
def test_a_rate_is_met_by_latency_errors_and_keeping_up(record, is_met):
    assert GOAL.judge(record, rate_per_s=1_000).is_met is is_met


@pytest.mark.parametrize(
    ("text", "goal"),
    [
        ("p99<50ms,errors<0.1%", Goal(percent=99, limit_s=0.05, max_error_share=0.001)),
        ("p99.9 < 1.5s", Goal(percent=99.9, limit_s=1.5)),
        ("p50<200us, errors<5%", Goal(percent=50, limit_s=0.0002, max_error_share=0.05)),
    ],
)
def test_targets_are_parsed(text, goal):
    found = parse_goal(text)
    assert (found.percent, found.max_error_share) == (goal.percent, goal.max_error_share)
    assert found.limit_s == pytest.approx(goal.limit_s)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("p99<0ms", "--find-max's latency in seconds is 0; it must be above 0 and at most 3,600"),
        ("p99<2h", "write one such as"),
        ("p99<3601s", "is 3601; it must be above 0 and at most 3,600"),
        (f"p99<{'9' * 400}s", "is inf; it must be above 0"),
        ("p99<1s,errors<101%", "--find-max's errors in % is 101; it must be from 0 to 100"),
    ],
)
def test_a_target_out_of_range_is_refused_with_the_range(text, message):
    with pytest.raises(InvalidRequestError, match=re.escape(message)):
        parse_goal(text)


def test_a_target_may_allow_no_errors():
    assert parse_goal("p99<1s,errors<0%").max_error_share == 0


@pytest.mark.parametrize("text", ["", "p99", "99<50ms", "p99<50", "p100<1s", "p0<1s", "p99<5ms,errors<1"])
def test_a_malformed_target_is_refused(text):
    with pytest.raises(InvalidRequestError, match="write one such as p99<50ms"):
        parse_goal(text)
