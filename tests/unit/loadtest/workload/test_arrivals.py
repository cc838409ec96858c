"""Due times of requests, for constant, ramped and random rates."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unrolled_loadtest.workload.arrivals import due_times
from unrolled_loadtest.workload.plan import OpenLoop, RateSegment

from tests.support.loadtest.plans import open_plan

rates = st.floats(0, 500).map(lambda rate: round(rate, 1))
segments = st.lists(
    st.builds(
        lambda s, a, b: RateSegment(length_s=s, from_per_s=a, to_per_s=b), st.floats(0.5, 5), rates, rates
    ),
    min_size=1,
    max_size=4,
)


def due(load, **more):
    blocks = list(due_times(load, **{"warmup_s": 0.0, "seed": 0, **more}))
    numbers, times = (np.concatenate(part) for part in zip(*blocks, strict=True))
    return numbers, times


def passed_by(load, at_s):
    """The integral of the rate."""
    total = 0.0
    for segment in load.segments:
        x = min(max(at_s, 0), segment.length_s)
        total += segment.from_per_s * x + (segment.to_per_s - segment.from_per_s) * x * x / (
            2 * segment.length_s
        )
        at_s -= segment.length_s
    return total


def test_a_constant_rate_is_evenly_spaced_from_the_warm_up_on():
    _, times = due(open_plan(rate="500", duration_s=2).load, warmup_s=1.0)
    np.testing.assert_allclose(times, np.arange(-500, 1_000) / 500, atol=1e-12)


@pytest.mark.parametrize("warmup_s", [0.1, 0.2, 0.3, 0.7, 1.1, 2.3])
@pytest.mark.parametrize("rate", ["10", "100", "300", "700"])
def test_the_warm_up_does_not_change_the_number_of_measured_requests(rate, warmup_s):
    _, times = due(open_plan(rate=rate, duration_s=1).load, warmup_s=warmup_s)
    assert (times >= 0).sum() == int(rate)
    assert times.min() >= -warmup_s - 1e-9


@given(segments)
def test_each_request_is_due_when_the_rate_has_reached_its_number(parts):
    load = OpenLoop(segments=tuple(parts))
    numbers, times = due(load)
    assert np.all(np.diff(times) >= 0)
    assert len(times) == pytest.approx(passed_by(load, 1e9), abs=1)
    np.testing.assert_allclose([passed_by(load, t) for t in times], numbers, atol=1e-5)


def test_random_arrivals_have_the_rate_and_the_spread_of_a_poisson_process():
    _, times = due(open_plan(rate="2000", duration_s=10, arrivals="poisson").load)
    gaps = np.diff(times)
    assert len(times) == pytest.approx(20_000, rel=0.03)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)
    counts = np.bincount(np.floor(times * 100).astype(int))
    assert counts.var() == pytest.approx(counts.mean(), rel=0.2)


def test_random_arrivals_follow_a_ramp():
    _, times = due(open_plan(rate="0..2000", duration_s=10, arrivals="poisson").load)
    assert (times < 5).sum() == pytest.approx(2_500, rel=0.1)
    assert len(times) == pytest.approx(10_000, rel=0.05)


@pytest.mark.parametrize("arrivals", ["constant", "poisson"])
@pytest.mark.parametrize("count", [2, 3])
def test_several_processes_send_the_schedule_of_one(arrivals, count):
    load = open_plan(rate="100,700..3000", duration_s=4, arrivals=arrivals).load
    alone = due(load, warmup_s=0.5, seed=7)
    shares = [due(load, warmup_s=0.5, seed=7, process=p, process_count=count) for p in range(count)]
    together = sorted(zip(*(np.concatenate(part) for part in zip(*shares, strict=True)), strict=True))
    assert together == list(zip(*alone, strict=True))
    assert max(len(n) for n, _ in shares) - min(len(n) for n, _ in shares) <= 1


def test_another_seed_gives_another_schedule():
    load = open_plan(arrivals="poisson").load
    assert not np.array_equal(due(load, seed=1)[1][:10], due(load, seed=2)[1][:10])
    assert np.array_equal(due(load, seed=1)[1], due(load, seed=1)[1])
