"""The rest of torch.nn's networks over both clients, a server and in process, against each word alone.

Both directions, echo-state networks, given initial states, word vectors, sessions and sweeps.
"""

import asyncio
import pickle

import numpy as np
import pytest
import torch
from unrolled_client import Client, InvalidRequestError
from unrolled_server.embedded import running_server
from unrolled_server.settings import Settings

WORDS = ["hello", "he", "world", "o", "hello"]
ALPHABET = "helowrd"
LETTER_COUNT = len(ALPHABET)
SENTENCES = ["the cat sat", "a cat", "the mat\tsat on  the cat", "mat", "the cat sat"]
TABLE_WORDS = ["the", "cat", "sat", "on", "a", "mat"]
NETWORKS = [
    {"bidirectional": True},
    {"bidirectional": True, "cell": "lstm", "num_layers": 2},
    {"bidirectional": True, "cell": "lstm", "proj_size": 3},
    {"bidirectional": True, "cell": "gru", "num_layers": 3, "bias": False, "embedding_size": 4},
    {"bidirectional": True, "nonlinearity": "relu", "num_layers": 2},
    {"spectral_radius": 0.9},
    {"spectral_radius": 0.5, "cell": "lstm", "bidirectional": True, "num_layers": 2},
]
ONE_WAY = [
    {},
    {"cell": "gru", "num_layers": 2},
    {"cell": "lstm", "num_layers": 2, "proj_size": 3},
    {"cell": "lstm", "embedding_size": 4, "spectral_radius": 0.8},
]
MODULES = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections")


@pytest.fixture(scope="module")
def table():
    """(words, size): a table of word vectors."""
    return np.random.default_rng(0).normal(size=(len(TABLE_WORDS), 6)).astype(np.float32)


@pytest.fixture(scope="module")
def vectors_address(table, tmp_path_factory, local_settings):
    """The address of a server that has the table, from a file in GloVe's format, by the name of tiny."""
    path = tmp_path_factory.mktemp("vectors") / "tiny.txt"
    rows = (" ".join([word, *map(str, row.tolist())]) for word, row in zip(TABLE_WORDS, table, strict=True))
    path.write_text("".join(f"{row}\n" for row in rows))
    with running_server(Settings(address="127.0.0.1:0", vectors={"tiny": path})) as server:
        local_settings[server.address] = {"vectors": {"tiny": path}}
        yield server.address


def drawn(options, *, hidden_size, seed, input_size=LETTER_COUNT):
    """What feeds and what runs a word: (codes -> inputs, torch's module)."""
    options = dict(options)
    module, radius = MODULES[options.pop("cell", "rnn")], options.pop("spectral_radius", None)
    embedding_size = options.pop("embedding_size", None)
    torch.manual_seed(seed)
    feed = (
        torch.nn.Embedding(input_size, embedding_size)
        if embedding_size
        else torch.eye(input_size).__getitem__
    )
    network = module(embedding_size or input_size, hidden_size, batch_first=True, **options)
    if radius is not None:
        scale(network, radius)
    return feed, network


def scale(network, radius):
    """Gives each recurrent matrix, of each gate, the spectral radius."""
    recurrent = [weights for name, weights in network.named_parameters() if name.startswith("weight_hh")]
    for gate in (gate for weights in recurrent for gate in weights.data.split(network.hidden_size)):
        largest = np.abs(np.linalg.eigvals(gate.double().numpy())).max()
        gate.mul_(torch.tensor(radius / largest).float())


def run(network, inputs, state=None):
    """One word's (outputs (seq, hidden), h_n (layers, hidden), c_n or None), from a state or from zeros."""
    with torch.no_grad():
        outputs, final = network(inputs[np.newaxis], state)
    h_n, c_n = final if isinstance(final, tuple) else (final, None)
    return outputs[0].numpy(), h_n[:, 0].numpy(), None if c_n is None else c_n[:, 0].numpy()


def codes(word):
    return torch.tensor([ALPHABET.index(letter) for letter in word])


def assert_torchs(result, expected):
    """Outputs, padding, h_n and c_n of each word are those expected of it alone."""
    for place, (outputs, h_n, c_n) in enumerate(expected):
        np.testing.assert_allclose(result.outputs[place, : len(outputs)], outputs, atol=2e-6)
        assert not result.outputs[place, len(outputs) :].any()
        np.testing.assert_allclose(result.h_n[:, place], h_n, atol=2e-6)
        assert (result.c_n is None) == (c_n is None)
        if c_n is not None:
            np.testing.assert_allclose(result.c_n[:, place], c_n, atol=2e-6)


def a_state(options, *, hidden_size, batch):
    """A random start for each word, as torch takes it: h, or (h, c)."""
    random = np.random.default_rng(1)
    layers, size = options.get("num_layers", 1), options.get("proj_size") or hidden_size
    layers *= 1 + options.get("bidirectional", False)
    h = random.normal(size=(layers, batch, size)).astype(np.float32)
    c = random.normal(size=(layers, batch, hidden_size)).astype(np.float32)
    return (h, c) if options.get("cell") == "lstm" else h


def of_word(state, place):
    """The part of a start that is one word's, as tensors."""
    if isinstance(state, tuple):
        return tuple(of_word(array, place) for array in state)
    return torch.from_numpy(state[:, place : place + 1].copy())


@pytest.mark.parametrize("options", NETWORKS)
def test_both_directions_and_scaled_matrices_are_torchs(make_client, server_address, options):
    """Outputs, h_n and c_n are what torch's module gives for each word alone."""
    feed, network = drawn(options, hidden_size=5, seed=3)
    with make_client(server_address) as client:
        result = client.forward(
            WORDS, hidden_size=5, seed=3, alphabet=ALPHABET, return_final_state=True, **options
        )
    assert_torchs(result, [run(network, feed(codes(word))) for word in WORDS])


@pytest.mark.parametrize("layout", ["batch_first", "seq_first"])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_h_n_of_both_directions_is_among_the_outputs_of_one_layer(make_client, server_address, layout, cell):
    """It is the forward direction's last states and the backward direction's first."""
    options = {"hidden_size": 3, "cell": cell, "bidirectional": True, "layout": layout}
    words = WORDS if layout == "batch_first" else ["hello", "world", "lower"]
    with make_client(server_address) as client:
        derived = client.forward(words, **options).h_n
        sent = client.forward(words, return_final_state=True, **options).h_n
    assert derived.shape[0] == 2
    assert np.array_equal(derived, sent)


@pytest.mark.parametrize("output", ["last", "mean", "max"])
def test_pooled_outputs_have_both_directions(make_client, server_address, output):
    """They are (batch, 2 * hidden_size), of all states; the last is at the word's end in both."""
    pools = {
        "last": lambda rows: rows[-1],
        "mean": lambda rows: rows.mean(0),
        "max": lambda rows: rows.max(0),
    }
    with make_client(server_address) as client:
        whole = client.forward(WORDS, hidden_size=6, cell="gru", bidirectional=True)
        result = client.forward(WORDS, hidden_size=6, cell="gru", bidirectional=True, output=output)
    assert result.outputs.shape == (5, 12)
    for row, states, length in zip(result.outputs, whole.outputs, whole.lengths, strict=True):
        np.testing.assert_allclose(row, pools[output](states[:length]), atol=1e-6)


@pytest.mark.parametrize("options", [*ONE_WAY, *NETWORKS])
def test_words_start_from_their_states(make_client, server_address, options):
    """Each word goes on from its own given state, as torch's module does."""
    feed, network = drawn(options, hidden_size=5, seed=3)
    start = a_state(options, hidden_size=5, batch=len(WORDS))
    with make_client(server_address) as client:
        result = client.forward(
            WORDS,
            hidden_size=5,
            seed=3,
            alphabet=ALPHABET,
            initial_state=start,
            return_final_state=True,
            **options,
        )
    expected = [run(network, feed(codes(word)), of_word(start, at)) for at, word in enumerate(WORDS)]
    assert_torchs(result, expected)


def test_along_the_words_each_letter_position_starts_from_a_state(make_client, server_address):
    """With seq_first torch's batch is the letter positions, of the state too."""
    words = ["hello", "world"]
    start = a_state({}, hidden_size=4, batch=5)
    torch.manual_seed(0)
    network = torch.nn.RNN(len(ALPHABET), 4)
    inputs = torch.stack([torch.eye(len(ALPHABET))[codes(word)] for word in words])
    with torch.no_grad():
        outputs, h_n = network(inputs, torch.from_numpy(start))
    with make_client(server_address) as client:
        options = {"hidden_size": 4, "alphabet": ALPHABET, "layout": "seq_first", "initial_state": start}
        result = client.forward(words, return_final_state=True, **options)
    np.testing.assert_allclose(result.outputs, outputs.numpy(), atol=2e-6)
    np.testing.assert_allclose(result.h_n, h_n.numpy(), atol=2e-6)


def test_a_state_of_another_network_is_refused(make_client, server_address):
    """A state says of which network it is, and a server starts no other from it."""
    options = {"hidden_size": 4, "alphabet": ALPHABET}
    with make_client(server_address) as client:
        state = client.forward(WORDS, return_final_state=True, **options).state
        client.forward(WORDS, initial_state=state, **options)
        with pytest.raises(InvalidRequestError, match="network"):
            client.forward(WORDS, initial_state=state, seed=1, **options)
        client.forward(WORDS, initial_state=state._replace(network_digest=""), seed=1, **options)


@pytest.mark.parametrize("options", ONE_WAY)
def test_a_text_in_pieces_has_the_bits_of_one_piece(make_client, server_address, options):
    """However the texts are cut, outputs and last states are bit for bit those of the whole texts."""
    texts = ["helloworld" * 3, "lowerheldr" * 3, "owl" * 10]
    cuts = [[0, 1, 4, 4 + 9, 30], [0, 7, 8, 20, 30], [0, 3, 11, 12, 30]]
    asked = {"hidden_size": 6, "seed": 2, "alphabet": ALPHABET, **options}
    with make_client(server_address) as client:
        whole = client.forward(texts, return_final_state=True, **asked)
        session, pieces = client.session(**asked), []
        assert session.state is None
        for at in range(4):
            piece = [text[cut[at] : cut[at + 1]] for text, cut in zip(texts, cuts, strict=True)]
            pieces.append(session.feed(piece))
    for place in range(len(texts)):
        rows = [piece.outputs[place, : piece.lengths[place]] for piece in pieces]
        assert np.concatenate(rows).tobytes() == whole.outputs[place].tobytes()
    for array, expected in zip(session.state[:2], whole.state[:2], strict=True):
        assert (array is None) == (expected is None)
        assert array is None or array.tobytes() == expected.tobytes()
    assert session.state.network_digest == whole.state.network_digest


def test_a_session_goes_on_elsewhere_from_its_pickled_state(make_client, server_address):
    """Nothing stays on a server or in a client: another client takes the state and gives the same bits."""
    asked = {"hidden_size": 6, "cell": "lstm", "alphabet": ALPHABET, "output": "last"}
    with make_client(server_address) as client:
        session = client.session(**asked)
        session.feed(["hell", "low"])
        kept = pickle.dumps(session.state)
    with make_client(server_address) as client:
        result = client.session(state=pickle.loads(kept), **asked).feed(["oworld", "er"])
        whole = client.forward(["helloworld", "lower"], **asked)
    assert result.outputs.tobytes() == whole.outputs.tobytes()


def test_a_sweep_gives_the_bits_of_single_calls(make_client, server_address):
    """One result a network, sizes outermost, each as a call of its own would give it."""
    asked = {"cell": "gru", "bidirectional": True, "output": "max"}
    sizes, seeds = [3, 8], [0, 5, -1, 7]
    with make_client(server_address) as client:
        results = list(client.sweep(WORDS, hidden_sizes=sizes, seeds=seeds, **asked))
        assert [(result.hidden_size, result.seed) for result in results] == [
            (size, seed) for size in sizes for seed in seeds
        ]
        for result in results:
            alone = client.forward(WORDS, hidden_size=result.hidden_size, seed=result.seed, **asked)
            assert result.outputs.tobytes() == alone.outputs.tobytes()
            assert result.alphabet == alone.alphabet


def test_large_networks_of_a_sweep_travel_in_parts_between_small_ones(
    make_client, server_address, in_small_parts
):
    """Words that a large network's parts have displaced on the stream are sent again."""
    words = [f"{number:03d}" for number in range(100)]
    with make_client(server_address) as client:
        results = list(client.sweep(words, hidden_sizes=[1, 9, 1], seeds=[0, 1], alphabet="0123456789"))
        for result in results:
            asked = {"hidden_size": result.hidden_size, "seed": result.seed, "alphabet": "0123456789"}
            assert result.outputs.tobytes() == client.forward(words, **asked).outputs.tobytes()


def test_a_sweeps_refusal_is_its_error(make_client, server_address):
    """Words that the server refuses end the sweep, named as in any call."""
    with make_client(server_address) as client, pytest.raises(InvalidRequestError, match=r"words\[1\]"):
        list(client.sweep(["he", "hex"], hidden_sizes=[2], seeds=[0, 1], alphabet="he"))


def vectors_of(sentence, table, *, unknown=None):
    """(words, size): a sentence's inputs."""
    index = {word: at for at, word in enumerate(TABLE_WORDS)}
    rows = [table[index[word]] if word in index else unknown for word in sentence.split()]
    return torch.from_numpy(np.stack(rows))


@pytest.mark.parametrize("options", [{}, {"cell": "lstm", "bidirectional": True, "num_layers": 2}])
def test_sentences_are_torchs_over_their_words_vectors(make_client, vectors_address, table, options):
    """Each word of a sentence is fed as its vector to the network of the seed; lengths count words."""
    _, network = drawn(options, hidden_size=5, seed=3, input_size=table.shape[1])
    with make_client(vectors_address) as client:
        result = client.forward(
            SENTENCES, hidden_size=5, seed=3, vectors="tiny", return_final_state=True, **options
        )
    assert (result.lengths.tolist(), result.alphabet) == ([3, 2, 6, 1, 3], "")
    assert_torchs(result, [run(network, vectors_of(sentence, table)) for sentence in SENTENCES])


@pytest.mark.parametrize("unknown_word", ["zero", "mean"])
def test_words_without_a_vector_get_what_was_asked(make_client, vectors_address, table, unknown_word):
    """The zero vector or the mean of all vectors."""
    unknown = {"zero": np.zeros_like(table[0]), "mean": table.mean(0)}[unknown_word]
    _, network = drawn({}, hidden_size=5, seed=0, input_size=table.shape[1])
    with make_client(vectors_address) as client:
        result = client.forward(
            ["the dog sat"],
            hidden_size=5,
            vectors="tiny",
            unknown_word=unknown_word,
            return_final_state=True,
        )
    assert_torchs(result, [run(network, vectors_of("the dog sat", table, unknown=unknown))])


def test_words_without_a_vector_are_refused_by_name(make_client, vectors_address):
    """So they are by default, in a call that others may share too."""
    with make_client(vectors_address) as client, pytest.raises(InvalidRequestError, match="dog") as caught:
        client.forward(["a cat", "the dog sat"], hidden_size=5, vectors="tiny")
    assert caught.value.violations[0].field == "words[1]"


def test_a_table_that_is_not_there_is_refused_with_those_that_are(make_client, vectors_address):
    """server_info lists the server's tables, and so does the error for an unknown table."""
    with make_client(vectors_address) as client:
        (told,) = client.server_info().vectors
        assert (told.name, told.word_count, told.size) == ("tiny", 6, 6)
        assert told.digest
        with pytest.raises(InvalidRequestError, match="tiny"):
            client.forward(["a cat"], hidden_size=5, vectors="large")


def test_sentences_go_through_every_kind_of_call(make_client, vectors_address):
    """`map`, `session` and `sweep` take vectors in place of an alphabet, with the bits of single calls."""
    asked = {"vectors": "tiny", "cell": "lstm"}
    with make_client(vectors_address) as client:
        whole = client.forward(SENTENCES, hidden_size=4, **asked)
        (outcome,) = client.map([SENTENCES], hidden_size=4, **asked)
        (swept,) = client.sweep(SENTENCES, hidden_sizes=[4], seeds=[0], **asked)
        session = client.session(hidden_size=4, **asked)
        pieces = [session.feed(piece) for piece in (["the cat"], ["sat"])]
    assert outcome.result.outputs.tobytes() == swept.outputs.tobytes() == whole.outputs.tobytes()
    in_pieces = np.concatenate([piece.outputs[0] for piece in pieces])
    assert in_pieces.tobytes() == whole.outputs[0, :3].tobytes()


@pytest.mark.parametrize(
    "options",
    [
        {"bidirectional": True, "cell": "gru"},
        {"bidirectional": True, "output": "mean", "return_final_state": True},
        {"cell": "lstm", "num_layers": 2, "return_final_state": True},
        {"spectral_radius": 0.9, "output": "last"},
    ],
)
@pytest.mark.parametrize("is_started", [False, True])
def test_every_network_travels_in_parts(make_client, server_address, in_small_parts, options, is_started):
    """Outputs, final states and given initial states find their places: the bits are those of a few words."""
    words = [f"{number:b}" for number in range(200)] + ["1"] * 20
    start = a_state(options, hidden_size=7, batch=len(words))
    asked = {"hidden_size": 7, "alphabet": "01", **options}
    places = [0, 3, 150, 219]
    few = tuple(array[:, places] for array in start) if isinstance(start, tuple) else start[:, places]
    with make_client(server_address) as client:
        large = client.forward(words, initial_state=start if is_started else None, **asked)
        small = client.forward(
            [words[place] for place in places], initial_state=few if is_started else None, **asked
        )
    seq = int(small.lengths.max())
    outputs = large.outputs[places] if large.network.is_pooled else large.outputs[places, :seq]
    assert outputs.tobytes() == small.outputs.tobytes()
    if large.network.return_final_state:
        assert large.h_n[:, places].tobytes() == small.h_n.tobytes()
        assert large.c_n is None or large.c_n[:, places].tobytes() == small.c_n.tobytes()


def test_sentences_travel_in_parts(vectors_address, in_small_parts):
    """Many sentences that share beginnings give the bits of each alone."""
    sentences = [f"{a} {b}  {c}" for a in TABLE_WORDS for b in TABLE_WORDS for c in TABLE_WORDS]
    with Client(vectors_address) as client:
        large = client.forward(sentences, hidden_size=20, vectors="tiny")
        alone = client.forward(sentences[77:78], hidden_size=20, vectors="tiny")
    assert large.outputs[77].tobytes() == alone.outputs[0].tobytes()


def test_callers_of_every_network_share_requests_and_keep_their_bits(make_async_client, server_address):
    """Hundreds of small calls of bidirectional, pooled and started networks each get their own answer."""
    kinds = [
        {"bidirectional": True},
        {"bidirectional": True, "output": "max"},
        {"spectral_radius": 0.9, "output": "mean"},
        {"initial_state": np.ones((1, 1, 3), np.float32)},
    ]
    words = ["hello", "he", "world"]

    async def ask_all():
        async with make_async_client(server_address) as client:
            calls = [
                client.forward([word], hidden_size=3, alphabet=ALPHABET, **kind)
                for kind in kinds * 20
                for word in words
            ]
            return await asyncio.gather(*calls)

    results = asyncio.run(ask_all())
    with Client(server_address) as client:
        alone = [
            client.forward([word], hidden_size=3, alphabet=ALPHABET, **kind).outputs.tobytes()
            for kind in kinds
            for word in words
        ]
    assert [result.outputs.tobytes() for result in results] == alone * 20
