"""The order in which queued entries are taken, without threads or clocks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unrolled_server.scheduling.fair_queue import MAX_IDLE_CLIENTS, FairQueue


def filled(*entries):
    """Returns a queue of (name, client, cost) entries; the cost is also the share of a batch."""
    queue = FairQueue()
    for name, client, cost_s in entries:
        queue.add(name, client=client, cost_s=cost_s, share=cost_s)
    return queue


def all_taken(queue):
    taken = []
    while batch := queue.pop_batch():
        taken += batch
    return taken


def test_all_entries_are_taken_at_once_if_they_fit():
    queue = filled(("a1", "a", 0.25), ("b1", "b", 0.25), ("a2", "a", 0.25))
    assert queue.pop_batch() == ["a1", "b1", "a2"]
    assert not queue
    assert queue.pop_batch() == []


def test_clients_take_turns():
    queue = filled(*((f"a{at}", "a", 0.6) for at in range(3)), ("b1", "b", 0.6), ("b2", "b", 0.6))
    assert all_taken(queue) == ["a0", "b1", "a1", "b2", "a2"]


def test_clients_with_small_and_large_entries_get_equal_time():
    queue = filled(*((f"a{at}", "a", 4.0) for at in range(2)), *((f"b{at}", "b", 1.0) for at in range(8)))
    assert all_taken(queue) == ["a0", "b0", "b1", "b2", "b3", "a1", "b4", "b5", "b6", "b7"]


def test_a_client_with_one_large_entry_at_a_time_gets_a_fair_share():
    queue = filled(*((f"a{at}", "a", 1.0) for at in range(9)), ("b", "b", 4.0))
    taken = []
    for _ in range(9):
        taken += queue.pop_batch()
        if taken[-1] == "b":
            queue.add("b", client="b", cost_s=4.0, share=4.0)
    assert taken == ["a0", "b", "a1", "a2", "a3", "a4", "b", "a5", "a6"]


def test_an_entry_larger_than_a_batch_is_taken_alone():
    queue = filled(("huge", "a", 10.0), ("small", "a", 0.01))
    assert [queue.pop_batch(), queue.pop_batch()] == [["huge"], ["small"]]


def test_unwanted_entries_are_dropped_and_take_no_space():
    queue = filled(("gone", "a", 0.9), ("a1", "a", 0.9), ("gone", "b", 0.9))
    assert queue.pop_batch(lambda entry: entry != "gone") == ["a1"]
    assert queue.pop_batch(lambda entry: entry != "gone") == []
    assert (len(queue), queue.waiting_s) == (0, 0.0)


@pytest.mark.parametrize("flood", [1, 5, 50])
def test_a_flood_delays_another_clients_entry_by_one_batch(flood):
    queue = filled(*(("flood", "a", 0.9) for _ in range(flood)))
    assert queue.wait_s("b", cost_s=0.9) == 0.9
    queue.add("single", client="b", cost_s=0.9, share=0.9)
    assert queue.pop_batch() == ["flood"]
    assert queue.pop_batch() == ["single"]


entries = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 12).map(lambda eighths: eighths / 8)))


@given(entries)
def test_entries_of_a_client_are_taken_once_and_in_order(waiting):
    queue = filled(*((at, client, cost_s) for at, (client, cost_s) in enumerate(waiting)))
    taken = []
    while batch := queue.pop_batch():
        assert len(batch) == 1 or sum(waiting[at][1] for at in batch) <= 1
        taken += batch
    for client in "abc":
        assert [at for at in taken if waiting[at][0] == client] == [
            at for at, (name, _) in enumerate(waiting) if name == client
        ]
    assert sorted(taken) == list(range(len(waiting)))


@given(entries, st.sampled_from("abcd"), st.integers(0, 12).map(lambda eighths: eighths / 8))
def test_the_estimated_wait_is_an_upper_bound_if_no_entry_is_added(waiting, client, cost_s):
    queue = filled(*((at, name, cost) for at, (name, cost) in enumerate(waiting)))
    estimated = queue.wait_s(client, cost_s=cost_s)
    queue.add("mine", client=client, cost_s=cost_s, share=2)
    before = all_taken(queue)
    before = before[: before.index("mine")]
    # One entry of each other client may be under way when its time is over.
    slack = sum(
        max([cost for name, cost in waiting if name == other], default=0) for other in {*"abc"} - {client}
    )
    assert sum(waiting[at][1] for at in before) <= estimated + slack


@given(entries)
def test_the_queued_work_is_counted_in_seconds(waiting):
    queue = filled(*((at, client, cost_s) for at, (client, cost_s) in enumerate(waiting)))
    while queue:
        left = sum(waiting[at.entry][1] for at in queue._heap)
        assert queue.waiting_s == pytest.approx(left)
        queue.pop_batch()
    assert queue.waiting_s == 0


def test_clients_without_entries_are_removed():
    queue = filled(("waits", "a", 0.5), ("waits", "a", 2.0))
    for at in range(10 * MAX_IDLE_CLIENTS):
        queue.add("single", client=f"{at}", cost_s=1e-6, share=0.0)
        queue.pop_batch(lambda entry: entry == "single")
        queue.add("waits", client="a", cost_s=1e-6, share=2.0)
    assert len(queue._clients) <= MAX_IDLE_CLIENTS + 3
