"""What is sent when, without a connection and without a clock."""

import grpc
import pytest
from unrolled.v1 import forward_pb2 as pb
from unrolled_client import InvalidRequestError, UnavailableError
from unrolled_client._messages.decoding import parse_reply
from unrolled_client._messages.validation import check_request
from unrolled_client._streaming import exchange
from unrolled_client._streaming.calls import Whole
from unrolled_client._streaming.exchange import MAX_ATTEMPTS, MAX_ATTEMPTS_ONCE_ANSWERED, Exchange

from tests.support.refusals import refusal


def whole(words):
    """One batch as one request."""
    return Whole(check_request(words, hidden_size=2, seed=0, alphabet=None, layout="batch_first"))


def exchanging(count, *, max_in_flight=100, is_ordered=True, words=("abc",)):
    """An exchange of `count` batches, of one word if no others are given: 24 bytes a reply."""
    batches = (list(words) for _ in range(count))
    return Exchange(batches, assemble=whole, max_in_flight=max_in_flight, is_ordered=is_ordered)


def sent(exchange, *, now_s=0.0):
    """What goes out until there is no room."""
    return [request.data for request in iter(lambda: exchange.next_request(now_s=now_s), None)]


def ids(messages):
    """The ids of requests."""
    return [pb.ForwardRequest.FromString(data).id for data in messages]


def answered(exchange, reply_to, *, queue_s=0.0, now_s=0.0):
    """The number of requests in flight, after as many as possible were sent and all are answered."""
    messages = sent(exchange, now_s=now_s)
    for data in messages:
        reply = parse_reply(reply_to(data))
        reply.rest.timing.queue_s = queue_s
        exchange.receive_reply(reply, now_s=now_s)
    while exchange.next_outcome() is not None:
        pass
    return len(messages)


def test_requests_in_flight_are_bounded(monkeypatch):
    """By their number, by the bytes of their larger messages, and by the batches that were taken."""
    monkeypatch.setattr(exchange, "FIRST_REQUESTS_IN_FLIGHT", exchange.MAX_REQUESTS_IN_FLIGHT)
    assert len(sent(exchanging(1_000, max_in_flight=1_000))) == exchange.MAX_REQUESTS_IN_FLIGHT
    assert len(sent(exchanging(100, max_in_flight=7))) == 7
    monkeypatch.setattr(exchange, "MAX_BYTES_IN_FLIGHT", 100)
    assert len(sent(exchanging(100))) == 5  # the last may pass the bound
    monkeypatch.setattr(exchange, "MAX_BYTES_IN_FLIGHT", 1_000)
    assert len(sent(exchanging(100, words=["a" * 400]))) == 1  # a reply of 3,200 bytes


def test_as_many_requests_are_in_flight_as_the_server_takes_without_a_wait(reply_to):
    """Each that hardly waited lets one more in, to a bound; each that waited long lets one fewer in."""
    exchange = exchanging(1_000)
    assert [answered(exchange, reply_to, queue_s=0.01) for _ in range(7)] == [2, 4, 8, 16, 32, 64, 64]
    assert [answered(exchange, reply_to, queue_s=0.5) for _ in range(2)] == [64, 64]
    assert [answered(exchange, reply_to, queue_s=2.0) for _ in range(3)] == [64, 1, 1]
    assert [answered(exchange, reply_to) for _ in range(3)] == [1, 2, 4]


def test_a_server_that_refuses_is_asked_nothing_new_until_it_said(reply_to):
    """A refusal halves the requests in flight and counts as no progress; finished ones are not sent again."""
    exchange = exchanging(100)
    for _ in range(2):
        answered(exchange, reply_to)
    first, *others = messages = sent(exchange)
    assert len(messages) == 8
    for data in others:
        exchange.receive(reply_to(data), now_s=10.0)
    done = exchange.done_count
    exchange.receive(refusal(first, code=grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_s=2.0), now_s=10.0)
    assert exchange.done_count == done
    assert not sent(exchange, now_s=11.9)
    assert exchange.delay_s(now_s=11.5) == 0.5
    again = sent(exchange, now_s=12.0)
    assert again[0] == first
    assert len(again) == (8 + 7) // 2


def test_a_delayed_request_survives_a_broken_stream(reply_to):
    """It is sent at its time on the next stream, and what is done is not."""
    exchange = exchanging(3)
    messages = sent(exchange)
    exchange.receive(reply_to(messages[1]), now_s=0.0)
    exchange.receive(
        refusal(messages[0], code=grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_s=2.0), now_s=0.0
    )
    exchange.handle_broken_stream(UnavailableError("gone"), jitter=0.0, has_timeout=True)
    assert not sent(exchange, now_s=1.0)
    assert sent(exchange, now_s=2.0)[0] == messages[0]


def test_an_answer_makes_room(reply_to):
    """One outcome handed out lets one batch in."""
    exchange = exchanging(10, max_in_flight=2)
    messages = sent(exchange)
    exchange.receive(reply_to(messages[1]), now_s=0.0)
    assert exchange.next_outcome() is None  # it is the second's turn after the first
    assert not sent(exchange)
    exchange.receive(reply_to(messages[0]), now_s=0.0)
    assert [exchange.next_outcome().index, exchange.next_outcome().index] == [0, 1]
    assert len(sent(exchange)) == 2


def test_a_broken_stream_leaves_its_unanswered_requests_in_order(reply_to):
    """They are sent again as they were, before anything new."""
    exchange = exchanging(20)
    answered(exchange, reply_to)
    messages = sent(exchange)
    exchange.receive(reply_to(messages[2]), now_s=0.0)
    broken(exchange)
    assert not exchange.is_waiting
    again = sent(exchange)
    answered_again = [reply_to(data) for data in again]
    for data in answered_again:
        exchange.receive(data, now_s=0.0)
    assert [*again, *sent(exchange)][:3] == [messages[0], messages[1], messages[3]]


def broken(exchange, *, jitter=0.0, has_timeout=False):
    """The wait after a stream that broke."""
    return exchange.handle_broken_stream(UnavailableError("gone"), jitter=jitter, has_timeout=has_timeout)


def test_the_wait_before_another_stream_doubles():
    """Backoff grows to a bound, jitter takes up to half of it off, a reply starts it anew."""
    exchange = exchanging(1)
    waits = [broken(exchange, jitter=1.0, has_timeout=True) for _ in range(MAX_ATTEMPTS - 1)]
    assert waits == [0.1, 0.2, 0.4, 0.8]
    with pytest.raises(UnavailableError):
        broken(exchange, jitter=1.0, has_timeout=True)
    assert broken(exchanging(1)) == 0.05


def test_a_reply_forgives_the_broken_streams_before_it(reply_to):
    """Only streams in a row without a reply count."""
    exchange = exchanging(2)
    for message in (0, 1):
        for _ in range(MAX_ATTEMPTS - 1):
            broken(exchange)
        exchange.receive(reply_to(sent(exchange)[0]), now_s=0.0)
        assert exchange.next_outcome().index == message
    sent(exchange)
    assert exchange.is_done


def test_what_is_done_is_kept_until_the_timeout(reply_to):
    """After a reply, only the timeout ends the attempts of a call that has one."""
    for has_timeout, count in ((True, 2_000), (False, MAX_ATTEMPTS_ONCE_ANSWERED - 1)):
        exchange = exchanging(2)
        exchange.receive(reply_to(sent(exchange)[0]), now_s=0.0)
        waits = [broken(exchange, jitter=1.0, has_timeout=has_timeout) for _ in range(count)]
        assert max(waits) == 1.0
    with pytest.raises(UnavailableError):
        broken(exchange)


def test_a_server_that_says_when_is_asked_then():
    """A stream refused with a time is opened again after it, however often."""
    exchange = exchanging(1)
    error = UnavailableError("busy", retry_after_s=2.5)
    waits = {
        exchange.handle_broken_stream(error, jitter=0.0, has_timeout=False) for _ in range(MAX_ATTEMPTS + 1)
    }
    assert waits == {2.5}
    with pytest.raises(InvalidRequestError):
        exchange.handle_broken_stream(InvalidRequestError("no"), jitter=0.0, has_timeout=False)
