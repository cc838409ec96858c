"""The content of drawings: panels, labels, scale and title."""

import doctest

import numpy as np
import pytest
from unrolled_client import Network
from unrolled_client._display import picture
from unrolled_client._display.picture import describe, make_picture


def drawn(words, *, hidden=3, **options):
    """The picture of words with random states."""
    network = Network(**options)
    lengths = np.array([len(network.symbols(word)) for word in words])
    shape = (len(words), hidden) if network.is_pooled else (len(words), max(lengths), hidden)
    outputs = np.random.default_rng(0).normal(size=shape).astype("f4")
    if not network.is_pooled:
        outputs[np.arange(max(lengths)) >= lengths[:, np.newaxis]] = 0
    return make_picture(outputs, words=words, lengths=lengths, network=network, title="")


def test_each_word_is_a_panel_of_its_letters():
    """A panel has the states of one word and no padding; the scale is that of all."""
    shown = drawn(["hello", "a b"])
    assert [panel.title for panel in shown.panels] == ["hello", "a b"]
    assert [panel.labels for panel in shown.panels] == [["h", "e", "l", "l", "o"], ["a", "␣", "b"]]
    assert [panel.states.shape for panel in shown.panels] == [(5, 3), (3, 3)]
    assert shown.limit == max(np.abs(panel.states).max() for panel in shown.panels)
    assert (shown.unit_count, shown.row_count, shown.row_name) == (3, 8, "letter")


def test_pooled_words_share_a_panel():
    """Where each word has one vector, the words are the rows."""
    shown = drawn(["hello", "a\nb"], output="max")
    [panel] = shown.panels
    assert (panel.title, panel.labels, panel.states.shape) == ("max of each word", ["hello", "a\\nb"], (2, 3))
    assert shown.row_name == "word"


def test_sentences_are_panels_of_their_words():
    """With word vectors a step is a word."""
    [panel] = drawn(["the cat\u3000sat"], vectors="glove").panels
    assert panel.labels == ["the", "cat", "sat"]


@pytest.mark.parametrize(
    ("states", "limit"), [([0.0, 0.0], 1.0), ([np.nan, np.inf], 1.0), ([-2.0, np.nan, 1.0, -np.inf], 2.0)]
)
def test_the_scale_is_that_of_finite_states(states, limit):
    """Nothing but zeros, overflows and what is no number leave a scale to draw with."""
    words, lengths, network = ["a"], np.array([1]), Network(output="last")
    shown = make_picture(np.float32([states]), words=words, lengths=lengths, network=network, title="")
    assert shown.limit == limit


def test_the_title_names_what_is_not_the_default():
    """Cell and what is given always; everything else where it was chosen, long alphabets cut."""
    assert describe(Network(), hidden_size=2, seed=0) == "rnn, hidden_size 2, seed 0"
    chosen = Network(cell="gru", bias=False, vectors="glove", spectral_radius=0.9, output="last")
    assert describe(chosen, hidden_size=2, seed=-1) == (
        "gru, hidden_size 2, seed -1, no bias, spectral_radius 0.9, vectors glove, output last"
    )
    assert describe(Network(), alphabet="\n" * 99).endswith("alphabet " + "\\n" * 20 + "…")
    assert describe(Network(return_final_state=True)) == "rnn"


def test_examples_in_docstrings_run():
    """The examples in docstrings do what they show."""
    assert doctest.testmod(picture, raise_on_error=True).attempted
