"""Pooled vectors are made of the states in order, whatever shares their batch."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unrolled_server.engine import Engine, Nonlinearity, Output, State

from .run_jobs import answer, job

lists_of_words = st.lists(st.text("abc", min_size=1, max_size=9), min_size=1, max_size=20)
POOLS = (Output.LAST, Output.MEAN, Output.MAX)


def pooled_in_order(states, output):
    """Returns the pooled vector of one word in float32, from the first state to the last."""
    total = states[0].copy()
    for row in states[1:]:
        total = np.maximum(total, row) if output is Output.MAX else total + row
    if output is Output.LAST:
        return states[-1]
    return total + np.float32(0) if output is Output.MAX else total / np.float32(len(states))


@given(lists_of_words, st.sampled_from([1, 5, 17, 40]), st.sampled_from(POOLS))
def test_pooled_bits_are_those_of_the_states_in_order(words, hidden_size, output):
    engine = Engine(device="cpu")
    asked = job(words, hidden_size=hidden_size)
    states = answer(engine, asked).values.copy()
    pooled = answer(engine, replace(asked, output=output)).values
    assert pooled.flags.c_contiguous
    for row, of_word, word in zip(pooled, states, words, strict=True):
        assert row.tobytes() == pooled_in_order(of_word[: len(word)], output).tobytes()


@given(lists_of_words, st.sampled_from(POOLS))
def test_a_words_pooled_bits_do_not_depend_on_its_batch_or_on_slices(words, output):
    asked = [replace(job([word], hidden_size=19), output=output) for word in words]
    alone = [answer(Engine(device="cpu"), one).values.tobytes() for one in asked]
    for budget in (1 << 30, 1):
        together = replace(job(words, hidden_size=19), output=output)
        values = answer(Engine(device="cpu", state_memory_bytes=budget), together).values
        assert [row.tobytes() for row in values] == alone


def test_the_maximum_of_both_zeros_is_positive_zero(engine):
    asked = job(["a"], hidden_size=37)
    relu = replace(asked, network=replace(asked.network, nonlinearity=Nonlinearity.RELU), output=Output.MAX)
    values = answer(engine, relu).values
    assert (values == 0).any()
    assert not np.signbit(values).any()


@pytest.mark.parametrize("output", [Output.MEAN, Output.MAX])
def test_nan_propagates(engine, output):
    asked = job(["abc"], hidden_size=3)
    start = State(np.array([[[np.nan, 0, 0]]], np.float32))
    assert np.isnan(answer(engine, replace(asked, output=output, initial_state=start)).values).all()
