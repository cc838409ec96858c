"""Networks of torch.nn by torch's names, over both clients and a real server."""

import asyncio
import re

import numpy as np
import pytest
import torch
from unrolled.v1 import forward_pb2 as pb
from unrolled_client import Client, InvalidRequestError, Network
from unrolled_client._messages.request import encode
from unrolled_client._messages.validation import check_request

WORDS = ["hello", "he", "world", "hello"]
ALPHABET = "helowrd"
WIRE_NAME = re.compile(r"(network|embedding)\.\w|[A-Z]+_[A-Z]+")
NETWORKS = [
    {"cell": "lstm"},
    {"cell": "lstm", "proj_size": 3, "num_layers": 2},
    {"cell": "gru", "num_layers": 3},
    {"nonlinearity": "relu", "bias": False},
    {"cell": "gru", "embedding_size": 4},
]


def torch_states(options, *, hidden_size, seed):
    """For each word alone: (outputs (seq, hidden), h_n (layers, hidden), c_n or None)."""
    modules = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
    options = dict(options)
    module, embedding_size = modules[options.pop("cell", "rnn")], options.pop("embedding_size", None)
    torch.manual_seed(seed)
    embedding = torch.nn.Embedding(len(ALPHABET), embedding_size) if embedding_size else None
    network = module(embedding_size or len(ALPHABET), hidden_size, batch_first=True, **options)
    states = []
    for word in WORDS:
        codes = torch.tensor([[ALPHABET.index(letter) for letter in word]])
        with torch.no_grad():
            outputs, final = network(
                torch.eye(len(ALPHABET))[codes] if embedding is None else embedding(codes)
            )
        h_n, c_n = final if isinstance(final, tuple) else (final, None)
        states.append((outputs[0].numpy(), h_n[:, 0].numpy(), None if c_n is None else c_n[:, 0].numpy()))
    return states


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("options", NETWORKS)
def test_results_are_torchs(make_client, server_address, options):
    """Outputs, h_n and c_n are what torch's module gives for each word alone."""
    expected = torch_states(options, hidden_size=5, seed=3)
    with make_client(server_address) as client:
        result = client.forward(
            WORDS, hidden_size=5, seed=3, alphabet=ALPHABET, return_final_state=True, **options
        )
    for place, (outputs, h_n, c_n) in enumerate(expected):
        np.testing.assert_allclose(result.outputs[place, : len(outputs)], outputs, atol=2e-6)
        assert not result.outputs[place, len(outputs) :].any()
        np.testing.assert_allclose(result.h_n[:, place], h_n, atol=2e-6)
        assert (result.c_n is None) == (c_n is None)
        if c_n is not None:
            np.testing.assert_allclose(result.c_n[:, place], c_n, atol=2e-6)
    assert len(result.state.network_digest) == 16


@pytest.mark.parametrize("output", ["last", "mean", "max"])
def test_pooled_outputs_are_one_vector_a_word(make_client, server_address, output):
    """They are (batch, hidden), made of the states that output="all" gives."""
    pools = {
        "last": lambda rows: rows[-1],
        "mean": lambda rows: rows.mean(0),
        "max": lambda rows: rows.max(0),
    }
    with make_client(server_address) as client:
        whole = client.forward(WORDS, hidden_size=6, cell="gru")
        result = client.forward(WORDS, hidden_size=6, cell="gru", output=output)
    assert result.outputs.shape == (4, 6)
    for row, states, length in zip(result.outputs, whole.outputs, whole.lengths, strict=True):
        np.testing.assert_allclose(row, pools[output](states[:length]), atol=1e-6)


def test_h_n_and_c_n_are_given_where_they_are_known(make_client, server_address):
    """One layer's outputs hold h_n; what was not sent is named with the option that asks for it."""
    with make_client(server_address) as client:
        result = client.forward(WORDS, hidden_size=3, cell="lstm")
        whole = client.forward(WORDS, hidden_size=3, cell="lstm", return_final_state=True)
        deep = client.forward(WORDS, hidden_size=3, num_layers=2)
    assert np.array_equal(result.h_n, whole.h_n)
    for read in (lambda: result.c_n, lambda: deep.h_n):
        with pytest.raises(ValueError, match="return_final_state=True"):
            read()
    assert deep.c_n is None


def test_map_takes_the_same_options(make_client, server_address):
    """Each batch of a map has the bits of its own call, pooled ones too."""
    options = {"hidden_size": 4, "alphabet": ALPHABET, "cell": "lstm", "output": "mean"}
    with make_client(server_address) as client:
        outcomes = list(client.map([WORDS, ["row"]], **options))
        for outcome, words in zip(outcomes, [WORDS, ["row"]], strict=True):
            alone = client.forward(words, **options)
            assert outcome.result.outputs.tobytes() == alone.outputs.tobytes()


def test_calls_of_different_networks_never_share_a_request(make_async_client, server_address):
    """Many callers at once: each gets its own network's states."""
    kinds = [{}, {"cell": "lstm"}, {"cell": "gru"}, {"num_layers": 2}, {"output": "max"}]

    async def ask_all():
        async with make_async_client(server_address) as client:
            calls = [client.forward(["hello"], hidden_size=3, **kind) for kind in kinds * 20]
            return await asyncio.gather(*calls)

    results = asyncio.run(ask_all())
    with Client(server_address) as client:
        for number, kind in enumerate(kinds):
            alone = client.forward(["hello"], hidden_size=3, **kind).outputs
            assert all(
                result.outputs.tobytes() == alone.tobytes() for result in results[number :: len(kinds)]
            )
    assert results[1].network == Network(cell="lstm")


def test_a_large_call_in_parts_is_torchs_network_too(make_client, server_address):
    """Thousands of words of an LSTM travel in parts and give the bits of each alone."""
    words = [f"{number:05d}" for number in range(5_000)]
    options = {"hidden_size": 7, "alphabet": "0123456789", "cell": "lstm", "proj_size": 2}
    with make_client(server_address) as client:
        whole = client.forward(words, **options)
        assert whole.outputs.shape == (5_000, 5, 2)
        for place in (0, 77, 4_999):
            alone = client.forward([words[place]], **options)
            assert whole.outputs[place].tobytes() == alone.outputs[0].tobytes()


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"cells": "lstm"}, TypeError, "no argument 'cells'; did you mean 'cell'"),
        ({"cell": "LSTM"}, InvalidRequestError, "cell is 'LSTM'; it must be one of rnn, lstm, gru"),
        ({"output": "sum"}, InvalidRequestError, "output is 'sum'"),
        ({"num_layers": 1.5}, TypeError, r"num_layers is 1\.5 \(float\); pass an int"),
        ({"num_layers": -1}, InvalidRequestError, "num_layers is -1"),
        ({"num_layers": 99}, InvalidRequestError, "num_layers is 99; this server allows 1 to 16"),
        (
            {"proj_size": 1},
            InvalidRequestError,
            '^proj_size is 1, which is for cell="lstm"; cell="rnn" has none',
        ),
        ({"cell": "gru", "nonlinearity": "relu"}, InvalidRequestError, "leave it out"),
        (
            {"cell": "lstm", "proj_size": 2},
            InvalidRequestError,
            "^proj_size is 2; it must be below hidden_size",
        ),
        ({"layout": "seq_first", "output": "last"}, InvalidRequestError, 'ask for output="all"'),
        ({"embedding_size": 0}, InvalidRequestError, "^embedding_size is 0; this server allows 1 to"),
        ({"spectral_radius": 1e9}, InvalidRequestError, r"^spectral_radius is 1e\+09; this server allows"),
        ({"vectors": "glove"}, InvalidRequestError, "^vectors is 'glove'; this server has none"),
        ({"initial_state": np.full((1, 1, 2), np.inf)}, InvalidRequestError, r"^initial_state\.h\[0, 0, 0\]"),
        ({"spectral_radius": 0}, InvalidRequestError, "spectral_radius is 0; it must be a number above 0"),
        ({"spectral_radius": float("nan")}, InvalidRequestError, "spectral_radius is nan"),
        ({"spectral_radius": float("inf")}, InvalidRequestError, "spectral_radius is inf"),
        ({"spectral_radius": "0.9"}, TypeError, r"spectral_radius is '0\.9' \(str\); pass a number"),
        ({"unknown_word": "zero"}, InvalidRequestError, "name their table with vectors="),
        ({"vectors": "glove", "unknown_word": "skip"}, InvalidRequestError, "one of error, zero, mean"),
        ({"vectors": 3}, TypeError, r"vectors is 3 \(int\)"),
        ({"vectors": ""}, InvalidRequestError, r"server_info\(\) lists"),
        ({"vectors": "glove", "embedding_size": 3}, InvalidRequestError, "leave one out"),
        ({"vectors": "glove", "word_embedding_size": 3}, InvalidRequestError, "leave one out"),
        ({"embedding_size": 3, "word_embedding_size": 3}, InvalidRequestError, "leave one out"),
        ({"vectors": "glove", "alphabet": "ab"}, InvalidRequestError, "leave the alphabet out"),
        ({"word_embedding_size": 3, "alphabet": "ab"}, InvalidRequestError, "^alphabet is 'ab' and word_emb"),
        ({"vectors": "glove", "unknown_symbol": "skip"}, InvalidRequestError, "leave unknown_symbol out"),
        ({"unknown_symbol": "mean"}, InvalidRequestError, "one of error, skip, zero"),
        ({"on_empty": "skip"}, InvalidRequestError, "on_empty is 'skip'; it must be one of error, zero"),
        ({"leak_rate": 0}, InvalidRequestError, "^leak_rate is 0; it must be a number above 0"),
        ({"input_scaling": float("inf")}, InvalidRequestError, "^input_scaling is inf"),
        ({"density": "0.1"}, TypeError, r"^density is '0\.1' \(str\); pass a number"),
    ],
)
def test_options_that_make_no_sense_are_refused(make_client, server_address, options, error, says):
    """By the SDK where Python can tell, by the server where torch would."""
    with make_client(server_address) as client, pytest.raises(error, match=says) as caught:
        client.forward(["ab"], hidden_size=2, **options)
    assert not WIRE_NAME.search(str(caught.value))


def test_a_plain_request_is_as_it_was():
    """Options at their defaults add no bytes to a request."""
    plain = {"hidden_size": 2, "seed": 0, "alphabet": None, "layout": "batch_first"}
    defaults = {"cell": "rnn", "nonlinearity": "tanh", "num_layers": 1, "bias": True, "output": "all"}
    defaults |= {"bidirectional": False, "spectral_radius": None, "vectors": None, "unknown_word": None}
    defaults |= {"leak_rate": 1, "input_scaling": 1.0, "density": 1.0, "word_embedding_size": None}
    defaults |= {"unknown_symbol": "error", "on_empty": "error", "truncate": False}
    spelled_out = encode(check_request(["ab"], **plain, options=defaults))
    assert spelled_out.data == encode(check_request(["ab"], **plain)).data
    assert not pb.ForwardRequest.FromString(spelled_out.data).HasField("network")


def test_every_option_reaches_the_wire():
    """Each has a field of its own in torch's words; vectors leave the alphabet empty."""
    options = {"cell": "lstm", "num_layers": 2, "bidirectional": True, "bias": False, "proj_size": 3}
    options |= {"spectral_radius": 0.9, "vectors": "glove", "unknown_word": "mean", "output": "max"}
    asked = {"hidden_size": 5, "seed": 1, "alphabet": None, "layout": "batch_first"}
    request = pb.ForwardRequest.FromString(encode(check_request(["a b"], **asked, options=options)).data)
    network = pb.Network(cell=pb.CELL_LSTM, bidirectional=True, num_layers=2, bias=False, proj_size=3)
    network.spectral_radius = 0.9
    assert request.network == network
    assert request.embedding == pb.Embedding(vectors="glove", unknown_word=pb.UNKNOWN_WORD_MEAN)
    assert (request.alphabet, request.output) == ("", pb.OUTPUT_MAX)

    options = {"leak_rate": 0.5, "input_scaling": 2, "density": 0.1, "embedding_size": 4}
    options |= {"unknown_symbol": "zero", "on_empty": "zero"}
    request = pb.ForwardRequest.FromString(encode(check_request(["a b"], **asked, options=options)).data)
    assert request.network == pb.Network(leak_rate=0.5, input_scaling=2, density=0.1)
    assert request.embedding == pb.Embedding(random_size=4)
    assert (request.unknown_symbol, request.allow_empty_words) == (pb.UNKNOWN_SYMBOL_ZERO, True)

    words = check_request(["a b"], **asked, options={"word_embedding_size": 3})
    request = pb.ForwardRequest.FromString(encode(words).data)
    assert request.embedding == pb.Embedding(random_word_size=3)


@pytest.mark.parametrize(
    ("options", "hidden", "h_shape", "c_shape"),
    [
        ({}, 5, (1, 7, 5), None),
        ({"bidirectional": True, "num_layers": 3}, 10, (6, 7, 5), None),
        ({"cell": "lstm", "proj_size": 2, "bidirectional": True}, 4, (2, 7, 2), (2, 7, 5)),
    ],
)
def test_shapes_are_torchs(options, hidden, h_shape, c_shape):
    """Both directions stand side by side in outputs, one after the other in last states."""
    asked = {"hidden_size": 5, "seed": 0, "alphabet": None, "layout": "batch_first"}
    request = check_request(["ab"], **asked, options=options)
    assert request.hidden == hidden
    assert request.network.directions == 1 + options.get("bidirectional", False)
    assert request.network.h_shape(5, batch=7) == h_shape
    assert request.network.c_shape(5, batch=7) == c_shape


def test_sentences_are_as_long_as_their_words():
    """With vectors, each whitespace-separated word is a symbol; without, each code point is."""
    asked = {"hidden_size": 5, "seed": 0, "alphabet": None, "layout": "batch_first"}
    sentences = ["the  cat\tsat", " a\u2003b\n", "don't, stop"]
    request = check_request(sentences, **asked, options={"vectors": "glove"})
    assert (request.words, request.lengths) == (sentences, [3, 2, 2])
    assert request.with_words(["a b c d"]).lengths == [4]
    assert check_request(sentences, **asked).lengths == [12, 5, 11]
