"""Word vectors and embeddings give the same bits in any batch, and their memory is counted."""

import numpy as np
import pytest
import torch
from unrolled_server.engine import Alphabet, Cell, Engine, Job, NetworkSpec, WordVectors
from unrolled_server.engine.words import EncodedWords

COUNT, SIZE = 5_000, 300


@pytest.fixture
def table():
    rows = np.random.default_rng(0).standard_normal((COUNT, SIZE), np.float32)
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
    return Job(network=spec, words=EncodedWords.of(codes, lengths))


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


def test_words_without_vectors_read_zeros_or_the_mean(table):
    engine = Engine(device="cpu", vectors=[table])
    rows = np.concatenate([table.rows, np.zeros((1, SIZE), np.float32), table.mean[np.newaxis]])
    torch.manual_seed(1)
    network = torch.nn.RNN(SIZE, 32, batch_first=True)
    for symbol in (0, COUNT - 1, COUNT, COUNT + 1):
        (answer,) = engine.run([a_job([[symbol]])])
        with torch.no_grad():
            expected = network(torch.from_numpy(rows[[[symbol]]]))[0].numpy()
        np.testing.assert_allclose(answer.values, expected, rtol=0, atol=2e-6)


def test_read_only_vectors_may_be_used_in_place(table, tmp_path):
    np.save(tmp_path / "rows.npy", table.rows)
    mapped = WordVectors("digest", np.load(tmp_path / "rows.npy", mmap_mode="r"), table.mean)
    (expected,) = Engine(device="cpu", vectors=[table]).run([a_job([[3, 4_999]])])
    (answer,) = Engine(device="cpu", vectors=[mapped]).run([a_job([[3, 4_999]])])
    assert answer.values.tobytes() == expected.values.tobytes()
