"""Who is taken next, decided without threads or clocks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unrolled_server.fair_queue import FairQueue


def filled(*entries):
    """A queue of (name, network, share) in this order."""
    queue = FairQueue()
    for name, network, share in entries:
        queue.add(name, network=network, share=share)
    return queue


def test_all_that_waits_is_taken_at_once_if_it_fits():
    queue = filled(("a1", "a", 0.1), ("b1", "b", 0.1), ("a2", "a", 0.1))
    assert queue.take() == ["a1", "a2", "b1"]
    assert not queue
    assert queue.take() == []


def test_a_network_with_more_than_a_batch_waits_behind_the_others():
    queue = filled(*((f"a{at}", "a", 0.6) for at in range(3)), ("b1", "b", 0.1))
    assert [queue.take(), queue.take(), queue.take()] == [["a0"], ["b1", "a1"], ["a2"]]


def test_an_entry_above_a_whole_batch_is_a_batch_of_its_own():
    queue = filled(("huge", "a", 10.0), ("small", "a", 0.01))
    assert [queue.take(), queue.take()] == [["huge"], ["small"]]


shares = st.integers(0, 12).map(lambda eighths: eighths / 8)


@given(st.lists(st.tuples(st.sampled_from("abc"), shares)))
def test_nothing_is_lost_doubled_or_overtaken_within_its_network(waiting):
    queue = filled(*((at, network, share) for at, (network, share) in enumerate(waiting)))
    taken = []
    while batch := queue.take():
        assert len(batch) == 1 or sum(waiting[at][1] for at in batch) <= 1
        taken += batch
    for network in "abc":
        assert [at for at in taken if waiting[at][0] == network] == [
            at for at, (name, _) in enumerate(waiting) if name == network
        ]
    assert sorted(taken) == list(range(len(waiting)))


@pytest.mark.parametrize("flood", [1, 5, 50])
def test_a_flood_delays_another_networks_entry_by_one_batch(flood):
    queue = filled(*(("flood", "a", 0.9) for _ in range(flood)), ("single", "b", 0.9))
    assert queue.take() == ["flood"]
    assert queue.take() == ["single"]
