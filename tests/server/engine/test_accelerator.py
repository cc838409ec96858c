"""What must hold on a GPU as on a CPU; skipped where torch finds none."""

import numpy as np
import pytest
import torch
from unrolled_server.engine import Engine

from .asking import answer, answers, job

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
def test_a_seed_means_the_same_on_every_device(on_accelerator, engine, hidden_size):
    asked = job(WORDS, hidden_size=hidden_size)
    expected = answer(engine, asked).values.copy()
    np.testing.assert_allclose(answer(on_accelerator, asked).values, expected, rtol=0, atol=1e-5)


def test_a_jobs_bytes_do_not_depend_on_its_company_there_either(on_accelerator):
    jobs = [job(WORDS[at:], hidden_size=48, seed=3) for at in range(len(WORDS))]
    together = answers(on_accelerator, jobs)
    for asked, bits in zip(jobs, together, strict=True):
        alone = Engine(device="auto")
        alone.prove()
        assert answers(alone, [asked]) == [bits]
