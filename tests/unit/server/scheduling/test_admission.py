"""Admission is decided by bytes and by work, and every reservation is released once."""

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unrolled_server.call_context import CallInfo
from unrolled_server.errors import OverloadedError
from unrolled_server.scheduling.admission import (
    MAX_RETRY_AFTER_S,
    MIN_RETRY_AFTER_S,
    SAFETY,
    Admission,
    Refusal,
    WaitEstimate,
)

CALL, OTHER = CallInfo(client="a"), CallInfo(client="b")
requests = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=30)


def an_admission():
    return Admission(max_bytes=100, max_multiplications=100)


def counts(admission):
    return admission.held_bytes, admission.held_multiplications, admission.reservation_count


@pytest.mark.parametrize(
    ("byte_count", "multiplications", "reason"), [(41, 0, Refusal.BYTES), (0, 41, Refusal.WORK)]
)
def test_limits_are_inclusive(byte_count, multiplications, reason):
    admission = an_admission()
    admission.admit(CALL, byte_count=60, multiplications=60)
    with pytest.raises(OverloadedError, match="the server is busy: it holds"):
        admission.admit(OTHER, byte_count=byte_count, multiplications=multiplications)
    admission.admit(OTHER, byte_count=40, multiplications=40)
    assert counts(admission) == (100, 100, 2)
    assert admission.refused[reason] == sum(admission.refused.values()) == 1


def test_one_client_leaves_half_for_others():
    admission = an_admission()
    for _ in range(50):
        admission.admit(CALL, byte_count=1, multiplications=0)
    with pytest.raises(OverloadedError, match="most of what is free is for clients that have less here"):
        admission.admit(CALL, byte_count=1, multiplications=0)
    admission.admit(OTHER, byte_count=50, multiplications=0)


@given(st.integers(1, 8))
def test_busy_clients_share_and_leave_room_for_a_new_client(flood_count):
    admission = Admission(max_bytes=10_000, max_multiplications=1)
    floods = [CallInfo(client=f"{at}") for at in range(flood_count)]
    for _ in range(10_000):
        for call in floods:
            with contextlib.suppress(OverloadedError):
                admission.admit(call, byte_count=1, multiplications=0)
    held = [admission.clients[call.client].byte_count for call in floods]
    assert max(held) - min(held) <= 2
    admission.admit(OTHER, byte_count=10_000 // 4, multiplications=0)


def test_work_is_refused_only_if_it_would_finish_after_its_deadline():
    admission = an_admission()
    sizes = {"byte_count": 1, "multiplications": 1, "estimate": WaitEstimate(wait_s=2.0, cost_s=0.5)}
    with pytest.raises(
        OverloadedError, match=r"would be done in 3.25 s, and its deadline is in 3.00 s"
    ) as caught:
        admission.admit(CallInfo(client="a", deadline_s=13.0), now_s=10.0, **sizes)
    assert caught.value.retry_after_s == pytest.approx(2.5 * SAFETY - 3)
    assert not caught.value.is_in_time  # by then there is less to wait for, and as much less time for it
    assert admission.refused[Refusal.DEADLINE] == 1
    admission.admit(CallInfo(client="a", deadline_s=13.3), now_s=10.0, **sizes)
    assert admission.reservation_count == 1


def test_a_call_whose_deadline_is_before_the_retry_delay_is_advised_not_to_retry():
    admission = an_admission()
    with pytest.raises(OverloadedError) as caught:
        admission.check_wait(WaitEstimate(wait_s=2.0), remaining_s=0.5)
    assert not caught.value.is_in_time


def test_work_that_need_not_wait_is_admitted_whatever_its_deadline():
    admission = an_admission()
    call = CallInfo(client="a", deadline_s=0.1)
    admission.admit(call, byte_count=1, multiplications=1, estimate=WaitEstimate(cost_s=9.0))
    assert admission.reservation_count == 1


def test_the_queue_is_limited_in_seconds():
    admission = Admission(max_bytes=100, max_multiplications=100, max_queue_s=1.5)
    admission.check_wait(WaitEstimate(wait_s=1.5, cost_s=9.0), remaining_s=math.inf)
    with pytest.raises(
        OverloadedError, match=r"would wait for 2.00 s, and this server lets 1.5 s of work wait"
    ):
        admission.check_wait(WaitEstimate(wait_s=2.0), remaining_s=math.inf)
    assert admission.refused[Refusal.QUEUE] == 1


def test_slow_bytes_free_capacity_and_are_counted_separately():
    admission = an_admission()
    reservation = admission.admit(CALL, byte_count=25, multiplications=0)
    reservation.mark_slow()
    reservation.mark_slow()
    assert (admission.held_bytes, admission.slow_bytes) == (0, 25)
    admission.admit(OTHER, byte_count=100, multiplications=0)
    reservation.release()
    reservation.mark_slow()
    assert (admission.held_bytes, admission.slow_bytes) == (100, 0)


def test_a_request_above_every_limit_is_admitted_when_the_server_is_idle():
    admission = an_admission()
    admission.admit(CALL, byte_count=1_000, multiplications=1_000).release()
    assert counts(admission) == (0, 0, 0)
    assert not admission.clients


def test_end_of_work_frees_its_multiplications_but_not_its_bytes():
    admission = an_admission()
    reservation = admission.admit(CALL, byte_count=10, multiplications=100)
    reservation.end_work()
    reservation.end_work()
    assert counts(admission) == (10, 0, 1)
    admission.admit(CALL, byte_count=10, multiplications=100)


def test_reserve_always_counts_bytes_and_never_refuses():
    admission = an_admission()
    reservations = [admission.reserve_always(CALL, 90) for _ in range(2)]
    assert counts(admission) == (180, 0, 2)
    for reservation in reservations:
        reservation.release()
    assert counts(admission) == (0, 0, 0)
    assert not admission.clients


def test_slow_bytes_beyond_a_quarter_count_as_held():
    admission = an_admission()
    admission.admit(CALL, byte_count=60, multiplications=0).mark_slow()
    with pytest.raises(OverloadedError, match="the server is busy"):
        admission.admit(OTHER, byte_count=66, multiplications=0)
    admission.admit(OTHER, byte_count=65, multiplications=0)


@pytest.mark.parametrize(
    ("wait_s", "retry_after_s"), [(0.0, MIN_RETRY_AFTER_S), (1.0, 1.0), (1e3, MAX_RETRY_AFTER_S)]
)
def test_the_retry_delay_is_the_estimated_wait_within_bounds(wait_s, retry_after_s):
    admission = an_admission()
    admission.admit(CALL, byte_count=0, multiplications=60)
    with pytest.raises(OverloadedError) as caught:
        admission.admit(OTHER, byte_count=0, multiplications=100, estimate=WaitEstimate(wait_s=wait_s))
    assert caught.value.retry_after_s == pytest.approx(retry_after_s)


@given(requests)
def test_nothing_is_held_when_every_reservation_is_released_twice(sizes):
    admission = an_admission()
    reservations = []
    for byte_count, multiplications in sizes:
        try:
            reservations.append(admission.admit(CALL, byte_count=byte_count, multiplications=multiplications))
        except OverloadedError:
            assert reservations
        assert max(admission.held_bytes, admission.held_multiplications) <= 100
    for reservation in reservations * 2:
        reservation.release()
    assert counts(admission) == (0, 0, 0)
    assert not admission.clients
