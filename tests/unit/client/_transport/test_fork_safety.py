"""The count of running calls, for which forks wait."""

from unrolled_client._transport import fork_safety


def test_a_child_forked_during_a_call_does_not_count_the_end_of_that_call(monkeypatch):
    monkeypatch.setattr(fork_safety, "_running_calls", fork_safety._RunningCalls())
    monkeypatch.setattr(fork_safety, "_owners", ())
    monkeypatch.setattr(fork_safety, "_parents_channels", [])
    with fork_safety.running_calls():
        fork_safety._after_fork_in_child()
        with fork_safety.running_calls():
            pass
    assert fork_safety._running_calls._count == 0
