"""Letters outside the alphabet, empty words and random word vectors, over both clients, a server and none."""

import numpy as np
import pytest
import torch
from unrolled_client import Client, InvalidRequestError

ZERO = {"unknown_symbol": "zero", "on_empty": "zero"}


@pytest.mark.parametrize("output", ["all", "last", "mean", "max"])
@pytest.mark.parametrize("kind", [{}, {"cell": "lstm", "bidirectional": True, "num_layers": 2}])
def test_words_without_symbols_give_zeros(make_client, server_address, kind, output):
    """Beside other words and alone; the other words have the bits that they have without them."""
    options = {"hidden_size": 4, "alphabet": "abc", "output": output, "return_final_state": True, **kind}
    with make_client(server_address) as client:
        expected = client.forward(["abc", "ca"], **options)
        found = client.forward(["", "abc", "ca", ""], on_empty="zero", **options)
        empty = client.forward(["", ""], on_empty="zero", **options)
    assert found.outputs[1:3].tobytes() == expected.outputs.tobytes()
    assert found.h_n[:, 1:3].tobytes() == expected.h_n.tobytes()
    assert found.lengths.tolist() == [0, 3, 2, 0]
    for zeros in (found.outputs[[0, 3]], found.h_n[:, [0, 3]], empty.outputs, empty.h_n):
        assert not zeros.any()
    assert empty.outputs.shape == (2, *(0,) * (output == "all"), found.outputs.shape[-1])


def test_empty_words_keep_the_initial_state(make_client, server_address):
    with make_client(server_address) as client:
        first = client.forward(["ab", "ba"], hidden_size=3, alphabet="ab", return_final_state=True)
        options = {"hidden_size": 3, "alphabet": "ab", "on_empty": "zero", "return_final_state": True}
        second = client.forward(["", "a"], initial_state=first.state, **options)
        whole = client.forward(["ab", "baa"], hidden_size=3, alphabet="ab", return_final_state=True)
    assert second.h_n.tobytes() == whole.h_n.tobytes()


def test_letters_outside_the_alphabet_are_steps_without_input(make_client, server_address):
    """Torch gives the same states for a row of zeros."""
    torch.manual_seed(5)
    network = torch.nn.RNN(3, 4, batch_first=True)
    with torch.no_grad():
        expected = network(torch.eye(4)[[[0, 3, 2, 3]], :3])[0].numpy()
    with make_client(server_address) as client:
        result = client.forward(["axc\u00e9"], hidden_size=4, seed=5, alphabet="abc", unknown_symbol="zero")
        with pytest.raises(InvalidRequestError, match='add it, or ask for unknown_symbol="skip" or "zero"'):
            client.forward(["axc"], hidden_size=4, alphabet="abc")
    np.testing.assert_allclose(result.outputs, expected, atol=1e-6)


def test_a_words_random_vector_depends_on_seed_and_word_only(make_client, server_address):
    options = {"hidden_size": 5, "seed": 9, "word_embedding_size": 20, "cell": "gru"}
    with make_client(server_address) as client:
        whole = client.forward(["the cat sat", "caf\u00e9 the", "", "the cat"], on_empty="zero", **options)
        alone = client.forward(["the cat"], **options)
        other = client.forward(["the cat"], **{**options, "seed": 10})
    assert whole.outputs[0, :2].tobytes() == whole.outputs[3, :2].tobytes() == alone.outputs[0].tobytes()
    assert not np.allclose(other.outputs, alone.outputs, atol=0.01)


def test_calls_in_process_have_the_servers_bits(server_address):
    calls = [
        (["xay", "", "ba"], {"alphabet": "ab", **ZERO}),
        (["", ""], {"on_empty": "zero", "output": "max"}),
        (["a b", " ", "c"], {"word_embedding_size": 7, "on_empty": "zero", "cell": "lstm"}),
    ]
    with Client(server_address) as remote, Client.local() as local:
        for words, options in calls:
            found, expected = (client.forward(words, hidden_size=6, **options) for client in (local, remote))
            assert found.outputs.tobytes() == expected.outputs.tobytes()
            assert found.lengths.tolist() == expected.lengths.tolist()
