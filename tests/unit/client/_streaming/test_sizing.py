"""How many states words share, in letters, sentences and both directions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unrolled_client import Network
from unrolled_client._streaming import sizing
from unrolled_client._streaming.sizing import new_state_counts, sorted_for_sharing

SENTENCES = st.lists(
    st.lists(st.sampled_from(["a", "the", "then", "cat", "\u5b57"]), min_size=1, max_size=6).map(" ".join),
    min_size=1,
    max_size=60,
)
WITH_VECTORS = Network(vectors="glove")


@given(SENTENCES)
def test_the_distinct_beginnings_of_sentences_are_counted_in_words(sentences):
    """In sorted sentences the new words of all are the distinct beginnings."""
    split = [sentence.split() for sentence in sentences]
    beginnings = {tuple(words[: at + 1]) for words in split for at in range(len(words))}
    listed = sorted_for_sharing(sentences, WITH_VECTORS)
    assert new_state_counts(listed, WITH_VECTORS).sum() == len(beginnings)


@given(SENTENCES, st.booleans())
def test_in_both_directions_only_equal_words_share(words, is_split):
    """A state then depends on the whole word, so each distinct one has as many as it is long."""
    network = Network(bidirectional=True, vectors="glove" if is_split else None)
    listed = sorted_for_sharing(words, network)
    lengths = [len(word.split()) if is_split else len(word) for word in set(words)]
    assert new_state_counts(listed, network).sum() == sum(lengths)


@pytest.mark.parametrize("network", [Network(), WITH_VECTORS])
def test_counting_goes_on_across_its_steps(monkeypatch, network):
    """A list longer than what is compared at once is counted as one."""
    words = sorted_for_sharing((" ".join(f"{number:b}") for number in range(200)), network)
    expected = new_state_counts(words, network)
    monkeypatch.setattr(sizing, "_COMPARED_WORDS", 7)
    assert np.array_equal(new_state_counts(words, network), expected)


def test_sentences_are_sorted_by_their_words():
    """White space and letters that sort before it do not part sentences that begin alike."""
    assert sorted_for_sharing(["b", "a\tb", "a\x01 c", "a b c", "b"], WITH_VECTORS) == [
        "a\tb",
        "a b c",
        "a\x01 c",
        "b",
    ]
