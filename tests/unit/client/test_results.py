"""Results as values."""

import pickle
import re
import sys
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch
from unrolled_client import Network, Result, Timing


def a_result(**changes):
    """Two words of 3 and 1 symbols, hidden size 2."""
    outputs = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    fields = {
        "outputs": outputs,
        "words": ("abc", "b"),
        "lengths": np.array([3, 1]),
        "hidden_size": 2,
        "seed": 7,
        "alphabet": "abc",
        "layout": "batch_first",
        "timing": Timing(queue_s=0.0, compute_s=0.001),
        "fingerprint": "f00d",
    }
    return Result(**{**fields, **changes})


def test_h_n_is_the_state_at_each_words_end():
    """With batch_first h_n is (1, batch, hidden), read before the padding."""
    assert a_result().h_n.tolist() == [[[4.0, 5.0], [6.0, 7.0]]]


@pytest.mark.parametrize("layout", ["batch_first", "seq_first"])
def test_h_n_is_torchs(layout):
    """In both layouts h_n has torch's shape and torch's values."""
    network = torch.nn.RNN(4, 2, batch_first=layout == "batch_first")
    with torch.no_grad():
        outputs, h_n = network(torch.rand(3, 5, 4))
    result = a_result(outputs=outputs.numpy(), lengths=np.array([5, 5, 5]), layout=layout)
    assert np.array_equal(result.h_n, h_n.numpy())


@pytest.mark.parametrize("layout", ["batch_first", "seq_first"])
@pytest.mark.parametrize("kind", [torch.nn.RNN, torch.nn.GRU])
def test_h_n_of_both_directions_is_torchs(layout, kind):
    """The forward direction ends at the last position, the backward one at the first."""
    network = kind(4, 2, batch_first=layout == "batch_first", bidirectional=True)
    with torch.no_grad():
        outputs, h_n = network(torch.rand(3, 5, 4))
    network_asked = Network(cell="gru", bidirectional=True)
    lengths = np.array([5, 5, 5])
    result = a_result(outputs=outputs.numpy(), lengths=lengths, layout=layout, network=network_asked)
    assert np.array_equal(result.h_n, h_n.numpy())


def test_the_backward_direction_ends_at_the_start_of_words_of_any_length():
    """Padding belongs to neither direction."""
    result = a_result(network=Network(bidirectional=True))
    assert result.h_n.tolist() == [[[4.0], [6.0]], [[1.0], [7.0]]]


@pytest.mark.parametrize("layout", ["batch_first", "seq_first"])
def test_h_n_is_a_copy(layout):
    """Writing to h_n leaves the outputs alone."""
    result = a_result(layout=layout)
    assert not np.shares_memory(result.h_n, result.outputs)


def test_a_result_is_an_array_to_numpy():
    """np.asarray gives the outputs themselves; a dtype or a copy is made when asked for."""
    result = a_result()
    assert np.shares_memory(np.asarray(result), result.outputs)
    assert not np.shares_memory(np.array(result), result.outputs)
    assert np.asarray(result, dtype=np.float64).dtype == np.float64
    assert np.array_equal(np.add(result, 1), result.outputs + 1)


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="numpy 1 copies where it must")
def test_a_copy_that_was_forbidden_is_an_error():
    """With copy=False numpy's rule holds: a change of dtype is refused."""
    result = a_result()
    assert np.shares_memory(np.array(result, copy=False), result.outputs)
    with pytest.raises(ValueError, match="copy"):
        np.array(result, dtype=np.float64, copy=False)


def test_repr_is_one_short_line():
    """The representation gives shapes, never the numbers, however large the result."""
    large = a_result(
        outputs=np.zeros((1000, 3, 2), np.float32), lengths=np.full(1000, 3), alphabet="abcdefghij" * 10
    )
    assert repr(a_result()) == (
        "Result(outputs=float32(2, 3, 2), lengths=[3, 1], hidden_size=2, seed=7, alphabet='abc', "
        "layout='batch_first', fingerprint='f00d')"
    )
    assert len(repr(large)) < 200


def test_a_result_survives_pickling():
    result = a_result()
    assert np.array_equal(pickle.loads(pickle.dumps(result)).outputs, result.outputs)


def cells_of(result):
    """The caption's lines and the rows of a result's HTML, which is also XML."""
    table = ET.fromstring(result._repr_html_().replace("<br>", "\n"))
    rows = [[cell.text or "" for cell in row] for row in table.iter("tr")]
    return table.find("caption").text.splitlines(), rows


def test_a_notebook_shows_shape_network_and_first_states():
    """A row for each state, with the word at its first; padding has none."""
    caption, rows = cells_of(a_result())
    assert caption == [
        "(batch, seq, hidden) = (2, 3, 2)",
        "rnn, hidden_size 2, seed 7, alphabet abc",
        "fingerprint f00d",
    ]
    assert rows == [
        ["", "word", "position", "symbol", "h0", "h1"],
        ["0", "abc", "0", "a", "0", "1"],
        ["0", "", "1", "b", "2", "3"],
        ["0", "", "2", "c", "4", "5"],
        ["1", "b", "0", "b", "6", "7"],
    ]


def test_a_notebook_shows_pooled_words_as_rows():
    """One vector for each word, and the network's options."""
    network = Network(cell="lstm", output="max")
    caption, rows = cells_of(
        a_result(outputs=np.float32([[0.12345, -1e-9], [np.nan, np.inf]]), network=network)
    )
    assert caption[:2] == [
        "(batch, hidden) = (2, 2)",
        "lstm, hidden_size 2, seed 7, alphabet abc, output max",
    ]
    assert rows[1:] == [["0", "abc", "0.1235", "-1e-09"], ["1", "b", "nan", "inf"]]


def test_a_notebook_shows_a_part_of_a_large_result_and_says_so():
    """Ten rows of eight units, and words cut to 24 letters."""
    words = ("a" * 30, "b" * 30)
    large = a_result(words=words, outputs=np.zeros((2, 30, 300), np.float32), lengths=np.array([30, 30]))
    caption, rows = cells_of(large)
    assert caption[-1] == "shown: 10 of 60 rows, 8 of 300 units"
    assert (len(rows), len(rows[0])) == (11, 12)
    assert rows[1][1] == "a" * 23 + "…"
    assert len(large._repr_html_()) < 4000


def test_words_are_no_markup_in_a_notebook():
    """Words and alphabets come from anywhere; the page has neither their elements nor colours of its own."""
    words = ("<b>&", "\x1b[2J")
    hostile = a_result(
        words=words, alphabet="<script>", outputs=np.zeros((2, 4, 1), np.float32), lengths=np.array([4, 4])
    )
    html = hostile._repr_html_()
    assert "<b>" not in html
    assert "<script>" not in html
    assert {"<b>&", "\\x1b[2J"} <= {row[1] for row in cells_of(hostile)[1]}
    assert not re.search(r"color|background", html)


def test_a_frame_has_a_row_for_each_state():
    """Labelled by word, position and symbol; a frame is a copy."""
    pytest.importorskip("pandas")
    result = a_result()
    frame = result.to_frame()
    assert frame.index.names == ["word", "position", "symbol"]
    assert frame.index.tolist() == [("abc", 0, "a"), ("abc", 1, "b"), ("abc", 2, "c"), ("b", 0, "b")]
    assert frame.columns.tolist() == ["h0", "h1"]
    assert frame.dtypes.tolist() == [np.float32] * 2
    assert np.array_equal(frame.loc["abc"].to_numpy(), result.outputs[0])
    assert not np.shares_memory(frame.to_numpy(), result.outputs)


def test_a_frame_of_pooled_words_has_a_row_for_each_word():
    """One column for each unit of both directions."""
    pytest.importorskip("pandas")
    outputs = np.arange(8, dtype=np.float32).reshape(2, 4)
    result = a_result(outputs=outputs, network=Network(bidirectional=True, output="max"))
    frame = result.to_frame()
    assert (frame.index.name, frame.index.tolist()) == ("word", ["abc", "b"])
    assert frame.columns.tolist() == ["h0", "h1", "h2", "h3"]
    assert not np.shares_memory(frame.to_numpy(), outputs)


def test_a_frame_of_sentences_has_a_row_for_each_of_their_words():
    """Split as the server does."""
    pytest.importorskip("pandas")
    sentences = a_result(words=("a cat\u3000sat", "no"), alphabet="", network=Network(vectors="glove"))
    assert sentences.to_frame().index.get_level_values("symbol").tolist() == ["a", "cat", "sat", "no"]


@pytest.mark.parametrize(("method", "package"), [("to_frame", "pandas"), ("plot", "unrolled[plot]")])
def test_a_missing_package_is_named_with_what_installs_it(monkeypatch, method, package):
    """In one sentence, as an ImportError."""
    for name in ("pandas", "matplotlib"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "unrolled_client._display.drawing", raising=False)
    with pytest.raises(ModuleNotFoundError, match=re.escape(f"{method}() needs ")) as caught:
        getattr(a_result(), method)()
    assert package in str(caught.value)
    assert "pip install" in str(caught.value)


@pytest.mark.parametrize(
    ("alphabet", "title"),
    [("abc", "rnn, hidden_size 2, seed 7"), ("cab", "rnn, hidden_size 2, seed 7, alphabet cab")],
)
def test_a_plot_names_the_network_and_an_alphabet_that_the_words_do_not_show(alphabet, title):
    """One panel for each word, and the scale."""
    figure = a_result(alphabet=alphabet).plot()
    assert " ".join(figure.get_suptitle().split()) == title
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["abc", "b", ""]
