"""Sweeps: the words travel once a stream, whatever becomes of the stream and its requests."""

import itertools
import threading

import grpc
import numpy as np
import pytest
from unrolled.v1 import forward_pb2 as pb
from unrolled_client import Client, InvalidRequestError, OverloadedError, UnsupportedError
from unrolled_server.embedded import running_server
from unrolled_server.settings import Settings

from tests.support.refusals import refusal

WORDS = ["hello", "eolll", "he"]
NETWORKS = list(itertools.product([2, 5], [0, 1, 7]))


class Reading:
    """Reads requests as the contract says: same_words stands for the stream's latest words before it."""

    def __init__(self):
        self.seen = []
        self.words, self.alphabet = [], ""

    def __call__(self, data):
        """The bytes of the same request with words of its own."""
        request = pb.ForwardRequest.FromString(data)
        self.seen.append(request)
        if request.same_words:
            assert not request.words
            assert not request.alphabet
            assert self.words
        else:
            self.words, self.alphabet = list(request.words), request.alphabet
        whole = pb.ForwardRequest.FromString(data)
        whole.words[:], whole.alphabet = self.words, self.alphabet
        return whole.SerializeToString()


def swept(client, words=WORDS, **changes):
    """A sweep over NETWORKS, but for the changes."""
    return client.sweep(words, **({"hidden_sizes": [2, 5], "seeds": [0, 1, 7]} | changes))


def networks(results):
    """Which networks results are of."""
    return [(result.hidden_size, result.seed) for result in results]


def has_words(requests):
    """Which of them carry words."""
    return [bool(request.words) for request in requests]


def test_the_words_travel_once(make_client, serve_stream, reply_to):
    """The first request has words and the alphabet of them all, the others neither; results are in order."""
    reading = Reading()
    target = serve_stream(lambda requests, _context: (reply_to(reading(data)) for data in requests))
    with make_client(target) as client:
        results = list(swept(client))
    assert has_words(reading.seen) == [True] + [False] * 5
    assert [request.same_words for request in reading.seen] == [False] + [True] * 5
    assert reading.seen[0].alphabet == "helo"
    assert networks(results) == NETWORKS
    for result in results:
        assert result.outputs.shape == (3, 5, result.hidden_size)
        assert (result.alphabet, result.lengths.tolist()) == ("helo", [5, 5, 2])
        assert f"hidden_size={result.hidden_size}, seed={result.seed}" in repr(result)


def test_replies_in_any_order_are_handed_out_in_order(serve_stream, reply_to):
    """A server that answers the second network first, and so on, changes nothing."""
    reading = Reading()

    def answer(requests, _context):
        for _ in range(len(NETWORKS) // 2):
            held = [reading(next(requests)), reading(next(requests))]
            yield from map(reply_to, reversed(held))

    with Client(serve_stream(answer)) as client:
        assert networks(swept(client)) == NETWORKS


def test_a_broken_stream_gets_the_words_again(make_client, serve_stream, reply_to):
    """The first request on each stream carries them, also where that is another network's."""
    streams = []
    breaks_after = iter([2, 1, 100])

    def answer(requests, context):
        reading = Reading()
        streams.append(reading.seen)
        last = next(breaks_after)
        for count, data in enumerate(requests):
            if count == last:
                context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
            yield reply_to(reading(data))

    with make_client(serve_stream(answer)) as client:
        assert networks(swept(client)) == NETWORKS
    assert len(streams) == 3
    assert all(has_words(seen) == [True] + [False] * (len(seen) - 1) for seen in streams)


def test_a_server_without_memory_for_words_gets_them_with_each_request(make_client):
    """The real server keeps words within a quarter of what may be in flight; larger sweeps are answered."""
    words = [f"{number:x}" * 40 for number in range(3_000)]
    assert sum(map(len, words)) > (1 << 20) // 4
    settings = Settings(address="127.0.0.1:0", max_inflight_mb=1)
    networks = {"hidden_sizes": [2], "seeds": range(5), "alphabet": "0123456789abcdef", "output": "last"}
    with running_server(settings) as server, make_client(server.address) as client:
        results = list(client.sweep(words, **networks))
        assert server.admission.shared_words_bytes == 0
    assert [result.seed for result in results] == list(range(5))
    assert len({result.outputs.tobytes() for result in results}) == 5


def test_a_request_that_is_put_off_needs_no_words_of_its_own(serve_stream, reply_to):
    """The stream has its words already, though it was not answered; those after it are."""
    reading = Reading()

    def answer(requests, _context):
        for count, data in enumerate(requests):
            whole = reading(data)
            if count == 0:
                yield refusal(data, code=grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_s=0.01)
            else:
                yield reply_to(whole)

    with Client(serve_stream(answer)) as client:
        assert networks(swept(client)) == NETWORKS
    assert has_words(reading.seen) == [True] + [False] * 6


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequestError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, OverloadedError),
        (grpc.StatusCode.UNIMPLEMENTED, UnsupportedError),
    ],
)
def test_a_refused_network_ends_the_sweep(make_client, serve_stream, code, error):
    """The first refusal is the sweep's error, and the others are dropped."""

    def answer(requests, _context):
        yield from (refusal(data, code=code) for data in requests)

    with make_client(serve_stream(answer)) as client, pytest.raises(error, match="not for me"):
        list(swept(client))


def test_results_before_a_refusal_are_handed_out(serve_stream, reply_to):
    """What is in order before the network that fails arrives."""
    reading = Reading()

    def answer(requests, _context):
        for data in requests:
            whole = reading(data)
            is_bad = reading.seen[-1].seed == 7
            yield refusal(data, code=grpc.StatusCode.INVALID_ARGUMENT) if is_bad else reply_to(whole)

    with Client(serve_stream(answer)) as client:
        results = swept(client)
        assert [next(results).seed, next(results).seed] == [0, 1]
        with pytest.raises(InvalidRequestError):
            next(results)
        assert list(results) == []


def test_networks_are_asked_for_as_results_are(serve_stream, reply_to):
    """No more than max_in_flight are on their way, and closing the generator ends the stream."""
    reading, ended = Reading(), threading.Event()

    def answer(requests, context):
        context.add_callback(ended.set)
        yield from (reply_to(reading(data)) for data in requests)

    with Client(serve_stream(answer)) as client:
        results = swept(client, seeds=range(1_000), max_in_flight=3)
        assert not reading.seen
        for handed_out in range(5):
            next(results)
            assert len(reading.seen) <= handed_out + 3
        results.close()
        assert ended.wait(timeout=120)


def test_a_network_in_parts_displaces_the_words(serve_stream, reply_to, in_small_parts):
    """Parts carry words of their own, so the next network's request has them all again."""
    reading = Reading()
    words = [f"{number:03d}" for number in range(50)]

    def answer(requests, _context):
        yield from (reply_to(reading(data)) for data in requests)

    with Client(serve_stream(answer)) as client:
        results = list(client.sweep(words, hidden_sizes=[1, 20, 1], seeds=[0, 1]))
    asked = [(request.hidden_size, bool(request.words)) for request in reading.seen]
    assert asked[:2] == asked[-2:] == [(1, True), (1, False)]
    assert len(asked) > 6
    assert all(has_its_own for _, has_its_own in asked[2:-2])
    for result in results:
        assert np.array_equal(result.outputs[..., 0], results[0].outputs[..., 0])


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"seeds": []}, InvalidRequestError, "seeds is empty; name at least one"),
        ({"hidden_sizes": iter(())}, InvalidRequestError, "hidden_sizes is empty"),
        ({"seeds": 5}, TypeError, r"seeds is one int; pass a list of ints, such as \[5\]"),
        ({"seeds": [0, 2**64]}, InvalidRequestError, r"seeds\[1\] is 18446744073709551616; it must be from"),
        ({"hidden_sizes": [2, 2.5]}, TypeError, r"hidden_sizes\[1\] is 2\.5 \(float\)"),
        ({"hidden_sizes": "16"}, TypeError, r"hidden_sizes is one str; pass a list of ints"),
        ({"seeds": {1, 2}}, TypeError, r"seeds is of type set.*sorted\(seeds\)"),
        ({"seeds": np.int64(5)}, TypeError, r"seeds is .*5.* \(int64\); pass a list of ints"),
        ({"words": {"a", "b"}}, TypeError, r"words is of type set"),
        ({"max_in_flight": 0}, InvalidRequestError, "max_in_flight is 0"),
        ({"timeout_s": -1}, InvalidRequestError, "timeout_s is -1"),
        ({"words": "hello"}, TypeError, "pass a list of words"),
        ({"words": ["a", "\ud800"]}, InvalidRequestError, r"words\[1\].*lone surrogate"),
        ({"cells": "lstm"}, TypeError, r"sweep\(\) has no argument 'cells'; did you mean 'cell'"),
        ({"vectors": "glove", "alphabet": "helo"}, InvalidRequestError, "leave the alphabet out"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_sent(make_client, changes, error, says):
    """What cannot work is found without a server."""
    with make_client("127.0.0.1:1") as client, pytest.raises(error, match=says):
        list(swept(client, **changes))
