"""Networks on accelerators match torch's modules for each word alone, with the same bits in any batch.

The tests run on the CPU, and on an accelerator where torch finds one.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from unrolled_server.engine import Engine, Layout, Output, ReplyForm, torch_backend
from unrolled_server.engine.initialization import draw
from unrolled_server.engine.job import InitialStates, State, Stop, StoppedError
from unrolled_server.engine.network import (
    DeviceUnavailableError,
    DeviceUnstableError,
    Network,
    Reply,
)
from unrolled_server.engine.spec import Cell, NetworkSpec, Nonlinearity
from unrolled_server.engine.torch_backend import TorchBackend, choose_device
from unrolled_server.engine.words import EncodedWords

from .torch_reference import ALPHABET, TABLE, WORDS, a_job, run_torch, specs, torch_modules

CPU = torch.device("cpu")
DEVICES = [
    "cpu",
    pytest.param(
        "auto",
        marks=[
            pytest.mark.accelerator,
            pytest.mark.skipif(
                not torch.accelerator.is_available(), reason="torch finds no accelerator here"
            ),
        ],
    ),
]
on_each_device = pytest.mark.parametrize("device", DEVICES)


@pytest.fixture(autouse=True)
def one_thread():
    """Keeps products on one thread, because torch would split rows between several."""
    torch.set_num_threads(1)


def encode(words, starts=None):
    codes = np.array([ALPHABET.index(letter) for letter in "".join(words)], np.int32)
    return EncodedWords.of(codes, np.array([len(word) for word in words], np.int32), starts)


def a_backend(device):
    return TorchBackend(CPU if device == "cpu" else choose_device(device))


def a_network(spec, device="cpu"):
    return a_backend(device).network(spec, draw(spec), TABLE if spec.vectors else None)


def empty_reply(spec, words, output=Output.ALL, **changes):
    """Returns a reply of NaN, with final states, for words that start from zeros or from given states."""
    places = (max(map(len, words)),) if output is Output.ALL else ()
    layers = spec.num_layers * spec.directions
    return Reply(
        output=output,
        values=np.full((len(words), *places, spec.output_size), np.nan, np.float32),
        h_n=np.full((layers, len(words), spec.state_size), np.nan, np.float32),
        c_n=np.full((layers, len(words), spec.hidden_size), np.nan, np.float32)
        if spec.cell is Cell.LSTM
        else None,
        **changes,
    )


def run(network, spec, words, output=Output.ALL, starts=None):
    reply = empty_reply(spec, words, output)
    network.run(encode(words, starts), reply)
    return reply


def states_for(spec, batch):
    """Returns an initial state for each word, some of them equal."""
    numbers = np.random.default_rng(batch)
    layers = spec.num_layers * spec.directions
    h, c = (
        numbers.uniform(-1, 1, (layers, batch, size)).astype(np.float32)
        for size in (spec.state_size, spec.hidden_size)
    )
    h[:, batch // 2 :] = h[:, -1:]
    c[:, batch // 2 :] = c[:, -1:]
    return State(h, c if spec.cell is Cell.LSTM else None)


def assert_near(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@on_each_device
@given(specs(), WORDS, st.booleans())
def test_outputs_and_final_states_match_torch_for_each_word_alone(device, spec, words, is_started):
    network, starts = a_network(spec, device), None
    modules = torch_modules(spec)
    state = states_for(spec, len(words))
    if is_started:
        starts = InitialStates(state)
        network = network.starting_at(starts)
    reply = run(network, spec, words, starts=starts and starts.of_words)
    for place, word in enumerate(words):
        given_state = (state.h[:, place], None if state.c is None else state.c[:, place])
        outputs, h_n, c_n = run_torch(modules, word, given_state if is_started else None)
        assert_near(reply.values[place, : len(word)], outputs)
        assert not reply.values[place, len(word) :].any()
        assert_near(reply.h_n[:, place], h_n)
        if c_n is not None:
            assert_near(reply.c_n[:, place], c_n)


@on_each_device
@given(specs(), WORDS)
def test_pooled_outputs_are_those_of_all_outputs(device, spec, words):
    network = a_network(spec, device)
    outputs = [rows[: len(word)] for rows, word in zip(run(network, spec, words).values, words, strict=True)]
    last, mean, largest = (
        run(network, spec, words, output).values for output in (Output.LAST, Output.MEAN, Output.MAX)
    )
    assert (last == [rows[-1] for rows in outputs]).all()
    assert (largest == [rows.max(0) for rows in outputs]).all()
    assert_near(mean, [rows.mean(0) for rows in outputs])


@given(specs(), WORDS)
def test_distinct_rows_are_written_to_their_numbers(spec, words):
    numbers = np.arange(1, 1 + len(words) * max(map(len, words)), dtype=np.int32).reshape(len(words), -1)
    reply = empty_reply(spec, words, numbers=numbers)
    reply.values = np.full((numbers.size + 1, spec.output_size), np.nan, np.float32)
    distinct = list(dict.fromkeys(words))
    numbers[:] = numbers[[distinct.index(word) for word in words]]  # equal words have equal numbers
    a_network(spec).run(encode(words), reply)
    dense = run(a_network(spec), spec, words)
    for place, word in enumerate(words):
        rows = reply.values[numbers[place, : len(word)]]
        assert rows.tobytes() == dense.values[place, : len(word)].tobytes()
    assert np.isnan(reply.values[0]).all()


@on_each_device
@given(specs(max_radius=3.0), WORDS, WORDS, st.randoms(use_true_random=False))
def test_bits_are_the_same_alone_in_company_and_in_any_order(device, spec, words, others, chance):
    network = a_network(spec, device)
    together = [*words, *others, *(f"{word}a" for word in words)] * 3
    chance.shuffle(together)
    reply = run(network, spec, together)
    for word in words:
        alone, place = run(network, spec, [word]), together.index(word)
        assert alone.values[0].tobytes() == reply.values[place, : len(word)].tobytes()
        assert alone.h_n.tobytes() == reply.h_n[:, [place]].tobytes()
        if reply.c_n is not None:
            assert alone.c_n.tobytes() == reply.c_n[:, [place]].tobytes()


@pytest.mark.parametrize("cell", Cell)
def test_more_words_than_a_tile_has_rows_match_torch(cell):
    spec = NetworkSpec(symbol_count=4, hidden_size=24, seed=1, cell=cell, bidirectional=True, num_layers=2)
    words = ["".join(np.random.default_rng(n).choice(list(ALPHABET), 1 + n % 9)) for n in range(150)]
    reply, modules = run(a_network(spec), spec, words), torch_modules(spec)
    for place, word in enumerate(words):
        assert_near(reply.values[place, : len(word)], run_torch(modules, word)[0])


def test_words_of_large_outputs_are_computed_in_smaller_tiles(monkeypatch):
    spec = NetworkSpec(symbol_count=4, hidden_size=8, seed=0, cell=Cell.GRU)
    words = ["abcd" * 30, "dcba" * 20, "a", "bb"]
    expected = run(a_network(spec), spec, words)
    monkeypatch.setattr(torch_backend, "_MAX_OUTPUT_BYTES", 4 * 8 * 130)
    assert run(a_network(spec), spec, words).values.tobytes() == expected.values.tobytes()


def test_not_a_number_stays_so():
    spec = NetworkSpec(symbol_count=4, hidden_size=3, seed=0, nonlinearity=Nonlinearity.RELU)
    start = InitialStates(State(np.full((1, 1, 3), np.nan, np.float32)))
    network = a_network(spec).starting_at(start)
    for output in (Output.ALL, Output.MEAN, Output.MAX):
        assert np.isnan(run(network, spec, ["ab"], output, starts=start.of_words).values).all()


def test_a_run_ends_after_the_step_in_which_it_is_stopped(monkeypatch):
    spec = NetworkSpec(symbol_count=4, hidden_size=3, seed=0)
    reply, stop, steps = empty_reply(spec, ["abcd"]), Stop(), []

    def step(*arguments):
        stop.set()
        steps.append(arguments)
        return (torch.zeros(torch_backend.TILE_ROWS, 3),)

    monkeypatch.setattr(torch_backend._Direction, "step", step)
    with pytest.raises(StoppedError):
        a_network(spec).run(encode(["abcd"]), reply, stop=stop)
    assert len(steps) == 1
    assert np.isnan(reply.values).all()


def test_a_network_keeps_weights_but_no_states():
    spec = NetworkSpec(symbol_count=4, hidden_size=3, seed=0)
    network = a_network(spec)
    run(network, spec, ["ab"])
    assert isinstance(network, Network)
    columns = 16  # 3, and zeros
    assert network.nbytes == network.weights_nbytes == 4 * columns * (4 + 1 + 3 + 2)
    assert network.row_count == 0
    assert not network.is_known(encode(["ab"]))


def test_the_vectors_of_an_embedding_count_as_weights_and_those_of_words_do_not():
    drawn = NetworkSpec(symbol_count=4, hidden_size=16, seed=0, embedding_size=TABLE.size)
    words = replace(drawn, symbol_count=TABLE.symbol_count_of(3), vectors=TABLE.digest)
    assert a_network(drawn).weights_nbytes - a_network(words).weights_nbytes == 4 * 4 * TABLE.size


def test_nothing_is_computed_for_later():
    spec = NetworkSpec(symbol_count=4, hidden_size=3, seed=0)
    a_network(spec).run(encode(["ab"]), Reply(), stop=Stop(deadline_s=0.0))


@on_each_device
def test_a_device_with_equal_bits_in_any_order_is_verified(device):
    a_backend(device).verify()


def test_a_device_whose_bits_depend_on_a_words_place_is_refused(monkeypatch):
    step = torch_backend._Direction.step

    def uneven(self, *arguments):
        h, *others = step(self, *arguments)
        return (h + torch.arange(len(h))[:, None] * 1e-7, *others)

    monkeypatch.setattr(torch_backend._Direction, "step", uneven)
    with pytest.raises(DeviceUnstableError, match=r"cpu computes other bits for a word in another place"):
        TorchBackend(CPU).verify()


def test_a_device_that_torch_does_not_find_is_refused():
    with pytest.raises(DeviceUnavailableError, match="device is 'tpu'; torch finds"):
        choose_device("tpu")


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("form", ReplyForm)
@pytest.mark.parametrize("cell", Cell)
def test_an_engine_on_torch_answers_as_one_on_the_core(monkeypatch, engine, layout, form, cell):
    monkeypatch.setattr("unrolled_server.engine.engine.open_backend", lambda _: TorchBackend(CPU))
    spec = NetworkSpec(symbol_count=4, hidden_size=20, seed=3, cell=cell, bidirectional=True)
    words = ["abcd", "abdd", "ddda", "abcd"]
    company = [
        a_job(spec, others, layout=layout, form=form, return_final_state=True)
        for others in (words, words[1:])
    ]
    on_torch, on_core = (
        [(each.values.copy(), each.index, each.final_state) for each in run_on.run(company)]
        for run_on in (Engine(), engine)
    )
    for (values, index, state), (expected, expected_index, expected_state) in zip(
        on_torch, on_core, strict=True
    ):
        assert_near(values, expected)
        assert_near(state.h, expected_state.h)
        np.testing.assert_array_equal(index, expected_index)
