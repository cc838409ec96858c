"""Networks match torch's modules for each word alone, with the same bits in any batch."""

import ctypes
import itertools
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from unrolled_server.engine import Cell, Engine, Layout, NetworkSpec, Nonlinearity, Output, ReplyForm, State

from .torch_reference import ALPHABET, TABLE, WORDS, a_job, run_torch, specs, torch_modules


def run(engine, *jobs):
    """Runs jobs and returns each answer with a copy of its values, which the next answer overwrites."""
    answers = []
    for answer in engine.run(jobs):
        if isinstance(answer, Exception):
            raise answer
        answers.append((answer, answer.values.copy()))
    return answers


def assert_near(ours, theirs):
    """Compares with torch: 2e-6 for stacks, and relative for relu, whose states grow."""
    bound = 2e-6 * np.maximum(1, np.abs(theirs))
    assert ours.shape == theirs.shape
    assert (np.abs(ours - theirs) <= bound).all(), np.abs(ours - theirs).max()


def an_engine(state_memory_bytes=64 << 20):
    return Engine(device="cpu", state_memory_bytes=state_memory_bytes, vectors=[TABLE])


def states_for(spec, batch, seed):
    """Returns an initial state for each word, some of them equal."""
    numbers = np.random.default_rng(seed)
    layers = spec.num_layers * spec.directions
    h, c = (
        numbers.uniform(-1, 1, (layers, 1 + batch // 2, size)).astype(np.float32)
        for size in (spec.state_size, spec.hidden_size)
    )
    chosen = numbers.integers(0, 1 + batch // 2, batch)
    return State(h[:, chosen], c[:, chosen] if spec.cell is Cell.LSTM else None)


def state_of(state, place):
    """Returns one word's (h, c)."""
    return state.h[:, place], None if state.c is None else state.c[:, place]


@given(specs(), WORDS, st.booleans())
def test_outputs_and_final_states_match_torch_for_each_word_alone(spec, words, is_started):
    modules = torch_modules(spec)
    start = states_for(spec, len(words), seed=len(words)) if is_started else None
    ((answer, values),) = run(an_engine(), a_job(spec, words, return_final_state=True, initial_state=start))
    for place, word in enumerate(words):
        outputs, h_n, c_n = run_torch(modules, word, state_of(start, place) if start else None)
        assert_near(values[place, : len(word)], outputs)
        assert not values[place, len(word) :].any()
        assert_near(answer.final_state.h[:, place], h_n)
        assert (answer.final_state.c is None) == (c_n is None)
        if c_n is not None:
            assert_near(answer.final_state.c[:, place], c_n)


def long_words():
    return ["".join(word) for word in np.random.default_rng(0).choice(list(ALPHABET), (4, 1_024))]


@pytest.mark.parametrize("hidden_size", [2, 64, pytest.param(512, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    ("cell", "options", "bound"),
    [
        (Cell.RNN, {}, 1e-6),
        (Cell.RNN, {"nonlinearity": Nonlinearity.RELU}, 1e-6),
        (Cell.LSTM, {}, 3e-7),
        (Cell.GRU, {}, 3e-7),
        (Cell.LSTM, {"num_layers": 2, "bidirectional": True}, 2e-6),
        (Cell.GRU, {"num_layers": 2}, 2e-6),
    ],
)
def test_words_of_1024_symbols_stay_as_near_to_torch_as_promised(cell, options, bound, hidden_size):
    spec = NetworkSpec(symbol_count=4, hidden_size=hidden_size, seed=0, cell=cell, **options)
    words = long_words()
    ((answer, values),) = run(an_engine(), a_job(spec, words, return_final_state=True))
    for place, word in enumerate(words):
        outputs, h_n, _ = run_torch(torch_modules(spec), word)
        np.testing.assert_allclose(values[place], outputs, rtol=0, atol=bound)
        np.testing.assert_allclose(answer.final_state.h[:, place], h_n, rtol=0, atol=bound)


@pytest.mark.parametrize(
    ("cell", "nonlinearity", "radius"),
    [
        (Cell.RNN, Nonlinearity.TANH, 1.0),
        (Cell.RNN, Nonlinearity.TANH, 1.1),
        (Cell.RNN, Nonlinearity.RELU, 3.0),
        (Cell.LSTM, Nonlinearity.TANH, 2.0),
        (Cell.GRU, Nonlinearity.TANH, 2.0),
    ],
)
def test_scaled_weights_are_no_further_from_float64_than_ten_times_torch(cell, nonlinearity, radius):
    """Relative to a state's largest value, as states of relu grow to 1e18 here."""
    spec = NetworkSpec(
        symbol_count=4, hidden_size=64, seed=0, cell=cell, nonlinearity=nonlinearity, spectral_radius=radius
    )
    words = [word[:80] for word in long_words()]
    ((_, values),) = run(an_engine(), a_job(spec, words))
    single, double = torch_modules(spec), torch_modules(spec)[1].double()
    for place, word in enumerate(words):
        codes = torch.tensor([[ALPHABET.index(letter) for letter in word]])
        exact = double(torch.eye(4, dtype=torch.float64)[codes])[0][0].detach().numpy()
        largest = np.maximum(1, np.abs(exact).max(axis=1, keepdims=True))
        ours, torchs = (
            (np.abs(found - exact) / largest).max() for found in (values[place], run_torch(single, word)[0])
        )
        assert ours <= 10 * torchs + 1e-6


@given(specs(), WORDS)
def test_pooled_outputs_match_torch(spec, words):
    engine = an_engine()
    modules = torch_modules(spec)
    pools = {
        Output.LAST: lambda rows: rows[-1],
        Output.MEAN: lambda rows: rows.mean(0),
        Output.MAX: lambda rows: rows.max(0),
    }
    for output, pool in pools.items():
        ((_, values),) = run(engine, a_job(spec, words, output=output))
        for row, word in zip(values, words, strict=True):
            assert_near(row, pool(run_torch(modules, word)[0]))


@given(specs(max_radius=3.0), WORDS, WORDS, st.sampled_from(Output), st.tuples(st.booleans(), st.booleans()))
@example(
    NetworkSpec(symbol_count=4, hidden_size=64, seed=0, cell=Cell.GRU, num_layers=2),
    ["abcd" * 30] * 2,
    ["dcba"] * 40,
    Output.ALL,
    (True, False),
)
@example(
    NetworkSpec(symbol_count=4, hidden_size=48, seed=0, cell=Cell.LSTM, num_layers=3, bidirectional=True),
    ["abcd" * 30] * 2,
    ["dcba"] * 40,
    Output.MAX,
    (True, True),
)
def test_bits_are_the_same_alone_in_a_batch_cached_and_in_slices(spec, words, others, output, asks):
    has_state, is_started = asks
    start = states_for(spec, len(words), seed=0) if is_started else None
    job = a_job(spec, words, output=output, return_final_state=has_state, initial_state=start)
    company = [a_job(spec, others), job, a_job(spec, [*others, *words])]
    warm, small = an_engine(), an_engine(1 << 10)
    answers = [
        run(an_engine(), job)[0],
        run(warm, *company)[1],
        run(warm, job)[0],
        run(small, job)[0],
    ]
    assert len({values.tobytes() for _, values in answers}) == 1
    for name in ("h", "c"):
        arrays = [getattr(answer.final_state, name, None) for answer, _ in answers]
        assert len({array.tobytes() for array in arrays if array is not None}) <= 1
    assert all((answer.final_state is not None) == has_state for answer, _ in answers)


def flush_denormals():
    assert torch.set_flush_denormal(True)


def round_upward():
    ctypes.CDLL(None).fesetround({"x86_64": 0x800, "aarch64": 0x400000}[platform.machine()])


@pytest.mark.skipif(sys.platform != "linux", reason="the constants are those of Linux's C library")
@pytest.mark.parametrize("change_mode", [flush_denormals, round_upward])
@given(specs(max_radius=3.0), WORDS, st.sampled_from(Output))
def test_bits_are_the_same_in_every_floating_point_mode_of_the_thread(change_mode, spec, words, output):
    engine, job = an_engine(), a_job(spec, words, output=output)
    ((_, expected),) = run(engine, job)
    engine._networks.forget(spec)  # so that it is drawn in that mode, too

    def run_in_mode():
        change_mode()
        return run(engine, job)

    with ThreadPoolExecutor(1) as pool:  # the mode is the thread's, so it ends with it
        ((_, values),) = pool.submit(run_in_mode).result()
    assert values.tobytes() == expected.tobytes()


@given(specs(max_radius=3.0), WORDS, st.data())
def test_each_word_has_the_same_bits_alone_and_among_others(spec, words, data):
    start = states_for(spec, len(words), seed=1) if data.draw(st.booleans()) else None
    engine = an_engine()
    ((together, values),) = run(engine, a_job(spec, words, return_final_state=True, initial_state=start))
    for place, word in enumerate(words):
        own = start and State(*(None if part is None else part[:, None] for part in state_of(start, place)))
        ((alone, own_values),) = run(
            an_engine(), a_job(spec, [word], return_final_state=True, initial_state=own)
        )
        assert own_values[0].tobytes() == values[place, : len(word)].tobytes()
        assert alone.final_state.h.tobytes() == together.final_state.h[:, [place]].tobytes()


@given(specs(max_radius=3.0), WORDS, WORDS)
def test_a_text_in_two_pieces_has_the_bits_of_the_whole(spec, words, others):
    """The second piece starts with the final state of the first; this holds for one direction only."""
    spec = replace(spec, bidirectional=False)
    pieces = list(zip(words, others, strict=False))
    engine = an_engine()
    ((whole, values),) = run(
        engine, a_job(spec, [first + second for first, second in pieces], return_final_state=True)
    )
    ((before, _),) = run(engine, a_job(spec, [first for first, _ in pieces], return_final_state=True))
    second_job = a_job(
        spec,
        [second for _, second in pieces],
        return_final_state=True,
        initial_state=before.final_state,
    )
    ((after, second_values),) = run(engine, second_job)
    for place, (first, second) in enumerate(pieces):
        expected = values[place, len(first) : len(first) + len(second)]
        assert second_values[place, : len(second)].tobytes() == expected.tobytes()
    assert after.final_state.h.tobytes() == whole.final_state.h.tobytes()


@given(specs(), WORDS, st.booleans())
def test_the_distinct_form_equals_the_dense_one(spec, words, is_started):
    start = states_for(spec, len(words), seed=2) if is_started else None
    ((_, dense),) = run(an_engine(), a_job(spec, words, initial_state=start))
    forms = []
    for budget, limit in ((64 << 20, {}), (64 << 20, {"max_reply_bytes": 1 << 20}), (1 << 10, {})):
        engine = an_engine(budget)
        job = a_job(spec, words, form=ReplyForm.DISTINCT, initial_state=start, **limit)
        ((answer, rows),) = run(engine, job)
        assert rows[answer.index].tobytes() == dense.tobytes()
        assert not rows[0].any()
        forms.append((rows.tobytes(), answer.index.tobytes()))
    assert len(set(forms)) == 1


@given(specs(), st.integers(1, 6), st.integers(1, 6), st.randoms(use_true_random=False))
def test_seq_first_is_torchs_default_layout(spec, batch, seq, chance):
    start = states_for(spec, seq, seed=3) if chance.random() < 0.5 else None
    words = ["".join(chance.choices(ALPHABET, k=seq)) for _ in range(batch)]
    columns = ["".join(column) for column in zip(*words, strict=True)]
    modules = torch_modules(spec)
    job = a_job(spec, words, layout=Layout.SEQ_FIRST, return_final_state=True, initial_state=start)
    ((answer, values),) = run(an_engine(), job)
    for place, column in enumerate(columns):
        outputs, h_n, _ = run_torch(modules, column, state_of(start, place) if start else None)
        assert_near(values[:, place], outputs)
        assert_near(answer.final_state.h[:, place], h_n)


@pytest.mark.parametrize(
    ("cell", "bidirectional"),
    [
        (Cell.RNN, False),
        *(
            pytest.param(cell, both, marks=pytest.mark.long)
            for cell, both in itertools.product(Cell, (False, True))
            if (cell, both) != (Cell.RNN, False)
        ),
    ],
)
def test_many_networks_stay_within_the_budget(cell, bidirectional):
    """The states of every layer count towards the budget."""
    engine = Engine(device="cpu", state_memory_bytes=3 << 20)
    for seed in range(30):
        spec = NetworkSpec(symbol_count=4, hidden_size=64, seed=seed, cell=cell, num_layers=2, bias=False)
        spec = replace(spec, bidirectional=bidirectional)
        words = ["abcd" * 20, "dcba" * 20]
        run(engine, a_job(spec, words), a_job(spec, words, initial_state=states_for(spec, 2, seed=seed)))
        assert engine.held_bytes <= 3 << 20
    assert 0 < engine.network_count < 30


@pytest.mark.parametrize("cell", [Cell.GRU, Cell.LSTM])
@pytest.mark.parametrize("output", [Output.ALL, Output.MEAN])
def test_states_that_overflow_float32_cause_no_warning(cell, output):
    spec = NetworkSpec(symbol_count=len(ALPHABET), hidden_size=3, seed=0, cell=cell)
    huge = np.full((1, 2, 3), 3e38, np.float32)
    start = State(huge, huge if cell is Cell.LSTM else None)
    ((answer, _),) = run(an_engine(), a_job(spec, ["ab", "c"], output=output, initial_state=start))
    assert answer.shape[-1] == 3
