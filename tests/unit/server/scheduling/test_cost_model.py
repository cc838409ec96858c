"""Estimates of compute time, learned from the jobs of each network and of the machine."""

import math

import pytest
from unrolled_server.engine import Alphabet, Engine, Job, plain_network
from unrolled_server.scheduling.cost_model import JOB_S, MAX_NETWORKS, CostModel

WORDS = Alphabet.of("abcd").encode(["abcd" * 50] * 20)


def a_job(seed=0, hidden_size=256):
    return Job(network=plain_network(4, hidden_size, seed), words=WORDS)


def test_an_unknown_network_is_estimated_at_the_measured_speed():
    model = CostModel(multiplications_per_s=1e9)
    job = a_job()
    assert job.multiplications / 1e9 < model.estimate_s(job) < 1.1 * job.multiplications / 1e9 + JOB_S


@pytest.mark.parametrize("factor", [0.05, 3.0])
def test_a_networks_estimate_follows_its_measured_times(factor):
    model = CostModel(multiplications_per_s=1e9)
    thought_s = model.uncorrected_s(a_job())
    model.observe(a_job(), taken_s=thought_s)
    for _ in range(50):
        model.observe(a_job(), taken_s=factor * thought_s)
    assert model.estimate_s(a_job()) == pytest.approx(factor * thought_s, rel=0.05)
    assert model.estimate_s(a_job(seed=1)) == pytest.approx(thought_s, rel=0.05)


def test_a_slower_machine_is_recognized_by_the_first_jobs_of_networks():
    model = CostModel(multiplications_per_s=1e9)
    thought_s = model.uncorrected_s(a_job())
    for seed in range(50):
        model.observe(a_job(seed), taken_s=2 * thought_s)
    assert model.estimate_s(a_job(seed=99)) == pytest.approx(2 * thought_s, rel=0.01)


def test_a_slowdown_applies_to_networks_measured_before_it():
    model = CostModel(multiplications_per_s=2e10)  # 13 ms a job
    thought_s = model.uncorrected_s(a_job())
    for factor, asked in ((1.0, range(100)), (1.5, range(50)), (1.0, range(50))):
        for seed in asked:
            model.observe(a_job(seed), taken_s=factor * thought_s)
        not_asked = model.estimate_s(a_job(seed=80))
        assert not_asked == pytest.approx(factor * thought_s, rel=0.2)


@pytest.mark.parametrize("asked_count", [2, 3, 10])
def test_cached_states_do_not_lower_the_estimate_of_new_networks(asked_count):
    model = CostModel(multiplications_per_s=2e10)
    thought_s = model.uncorrected_s(a_job())
    for seed in range(50):
        model.observe(a_job(seed), taken_s=thought_s)
        for _ in range(asked_count - 1):
            model.observe(a_job(seed), taken_s=0.1 * thought_s)
    assert model.estimate_s(a_job(seed=99)) >= 0.99 * thought_s


def test_one_slow_network_does_not_raise_the_estimates_of_others():
    """Letters and reply bytes cost more than estimated, and a network of one unit has little other work."""
    model = CostModel(multiplications_per_s=2e10)
    thought_s, large = model.uncorrected_s(a_job(hidden_size=1)), a_job(seed=1)
    for _ in range(5):
        model.observe(large, taken_s=model.uncorrected_s(large))
    for _ in range(5_000):
        model.observe(a_job(hidden_size=1), taken_s=13 * thought_s)
    assert model.estimate_s(large) == pytest.approx(model.uncorrected_s(large), rel=0.15)


def test_the_slowdown_caused_by_one_network_is_bounded():
    model = CostModel(multiplications_per_s=1e9)
    thought_s = model.uncorrected_s(a_job())
    model.observe(a_job(seed=1), taken_s=thought_s)
    model.observe(a_job(seed=0), taken_s=1e3)
    assert model.estimate_s(a_job(seed=1)) <= 2.01 * thought_s


def test_slow_small_first_jobs_do_not_raise_the_estimates_of_large_ones():
    """The first job of a network also draws and packs its weights."""
    model = CostModel(multiplications_per_s=1e9)
    for seed in range(100):
        model.observe(a_job(seed, hidden_size=1), taken_s=0.1)
    new, known = a_job(seed=-1), a_job(seed=0)
    assert model.estimate_s(new) == model.uncorrected_s(new)
    model.observe(a_job(seed=0, hidden_size=256), taken_s=1e3)
    assert model.estimate_s(known) <= 4 * model.uncorrected_s(known)


def test_old_measurements_count_less():
    model = CostModel(multiplications_per_s=1e9)
    thought_s = model.uncorrected_s(a_job())
    for factor in (10.0, 1.0):
        for _ in range(50):
            model.observe(a_job(), taken_s=factor * thought_s)
    assert model.estimate_s(a_job()) == pytest.approx(thought_s, rel=0.01)


def test_the_least_recently_seen_network_is_evicted():
    model = CostModel(multiplications_per_s=1e9)
    for seed in range(MAX_NETWORKS + 1):
        model.observe(a_job(seed, hidden_size=1), taken_s=1e-9)
    remembered, forgotten, never = (a_job(seed, hidden_size=1) for seed in (1, 0, -1))
    assert model.estimate_s(forgotten) == model.estimate_s(never)
    assert len(model._networks) == MAX_NETWORKS
    assert remembered.network in model._networks


def test_the_engine_measures_its_speed():
    assert 0 < Engine(device="cpu").multiplications_per_s() < math.inf
