"""Results of the SDK match torch to 1e-6, through a real server and in process."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

LESSON = ["hello", "eolll", "lleel"]
LISTING = [
    [[-0.7497, -0.6135], [-0.5282, -0.2473], [-0.9136, -0.4269], [-0.9136, -0.4269], [-0.9028, 0.1180]],
    [[-0.5753, -0.0070], [-0.9052, 0.2597], [-0.9173, -0.1989], [-0.9173, -0.1989], [-0.8996, -0.2725]],
    [[-0.9077, -0.3205], [-0.8944, -0.2902], [-0.5134, -0.0288], [-0.5134, -0.0288], [-0.9127, -0.2222]],
]

letters = st.characters(codec="utf-8")
words = st.lists(st.text(letters, min_size=1, max_size=40), min_size=1, max_size=64)
seeds = st.integers(min_value=-(2**63), max_value=2**63 - 1)


@pytest.fixture(scope="module")
def client(make_client, server_address):
    with make_client(server_address) as client:
        yield client


def torch_alone(batch, *, alphabet, hidden_size, seed):
    """Returns (length, hidden) arrays and h_n of each word by itself, from torch's own module."""
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(seed)
        network = torch.nn.RNN(len(alphabet), hidden_size, batch_first=True)
        one_hot = torch.eye(len(alphabet))
        runs = [
            network(one_hot[torch.tensor([[alphabet.index(letter) for letter in word]])]) for word in batch
        ]
    return [states[0].numpy() for states, _ in runs], [h_n[:, 0].numpy() for _, h_n in runs]


@given(
    batch=words, hidden_size=st.integers(1, 300), seed=seeds, extra=st.none() | st.text(letters, max_size=30)
)
def test_a_reply_matches_torch_for_each_word_alone(client, batch, hidden_size, seed, extra):
    derived = "".join(dict.fromkeys("".join(batch)))
    given_alphabet = None if extra is None else "".join(dict.fromkeys(extra + derived))
    result = client.forward(batch, hidden_size=hidden_size, seed=seed, alphabet=given_alphabet)
    alphabet = given_alphabet or derived
    states, h_n = torch_alone(batch, alphabet=alphabet, hidden_size=hidden_size, seed=seed)

    assert result.alphabet == alphabet
    assert result.outputs.shape == (len(batch), max(map(len, batch)), hidden_size)
    assert result.lengths.tolist() == [len(word) for word in batch]
    np.testing.assert_allclose(result.h_n, np.stack(h_n, axis=1), rtol=0, atol=1e-6)
    for row, expected in zip(result.outputs, states, strict=True):
        np.testing.assert_allclose(row[: len(expected)], expected, rtol=0, atol=1e-6)
        assert not row[len(expected) :].any()


@given(seed=seeds, hidden_size=st.integers(1, 64), length=st.integers(1, 8), count=st.integers(1, 8))
def test_seq_first_is_torchs_default_layout_on_the_same_array(client, seed, hidden_size, length, count):
    batch = ["abcdefgh"[at % 3 :][:length].ljust(length, "z") for at in range(count)]
    result = client.forward(batch, hidden_size=hidden_size, seed=seed, layout="seq_first")
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(seed)
        network = torch.nn.RNN(len(result.alphabet), hidden_size)
        codes = [[result.alphabet.index(letter) for letter in word] for word in batch]
        outputs, h_n = network(torch.eye(len(result.alphabet))[torch.tensor(codes)])
    np.testing.assert_allclose(result.outputs, outputs, rtol=0, atol=1e-6)
    np.testing.assert_allclose(result.h_n, h_n, rtol=0, atol=1e-6)


def test_the_lessons_listing_is_reproduced_to_its_last_digit(client):
    result = client.forward(LESSON, hidden_size=2, seed=0, layout="seq_first")
    assert result.outputs.round(4).tolist() == np.float32(LISTING).tolist()


def test_the_same_call_gives_the_same_bytes(client):
    first, second = (client.forward(LESSON, hidden_size=37, seed=5).outputs for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_seeds_with_equal_low_32_bits_are_equal_as_in_torch(client):
    small, large = (client.forward(LESSON, hidden_size=3, seed=seed).outputs for seed in (7, 7 + 2**32))
    assert small.tobytes() == large.tobytes()
