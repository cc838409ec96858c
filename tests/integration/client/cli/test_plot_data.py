"""The content of drawings: panels, labels, scale and title."""

import doctest

import numpy as np
import pytest
from unrolled_client import Client
from unrolled_client.cli import plot_data
from unrolled_client.cli.options import NetworkFlags
from unrolled_client.cli.plot_data import describe, make_picture, symbols


@pytest.fixture
def ask(server_address):
    """A function that returns the picture of words, with states from the suite's server."""

    def make(words, **options):
        with Client(server_address) as client:
            return make_picture(words, client.forward(words, **options), NetworkFlags(**options))

    return make


def test_each_word_is_a_panel_of_its_letters(ask):
    """A panel has the states of one word and no padding; the scale is that of all."""
    drawn = ask(["hello", "a b"], hidden_size=3)
    assert [panel.title for panel in drawn.panels] == ["hello", "a b"]
    assert [panel.labels for panel in drawn.panels] == [["h", "e", "l", "l", "o"], ["a", "␣", "b"]]
    assert [panel.states.shape for panel in drawn.panels] == [(5, 3), (3, 3)]
    assert drawn.limit == max(np.abs(panel.states).max() for panel in drawn.panels)
    assert (drawn.unit_count, drawn.row_count, drawn.row_name) == (3, 8, "letter")


def test_pooled_words_share_a_panel(ask):
    """Where each word has one vector, the words are the rows."""
    drawn = ask(["hello", "a\nb"], hidden_size=3, output="max")
    [panel] = drawn.panels
    assert (panel.title, panel.labels, panel.states.shape) == ("max of each word", ["hello", "a\\nb"], (2, 3))
    assert drawn.row_name == "word"


@pytest.mark.parametrize(
    ("states", "limit"), [([0.0, 0.0], 1.0), ([np.nan, np.inf], 1.0), ([-2.0, np.nan, 1.0, -np.inf], 2.0)]
)
def test_the_scale_is_that_of_finite_states(ask, states, limit):
    """Nothing but zeros, overflows and what is no number leave a scale to draw with."""
    outputs = np.float32([states])
    words, network = ["a"], NetworkFlags(hidden_size=len(states), output="last")
    with_states = type("Result", (), {"outputs": outputs, "lengths": np.array([1])})
    assert make_picture(words, with_states, network).limit == limit


def test_the_title_names_what_is_not_the_default():
    """Cell, size and seed always; everything else where it was chosen, long alphabets cut."""
    assert describe(NetworkFlags(hidden_size=2)) == "rnn, hidden_size 2, seed 0"
    chosen = NetworkFlags(
        hidden_size=2,
        seed=-1,
        cell="gru",
        bias=False,
        vectors="glove=x.txt",
        spectral_radius=0.9,
        output="last",
    )
    assert describe(chosen) == (
        "gru, hidden_size 2, seed -1, vectors glove, no bias, spectral_radius 0.9, output last"
    )
    assert describe(NetworkFlags(hidden_size=2, alphabet="\n" * 99)).endswith("alphabet " + "\\n" * 20 + "…")


def test_examples_in_docstrings_run():
    """The examples in docstrings do what they show."""
    assert doctest.testmod(plot_data, raise_on_error=True).attempted


def test_symbols_are_letters_or_words():
    """Without word vectors a network reads letters, spaces too; with them the words of sentences."""
    letters, words = NetworkFlags(hidden_size=2), NetworkFlags(hidden_size=2, vectors="glove")
    assert symbols("a  b", letters) == ["a", " ", " ", "b"]
    assert symbols(" Ein\u3000Satz,\tnoch einer ", words) == ["Ein", "Satz,", "noch", "einer"]
