"""Which slow connections are closed, without clocks or sockets."""

from dataclasses import dataclass

import pytest
from unrolled_server.call_context import CallInfo
from unrolled_server.scheduling.admission import Admission, Reservation
from unrolled_server.scheduling.slow_consumers import PATIENCE_S, SLOW_S, SlowConsumers

TIMEOUT_S = 60.0


@dataclass(eq=False)
class Reply:
    """A unary reply that was handed to gRPC."""

    peer: str
    reservation: Reservation

    def mark_slow(self):
        return self.reservation.mark_slow()


class SlowReplies:
    """Replies with their sizes and start times; a quarter of 400 bytes may be slow."""

    def __init__(self):
        self.admission = Admission(max_bytes=400, max_multiplications=1)
        self.consumers = SlowConsumers(self.admission, send_timeout_s=TIMEOUT_S)

    def add(self, peer, byte_count, *, now_s=0.0):
        call = CallInfo(client=peer, peer=peer)
        reply = Reply(peer, self.admission.admit(call, byte_count=byte_count, multiplications=0))
        self.consumers.add(reply, now_s=now_s)
        return reply

    def remove(self, reply):
        self.consumers.remove(reply)
        reply.reservation.release()

    def evicted(self, *, now_s):
        """Returns the peers whose connections are closed at this time."""
        closing = self.consumers.mark_slow(now_s=now_s)
        self.consumers.evicted(set(closing))
        return closing

    @property
    def counts(self):
        return self.admission.held_bytes, self.admission.slow_bytes


@pytest.fixture
def slow_replies():
    return SlowReplies()


def test_a_reply_that_is_read_in_time_is_not_slow(slow_replies):
    reply = slow_replies.add("a", 300)
    assert slow_replies.evicted(now_s=0.9 * SLOW_S) == []
    slow_replies.remove(reply)
    assert slow_replies.evicted(now_s=1e9) == []
    assert slow_replies.counts == (0, 0)


def test_a_slow_reply_frees_capacity_and_is_not_evicted_at_once(slow_replies):
    reply = slow_replies.add("a", 100)
    assert slow_replies.evicted(now_s=SLOW_S) == []
    assert slow_replies.counts == (0, 100)
    assert slow_replies.evicted(now_s=TIMEOUT_S - 1) == []
    slow_replies.remove(reply)
    assert slow_replies.counts == (0, 0)


def test_a_client_that_exceeds_the_timeout_is_evicted_once(slow_replies):
    slow_replies.add("a", 10)
    slow_replies.add("b", 10, now_s=1.0)
    assert slow_replies.evicted(now_s=TIMEOUT_S) == ["a"]
    assert slow_replies.evicted(now_s=TIMEOUT_S + 0.5) == []
    assert slow_replies.evicted(now_s=TIMEOUT_S + 1.0) == ["b"]


def test_the_oldest_slow_clients_are_evicted_until_the_rest_fit(slow_replies):
    added = [slow_replies.add(peer, 60, now_s=at / 100) for at, peer in enumerate("abcd")]
    assert slow_replies.evicted(now_s=2 * SLOW_S) == []  # a busy client pauses, too
    assert slow_replies.evicted(now_s=1 + PATIENCE_S) == ["a", "b", "c"]  # 240 bytes of 100
    assert slow_replies.evicted(now_s=1 + PATIENCE_S) == []  # they are on their way out
    for reply in added[:3]:
        slow_replies.remove(reply)
    assert slow_replies.evicted(now_s=1 + PATIENCE_S) == []
    assert slow_replies.counts == (0, 60)


def test_an_address_that_reconnects_may_be_evicted_again(slow_replies):
    for _ in range(2):
        reply = slow_replies.add("a", 10)
        assert slow_replies.evicted(now_s=TIMEOUT_S) == ["a"]
        slow_replies.remove(reply)
        assert slow_replies.evicted(now_s=TIMEOUT_S) == []


def test_a_connection_with_several_slow_replies_is_closed_once(slow_replies):
    for _ in range(3):
        slow_replies.add("a", 50)
    assert slow_replies.evicted(now_s=PATIENCE_S) == ["a"]


def test_a_connection_that_could_not_be_closed_is_retried_and_not_counted(slow_replies):
    slow_replies.add("a", 10)
    assert slow_replies.consumers.mark_slow(now_s=TIMEOUT_S) == ["a"]
    assert slow_replies.consumers.mark_slow(now_s=TIMEOUT_S) == ["a"]
    slow_replies.consumers.evicted({"a"})
    assert slow_replies.consumers.mark_slow(now_s=TIMEOUT_S) == []
    assert slow_replies.consumers.evicted_count == 1
