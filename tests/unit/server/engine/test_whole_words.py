"""Rows of whole words: stored once, consecutive per position, shared by both directions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unrolled_server.engine import Alphabet
from unrolled_server.engine.children import TableFullError
from unrolled_server.engine.whole_words import WholeWords

WORDS = st.lists(st.text("abc", min_size=1, max_size=7), min_size=1, max_size=15)


def some_words(**options):
    return WholeWords(**{"first_roots": (0, 1), "root_count": 2} | options)


def encode(words):
    return Alphabet.of("abc").encode(words)


def below_of(words, seq):
    """Returns rows of the layer below that encode word and position."""
    numbers = {word: 1_000 * (1 + at) for at, word in enumerate(dict.fromkeys(words))}
    below = np.zeros((len(words), seq, 2), np.int32)
    for place, word in enumerate(words):
        below[place, : len(word)] = numbers[word] + np.arange(2 * len(word)).reshape(-1, 2)
    return below


def resolve(whole, words, max_rows=None):
    below = below_of(words, max(map(len, words)))
    index, new = whole.resolve(encode(words), below, max_rows=max_rows)
    return index, new, below


@given(WORDS)
def test_each_step_continues_the_step_before_it(words):
    """Each position has its predecessor in either direction and its input row from the layer below."""
    index, new, below = resolve(some_words(), words)
    came_from, read = {}, {}
    for steps in (new.forward, new.backward):
        for step in steps:
            rows = range(step.first_row, step.first_row + len(step.parents))
            came_from.update(zip(rows, step.parents.tolist(), strict=True))
            read.update(zip(rows, step.symbols.tolist(), strict=True))
    for place, word in enumerate(words):
        forward, backward = index[place, : len(word)].T.tolist()
        assert [came_from[row] for row in forward] == [0, *forward[:-1]]
        assert [came_from[row] for row in backward] == [*backward[1:], 1]
        assert not index[place, len(word) :].any()
        for rows in (forward, backward):
            assert np.array_equal(new.below[[read[row] for row in rows]], below[place, : len(word)])
            assert np.array_equal(new.pairs[[read[row] for row in rows]], index[place, : len(word)])
    assert sorted(came_from) == list(range(2, 2 + len(came_from)))


@given(WORDS, WORDS)
def test_a_word_has_the_same_rows_in_every_request(words, others):
    whole = some_words()
    index, *_ = resolve(whole, words)
    resolve(whole, others)
    again, new, _ = resolve(whole, words)
    assert new is None
    assert np.array_equal(again, index)


def test_equal_words_have_equal_rows_and_others_do_not():
    index, *_ = resolve(some_words(), ["abc", "ab", "abc"])
    assert np.array_equal(index[0], index[2])
    assert not set(index[0].ravel()) & set(index[1, :2].ravel())


def test_words_with_different_initial_states_have_different_rows():
    whole = some_words(first_roots=(2, 4), root_count=6)
    words = encode(["ab", "ab"]).starting_at(np.array([0, 1], np.int32))
    index, new = whole.resolve(words, below_of(["ab", "ab"], 2), max_rows=None)
    assert not set(index[0].ravel()) & set(index[1].ravel())
    assert sorted(new.forward[0].parents.tolist()) == [2, 3]
    assert sorted(new.backward[0].parents.tolist()) == [4, 5]


def test_too_many_rows_are_refused():
    resolve(some_words(), ["abc"], max_rows=8)
    with pytest.raises(TableFullError):
        resolve(some_words(), ["abc"], max_rows=7)


def test_a_cleared_store_is_empty():
    whole = some_words()
    resolve(whole, ["abc"])
    whole.clear()
    assert whole.row_count == 2
    _, new, _ = resolve(whole, ["abc"])
    assert new is not None
