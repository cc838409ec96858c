"""Channel options, retries and deadlines."""

import math
from itertools import count

import grpc
import numpy as np
import pytest
from unrolled.v1 import forward_pb2 as pb
from unrolled_client import Client, InvalidRequestError, UnavailableError, UnsupportedError
from unrolled_client._messages.arguments import resolve_timeout_s
from unrolled_client._transport.endpoint import channel_options


def failing(times):
    """An answer that is UNAVAILABLE a number of times and then right; and the calls it has counted."""
    calls = count(1)

    def answer(_data, context):
        if next(calls) <= times:
            context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")
        return pb.GetServerInfoReply(version="1").SerializeToString()

    return answer, calls


def test_a_users_options_override_ours():
    """An option that the user names replaces ours; the others stay."""
    name = "grpc.max_receive_message_length"
    ours = dict(channel_options(()))
    theirs = dict(channel_options([(name, 7), ("grpc.primary_user_agent", "me")]))
    assert ours[name] == -1
    assert theirs == {**ours, name: 7, "grpc.primary_user_agent": "me"}


def test_a_server_that_comes_back_is_tried_again(serve):
    """Two failures with UNAVAILABLE are retried within the call."""
    answer, _ = failing(2)
    with Client(serve(answer)) as client:
        assert client.server_info().version == "1"


def test_large_requests_are_retried_too(serve):
    """A request far beyond gRPC's usual retry buffer of 256 KiB is kept for another attempt."""
    sizes = []

    def answer(data, context):
        sizes.append(len(data))
        code = grpc.StatusCode.UNAVAILABLE if len(sizes) == 1 else grpc.StatusCode.UNIMPLEMENTED
        context.abort(code, "not now")

    with Client(serve(answer)) as client, pytest.raises(UnsupportedError):
        client.forward(["x" * 1000] * 2000, hidden_size=1, layout="seq_first")  # never split
    assert len(sizes) == 2
    assert sizes[0] == sizes[1] > 2_000_000


def test_retries_end(serve):
    """A server that stays away fails the call after five attempts."""
    answer, calls = failing(100)
    with Client(serve(answer)) as client, pytest.raises(UnavailableError, match="restarting"):
        client.server_info()
    assert next(calls) == 6


@pytest.mark.parametrize(
    ("timeout_s", "resolved"),
    [(None, 30.0), (math.inf, None), (0.5, 0.5), (2, 2), (np.float32(2), 2), (1e9, 1e9), (1e10, None)],
)
def test_a_call_has_its_own_deadline_or_the_clients(timeout_s, resolved):
    """None, which is the default, means the client's; infinity means no end, and so do centuries."""
    assert resolve_timeout_s(timeout_s, default_s=30.0) == resolved


@pytest.mark.parametrize("timeout_s", [0, -1.0, math.nan])
def test_a_deadline_in_the_past_is_refused(timeout_s):
    """A timeout that is not above 0 is an error of the caller."""
    with pytest.raises(InvalidRequestError, match="timeout_s is"):
        Client(timeout_s=timeout_s)


@pytest.mark.parametrize("timeout_s", ["5", True, b"5", [5]])
def test_a_deadline_that_is_no_number_is_refused(make_client, timeout_s):
    """Text and bools are named, by the client and by each call."""
    says = r"timeout_s is .* \((str|bool|bytes|list)\); pass a number"
    with pytest.raises(TypeError, match=says):
        make_client("127.0.0.1:1", timeout_s=timeout_s)
    with make_client("127.0.0.1:1") as client:
        for call in (
            lambda: client.forward(["a"], hidden_size=2, timeout_s=timeout_s),
            lambda: next(client.map([["a"]], hidden_size=2, alphabet="a", timeout_s=timeout_s)),
            lambda: next(client.sweep(["a"], hidden_sizes=[2], seeds=[0], timeout_s=timeout_s)),
            lambda: client.session(hidden_size=2, alphabet="a", timeout_s=timeout_s).feed(["a"]),
            lambda: client.server_info(timeout_s=timeout_s),
        ):
            with pytest.raises(TypeError, match=says):
                call()


def test_a_client_whose_timeout_is_none_has_the_default():
    """None is the default everywhere; infinity waits without end."""
    with Client("127.0.0.1:1", timeout_s=None) as client, Client("127.0.0.1:1") as plain:
        assert client._timeout_s == plain._timeout_s == 30.0
