"""What is told seldom, without a clock."""

from unrolled_server.observability.log_throttle import Seldom


def test_one_of_a_kind_is_told_in_an_interval_and_the_next_counts_the_rest():
    seldom = Seldom(interval_s=60)
    assert seldom.due("a", now_s=0) == ""
    assert [seldom.due("a", now_s=now_s) for now_s in (1, 2, 59.9)] == [None] * 3
    assert seldom.due("b", now_s=59.9) == ""
    assert seldom.due("a", now_s=60) == " (and 3 more since this was last told)"
    assert seldom.due("a", now_s=61) is None


def test_many_kinds_are_one_beyond_a_limit():
    """An attacker with many addresses fills neither memory nor the log."""
    seldom = Seldom(interval_s=60, max_keys=3)
    told = [seldom.due(str(key), now_s=0) for key in range(1_000)]
    assert [answer for answer in told if answer is not None] == [""] * 4
    assert seldom.due("new", now_s=120) == ""
