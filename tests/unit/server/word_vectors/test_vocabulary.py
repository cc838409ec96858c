"""Rows of words are found by hash and confirmed by comparing bytes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unrolled_server.word_vectors import vocabulary
from unrolled_server.word_vectors.vocabulary import Vocabulary


def vocabulary_of(words):
    return Vocabulary.of([word.encode() for word in words])


@given(st.lists(st.text(min_size=1), min_size=1, unique=True), st.lists(st.text()))
def test_known_words_give_their_rows_and_unknown_words_minus_one(words, others):
    row_of = {word: row for row, word in enumerate(words)}
    asked = [*others, *reversed(words), *words]
    found = vocabulary_of(words).find(asked)
    assert found.dtype == np.int32
    assert found.tolist() == [row_of.get(word, -1) for word in asked]


def test_words_with_equal_hashes_are_distinguished():
    words = ["plumless", "buckeroo"]  # famous for their CRC-32
    assert len(set(vocabulary.hashes_of([word.encode() for word in words]))) == 1
    assert vocabulary_of(words).find(words).tolist() == [0, 1]
    assert vocabulary_of(words[::-1]).find(words).tolist() == [1, 0]
    assert vocabulary_of(words[:1]).find(words).tolist() == [0, -1]


@pytest.mark.parametrize("kinds", [1, 2])
def test_many_hash_collisions_change_no_result(monkeypatch, kinds):
    poor = lambda words: np.array([len(word) % kinds for word in words], np.uint32)  # noqa: E731
    monkeypatch.setattr(vocabulary, "hashes_of", poor)
    words = [f"w{at}" for at in range(50)]
    index = vocabulary_of(words)
    assert index.find(words).tolist() == list(range(50))
    assert index.find(["v", "w50", "w7"]).tolist() == [-1, -1, 7]


def test_no_words_give_an_empty_array():
    found = vocabulary_of(["a"]).find([])
    assert (found.shape, found.dtype) == ((0,), np.int32)


def test_half_a_surrogate_pair_is_an_unknown_word():
    assert vocabulary_of(["a"]).find(["\ud800"]).tolist() == [-1]
