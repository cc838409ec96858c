"""Which dead workers are replaced, and when."""

import pytest
from unrolled_server.process.restarts import FIRST_DELAY_S, MAX_DELAY_S, MAX_UNSERVED_COUNT, SOON_S, Restarts


@pytest.fixture
def restarts():
    return Restarts()


def delay_of(restarts, *, served_s, others_serve=False):
    return restarts.delay_s(served_s=served_s, others_serve=others_serve)


def test_a_worker_that_served_is_replaced_at_once_however_often(restarts):
    assert [delay_of(restarts, served_s=SOON_S) for _ in range(100)] == [0.0] * 100


def test_each_that_dies_soon_waits_twice_as_long_up_to_a_bound(restarts):
    delays = [delay_of(restarts, served_s=SOON_S / 2) for _ in range(1_100)]
    assert delays[:4] == [FIRST_DELAY_S, 2 * FIRST_DELAY_S, 4 * FIRST_DELAY_S, 8 * FIRST_DELAY_S]
    assert delays[-1] == MAX_DELAY_S


def test_the_last_of_many_that_never_served_is_not_replaced(restarts):
    delays = [delay_of(restarts, served_s=None) for _ in range(MAX_UNSERVED_COUNT)]
    assert None not in delays[:-1]
    assert delays[-1] is None


def test_while_others_serve_the_last_of_many_only_waits_longest(restarts):
    delays = [delay_of(restarts, served_s=None, others_serve=True) for _ in range(MAX_UNSERVED_COUNT + 9)]
    assert MAX_DELAY_S not in delays[: MAX_UNSERVED_COUNT - 1]
    assert delays[MAX_UNSERVED_COUNT - 1 :] == [MAX_DELAY_S] * 10
    assert restarts.is_blocked
    assert delay_of(restarts, served_s=None) is None
    delay_of(restarts, served_s=SOON_S)
    assert not restarts.is_blocked


def test_one_that_served_for_a_moment_keeps_the_whole_alive(restarts):
    served = [None] * (MAX_UNSERVED_COUNT - 1) + [0.0]
    delays = [delay_of(restarts, served_s=served_s) for served_s in served * 3]
    assert None not in delays


def test_one_that_served_for_long_ends_the_waiting(restarts):
    for _ in range(MAX_UNSERVED_COUNT - 1):
        delay_of(restarts, served_s=None)
    delay_of(restarts, served_s=3_600.0)
    assert delay_of(restarts, served_s=None) == FIRST_DELAY_S
