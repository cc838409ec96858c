"""When workers may serve, when the server is ready, and when dead workers are replaced."""

import pytest
from unrolled_server.process.supervision_policy import (
    MAX_DELAY_S,
    MAX_UNSERVED_COUNT,
    RESTART_DELAY_S,
    ReadinessGate,
    RestartBackoff,
    WorkersError,
)


@pytest.fixture
def gate():
    return ReadinessGate(3)


def verified(gate, *pids):
    return [pid for at in pids for pid in gate.add_verified(at, fingerprint="f")]


def test_no_worker_may_serve_before_all_are_verified(gate):
    assert verified(gate, 1, 2) == []
    assert verified(gate, 3) == [1, 2, 3]


def test_the_gate_waits_for_the_replacement_of_a_worker_that_died(gate):
    verified(gate, 1, 2)
    gate.remove(2)
    assert verified(gate, 3) == []
    assert verified(gate, 4) == [1, 3, 4]


def test_the_server_becomes_ready_once_when_all_workers_serve(gate):
    verified(gate, 1, 2, 3)
    assert [gate.add_serving(pid) for pid in (1, 2)] == [False, False]
    assert not gate.is_ready
    assert gate.add_serving(3)
    gate.remove(1)
    verified(gate, 4)
    assert not gate.add_serving(4)
    assert gate.is_ready


def test_a_worker_that_dies_before_the_others_serve_delays_readiness(gate):
    verified(gate, 1, 2, 3)
    gate.add_serving(1)
    gate.add_serving(2)
    gate.remove(1)
    assert not gate.add_serving(3)
    verified(gate, 4)
    assert gate.add_serving(4)


def test_the_server_is_serving_until_its_last_serving_worker_dies(gate):
    verified(gate, 1, 2, 3)
    assert not gate.is_serving
    gate.add_serving(1)
    gate.remove(2)
    assert gate.is_serving
    gate.remove(1)
    assert not gate.is_serving


def test_a_replacement_may_serve_as_soon_as_it_is_verified(gate):
    verified(gate, 1, 2, 3)
    gate.remove(2)
    assert verified(gate, 4) == [4]


def test_remove_returns_whether_the_worker_served(gate):
    verified(gate, 1, 2, 3)
    gate.add_serving(1)
    assert [gate.remove(pid) for pid in (1, 2, 9)] == [True, False, False]


def test_a_worker_with_different_bits_is_refused_at_any_time(gate):
    verified(gate, 1, 2, 3)
    with pytest.raises(WorkersError, match="fingerprint g beside f"):
        gate.add_verified(4, fingerprint="g")


def test_different_bits_are_worth_a_restart_only_once_the_server_was_ready(gate):
    verified(gate, 1, 2, 3)
    with pytest.raises(WorkersError) as caught:
        gate.add_verified(4, fingerprint="g")
    assert caught.value.exit_code == 5
    for pid in (1, 2, 3):
        gate.add_serving(pid)
    with pytest.raises(WorkersError) as caught:
        gate.add_verified(4, fingerprint="g")
    assert caught.value.exit_code == 8


@pytest.fixture
def backoff():
    return RestartBackoff()


def delay_of(backoff, *, served=False, others_serve=False):
    return backoff.next_delay(served=served, others_serve=others_serve)


def test_a_worker_that_served_is_always_replaced_at_once(backoff):
    assert [delay_of(backoff, served=True) for _ in range(100)] == [0.0] * 100


def test_the_last_of_many_that_never_served_is_not_replaced(backoff):
    delays = [delay_of(backoff) for _ in range(MAX_UNSERVED_COUNT - 1)]
    assert delays == [RESTART_DELAY_S] * len(delays)
    with pytest.raises(WorkersError, match="5 workers died one after another"):
        delay_of(backoff)


def test_while_others_serve_a_failing_worker_is_replaced_after_the_longest_delay(backoff):
    delays = [delay_of(backoff, others_serve=True) for _ in range(MAX_UNSERVED_COUNT + 9)]
    assert MAX_DELAY_S not in delays[: MAX_UNSERVED_COUNT - 1]
    assert delays[MAX_UNSERVED_COUNT - 1 :] == [MAX_DELAY_S] * 10
    with pytest.raises(WorkersError):
        delay_of(backoff)


def test_a_worker_that_served_resets_the_delay(backoff):
    for _ in range(3):
        for _ in range(MAX_UNSERVED_COUNT - 1):
            delay_of(backoff)
        delay_of(backoff, served=True)
    assert delay_of(backoff) == RESTART_DELAY_S
