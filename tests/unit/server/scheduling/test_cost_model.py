"""Estimates of compute time, learned from the jobs of each network and of new networks."""

import math

import numpy as np
import pytest
from unrolled_server.engine import Alphabet, Cell, Engine, Job, NetworkSpec, State, plain_network
from unrolled_server.scheduling.cost_model import JOB_S, MAX_NETWORKS, MIN_SHARED_S, CostModel

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


def test_the_engine_measures_its_speed_and_keeps_its_threads():
    engine = Engine(device="cpu", threads=2)
    assert 0 < engine.multiplications_per_s(threads=1) < math.inf
    assert engine.threads == 2


def test_threads_shorten_only_what_takes_long_and_never_drawing():
    alone = CostModel(multiplications_per_s=1e9)
    shared = CostModel(multiplications_per_s=1e9, speedup=8)
    small, large = a_job(hidden_size=8), a_job()
    for drawing in (0, DRAWING):
        assert shared.estimate(small, drawing=drawing) == alone.estimate(small, drawing=drawing)
    drawing_s = DRAWING / 1e9
    saved_s = alone.estimate(large, drawing=DRAWING).cost_s - shared.estimate(large, drawing=DRAWING).cost_s
    assert saved_s == pytest.approx(7 / 8 * (alone.estimate(large, drawing=DRAWING).cost_s - drawing_s))
    assert shared.estimate(large, drawing=0).cost_s > MIN_SHARED_S


def test_every_layer_and_direction_of_a_small_network_takes_time():
    def predicted_s(num_layers, *, bidirectional):
        spec = NetworkSpec(
            symbol_count=4,
            hidden_size=1,
            seed=0,
            cell=Cell.GRU,
            num_layers=num_layers,
            bidirectional=bidirectional,
        )
        return (
            CostModel(multiplications_per_s=3e10)
            .estimate(Job(network=spec, words=WORDS), drawing=0)
            .predicted_s
        )

    assert predicted_s(8, bidirectional=True) > 2 * predicted_s(4, bidirectional=False)
    assert predicted_s(8, bidirectional=False) > 3 * predicted_s(1, bidirectional=False)


def test_initial_states_take_time():
    model, job = CostModel(multiplications_per_s=1e9), a_job(hidden_size=1)
    plain_s = model.predict_known_s(job)
    job.initial_state = State(np.zeros((1, len(WORDS), 1), np.float32))
    assert model.predict_known_s(job) > plain_s
