"""The client against a real server and in process, and against servers that misbehave."""

import math
import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import numpy as np
import pytest
import torch
from unrolled_client import (
    ClosedError,
    DeadlineError,
    InvalidRequestError,
    OverloadedError,
    ProtocolError,
    UnavailableError,
)

LESSON = ["hello", "eolll", "lleel"]


@pytest.fixture
def client(make_client, server_address):
    """A client of the suite's server."""
    with make_client(server_address) as client:
        yield client


@pytest.fixture
def waiting(serve):
    """A server that answers only when told to: its address, `entered` and `release`."""
    entered, release = threading.Event(), threading.Event()

    def answer(_data, _context):
        entered.set()
        release.wait()
        return b""

    yield serve(answer), entered, release
    release.set()


@pytest.fixture
def free_port():
    """A local port without a listener."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]


def local_states(words, *, alphabet, hidden_size, seed):
    """What torch gives for each word alone."""
    torch.manual_seed(seed)
    network = torch.nn.RNN(len(alphabet), hidden_size, batch_first=True)
    for word in words:
        codes = torch.tensor([alphabet.index(symbol) for symbol in word])
        with torch.no_grad():
            yield network(torch.nn.functional.one_hot(codes, len(alphabet)).float())[0].numpy()


def test_the_lesson(client):
    """The README's first call gives the lesson's first word, to its last digit."""
    result = client.forward(LESSON, hidden_size=2, seed=0)
    expected = [
        [-0.7497, -0.6135],
        [-0.5753, -0.0070],
        [-0.9077, -0.3205],
        [-0.9141, -0.2142],
        [-0.8996, 0.3307],
    ]
    assert result.outputs.round(4).tolist()[0] == np.float32(expected).tolist()
    assert (result.alphabet, result.lengths.tolist()) == ("helo", [5, 5, 5])
    assert result.fingerprint == client.server_info().fingerprint


def test_words_of_any_length_are_torchs(client):
    """Each word has torch's states, zeros from its end on, and h_n at its end."""
    words = ["a", "kitten", "한글", "e\u0301😀"]
    result = client.forward(words, hidden_size=7, seed=-3, alphabet="😀\u0301aeikntz한글")
    expected = local_states(words, alphabet=result.alphabet, hidden_size=7, seed=-3)
    for outputs, h_n, states in zip(result.outputs, result.h_n[0], expected, strict=True):
        np.testing.assert_allclose(outputs[: len(states)], states, atol=1e-6)
        assert not outputs[len(states) :].any()
        assert np.array_equal(h_n, outputs[len(states) - 1])


def test_seq_first_runs_along_the_words(client):
    """The other layout reaches the server: the first word's states depend on no letter before."""
    result = client.forward(LESSON, hidden_size=2, layout="seq_first")
    np.testing.assert_allclose(result.outputs[0, 1], [-0.5282, -0.2473], atol=1e-4)
    assert result.h_n.shape == (1, 5, 2)


def test_large_replies_need_no_setting(client):
    """A reply of 20 MB, beyond gRPC's usual 4 MiB, arrives."""
    result = client.forward(["abcde" * 20] * 500, hidden_size=100)
    assert result.outputs.nbytes == 20_000_000


def test_the_servers_refusal_names_the_fields(client):
    """A bad request comes back as an exception with a violation for each field."""
    with pytest.raises(InvalidRequestError, match="hidden_size is 0") as caught:
        client.forward(["ok", ""], hidden_size=0)
    assert [violation.field for violation in caught.value.violations] == ["hidden_size", "words[1]"]
    assert not caught.value.is_retryable


def test_a_request_beyond_the_servers_limit_is_refused(client):
    """A message larger than max_request_bytes is an error that no retry helps."""
    with pytest.raises(OverloadedError, match="larger than max") as caught:
        client.forward(["x" * 1000] * 34_000, hidden_size=1, layout="seq_first")  # never split
    assert not caught.value.is_retryable


def test_server_info_tells_the_limits(client):
    """The server's own settings and versions arrive."""
    info = client.server_info()
    assert info.limits.max_words == 65_536
    assert info.torch_version == version("torch")


def test_threads_share_a_client(client):
    """Eight threads get each its own answer."""

    def call(seed):
        return client.forward(LESSON, hidden_size=3, seed=seed).outputs

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(call, range(64)))
    for seed, outputs in enumerate(together):
        assert np.array_equal(outputs, call(seed))


def test_a_late_answer_is_a_deadline_error(make_client, waiting):
    """A server that takes longer than timeout_s fails the call, and the message names it."""
    target, _, _ = waiting
    with make_client(target, timeout_s=0.2) as client, pytest.raises(DeadlineError, match=target) as caught:
        client.server_info()
    assert caught.value.is_retryable


def test_a_calls_timeout_wins(make_client, waiting):
    """A call's own timeout_s replaces the client's."""
    target, _, _ = waiting
    with make_client(target, timeout_s=math.inf) as client, pytest.raises(DeadlineError):
        client.forward(["a"], hidden_size=1, timeout_s=0.2)


def test_an_absent_server_is_named(make_client, free_port):
    """Without a listener, the error names the target and says that a retry may help."""
    target = f"127.0.0.1:{free_port}"
    with make_client(target) as client, pytest.raises(UnavailableError, match=target) as caught:
        client.server_info()
    assert caught.value.is_retryable


def test_a_wrong_reply_is_no_result(make_client, serve):
    """A server that answers something else is a ProtocolError, not an array."""
    with make_client(serve(lambda _data, _context: b"")) as client, pytest.raises(ProtocolError):
        client.forward(["a"], hidden_size=1)


def test_a_closed_client_says_so(make_client, server_address):
    """After close every call raises ClosedError; a second close does nothing."""
    with make_client(server_address) as client:
        client.server_info()
    client.close()
    with pytest.raises(ClosedError, match=f"client (of {server_address} )?is closed"):
        client.forward(["a"], hidden_size=1)
    assert re.search(rf"Client(\('{server_address}', |\.local\()closed\)$", repr(client))


def test_close_ends_calls_that_wait(make_client, waiting):
    """A call in another thread ends with ClosedError when the client is closed."""
    target, entered, _ = waiting
    with make_client(target) as client, ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.server_info)
        assert entered.wait(timeout=120)
        client.close()
        with pytest.raises(ClosedError):
            call.result()


def test_a_wrong_argument_is_found_without_a_server(make_client, free_port):
    """A bare str, the classic slip, fails before anything is sent."""
    with make_client(f"127.0.0.1:{free_port}") as client, pytest.raises(TypeError, match="pass a list"):
        client.forward("hello", hidden_size=2)
