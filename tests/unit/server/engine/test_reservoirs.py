"""Echo-state networks have the states of plain numpy and of reservoirpy, with the same bits in any batch."""

import ctypes
import platform
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from unrolled_server.engine import Engine, Layout, NetworkSpec, Nonlinearity, Output, ReplyForm, State
from unrolled_server.engine.initialization import draw
from unrolled_server.engine.job import InitialStates, Stop, StoppedError
from unrolled_server.engine.network import Reply
from unrolled_server.engine.random_numbers import Generator, scale, scale_to_radius
from unrolled_server.engine.torch_backend import TorchBackend

from .torch_reference import ALPHABET, WORDS, a_job

with warnings.catch_warnings(action="ignore"):  # of its docstrings, when Python compiles them
    from reservoirpy.nodes import Reservoir

OPTIONS = ("leak_rate", "input_scaling", "density")
ACTIVATIONS = {Nonlinearity.TANH: np.tanh, Nonlinearity.RELU: lambda sums: np.maximum(sums, 0)}


@st.composite
def reservoirs(draw_from, **fixed):
    """Draws echo-state networks of every kind."""
    kinds = {
        "hidden_size": st.sampled_from([1, 2, 3, 16, 17, 33, 70, 130]),
        "seed": st.integers(0, 2**32 - 1),
        "nonlinearity": st.sampled_from(Nonlinearity),
        "num_layers": st.integers(1, 3),
        "bidirectional": st.booleans(),
        "bias": st.booleans(),
        "embedding_size": st.sampled_from([0, 0, 5]),
        "spectral_radius": st.sampled_from([0.0, 0.5, 0.95]),
        "leak_rate": st.sampled_from([1.0, 0.99, 0.5, 0.3, 1e-3]),
        "input_scaling": st.sampled_from([1.0, 0.1, 0.7, 2.0]),
        "density": st.sampled_from([1.0, 0.9, 0.5, 0.1, 0.02]),
    }
    options = {name: draw_from(kind) for name, kind in kinds.items() if name not in fixed}
    return NetworkSpec(symbol_count=len(ALPHABET), **(options | fixed))


def an_engine():
    return Engine(device="cpu")


def run(engine, *jobs):
    """Runs jobs and returns each answer's values and final state, or raises its exception."""
    answers = []
    for answer in engine.run(jobs):
        if isinstance(answer, Exception):
            raise answer
        answers.append((answer.values.copy(), answer.final_state))
    return answers


def inputs_of(parameters, word):
    """Returns the vectors that the first layer reads."""
    codes = [ALPHABET.index(letter) for letter in word]
    return (np.eye(len(ALPHABET)) if parameters.embedding is None else parameters.embedding)[codes]


def numpy_states(spec, parameters, word, start=None):
    """Returns outputs (seq, size) and the final states of a plain loop in float64."""
    activation, final = ACTIVATIONS[spec.nonlinearity], []
    below = inputs_of(parameters, word).astype(np.float64)
    for layer in parameters.layers:
        outputs = []
        for each in layer:
            h = np.zeros(spec.hidden_size) if start is None else start[len(final)].astype(np.float64)
            bias = each.bias_ih.astype(np.float64) + each.bias_hh if spec.bias else 0
            states = []
            for x in below if each is layer[0] else below[::-1]:
                a = activation(each.weight_ih @ x + each.weight_hh @ h + bias)
                h = (1 - spec.leak_rate) * h + spec.leak_rate * a
                states.append(h)
            final.append(h)
            outputs.append(states if each is layer[0] else states[::-1])
        below = np.concatenate(outputs, axis=1)
    return below, np.array(final)


def assert_near(ours, theirs, bound=1e-6):
    assert ours.shape == theirs.shape
    assert (np.abs(ours - theirs) <= bound * np.maximum(1, np.abs(theirs))).all(), np.abs(ours - theirs).max()


def pairs(*parameters):
    """Yields the same layer and direction of several networks."""
    return zip(*(chain.from_iterable(each.layers) for each in parameters), strict=True)


def start_of(spec, batch):
    """Returns an initial state for each word, some of them equal."""
    h = np.random.default_rng(batch).uniform(
        -1, 1, (spec.num_layers * spec.directions, batch, spec.hidden_size)
    )
    h[:, batch // 2 :] = h[:, -1:]
    return State(h.astype(np.float32))


@given(reservoirs(), WORDS, st.booleans())
def test_states_are_those_of_a_plain_loop_in_float64(spec, words, is_started):
    start = start_of(spec, len(words)) if is_started else None
    ((values, final),) = run(an_engine(), a_job(spec, words, return_final_state=True, initial_state=start))
    parameters = draw(spec)
    for place, word in enumerate(words):
        outputs, h_n = numpy_states(spec, parameters, word, start and start.h[:, place])
        assert_near(values[place, : len(word)], outputs)
        assert not values[place, len(word) :].any()
        assert_near(final.h[:, place], h_n)


@given(reservoirs(num_layers=1, bidirectional=False, embedding_size=0), WORDS)
def test_states_are_those_of_reservoirpy_with_the_same_matrices(spec, words):
    ((values, _),) = run(an_engine(), a_job(spec, words))
    ((drawn,),) = draw(spec).layers
    for place, word in enumerate(words):
        reservoir = Reservoir(
            W=drawn.weight_hh.astype(np.float64),
            Win=drawn.weight_ih.astype(np.float64),
            bias=drawn.bias_ih.astype(np.float64) + drawn.bias_hh if spec.bias else 0.0,
            lr=spec.leak_rate,
            activation=spec.nonlinearity.value,
        )
        states = reservoir.run(np.eye(len(ALPHABET))[[ALPHABET.index(letter) for letter in word]])
        assert_near(values[place, : len(word)], states)


@given(reservoirs(), WORDS, WORDS, st.booleans())
def test_bits_are_the_same_alone_in_company_and_known(spec, words, others, is_started):
    start = start_of(spec, len(words)) if is_started else None
    job = a_job(spec, words, initial_state=start, return_final_state=True)
    engine = an_engine()
    (first, final), _, (known, _) = run(engine, job, a_job(spec, others), job)
    assert known.tobytes() == first.tobytes()
    for place, word in enumerate(words):
        one = start and State(start.h[:, place : place + 1])
        ((alone, h),) = run(an_engine(), a_job(spec, [word], initial_state=one, return_final_state=True))
        assert alone.tobytes() == first[place, : len(word)].tobytes()
        assert h.h.tobytes() == final.h[:, place].tobytes()


@given(reservoirs(bidirectional=False), st.text(ALPHABET, min_size=2, max_size=20), st.data())
def test_a_text_in_pieces_has_the_bits_of_the_whole_text(spec, text, data):
    at = data.draw(st.integers(1, len(text) - 1))
    engine = an_engine()
    ((whole, final),) = run(engine, a_job(spec, [text], return_final_state=True))
    ((begin, state),) = run(engine, a_job(spec, [text[:at]], return_final_state=True))
    ((rest, end),) = run(engine, a_job(spec, [text[at:]], initial_state=state, return_final_state=True))
    assert np.concatenate([begin, rest], axis=1).tobytes() == whole.tobytes()
    assert end.h.tobytes() == final.h.tobytes()


@given(reservoirs(), WORDS)
def test_pooled_and_distinct_replies_have_the_bits_of_all_states(spec, words):
    engine = an_engine()
    ((values, _),) = run(engine, a_job(spec, words))
    (answer,) = engine.run([a_job(spec, words, form=ReplyForm.DISTINCT)])
    assert answer.values[answer.index].tobytes() == values.tobytes()
    ((last, _),) = run(engine, a_job(spec, words, output=Output.LAST))
    for place, word in enumerate(words):
        assert last[place].tobytes() == values[place, len(word) - 1].tobytes()


@given(reservoirs(), WORDS, st.booleans())
def test_torch_on_a_device_gives_the_same_states(spec, words, is_started):
    torch.set_num_threads(1)
    start = start_of(spec, len(words)) if is_started else None
    ((values, final),) = run(an_engine(), a_job(spec, words, return_final_state=True, initial_state=start))
    network = TorchBackend(torch.device("cpu")).network(spec, draw(spec), None)
    encoded = a_job(spec, words).words
    if start is not None:
        starts = InitialStates(start)
        network, encoded = network.starting_at(starts), encoded.starting_at(starts.of_words)
    reply = Reply(values=np.full_like(values, np.nan), h_n=np.full_like(final.h, np.nan))
    network.run(encoded, reply)
    assert_near(reply.values, values, 1e-5)  # both are float32
    assert_near(reply.h_n, final.h, 1e-5)


@given(reservoirs(density=1.0, spectral_radius=0.0), st.sampled_from([0.01, 0.2, 0.5, 0.99, 1e-9]))
def test_the_mask_is_drawn_by_torch_rand_after_all_of_torchs_parameters(spec, density):
    torch.manual_seed(spec.seed)
    if spec.embedding_size:
        torch.nn.Embedding(spec.symbol_count, spec.embedding_size)
    torch.nn.RNN(
        spec.input_size, spec.hidden_size, spec.num_layers, bias=spec.bias, bidirectional=spec.bidirectional
    )
    dense, sparse = draw(spec), draw(replace(spec, density=density))
    assert (dense.embedding is None) == (sparse.embedding is None)
    for kept, masked in pairs(dense, sparse):
        is_kept = (torch.rand(spec.hidden_size, spec.hidden_size).double() < density).numpy()
        expected = np.where(is_kept, kept.weight_hh, np.float32(0))
        assert masked.weight_hh.tobytes() == expected.tobytes()
        for name in ("weight_ih", "bias_ih", "bias_hh"):
            assert np.array_equal(getattr(masked, name), getattr(kept, name))


@pytest.mark.parametrize("density", [0.01, 0.1, 0.5, 0.9])
def test_the_fraction_of_weights_that_stay_is_the_density(density):
    ((drawn,),) = draw(NetworkSpec(symbol_count=2, hidden_size=500, seed=0, density=density)).layers
    deviation = np.sqrt(density * (1 - density) / drawn.weight_hh.size)
    assert np.count_nonzero(drawn.weight_hh) / drawn.weight_hh.size == pytest.approx(
        density, abs=4 * deviation
    )


@given(reservoirs(input_scaling=1.0), st.sampled_from([0.1, 3.0, 1000.0, 1e-38, 1e-50]))
def test_input_scaling_multiplies_each_input_weight_once(spec, scaling):
    for one, other in pairs(draw(spec), draw(replace(spec, input_scaling=scaling))):
        assert other.weight_ih.tobytes() == (one.weight_ih * np.float32(scaling)).tobytes()
        assert other.weight_hh.tobytes() == one.weight_hh.tobytes()
        assert np.array_equal(other.bias_ih, one.bias_ih)


@pytest.mark.skipif(sys.platform != "linux", reason="the constant is that of Linux's C library")
def test_the_weights_are_the_same_in_every_rounding_mode_of_the_thread():
    spec = NetworkSpec(
        symbol_count=3, hidden_size=9, seed=0, input_scaling=0.7, density=0.7, spectral_radius=0.7
    )

    def draw_rounding_upward():
        ctypes.CDLL(None).fesetround({"x86_64": 0x800, "aarch64": 0x400000}[platform.machine()])
        return draw(spec)

    with ThreadPoolExecutor(1) as pool:  # the mode is the thread's, so it ends with it
        upward = pool.submit(draw_rounding_upward).result()
    for one, other in pairs(draw(spec), upward):
        assert one.weight_ih.tobytes() == other.weight_ih.tobytes()
        assert one.weight_hh.tobytes() == other.weight_hh.tobytes()


@given(reservoirs(spectral_radius=0.0), st.floats(0.1, 2.0))
def test_the_spectral_radius_is_that_of_the_masked_matrix(spec, radius):
    for one, other in pairs(draw(spec), draw(replace(spec, spectral_radius=radius))):
        scale_to_radius(one.weight_hh, radius)
        assert other.weight_hh.tobytes() == one.weight_hh.tobytes()


def test_a_matrix_whose_weights_are_all_masked_stays_zero():
    spec = NetworkSpec(symbol_count=2, hidden_size=9, seed=0, density=1e-9, spectral_radius=0.9)
    ((drawn,),) = draw(spec).layers
    assert not drawn.weight_hh.any()
    assert not np.signbit(drawn.weight_hh).any()


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_of_1_is_torchs_network_and_any_other_changes_the_digest(option):
    spec = NetworkSpec(symbol_count=3, hidden_size=4, seed=0)
    one, other = replace(spec, **{option: 1.0}), replace(spec, **{option: 0.5})
    assert (one, one.digest) == (spec, spec.digest)
    assert other != spec
    assert other.digest != spec.digest


def test_the_digests_of_networks_without_the_options_stay_as_they_were():
    spec = NetworkSpec(symbol_count=3, hidden_size=4, seed=0)
    assert spec.digest == "a00f8498706a6934"
    assert replace(spec, spectral_radius=0.9).digest == "ed613fc52b8224f0"


def test_masking_and_scaling_end_when_they_are_stopped():
    matrix, is_due = np.ones((8, 8), np.float32), Stop(deadline_s=0.0)
    with pytest.raises(StoppedError):
        Generator(0).mask(matrix, 0.5, is_due)
    with pytest.raises(StoppedError):
        scale(matrix, 0.5, is_due)
    assert (matrix == 1).all()


def test_a_leak_rate_that_is_nearly_0_keeps_the_initial_state():
    spec = NetworkSpec(symbol_count=4, hidden_size=5, seed=0, leak_rate=1e-300)
    start = start_of(spec, 1)
    ((values, _),) = run(an_engine(), a_job(spec, ["abcd"], initial_state=start))
    assert values.tobytes() == np.repeat(start.h, 4, axis=1).tobytes()


def test_words_along_the_batch_have_the_same_states():
    spec = NetworkSpec(symbol_count=4, hidden_size=5, seed=0, leak_rate=0.5, density=0.5)
    engine, words = an_engine(), ["abc", "dab"]
    ((values, _),) = run(engine, a_job(spec, words, layout=Layout.SEQ_FIRST))
    columns = ["".join(letters) for letters in zip(*words, strict=True)]
    ((expected, _),) = run(engine, a_job(spec, columns))
    assert values.swapaxes(0, 1).tobytes() == expected.tobytes()
