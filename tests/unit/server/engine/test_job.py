"""Equal initial states are stored once, and each word refers to its own."""

import numpy as np
import pytest
from unrolled_server.engine.job import InitialStates, State


@pytest.mark.parametrize("has_cells", [False, True])
def test_each_word_refers_to_its_own_state(has_cells):
    numbers = np.random.default_rng(0)
    chosen = [0, 1, 0, 2, 1, 0]
    h = numbers.standard_normal((2, 3, 4), np.float32)[:, chosen]
    c = numbers.standard_normal((2, 3, 5), np.float32)[:, chosen] if has_cells else None
    starts = InitialStates(State(h, c))
    assert starts.count == 3
    assert np.array_equal(starts.h[:, starts.of_words], h)
    assert (starts.c is not None) == has_cells
    if has_cells:
        assert np.array_equal(starts.c[:, starts.of_words], c)


def test_states_that_differ_only_in_c_are_distinct():
    h = np.zeros((1, 2, 3), np.float32)
    assert InitialStates(State(h, np.arange(6, dtype=np.float32).reshape(1, 2, 3))).count == 2
    assert InitialStates(State(h)).count == 1
