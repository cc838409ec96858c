"""Letters outside the alphabet, words without symbols and random word vectors match torch."""

import zlib

import numpy as np
import pytest
import torch
from unrolled_server.engine import (
    RANDOM_WORD_SYMBOLS,
    Alphabet,
    Answer,
    Cell,
    EncodedWords,
    Engine,
    Job,
    NetworkSpec,
    Nonlinearity,
    Output,
    ReplyForm,
    State,
    Stop,
    StoppedError,
    drawing_multiplications,
)
from unrolled_server.engine.random_numbers import Generator, word_vector
from unrolled_server.engine.torch_backend import TorchBackend

from .torch_reference import TABLE

KINDS = [
    {"cell": Cell.RNN},
    {"cell": Cell.RNN, "nonlinearity": Nonlinearity.RELU, "num_layers": 3, "bias": False},
    {"cell": Cell.LSTM, "bidirectional": True, "num_layers": 2, "proj_size": 3},
    {"cell": Cell.GRU, "bidirectional": True},
    {"cell": Cell.GRU, "num_layers": 2},
]
MODULES = {Cell.RNN: torch.nn.RNN, Cell.LSTM: torch.nn.LSTM, Cell.GRU: torch.nn.GRU}
# With an alphabet or a table of three symbols, 3 stands for zeros.
WORDS = [[0, 3, 1], [], [3], [2, 2, 0, 3, 3, 1], [], [0, 3, 1], [0, 3]]
INPUTS = {
    "one-hot": {"symbol_count": 3},
    "embedding": {"symbol_count": 3, "embedding_size": 20},
    "vectors": {"symbol_count": 5, "embedding_size": TABLE.size, "vectors": TABLE.digest},
    "few random": {"symbol_count": RANDOM_WORD_SYMBOLS, "embedding_size": 5},
    "random": {"symbol_count": RANDOM_WORD_SYMBOLS, "embedding_size": 37},
}
SEED = 7


@pytest.fixture(params=["core", "torch"])
def engine(request, monkeypatch):
    """An engine on the native core, and one on torch as for an accelerator."""
    if request.param == "torch":
        torch.set_num_threads(1)
        backend = TorchBackend(torch.device("cpu"))
        monkeypatch.setattr("unrolled_server.engine.engine.open_backend", lambda _: backend)
    return Engine(device="cpu", vectors=[TABLE])


def a_spec(inputs, **kind):
    return NetworkSpec(hidden_size=6, seed=SEED, **INPUTS[inputs], **kind)


def encoded(words):
    return EncodedWords.of(
        np.array([symbol for word in words for symbol in word], np.int32),
        np.array([len(word) for word in words], np.int32),
    )


def answered(engine, job):
    answer = engine.run_one(job)
    assert isinstance(answer, Answer), answer
    return Answer(answer.values.copy(), answer.index, answer.final_state)


def generator_seed(seed, symbol):
    """The documented mix, SplitMix64."""
    z = ((seed << 32 | symbol) + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return (z ^ z >> 31) % 2**32


def torch_network(inputs, spec):
    """Returns a function from a symbol to its vector, and torch's module."""
    torch.manual_seed(spec.seed)
    rows = torch.eye(3)
    if inputs == "embedding":
        rows = torch.nn.Embedding(3, spec.embedding_size).weight.detach()
    if inputs == "vectors":
        rows = torch.from_numpy(TABLE.rows)
    options = {"num_layers": spec.num_layers, "bidirectional": spec.bidirectional, "bias": spec.bias}
    if spec.cell is Cell.RNN:
        options["nonlinearity"] = spec.nonlinearity.value
    if spec.proj_size:
        options["proj_size"] = spec.proj_size
    module = MODULES[spec.cell](spec.input_size, spec.hidden_size, batch_first=True, **options)
    rows = torch.cat([rows, torch.zeros(1, rows.shape[1])])

    def vector_of(symbol):
        if not spec.has_random_words:
            return rows[symbol]
        torch.manual_seed(generator_seed(spec.seed, symbol))
        return torch.randn(spec.embedding_size)

    return vector_of, module


def a_state(spec, count):
    shape = spec.num_layers * spec.directions, count
    numbers = np.random.default_rng(3)
    h = numbers.standard_normal((*shape, spec.state_size), np.float32)
    return State(h, numbers.standard_normal((*shape, 6), np.float32) if spec.cell is Cell.LSTM else None)


def pooled(rows, output):
    if not len(rows):
        return np.zeros(rows.shape[1], np.float32)
    return {Output.LAST: rows[-1], Output.MEAN: rows.mean(0), Output.MAX: rows.max(0)}[output]


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_and_final_states_match_torch_for_each_word_alone(engine, kind, inputs):
    spec = a_spec(inputs, **kind)
    vector_of, module = torch_network(inputs, spec)
    state, words = a_state(spec, len(WORDS)), encoded(WORDS)
    options = {"network": spec, "words": words, "initial_state": state}
    answer = answered(engine, Job(**options, return_final_state=True))
    poolings = (Output.LAST, Output.MEAN, Output.MAX)
    vectors = {output: answered(engine, Job(**options, output=output)).values for output in poolings}
    for at, word in enumerate(WORDS):
        h, c = (None if part is None else torch.from_numpy(part[:, [at]]) for part in (state.h, state.c))
        rows = torch.zeros(0, spec.output_size)
        if word:
            sequence = torch.stack([vector_of(symbol) for symbol in word])[None]
            with torch.no_grad():
                outputs, final = module(sequence, h if c is None else (h, c))
            rows, (h, c) = outputs[0], final if isinstance(final, tuple) else (final, None)
        np.testing.assert_allclose(answer.values[at, : len(word)], rows.numpy(), rtol=0, atol=2e-6)
        assert not answer.values[at, len(word) :].any()
        np.testing.assert_allclose(answer.final_state.h[:, [at]], h.numpy(), rtol=0, atol=2e-6)
        if c is not None:
            np.testing.assert_allclose(answer.final_state.c[:, [at]], c.numpy(), rtol=0, atol=4e-6)
        for output, values in vectors.items():
            np.testing.assert_allclose(values[at], pooled(rows.numpy(), output), rtol=0, atol=2e-6)


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_bits_are_the_same_alone_in_company_and_a_second_time(engine, kind, inputs):
    spec = a_spec(inputs, **kind)
    whole = answered(engine, Job(network=spec, words=encoded(WORDS), return_final_state=True))
    again = answered(engine, Job(network=spec, words=encoded(WORDS), form=ReplyForm.DISTINCT))
    assert again.values[again.index].tobytes() == whole.values.tobytes()
    for at, word in enumerate(WORDS):
        alone = answered(engine, Job(network=spec, words=encoded([word]), return_final_state=True))
        assert alone.values.tobytes() == whole.values[[at], : len(word)].tobytes()
        assert alone.final_state.h.tobytes() == whole.final_state.h[:, [at]].tobytes()


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_words_without_any_symbol_have_no_positions_and_keep_their_state(engine, kind, inputs):
    spec, words = a_spec(inputs, **kind), encoded([[], []])
    state = a_state(spec, 2)
    answer = answered(engine, Job(network=spec, words=words, initial_state=state, return_final_state=True))
    assert answer.values.shape == answer.shape == (2, 0, spec.output_size)
    assert np.array_equal(answer.final_state.h, state.h)
    pooled = answered(engine, Job(network=spec, words=words, output=Output.MEAN))
    assert pooled.values.shape == (2, spec.output_size)
    assert not pooled.values.any()
    distinct = answered(engine, Job(network=spec, words=words, form=ReplyForm.DISTINCT))
    assert (distinct.values.shape, distinct.index) == ((2, 0, spec.output_size), None)


@pytest.mark.parametrize("embedding_size", [0, 4])
def test_an_empty_alphabet_needs_only_empty_words(engine, embedding_size):
    spec = NetworkSpec(symbol_count=0, hidden_size=3, seed=0, embedding_size=embedding_size)
    words = Alphabet.of("").encode(["", ""])
    answer = answered(engine, Job(network=spec, words=words, return_final_state=True))
    assert answer.values.shape == (2, 0, 3)
    assert not answer.final_state.h.any()


def test_empty_words_are_known_and_cost_nothing():
    engine, spec = Engine(device="cpu"), a_spec("one-hot", cell=Cell.GRU, bidirectional=True, num_layers=2)
    job = Job(network=spec, words=encoded([[], []]))
    assert job.multiplications == 0
    answered(engine, job)
    assert engine.is_known(job)
    assert (engine.asked_rows, engine.computed_rows) == (0, 0)
    held_bytes = engine.held_bytes
    engine._networks.measure(engine._networks.peek(spec))
    assert engine.held_bytes == held_bytes


@pytest.mark.parametrize("size", [1, 2, 15, 16, 17, 50, 300])
def test_a_words_vector_is_what_torch_draws_from_the_mixed_seed(size):
    for seed, symbol in ((0, 0), (2**32 - 1, 2**31 - 1), (12345, zlib.crc32(b"cat") & 0x7FFFFFFF)):
        vector = word_vector(seed, symbol, size)
        torch.manual_seed(generator_seed(seed, symbol))
        np.testing.assert_allclose(vector, torch.randn(size).numpy(), rtol=0, atol=2e-6)
        assert vector.tobytes() == Generator(generator_seed(seed, symbol)).normal((size,)).tobytes()


def test_vectors_of_other_words_and_seeds_are_unrelated():
    def vectors(seed):
        rows = np.array([word_vector(seed, symbol, 64) for symbol in range(400)])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    for a, b in ((0, 0), (0, 1), (0, 2**31), (1, 2**32 - 1)):
        cosines = vectors(a) @ vectors(b).T - np.eye(400) * (a == b)
        assert np.abs(cosines).max() < 0.65
        assert abs(cosines.mean()) < 1e-2
        assert abs(cosines.std() - 64**-0.5) < 2e-3


def test_random_words_are_31_bits_of_their_crc_32():
    words = EncodedWords.of_random_words([["the", "cat"], [], ["caf\u00e9"]])
    assert words.codes.tolist() == [
        0x3C456DE6,
        0x9E5E43A8 & 0x7FFFFFFF,
        zlib.crc32(b"caf\xc3\xa9") & 0x7FFFFFFF,
    ]
    assert (words.lengths.tolist(), words.max_length) == ([2, 0, 1], 2)


def test_the_distinct_words_are_counted():
    for symbols, count in (([], 0), ([5], 1), ([0, 7, 0, 7, 7], 2), ([0, RANDOM_WORD_SYMBOLS - 1], 2)):
        assert encoded([symbols]).distinct_count == count


def test_networks_of_random_words_have_no_table_of_words():
    spec = a_spec("random")
    assert spec.embedding_floats == 0
    assert spec.parameter_nbytes == 4 * 6 * (37 + 6 + 2)
    assert drawing_multiplications(spec) < 2 * drawing_multiplications(a_spec("one-hot"))
    once, twice = (Job(network=spec, words=encoded([[5] * count])) for count in (1, 2))
    assert twice.multiplications - once.multiplications < once.multiplications / 2
    both = Job(network=a_spec("random", bidirectional=True), words=once.words)
    assert both.multiplications == 2 * once.multiplications


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_and_instances_draw_the_same_vectors(threads):
    sentences = np.random.default_rng(1).integers(0, RANDOM_WORD_SYMBOLS, (300, 5), np.int32).tolist()
    spec = NetworkSpec(symbol_count=RANDOM_WORD_SYMBOLS, hidden_size=64, seed=1, embedding_size=40)
    engine = Engine(device="cpu", threads=threads)
    whole = answered(engine, Job(network=spec, words=encoded(sentences)))
    engine.close()
    (alone,) = Engine(device="cpu").run([Job(network=spec, words=encoded(sentences[200:201]))])
    assert alone.values.tobytes() == whole.values[[200]].tobytes()


def test_a_stop_ends_the_drawing_of_vectors(engine):
    stop = Stop()
    stop.set()
    spec = NetworkSpec(symbol_count=RANDOM_WORD_SYMBOLS, hidden_size=2, seed=1, embedding_size=1000)
    job = Job(network=spec, words=encoded([range(2_000)]))
    assert isinstance(engine.run_one(job, stop), StoppedError)
    assert answered(engine, Job(network=spec, words=encoded([[3]]))).values.shape == (1, 1, 2)
