from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from unrolled_server.engine.spec import NetworkSpec
from unrolled_server.engine.weights import draw_weights, padded_width, weights_nbytes

CPU = torch.device("cpu")


@given(st.integers(1, 40), st.integers(1, 70), st.integers(-(2**63), 2**63 - 1))
def test_weights_are_bit_equal_to_those_of_torch(input_size: int, hidden_size: int, seed: int) -> None:
    torch.manual_seed(seed)
    rnn = torch.nn.RNN(input_size, hidden_size)
    weights = draw_weights(NetworkSpec(symbol_count=input_size, hidden_size=hidden_size, seed=seed), CPU)
    expected = rnn.weight_ih_l0.T + (rnn.bias_ih_l0 + rnn.bias_hh_l0)
    assert torch.equal(weights.input_table[:, :hidden_size], expected)
    assert torch.equal(weights.recurrent[:hidden_size, :hidden_size], rnn.weight_hh_l0.T)


def test_threads_may_draw_at_the_same_time() -> None:
    specs = [NetworkSpec(symbol_count=4, hidden_size=40, seed=seed) for seed in range(64)]
    alone = [draw_weights(spec, CPU).recurrent for spec in specs]
    with ThreadPoolExecutor(8) as threads:
        at_once = threads.map(lambda spec: draw_weights(spec, CPU).recurrent, specs)
        assert all(map(torch.equal, alone, at_once))


def test_drawing_does_not_change_the_global_generator() -> None:
    before = torch.get_rng_state()
    draw_weights(NetworkSpec(symbol_count=3, hidden_size=50, seed=1), CPU)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("hidden_size", [1, 16, 17, 250])
def test_weights_are_zero_padded_to_a_multiple_of_16(hidden_size: int) -> None:
    spec = NetworkSpec(symbol_count=3, hidden_size=hidden_size, seed=0)
    weights = draw_weights(spec, CPU)
    width = padded_width(hidden_size)
    assert width % 16 == 0
    assert weights.recurrent.shape == (width, width)
    assert not weights.recurrent[hidden_size:].any()
    assert not weights.recurrent[:, hidden_size:].any()
    assert not weights.input_table[:, hidden_size:].any()


def test_the_size_is_known_before_drawing() -> None:
    spec = NetworkSpec(symbol_count=7, hidden_size=33, seed=0)
    weights = draw_weights(spec, CPU)
    assert weights.input_table.nbytes + weights.recurrent.nbytes == weights_nbytes(spec)
