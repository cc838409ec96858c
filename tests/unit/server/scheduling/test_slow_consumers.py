"""Which connections are closed, decided without clocks or sockets."""

from dataclasses import dataclass

import pytest
from unrolled_server.call_context import CallInfo
from unrolled_server.scheduling.admission import Admission, Reservation
from unrolled_server.scheduling.slow_consumers import PATIENCE_S, SLOW_S, SlowConsumers

TIMEOUT_S = 60.0


@dataclass(eq=False)
class Reply:
    """A unary reply that gRPC has."""

    peer: str
    reservation: Reservation

    def mark_slow(self):
        return self.reservation.mark_slow()


class Clinic:
    """Replies of so many bytes, begun at so many seconds; a quarter of 400 bytes may be slow."""

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
        """Whose connections are closed at this look."""
        closing = self.consumers.mark_slow(now_s=now_s)
        self.consumers.evicted(set(closing))
        return closing

    @property
    def counts(self):
        return self.admission.held_bytes, self.admission.slow_bytes


@pytest.fixture
def clinic():
    return Clinic()


def test_a_reply_that_is_read_in_time_is_never_slow(clinic):
    reply = clinic.add("a", 300)
    assert clinic.evicted(now_s=0.9 * SLOW_S) == []
    clinic.remove(reply)
    assert clinic.evicted(now_s=1e9) == []
    assert clinic.counts == (0, 0)


def test_a_slow_reply_makes_room_for_others_and_is_given_time(clinic):
    reply = clinic.add("a", 100)
    assert clinic.evicted(now_s=SLOW_S) == []
    assert clinic.counts == (0, 100)
    assert clinic.evicted(now_s=TIMEOUT_S - 1) == []
    clinic.remove(reply)
    assert clinic.counts == (0, 0)


def test_a_client_that_exceeds_the_timeout_is_evicted_once(clinic):
    clinic.add("a", 10)
    clinic.add("b", 10, now_s=1.0)
    assert clinic.evicted(now_s=TIMEOUT_S) == ["a"]
    assert clinic.evicted(now_s=TIMEOUT_S + 0.5) == []
    assert clinic.evicted(now_s=TIMEOUT_S + 1.0) == ["b"]


def test_slow_clients_beyond_their_limit_are_evicted_oldest_first_and_no_more_than_it_takes(clinic):
    replies = [clinic.add(peer, 60, now_s=at / 100) for at, peer in enumerate("abcd")]
    assert clinic.evicted(now_s=2 * SLOW_S) == []  # a busy client pauses, too
    assert clinic.evicted(now_s=1 + PATIENCE_S) == ["a", "b", "c"]  # 240 bytes of 100
    assert clinic.evicted(now_s=1 + PATIENCE_S) == []  # they are on their way out
    for reply in replies[:3]:
        clinic.remove(reply)
    assert clinic.evicted(now_s=1 + PATIENCE_S) == []
    assert clinic.counts == (0, 60)


def test_an_address_that_comes_back_may_be_evicted_again(clinic):
    for _ in range(2):
        reply = clinic.add("a", 10)
        assert clinic.evicted(now_s=TIMEOUT_S) == ["a"]
        clinic.remove(reply)
        assert clinic.evicted(now_s=TIMEOUT_S) == []


def test_a_connection_with_several_slow_replies_is_closed_once(clinic):
    for _ in range(3):
        clinic.add("a", 50)
    assert clinic.evicted(now_s=PATIENCE_S) == ["a"]


def test_a_connection_that_could_not_be_closed_is_tried_again_and_not_counted(clinic):
    clinic.add("a", 10)
    assert clinic.consumers.mark_slow(now_s=TIMEOUT_S) == ["a"]
    assert clinic.consumers.mark_slow(now_s=TIMEOUT_S) == ["a"]
    clinic.consumers.evicted({"a"})
    assert clinic.consumers.mark_slow(now_s=TIMEOUT_S) == []
    assert clinic.consumers.evicted_count == 1
