"""A client of a server and one in process with the same settings: equal bits, equal refusals."""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unrolled_client import AsyncClient, Client, UnrolledError
from unrolled_server.embedded import running_server
from unrolled_server.settings import Settings

from tests.support.client_fixtures import BlockingAsyncClient

LIMITS = {"max_words": 9, "max_word_length": 12, "max_hidden_size": 40}
WORDS = st.text("abc", min_size=1, max_size=8) | st.sampled_from(["ab", "ab cat", "the cat", "cat  the\tcat"])
BAD_WORDS = st.sampled_from(["", " ", "a" * 13, "d", "dog"])
OPTIONS = st.fixed_dictionaries(
    {
        "cell": st.sampled_from(["rnn", "lstm", "gru"]),
        "num_layers": st.integers(1, 3),
        "bidirectional": st.booleans(),
        "bias": st.booleans(),
        "spectral_radius": st.sampled_from([None, 0.9]),
        "output": st.sampled_from(["all", "all", "last", "mean", "max"]),
        "return_final_state": st.booleans(),
    }
)
LETTERS = st.fixed_dictionaries(
    {"alphabet": st.sampled_from(["abc the\t", "cab teh\t"]), "embedding_size": st.sampled_from([None, 4])}
)
SENTENCES = st.fixed_dictionaries(
    {"vectors": st.just("tiny"), "unknown_word": st.sampled_from(["zero", "mean"])}
)
# Changes of a call, the most of which are wrong for most calls.
CHANGES = st.sampled_from(
    [
        {"nonlinearity": "relu"},
        {"proj_size": 2},
        {"layout": "seq_first"},
        {"alphabet": None},
        {"alphabet": "ab"},
        {"vectors": "large"},
        {"unknown_word": "error"},
        {"num_layers": 17},
        {"embedding_size": 0},
        {"spectral_radius": 1e9},
        {"hidden_size": 41},
        {"hidden_size": 0},
    ]
)


@st.composite
def calls(draw):
    """A method and its arguments, most of which a server accepts.

    No call travels in parts, whose sizes differ in process, and of whose refusals the first counts.
    """
    words = draw(st.lists(WORDS, min_size=1, max_size=7))
    options = draw(OPTIONS) | draw(LETTERS | SENTENCES) | {"hidden_size": draw(st.integers(1, 40))}
    if draw(st.integers(0, 2)) == 0:
        options |= draw(CHANGES)
        words += draw(st.lists(BAD_WORDS, max_size=2))
    method = draw(st.sampled_from(["forward", "forward", "map", "sweep"]))
    if method == "sweep":
        sizes = [options.pop("hidden_size"), 3]
        return method, words, {"hidden_sizes": sizes, "seeds": [0, 1], **options}
    if method == "map":
        return method, [words, words[:1], words], {"on_error": "return", **options}
    if draw(st.booleans()):
        layers, size = options["num_layers"] * (1 + options["bidirectional"]), options["hidden_size"]
        h = np.full((layers, len(words), options.get("proj_size", size)), 0.25, np.float32)
        c = np.full((layers, len(words), size), -2.5, np.float32)
        options["initial_state"] = (h, c) if options["cell"] == "lstm" else h
    return method, words, options


@pytest.fixture(scope="module")
def clients(tmp_path_factory):
    """Both clients of a server and both in process."""
    table = tmp_path_factory.mktemp("vectors") / "tiny.txt"
    table.write_text("the 0.5 0.25\ncat -0.5 1\nab 2 -1\n")
    settings = {"vectors": {"tiny": table}, **LIMITS}
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(running_server(Settings(address="127.0.0.1:0", **settings)))
        made = [
            Client(server.address),
            BlockingAsyncClient(server.address),
            Client.local(**settings),
            BlockingAsyncClient(make=AsyncClient.local, **settings),
        ]
        yield [stack.enter_context(client) for client in made]


def bits(array):
    return None if array is None else (array.dtype, array.shape, array.tobytes())


def described_error(error):
    return type(error), str(error), error.code, error.violations, error.is_retryable


def described(result):
    """What a caller can read from a result, except its timing."""
    state = result.state or (None, None, None)
    meta = (result.alphabet, result.seed, result.layout, result.fingerprint, result.network)
    return bits(result.outputs), bits(result.lengths), *map(bits, state[:2]), state[2], meta


def answer(client, call):
    """What the client's method gives or raises."""
    method, words, arguments = call
    try:
        given = getattr(client, method)(words, **arguments)
        if method == "forward":
            return described(given)
        if method == "sweep":
            return [described(result) for result in given]
        return [described_error(one.error) if one.error else described(one.result) for one in given]
    except UnrolledError as error:
        return described_error(error)


@given(calls())
def test_a_call_gives_the_same_bits_or_the_same_refusal(clients, call):
    expected, *others = (answer(client, call) for client in clients)
    assert all(other == expected for other in others)


def test_server_infos_are_equal(clients):
    infos = [client.server_info() for client in clients]
    assert infos == infos[:1] * 4
    assert infos[0].limits.max_words == 9
