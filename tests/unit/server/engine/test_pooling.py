from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unrolled_server.engine.pooling import pool_max, pool_mean

POOLS = (pool_mean, pool_max)


def table_with_zeros(hidden: int) -> np.ndarray:
    """A state table with many zeros of both signs, and zeros in row 0."""
    rng = np.random.default_rng(hidden)
    rows = rng.standard_normal((40, hidden)).astype(np.float32)
    rows[rng.random(rows.shape) < 0.3] = -0.0
    rows[rng.random(rows.shape) < 0.2] = 0.0
    rows[0] = 0.0
    return rows


def padded(words: list[list[int]], past_the_end: int = 0, spare: int = 0) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.array([len(word) for word in words], np.int32)
    index = np.full((len(words), lengths.max() + spare), past_the_end, np.int32)
    for row, word in zip(index, words, strict=True):
        row[: len(word)] = word
    return index, lengths


@given(
    st.lists(st.lists(st.integers(1, 39), min_size=1, max_size=9), min_size=1, max_size=20),
    st.integers(1, 35),
    st.integers(0, 39),
    st.integers(0, 3),
)
def test_a_words_pooled_bits_do_not_depend_on_its_batch(words, hidden, past_the_end, spare):
    rows = table_with_zeros(hidden)
    for pool in POOLS:
        together = pool(rows, *padded(words, past_the_end, spare))
        alone = np.concatenate([pool(rows, *padded([word])) for word in words])
        assert together.tobytes() == alone.tobytes()


@given(st.lists(st.lists(st.integers(1, 39), min_size=1, max_size=9), min_size=1, max_size=20))
def test_pooled_states_are_the_mean_and_the_maximum_of_valid_positions(words):
    rows = table_with_zeros(17)
    index, lengths = padded(words, past_the_end=3)
    for row, word in enumerate(words):
        states = rows[word].astype(np.float64)
        np.testing.assert_allclose(pool_mean(rows, index, lengths)[row], states.mean(0), atol=1e-6)
        np.testing.assert_array_equal(pool_max(rows, index, lengths)[row], states.max(0))


def test_the_mean_is_the_sum_in_order_divided_by_the_length():
    rows = table_with_zeros(5)
    total = rows[4].copy()
    for row in (9, 2, 2):
        total += rows[row]
    index, lengths = padded([[4, 9, 2, 2], [1]])
    assert pool_mean(rows, index, lengths)[0].tobytes() == (total / np.float32(4)).tobytes()


@pytest.mark.parametrize("pool", POOLS)
def test_all_words_may_have_the_full_length(pool: Callable[..., np.ndarray]):
    rows = table_with_zeros(4)
    index, lengths = padded([[1, 2], [2, 1]])
    pooled = pool(rows, index, lengths)
    assert pooled.dtype == np.float32
    assert pooled[0].tobytes() == pooled[1].tobytes()


def test_the_maximum_of_both_zeros_is_positive_zero_in_every_unit():
    rows = np.zeros((3, 37), np.float32)
    rows[1] = -0.0
    for word in ([1, 2], [2, 1], [1, 1]):
        assert not np.signbit(pool_max(rows, *padded([word]))).any()


def test_nan_propagates():
    rows = np.ones((3, 2), np.float32)
    rows[1, 0] = np.nan
    for pool in POOLS:
        np.testing.assert_array_equal(pool(rows, *padded([[2, 1, 2]])), [[np.nan, 1]])
