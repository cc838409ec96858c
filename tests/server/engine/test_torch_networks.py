"""Every network gives what torch's module gives for each word alone, with the same bits in any company."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from unrolled_server.engine import (
    Alphabet,
    Cell,
    Engine,
    Job,
    Layout,
    NetworkSpec,
    Nonlinearity,
    Output,
    ReplyForm,
)
from unrolled_server.engine.draws import draw
from unrolled_server.engine.layers import is_plain

# torch says so of its own module, every time.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

ALPHABET = "abcd"
WORDS = st.lists(st.text(alphabet=ALPHABET, min_size=1, max_size=9), min_size=1, max_size=12)


@st.composite
def specs(draw_from):
    """Networks that run in one direction."""
    cell = draw_from(st.sampled_from(Cell))
    hidden_size = draw_from(st.sampled_from([1, 2, 3, 16, 17, 33, 70]))
    options = {"nonlinearity": draw_from(st.sampled_from(Nonlinearity))} if cell is Cell.RNN else {}
    if cell is Cell.LSTM and hidden_size > 1:
        options["proj_size"] = draw_from(st.integers(0, hidden_size - 1))
    return NetworkSpec(
        symbol_count=len(ALPHABET),
        hidden_size=hidden_size,
        seed=draw_from(st.integers(-(2**63), 2**63 - 1)),
        cell=cell,
        num_layers=draw_from(st.integers(1, 3)),
        bias=draw_from(st.booleans()),
        embedding_size=draw_from(st.sampled_from([0, 0, 1, 5, 40])),
        **options,
    )


def torch_modules(spec):
    """What a user of torch writes; the embedding, if there is one, is drawn first."""
    torch.manual_seed(spec.seed)
    embedding = torch.nn.Embedding(spec.symbol_count, spec.embedding_size) if spec.embedding_size else None
    kinds = {Cell.RNN: torch.nn.RNN, Cell.LSTM: torch.nn.LSTM, Cell.GRU: torch.nn.GRU}
    options = {"num_layers": spec.num_layers, "bias": spec.bias, "batch_first": True}
    if spec.cell is Cell.RNN:
        options["nonlinearity"] = spec.nonlinearity.value
    if spec.proj_size:
        options["proj_size"] = spec.proj_size
    return embedding, kinds[spec.cell](spec.input_size, spec.hidden_size, **options)


def run_torch(modules, word):
    """(outputs (seq, size), h_n, c_n) of one word."""
    embedding, network = modules
    codes = torch.tensor([[ALPHABET.index(letter) for letter in word]])
    inputs = torch.eye(len(ALPHABET))[codes] if embedding is None else embedding(codes)
    with torch.no_grad():
        outputs, state = network(inputs)
    h_n, c_n = state if isinstance(state, tuple) else (state, None)
    return outputs[0].numpy(), h_n[:, 0].numpy(), None if c_n is None else c_n[:, 0].numpy()


def run(engine, *jobs):
    """Answers that outlive the next one."""
    answers = []
    for answer in engine.run(jobs):
        if isinstance(answer, Exception):
            raise answer
        answers.append((answer, answer.values.copy()))
    return answers


def a_job(spec, words, **changes):
    return Job(network=spec, words=Alphabet.of(ALPHABET).encode(words), **changes)


def assert_near(ours, theirs):
    bound = 2e-6 * np.maximum(1, np.abs(theirs))
    assert ours.shape == theirs.shape
    assert (np.abs(ours - theirs) <= bound).all(), np.abs(ours - theirs).max()


@pytest.fixture(scope="module")
def engine():
    return Engine(device="cpu")


@given(specs())
def test_parameters_are_torchs_bit_for_bit(spec):
    embedding, network = torch_modules(spec)
    drawn = draw(spec)
    assert (drawn.embedding is None) == (embedding is None)
    if embedding is not None:
        assert torch.equal(drawn.embedding, embedding.weight)
    for number, layer in enumerate(drawn.layers):
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"):
            theirs = getattr(network, f"{name}_l{number}", None)
            ours = getattr(layer, name)
            assert (ours is None) == (theirs is None)
            assert ours is None or torch.equal(ours, theirs)


@settings(deadline=None)
@given(specs(), WORDS)
def test_outputs_and_final_states_are_torchs_for_each_word_alone(spec, words):
    engine = Engine(device="cpu", state_memory_bytes=64 << 20)
    modules = torch_modules(spec)
    ((answer, values),) = run(engine, a_job(spec, words, return_final_state=True))
    for place, word in enumerate(words):
        outputs, h_n, c_n = run_torch(modules, word)
        assert_near(values[place, : len(word)], outputs)
        assert not values[place, len(word) :].any()
        assert_near(answer.final_state.h[:, place], h_n)
        assert (answer.final_state.c is None) == (c_n is None)
        if c_n is not None:
            assert_near(answer.final_state.c[:, place], c_n)


@settings(deadline=None)
@given(specs(), WORDS)
def test_pooled_outputs_are_those_of_torchs_outputs(spec, words):
    engine = Engine(device="cpu", state_memory_bytes=64 << 20)
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


@settings(deadline=None)
@given(specs(), WORDS, WORDS, st.sampled_from(Output), st.booleans())
@example(
    NetworkSpec(symbol_count=4, hidden_size=64, seed=0, cell=Cell.GRU, num_layers=2),
    ["abcd" * 30] * 2,
    ["dcba"] * 40,
    Output.ALL,
    True,
)
def test_bits_are_the_same_alone_in_company_known_and_in_slices(spec, words, others, output, has_state):
    job = a_job(spec, words, output=output, return_final_state=has_state)
    company = [a_job(spec, others), job, a_job(spec, [*others, *words])]
    warm, small = (Engine(device="cpu", state_memory_bytes=size) for size in (64 << 20, 1 << 10))
    answers = [
        run(Engine(device="cpu"), job)[0],
        run(warm, *company)[1],
        run(warm, job)[0],
        run(small, job)[0],
    ]
    states = [answer.final_state for answer, _ in answers]
    assert len({values.tobytes() for _, values in answers}) == 1
    for name in ("h", "c"):
        assert (
            len(
                {getattr(state, name).tobytes() for state in states if getattr(state, name, None) is not None}
            )
            <= 1
        )
    assert all((state is not None) == has_state for state in states)


@settings(deadline=None)
@given(specs(), WORDS)
def test_the_distinct_form_is_the_dense_one(spec, words):
    engine = Engine(device="cpu", state_memory_bytes=64 << 20)
    ((_, dense),) = run(engine, a_job(spec, words))
    ((answer, rows),) = run(engine, a_job(spec, words, form=ReplyForm.DISTINCT))
    assert rows[answer.index].tobytes() == dense.tobytes()


@settings(deadline=None)
@given(specs(), st.integers(1, 6), st.integers(1, 6), st.randoms(use_true_random=False))
def test_seq_first_is_torchs_default_layout(spec, batch, seq, chance):
    words = ["".join(chance.choices(ALPHABET, k=seq)) for _ in range(batch)]
    columns = ["".join(column) for column in zip(*words, strict=True)]
    modules = torch_modules(spec)
    engine = Engine(device="cpu")
    ((answer, values),) = run(engine, a_job(spec, words, layout=Layout.SEQ_FIRST, return_final_state=True))
    for place, column in enumerate(columns):
        outputs, h_n, _ = run_torch(modules, column)
        assert_near(values[:, place], outputs)
        assert_near(answer.final_state.h[:, place], h_n)


@pytest.mark.parametrize("cell", Cell)
def test_what_a_budget_cannot_hold_leaves_it(cell):
    """States of every layer count: many networks stay within the budget."""
    engine = Engine(device="cpu", state_memory_bytes=3 << 20)
    for seed in range(30):
        spec = NetworkSpec(symbol_count=4, hidden_size=64, seed=seed, cell=cell, num_layers=2, bias=False)
        run(engine, a_job(spec, ["abcd" * 20, "dcba" * 20]))
        assert engine.held_bytes <= 3 << 20
    assert 0 < engine.network_count < 30


def test_only_the_lessons_kind_takes_the_plain_way():
    plain = NetworkSpec(symbol_count=4, hidden_size=2, seed=0)
    assert is_plain(plain)
    others = [
        {"cell": Cell.LSTM},
        {"nonlinearity": Nonlinearity.RELU},
        {"num_layers": 2},
        {"bias": False},
        {"embedding_size": 3},
    ]
    for other in others:
        assert not is_plain(NetworkSpec(symbol_count=4, hidden_size=2, seed=0, **other))
