"""Validation and descriptions of plans."""

import math
import re

import pytest
from unrolled_client import InvalidRequestError
from unrolled_loadtest.workload.arrivals import due_times
from unrolled_loadtest.workload.plan import parse_rate
from unrolled_loadtest.workload.requests import make_workload

from tests.support.loadtest.plans import closed_plan, open_plan, request_mix


def test_a_rate_is_split_into_segments_of_equal_length():
    segments = parse_rate("100,200..400", duration_s=10)
    assert [(p.length_s, p.from_per_s, p.to_per_s) for p in segments] == [(5, 100, 100), (5, 200, 400)]


@pytest.mark.parametrize("text", ["0", "0,0..0"])
def test_a_rate_of_0_is_refused(text):
    with pytest.raises(InvalidRequestError, match="--rate is 0; it must be above 0"):
        parse_rate(text, duration_s=10)


@pytest.mark.parametrize("text", ["", "x", "-5", "100,,200", "1e3", "nan", "inf"])
def test_a_malformed_rate_is_refused(text):
    with pytest.raises(InvalidRequestError, match="write requests per second"):
        parse_rate(text, duration_s=10)


@pytest.mark.parametrize(
    ("rate", "description"),
    [
        ("500", "constant, 500/s"),
        ("1..2000", "constant, 1/s to 2,000/s"),
        ("100,200", "constant, 100/s for 0.5 s, 200/s for 0.5 s"),
    ],
)
def test_a_load_has_a_description(rate, description):
    assert str(open_plan(rate=rate).load) == description
    assert str(closed_plan(concurrency=2_000).load) == "closed loop, 2,000 at a time"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"max_in_flight": 0}, "--max-in-flight is 0; it must be from 1 to 1,000,000"),
        ({"max_in_flight": -(10**30)}, "--max-in-flight is -1,000,000,"),
        ({"process_count": 0}, "--processes is 0; it must be from 1 to 1,024"),
        ({"process_count": 10**6}, "--processes is 1,000,000; it must be from 1 to 1,024"),
        ({"connection_count": 0}, "--connections is 0; it must be from 1 to 65,536"),
        ({"stream_count": 0}, "--streams is 0; it must be from 1 to 65,536"),
        ({"duration_s": 0}, "--duration-s is 0; it must be above 0 and at most 2,592,000"),
        ({"warmup_s": -1}, "--warmup-s is -1; it must be from 0 to 2,592,000"),
        ({"timeout_s": 0}, "--timeout-s is 0; it must be above 0 and at most 2,592,000"),
        ({"seed": 2**64}, "--run-seed is 18,446,744,073,709,551,616; it must be from -9,223"),
        ({"seed": -(2**63) - 1}, "--run-seed is -9,223,372,036,854,775,809; it must be"),
        ({"process_count": 3, "max_in_flight": 2}, "there is work for 2"),
        ({"process_count": 2, "transport": "stream"}, "there is work for 1"),
    ],
)
def test_an_invalid_plan_is_refused(more, message):
    with pytest.raises(InvalidRequestError, match=re.escape(message)):
        open_plan(**more)


@pytest.mark.parametrize("name", ["duration_s", "warmup_s", "timeout_s"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300])
def test_infinite_and_huge_times_are_refused(name, value):
    with pytest.raises(
        InvalidRequestError, match=f"--{name.replace('_', '-')} is {value:g}".replace("+", ".")
    ):
        open_plan(**{name: value})


def test_a_warm_up_may_be_0():
    assert open_plan(warmup_s=0).warmup_s == 0


@pytest.mark.parametrize("seed", [0, -1, -(2**63), 2**63, 2**64 - 1])
def test_a_run_accepts_every_seed_that_torch_accepts(seed):
    plan = open_plan(seed=seed, arrivals="poisson", duration_s=0.2)
    numbers, times = next(due_times(plan.load, warmup_s=0.0, seed=seed))
    assert len(numbers) == len(times) > 0
    assert make_workload(plan.request_mix, seed=seed).data


@pytest.mark.parametrize("concurrency", [0, -1, 10**7])
def test_the_concurrency_of_a_closed_loop_is_limited(concurrency):
    with pytest.raises(InvalidRequestError, match=r"--concurrency is .*; it must be from 1 to 1,000,000"):
        closed_plan(concurrency=concurrency)


@pytest.mark.parametrize("count", [0, -5, 10**9])
def test_the_size_of_the_request_pool_is_limited(count):
    with pytest.raises(InvalidRequestError, match=r"--pool is .*; it must be from 1 to 1,000,000"):
        request_mix(pool_count=count)


@pytest.mark.parametrize("text", ["1000001", "1..1000001", "9" * 400])
def test_a_rate_above_the_limit_is_refused(text):
    with pytest.raises(InvalidRequestError, match=r"--rate is .*; it must be above 0 and at most 1,000,000"):
        parse_rate(text, duration_s=10)


def test_shares_of_processes_add_up_to_the_whole():
    plan = open_plan(process_count=3)
    assert [plan.share_of(8, process=process) for process in range(3)] == [3, 3, 2]
