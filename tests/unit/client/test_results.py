"""Results as values."""

import dataclasses
import pickle

import numpy as np
import pytest
import torch
from unrolled_client import Network, Result, Timing


def a_result(**changes):
    """Two words of 3 and 1 symbols, hidden size 2."""
    outputs = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    fields = {
        "outputs": outputs,
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


def test_results_are_values():
    """A result cannot be changed, and survives pickling."""
    result = a_result()
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.alphabet = "x"
    assert np.array_equal(pickle.loads(pickle.dumps(result)).outputs, result.outputs)
