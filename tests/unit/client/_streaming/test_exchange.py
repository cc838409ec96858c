"""What is sent when, without a connection and without a clock."""

import pytest
from unrolled.v1 import forward_pb2 as pb
from unrolled_client import InvalidRequestError, UnavailableError
from unrolled_client._messages.validation import check_request
from unrolled_client._streaming import exchange
from unrolled_client._streaming.calls import Whole
from unrolled_client._streaming.exchange import MAX_ATTEMPTS, Exchange


def whole(words):
    """One batch as one request."""
    return Whole(check_request(words, hidden_size=2, seed=0, alphabet=None, layout="batch_first"))


def exchanging(count, *, max_in_flight=100, is_ordered=True):
    """An exchange of `count` batches of one word, 24 bytes a reply."""
    batches = (["abc"] for _ in range(count))
    return Exchange(batches, assemble=whole, max_in_flight=max_in_flight, is_ordered=is_ordered)


def sent(exchange, *, now_s=0.0):
    """What goes out until there is no room."""
    return [request.data for request in iter(lambda: exchange.next_request(now_s=now_s), None)]


def ids(messages):
    """The ids of requests."""
    return [pb.ForwardRequest.FromString(data).id for data in messages]


def test_requests_in_flight_are_bounded(monkeypatch):
    """By their number, by the bytes of their replies, and by the batches that were taken."""
    assert len(sent(exchanging(1_000, max_in_flight=1_000))) == exchange.MAX_REQUESTS_IN_FLIGHT
    assert len(sent(exchanging(100, max_in_flight=7))) == 7
    monkeypatch.setattr(exchange, "MAX_BYTES_IN_FLIGHT", 100)
    assert len(sent(exchanging(100))) == 5  # the last may pass the bound


def test_an_answer_makes_room(reply_to):
    """One outcome handed out lets one batch in."""
    exchange = exchanging(10, max_in_flight=3)
    messages = sent(exchange)
    exchange.receive(reply_to(messages[1]), now_s=0.0)
    assert exchange.next_outcome() is None  # it is the second's turn after the first
    assert not sent(exchange)
    exchange.receive(reply_to(messages[0]), now_s=0.0)
    assert [exchange.next_outcome().index, exchange.next_outcome().index] == [0, 1]
    assert len(sent(exchange)) == 2


def test_a_broken_stream_leaves_its_unanswered_requests_in_order(reply_to):
    """They are sent again as they were, before anything new."""
    exchange = exchanging(6, max_in_flight=4)
    messages = sent(exchange)
    exchange.receive(reply_to(messages[2]), now_s=0.0)
    exchange.handle_broken_stream(UnavailableError("gone"), jitter=0.0)
    assert not exchange.is_waiting
    assert sent(exchange) == [messages[0], messages[1], messages[3]]


def test_the_wait_before_another_stream_doubles():
    """Backoff grows to a bound, jitter takes up to half of it off, a reply starts it anew."""
    exchange = exchanging(1)
    waits = [
        exchange.handle_broken_stream(UnavailableError("gone"), jitter=1.0) for _ in range(MAX_ATTEMPTS - 1)
    ]
    assert waits == [0.1, 0.2, 0.4, 0.8]
    with pytest.raises(UnavailableError):
        exchange.handle_broken_stream(UnavailableError("gone"), jitter=1.0)
    assert exchanging(1).handle_broken_stream(UnavailableError("gone"), jitter=0.0) == 0.05


def test_a_reply_forgives_the_broken_streams_before_it(reply_to):
    """Only streams in a row without a reply count."""
    exchange = exchanging(2)
    for message in (0, 1):
        for _ in range(MAX_ATTEMPTS - 1):
            exchange.handle_broken_stream(UnavailableError("gone"), jitter=0.0)
        exchange.receive(reply_to(sent(exchange)[0]), now_s=0.0)
        assert exchange.next_outcome().index == message
    assert exchange.is_done


def test_a_server_that_says_when_is_asked_then():
    """A stream refused with a time is opened again after it, however often."""
    exchange = exchanging(1)
    error = UnavailableError("busy", retry_after_s=2.5)
    assert {exchange.handle_broken_stream(error, jitter=0.0) for _ in range(MAX_ATTEMPTS + 1)} == {2.5}
    with pytest.raises(InvalidRequestError):
        exchange.handle_broken_stream(InvalidRequestError("no"), jitter=0.0)
