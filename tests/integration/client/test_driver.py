"""The loop that sends again, against servers that break, refuse, stall and mix things up."""

import threading

import grpc
import numpy as np
import psutil
import pytest
from unrolled.v1 import forward_pb2 as pb
from unrolled_client import (
    Client,
    ClosedError,
    DeadlineError,
    InvalidRequestError,
    OverloadedError,
    ProtocolError,
    UnavailableError,
)
from unrolled_client._streaming import parts, sizing
from unrolled_client._streaming.exchange import MAX_ATTEMPTS

from tests.support.refusals import refusal

WORDS = [f"{number:05d}" for number in range(2_000)]
DIGITS = "0123456789"
HIDDEN = 16


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Every call here travels in about ten parts."""
    monkeypatch.setattr(sizing, "MIN_BULK_BYTES", 0)
    monkeypatch.setattr(sizing, "MAX_WHOLE_BYTES", 0)
    monkeypatch.setattr(parts, "PART_BYTES", 16_000)


@pytest.fixture
def expected(reply_to):
    """The one right array."""
    request = pb.ForwardRequest(words=WORDS, hidden_size=HIDDEN)
    reply = pb.ForwardReply.FromString(reply_to(request.SerializeToString()))
    return np.array(reply.values, np.float32).reshape(reply.shape)


def call(client, **changes):
    """The call that these tests make."""
    return client.forward(WORDS, hidden_size=HIDDEN, alphabet=DIGITS, **changes)


def test_replies_in_any_order_find_their_place(serve_stream, reply_to, expected):
    """A server that answers the second request first gives the same array."""

    def answer(requests, _context):
        held = [next(requests), next(requests)]
        yield from map(reply_to, reversed(held))
        yield from map(reply_to, requests)

    with Client(serve_stream(answer)) as client:
        assert np.array_equal(call(client).outputs, expected)


def test_a_broken_stream_sends_only_what_is_unanswered_again(serve_stream, reply_to, expected):
    """A stream that breaks twice costs its unanswered requests one more attempt each, and nothing else."""
    answered = []
    broken = iter([True, True, False])

    def answer(requests, context):
        is_broken = next(broken)
        for count, data in enumerate(requests):
            if is_broken and count == 3:
                context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
            answered.append(pb.ForwardRequest.FromString(data).id)
            yield reply_to(data)

    with Client(serve_stream(answer)) as client:
        assert np.array_equal(call(client).outputs, expected)
    assert len(set(answered)) > 6
    assert sorted(answered) == sorted({*answered})


def test_a_server_that_ends_the_stream_early_is_asked_again(serve_stream, reply_to, expected):
    """A stream that the server ends with OK while requests wait is opened anew."""
    ended = iter([True, False])

    def answer(requests, _context):
        is_ended = next(ended)
        for count, data in enumerate(requests):
            if is_ended and count == 2:
                return
            yield reply_to(data)

    with Client(serve_stream(answer)) as client:
        assert np.array_equal(call(client).outputs, expected)


def test_attempts_without_any_reply_end(serve_stream):
    """A server whose streams break at once fails the call after five of them."""
    streams = []

    def answer(_requests, context):
        streams.append(1)
        context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")
        yield b""

    with Client(serve_stream(answer)) as client, pytest.raises(UnavailableError, match="restarting"):
        call(client)
    assert len(streams) == MAX_ATTEMPTS


def test_other_failures_of_the_stream_are_not_repeated(serve_stream):
    """What a retry does not help fails at once."""
    streams = []

    def answer(_requests, context):
        streams.append(1)
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no")
        yield b""

    with Client(serve_stream(answer)) as client, pytest.raises(InvalidRequestError):
        call(client)
    assert len(streams) == 1


def test_a_request_that_is_put_off_is_sent_again_when_the_server_said(serve_stream, reply_to, expected):
    """RESOURCE_EXHAUSTED with RetryInfo in a reply delays that request; the call succeeds."""
    refused = set()

    def answer(requests, _context):
        for data in requests:
            request_id = pb.ForwardRequest.FromString(data).id
            if request_id in refused:
                yield reply_to(data)
            else:
                refused.add(request_id)
                yield refusal(data, code=grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_s=0.01)

    with Client(serve_stream(answer)) as client:
        assert np.array_equal(call(client).outputs, expected)
    assert len(refused) > 6


def test_a_delay_beyond_the_deadline_fails_at_once(serve_stream):
    """A server that wants to be asked in an hour is a DeadlineError now."""

    def answer(requests, _context):
        for data in requests:
            yield refusal(data, code=grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_s=3_600)

    with Client(serve_stream(answer)) as client, pytest.raises(DeadlineError, match="beyond timeout_s"):
        call(client, timeout_s=60)


def test_a_refusal_without_a_time_is_the_calls_error(serve_stream):
    """A refused part fails the call with the server's error; no retry is made."""

    def answer(requests, _context):
        for data in requests:
            yield refusal(data, code=grpc.StatusCode.RESOURCE_EXHAUSTED)

    with Client(serve_stream(answer)) as client, pytest.raises(OverloadedError) as caught:
        call(client)
    assert not caught.value.is_retryable


def test_the_deadline_is_for_each_wait(make_client, serve_stream, reply_to):
    """A server that stops answering half-way is a DeadlineError that says how far the call came."""
    release = threading.Event()

    def answer(requests, _context):
        yield reply_to(next(requests))
        release.wait()

    with (
        make_client(serve_stream(answer)) as client,
        pytest.raises(DeadlineError, match=r"1 of 12 parts are done; .* is 0\.3\); raise timeout_s"),
    ):
        call(client, timeout_s=0.3)
    release.set()


def test_a_server_that_does_not_come_back_is_waited_for_until_the_timeout(
    make_client, serve_stream, reply_to
):
    """After a reply, streams that break do not end the call before the timeout; the error says why."""
    streams = []

    def answer(requests, context):
        streams.append(1)
        if len(streams) == 1:
            yield reply_to(next(requests))
        context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")

    with (
        make_client(serve_stream(answer)) as client,
        pytest.raises(DeadlineError, match=r"1 of 12 parts are done; .* the stream broke because"),
    ):
        call(client, timeout_s=1.0)


def test_a_server_that_leaves_while_a_request_is_put_off_loses_nothing(
    make_client, serve_stream, reply_to, expected
):
    """A refused request is sent on the next stream, and no request that is done."""
    is_first = iter([True, False])
    done = []

    def answer(requests, context):
        if next(is_first):
            done.append(pb.ForwardRequest.FromString(data := next(requests)).id)
            yield reply_to(data)
            yield refusal(next(requests), code=grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_s=0.05)
            context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        for data in requests:
            done.append(pb.ForwardRequest.FromString(data).id)
            yield reply_to(data)

    with make_client(serve_stream(answer)) as client:
        assert np.array_equal(call(client).outputs, expected)
    assert sorted(done) == sorted({*done})
    assert len(done) == 12


@pytest.mark.parametrize("reply", [b"", b"\xff", pb.ForwardReply(id="other").SerializeToString()], ids=repr)
def test_a_reply_that_nobody_asked_for_is_an_error(serve_stream, reply):
    """Bytes that are no reply, or one with another id, end the call."""
    with (
        Client(serve_stream(lambda _requests, _context: iter([reply]))) as client,
        pytest.raises(ProtocolError),
    ):
        call(client)


def test_close_ends_a_call_in_parts(serve_stream):
    """A bulk call in another thread ends with ClosedError when the client is closed."""
    entered, release, errors = threading.Event(), threading.Event(), []

    def answer(requests, _context):
        next(requests)
        entered.set()
        release.wait()
        yield b""

    def caller():
        try:
            call(client)
        except ClosedError as error:
            errors.append(error)

    with Client(serve_stream(answer)) as client:
        thread = threading.Thread(target=caller)
        thread.start()
        assert entered.wait(timeout=120)
        client.close()
        thread.join(timeout=120)
        release.set()
    assert len(errors) == 1


@pytest.mark.long
def test_a_reader_that_stalls_keeps_the_clients_memory_bounded(server_address):
    """While no outcome is consumed, replies stay in the transport and the client's memory does not grow."""
    words = [f"{number:09d}" for number in range(1_000)]
    batches = (words for _ in range(200))  # 200 arrays of 9 MB, were they all to come in
    with Client(server_address) as client:
        outcomes = client.map(batches, hidden_size=256, alphabet=DIGITS)
        next(outcomes)
        before = psutil.Process().memory_info().rss
        # Time in which a client that took everything would; that nothing happens has no event to wait for.
        threading.Event().wait(timeout=0.5)
        grown = psutil.Process().memory_info().rss - before
        outcomes.close()
    assert grown < 64 << 20
