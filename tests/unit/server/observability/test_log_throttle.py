"""Messages that a client can trigger at will are logged once per interval; the test sets the clock."""

from unrolled_server.observability.log_throttle import LogThrottle


def test_one_message_of_a_kind_is_logged_per_interval_and_the_next_counts_the_rest():
    throttle = LogThrottle(interval_s=60)
    assert throttle.allow("a", now_s=0) == ""
    assert [throttle.allow("a", now_s=now_s) for now_s in (1, 2, 59.9)] == [None] * 3
    assert throttle.allow("b", now_s=59.9) == ""
    assert throttle.allow("a", now_s=60) == " (and 3 more since this was last logged)"
    assert throttle.allow("a", now_s=61) is None


def test_kinds_beyond_a_limit_share_one_message():
    """An attacker with many addresses fills neither memory nor the log."""
    throttle = LogThrottle(interval_s=60, max_keys=3)
    logged = [throttle.allow(str(key), now_s=0) for key in range(1_000)]
    assert [answer for answer in logged if answer is not None] == [""] * 4
    assert throttle.allow("new", now_s=120) == ""
