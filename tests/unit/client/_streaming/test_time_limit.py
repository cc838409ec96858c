"""How long a caller waits for the next reply, with a clock that the tests set."""

from types import SimpleNamespace

import pytest
from unrolled_client import DeadlineError, UnavailableError
from unrolled_client._streaming import driver
from unrolled_client._streaming.driver import TimeLimit


@pytest.fixture
def clock(monkeypatch):
    """The time, as `clock.now_s`."""
    clock = SimpleNamespace(now_s=100.0, monotonic=lambda: clock.now_s)
    monkeypatch.setattr(driver, "time", clock)
    return clock


@pytest.fixture
def exchange():
    """What a limit reads of an exchange."""
    return SimpleNamespace(part_count=0, done_count=0, handle_broken_stream=lambda _error, **_: 0.1)


def test_progress_and_the_callers_own_time_begin_it_anew(clock, exchange):
    """A batch, a reply and the caller's return do; the rest of the time passes."""
    limit = TimeLimit(exchange, 10.0)

    def take():
        exchange.part_count += 2
        limit.update()

    def finish():
        exchange.done_count += 1
        limit.update()

    for act in (take, finish, limit.restart):
        clock.now_s += 6.0
        limit.update()
        assert limit.left_s == 4.0
        act()
        assert limit.left_s == 10.0
    clock.now_s += 11.0
    assert limit.left_s == 0.0


def test_without_a_timeout_there_is_no_limit(exchange):
    limit = TimeLimit(exchange, None)
    assert limit.left_s is None
    limit.refuse_late(1e9)


def test_a_pause_that_would_end_too_late_is_refused_at_once(clock, exchange):
    """The error says how far the call came, and why its last stream broke unless there was a reply since."""
    exchange.part_count, exchange.done_count = 9, 5
    limit = TimeLimit(exchange, 10.0)
    clock.now_s += 6.0
    limit.refuse_late(3.9)
    assert limit.delay_after(UnavailableError("it is down")) == 0.1
    with pytest.raises(DeadlineError) as caught:
        limit.refuse_late(4.0)
    assert caught.value.message == (
        "the next attempt is due in 4 s, which is beyond timeout_s (5 of 9 parts are done; timeout_s, the "
        "longest time without a reply, is 10); raise timeout_s; the stream broke because it is down"
    )
    limit.restart()
    assert "down" not in limit.error().message
