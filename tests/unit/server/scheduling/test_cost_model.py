"""Estimates of compute time, learned from the jobs of each network and of new networks."""

import math

import pytest
from unrolled_server.engine import Alphabet, Engine, Job, plain_network
from unrolled_server.scheduling.cost_model import JOB_S, MAX_NETWORKS, CostModel

WORDS = Alphabet.of("abcd").encode(["abcd" * 50] * 20)
DRAWING = 10_000_000


def a_job(seed=0, hidden_size=256):
    return Job(network=plain_network(4, hidden_size, seed), words=WORDS)


def observe(model, job, *, factor, drawing=0):
    """Observes that a job alone took `factor` times what was predicted."""
    work = model.estimate(job, drawing=drawing)
    model.observe([work], taken_s=factor * work.predicted_s)


def factor_of(model, job, *, drawing=0):
    """Returns by how much a job is estimated to take longer than predicted."""
    work = model.estimate(job, drawing=drawing)
    return work.cost_s / work.predicted_s


def test_an_unknown_network_is_estimated_at_the_measured_speed():
    work = CostModel(multiplications_per_s=1e9).estimate(a_job(), drawing=DRAWING)
    assert work.multiplications == a_job().multiplications + DRAWING
    assert work.cost_s == work.predicted_s
    assert work.multiplications / 1e9 < work.cost_s < 1.1 * work.multiplications / 1e9 + JOB_S


@pytest.mark.parametrize("factor", [0.05, 3.0])
def test_a_networks_estimate_follows_its_measured_times(factor):
    model = CostModel(multiplications_per_s=1e9)
    observe(model, a_job(), factor=1, drawing=DRAWING)
    for _ in range(50):
        observe(model, a_job(), factor=factor)
    assert factor_of(model, a_job()) == pytest.approx(factor, rel=0.05)
    assert factor_of(model, a_job(seed=1), drawing=DRAWING) == pytest.approx(1, rel=0.05)


def test_a_busier_machine_is_recognized_by_the_first_jobs_of_networks():
    model = CostModel(multiplications_per_s=1e9)
    for seed in range(50):
        observe(model, a_job(seed), factor=2, drawing=DRAWING)
    assert factor_of(model, a_job(seed=99), drawing=DRAWING) == pytest.approx(2, rel=0.01)


def test_known_states_do_not_lower_the_estimate_of_new_networks():
    model = CostModel(multiplications_per_s=2e10)
    for seed in range(50):
        observe(model, a_job(seed), factor=0.5, drawing=DRAWING)
        observe(model, a_job(seed), factor=0.1)
    assert factor_of(model, a_job(seed=99), drawing=DRAWING) >= 0.99


def test_a_network_that_was_evicted_is_estimated_as_a_new_one():
    model = CostModel(multiplications_per_s=1e9)
    for _ in range(50):
        observe(model, a_job(), factor=0.1)
    assert factor_of(model, a_job()) < 0.2
    assert factor_of(model, a_job(), drawing=DRAWING) == 1


def test_one_slow_network_does_not_raise_the_estimates_of_others():
    model = CostModel(multiplications_per_s=2e10)
    observe(model, a_job(seed=1), factor=1)
    for _ in range(500):
        observe(model, a_job(), factor=13)
    assert factor_of(model, a_job(seed=1)) == pytest.approx(1)
    assert factor_of(model, a_job(seed=2), drawing=DRAWING) == 1


def test_the_time_of_a_batch_is_shared_as_its_jobs_were_to_take():
    model = CostModel(multiplications_per_s=1e9)
    for _ in range(50):
        observe(model, a_job(seed=0), factor=0.1)
    known, new = model.estimate(a_job(seed=0), drawing=0), model.estimate(a_job(seed=1), drawing=DRAWING)
    model.observe([known, new], taken_s=known.cost_s + new.cost_s)
    assert factor_of(model, a_job(seed=0)) == pytest.approx(known.cost_s / known.predicted_s)
    assert factor_of(model, a_job(seed=1)) == pytest.approx(1)


def test_old_measurements_count_less():
    model = CostModel(multiplications_per_s=1e9)
    for factor in (10.0, 1.0):
        for _ in range(50):
            observe(model, a_job(), factor=factor)
    assert factor_of(model, a_job()) == pytest.approx(1, rel=0.01)


def test_the_least_recently_seen_network_is_forgotten():
    model = CostModel(multiplications_per_s=1e9)
    for seed in range(MAX_NETWORKS + 1):
        observe(model, a_job(seed, hidden_size=1), factor=0.1)
    remembered, forgotten = (a_job(seed, hidden_size=1) for seed in (1, 0))
    assert factor_of(model, forgotten) == 1
    assert factor_of(model, remembered) < 1
    assert len(model._networks) == MAX_NETWORKS


def test_the_engine_measures_its_speed():
    assert 0 < Engine(device="cpu").multiplications_per_s() < math.inf
