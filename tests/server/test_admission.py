"""What may come in is decided by bytes and by work, and every ticket is given back once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unrolled_server.admission import MAX_RETRY_AFTER_S, MIN_RETRY_AFTER_S, Admission
from unrolled_server.errors import OverloadedError

requests = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=30)


def an_admission():
    return Admission(max_bytes=100, max_multiplications=100)


def counts(admission):
    return admission.held_bytes, admission.held_multiplications, admission.ticket_count


@pytest.mark.parametrize(("byte_count", "multiplications"), [(41, 0), (0, 41)])
def test_what_would_pass_a_limit_is_refused_and_what_meets_it_is_not(byte_count, multiplications):
    admission = an_admission()
    admission.admit(byte_count=60, multiplications=60)
    with pytest.raises(OverloadedError, match="the server is busy"):
        admission.admit(byte_count=byte_count, multiplications=multiplications)
    admission.admit(byte_count=40, multiplications=40)
    assert counts(admission) == (100, 100, 2)


def test_a_request_beyond_every_limit_comes_in_when_nothing_else_is_there():
    admission = an_admission()
    admission.admit(byte_count=1_000, multiplications=1_000).release()
    assert counts(admission) == (0, 0, 0)


def test_computed_work_makes_room_while_its_bytes_stay():
    admission = an_admission()
    ticket = admission.admit(byte_count=10, multiplications=100)
    ticket.end_work()
    ticket.end_work()
    assert counts(admission) == (10, 0, 1)
    admission.admit(byte_count=10, multiplications=100)


def test_a_refusal_is_counted_and_never_refused():
    admission = an_admission()
    tickets = [admission.hold(90) for _ in range(2)]
    assert counts(admission) == (180, 0, 2)
    for ticket in tickets:
        ticket.release()
    assert counts(admission) == (0, 0, 0)


@pytest.mark.parametrize(
    ("multiplications", "retry_after_s"),
    [(1, MIN_RETRY_AFTER_S), (40 * 10**9, 1.0), (10**15, MAX_RETRY_AFTER_S)],
)
def test_the_advice_when_to_come_back_grows_with_what_waits_within_bounds(multiplications, retry_after_s):
    admission = an_admission()
    admission.admit(byte_count=0, multiplications=multiplications)
    with pytest.raises(OverloadedError) as caught:
        admission.admit(byte_count=0, multiplications=100)
    assert caught.value.retry_after_s == pytest.approx(retry_after_s)


@given(requests)
def test_nothing_is_left_when_every_ticket_is_released_twice(sizes):
    admission = an_admission()
    tickets = []
    for byte_count, multiplications in sizes:
        try:
            tickets.append(admission.admit(byte_count=byte_count, multiplications=multiplications))
        except OverloadedError:
            assert tickets
        assert max(admission.held_bytes, admission.held_multiplications) <= 100
    for ticket in tickets * 2:
        ticket.release()
    assert counts(admission) == (0, 0, 0)
