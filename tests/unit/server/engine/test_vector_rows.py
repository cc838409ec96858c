"""Input rows of vectors are computed once per symbol, with the same bits in any batch."""

import numpy as np
import pytest
import torch
from unrolled_server.engine import Alphabet, Cell, Engine, Job, NetworkSpec, WordVectors
from unrolled_server.engine.words import EncodedWords

COUNT, SIZE = 5_000, 300


class CountedRows(np.ndarray):
    """A table that records which rows are read."""

    read: list

    def __getitem__(self, key):
        if isinstance(key, np.ndarray):
            self.read.append(np.asarray(key))
        return np.asarray(self)[key] if isinstance(key, np.ndarray) else super().__getitem__(key)


@pytest.fixture
def table():
    rows = np.random.default_rng(0).standard_normal((COUNT, SIZE), np.float32).view(CountedRows)
    rows.read = []
    return WordVectors("digest", rows, np.ones(SIZE, np.float32))


def a_job(sentences, **changes):
    spec = NetworkSpec(
        symbol_count=WordVectors.symbol_count_of(COUNT),
        hidden_size=32,
        seed=1,
        embedding_size=SIZE,
        vectors="digest",
        **changes,
    )
    codes = np.concatenate([np.array(sentence, np.int32) for sentence in sentences])
    lengths = np.array([len(sentence) for sentence in sentences], np.int32)
    return Job(
        network=spec, words=EncodedWords([str(s) for s in sentences], "v", codes=codes, lengths=lengths)
    )


def test_only_used_words_are_read_and_each_once(table):
    engine = Engine(device="cpu", vectors=[table])
    for sentences in ([[7, 4_000, 7], [COUNT, 12]], [[12, 7, 13]]):
        (answer,) = engine.run([a_job(sentences)])
        assert not isinstance(answer, Exception), answer
    assert sorted(np.concatenate(table.rows.read).tolist()) == [7, 12, 13, 4_000]


@pytest.mark.parametrize("cell", Cell)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_bits_do_not_depend_on_the_other_words(table, cell, bidirectional):
    numbers = np.random.default_rng(2)
    sentences = [numbers.integers(0, COUNT + 2, length).tolist() for length in numbers.integers(1, 12, 300)]
    engine = Engine(device="cpu", vectors=[table])
    options = {"cell": cell, "bidirectional": bidirectional}
    (whole,) = engine.run([a_job(sentences, **options)])
    whole = whole.values.copy()
    for at in (0, 1, 150, 299):
        (alone,) = Engine(device="cpu", vectors=[table]).run([a_job([sentences[at]], **options)])
        assert alone.values.tobytes() == whole[[at], : len(sentences[at])].tobytes()


def test_rows_are_counted_and_freed(table):
    engine = Engine(device="cpu", state_memory_bytes=2 << 20, vectors=[table])
    numbers = np.random.default_rng(3)
    for _ in range(15):
        (answer,) = engine.run([a_job([numbers.integers(0, COUNT, 400).tolist()], cell=Cell.LSTM)])
        assert not isinstance(answer, Exception), answer
        assert engine.held_bytes <= 2 << 20


def test_an_embedding_of_letters_matches_torch():
    spec = NetworkSpec(symbol_count=3, hidden_size=8, seed=4, embedding_size=50)
    (answer,) = Engine(device="cpu").run([Job(network=spec, words=Alphabet.of("abc").encode(["abca"]))])
    torch.manual_seed(4)
    embedding, network = torch.nn.Embedding(3, 50), torch.nn.RNN(50, 8, batch_first=True)
    with torch.no_grad():
        expected = network(embedding(torch.tensor([[0, 1, 2, 0]])))[0]
    np.testing.assert_allclose(answer.values, expected.numpy(), atol=2e-6)
