"""What there is to draw."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unrolled_client import Client
from unrolled_client.cli import plot_data
from unrolled_client.cli.options import NetworkFlags
from unrolled_client.cli.plot_data import describe, make_picture, tick_step


@pytest.fixture
def ask(server_address):
    """The picture of words, by the suite's server."""

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
    assert (drawn.hidden, drawn.units, drawn.row_count, drawn.label_name) == (3, 3, 8, "letter")


def test_pooled_words_share_a_panel(ask):
    """Where each word has one vector, the words are the rows."""
    drawn = ask(["hello", "a\nb"], hidden_size=3, output="max")
    [panel] = drawn.panels
    assert (panel.title, panel.labels, panel.states.shape) == ("max of each word", ["hello", "a\\nb"], (2, 3))
    assert (drawn.is_pooled, drawn.label_name) == (True, "word")


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


@given(count=st.integers(1, 5000), room=st.floats(0.5, 100), size=st.floats(0.01, 5))
def test_labels_a_step_apart_have_room(count, room, size):
    """The step is the smallest of 1, 2, 5, 10, 20, 50 and so on that leaves each label its size."""
    step = tick_step(count=count, room=room, size=size)
    allowed = [factor * 10**power for power in range(6) for factor in (1, 2, 5)]
    assert step == next(number for number in allowed if number * room >= size * count)
