"""The engine on an accelerator; skipped if torch finds none."""

import numpy as np
import pytest
import torch
from unrolled_server.engine import Alphabet, Cell, Engine, Job, NetworkSpec, State

from .run_jobs import answer, answers, job

pytestmark = [
    pytest.mark.accelerator,
    pytest.mark.skipif(not torch.accelerator.is_available(), reason="torch finds no accelerator here"),
]
WORDS = ["abcab", "b", "cabbage".replace("g", "a").replace("e", "b"), "ccc"]


@pytest.fixture(scope="module")
def on_accelerator():
    engine = Engine(device="auto")
    engine.prove()
    assert engine.device != "cpu"
    return engine


@pytest.mark.parametrize("hidden_size", [1, 5, 64, 300])
def test_a_seed_has_the_same_states_on_every_device(on_accelerator, engine, hidden_size):
    asked = job(WORDS, hidden_size=hidden_size)
    expected = answer(engine, asked).values.copy()
    np.testing.assert_allclose(answer(on_accelerator, asked).values, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("cell", Cell)
@pytest.mark.parametrize("inputs", [{}, {"embedding_size": 7}])
def test_every_kind_of_network_has_the_same_states_on_every_device(on_accelerator, engine, cell, inputs):
    spec = NetworkSpec(
        symbol_count=3, hidden_size=20, seed=1, cell=cell, num_layers=2, bidirectional=True, **inputs
    )
    start = State(*(np.full((4, len(WORDS), 20), 0.5, np.float32) for _ in range(1 + (cell is Cell.LSTM))))
    asked = Job(
        network=spec,
        words=Alphabet.of("abc").encode(WORDS),
        return_final_state=True,
        initial_state=start,
    )
    expected = answer(engine, asked)
    values, h = expected.values.copy(), expected.final_state.h
    there = answer(on_accelerator, asked)
    np.testing.assert_allclose(there.values, values, rtol=0, atol=1e-5)
    np.testing.assert_allclose(there.final_state.h, h, rtol=0, atol=1e-5)


def test_a_jobs_bits_do_not_depend_on_its_batch(on_accelerator):
    jobs = [job(WORDS[at:], hidden_size=48, seed=3) for at in range(len(WORDS))]
    together = answers(on_accelerator, jobs)
    for asked, bits in zip(jobs, together, strict=True):
        alone = Engine(device="auto")
        alone.prove()
        assert answers(alone, [asked]) == [bits]
