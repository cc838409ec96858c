"""What a plan refuses, and how it is told."""

import pytest
from unrolled_client import InvalidRequestError
from unrolled_client.load.plan import parse_rate

from tests.client.load.plans import closed_plan, open_plan


def test_a_rate_is_pieces_of_one_length():
    pieces = parse_rate("100,200..400", duration_s=10)
    assert [(p.length_s, p.from_per_s, p.to_per_s) for p in pieces] == [(5, 100, 100), (5, 200, 400)]


@pytest.mark.parametrize("text", ["", "x", "0", "0,0..0", "-5", "100,,200", "1e3"])
def test_what_is_no_rate_is_refused(text):
    with pytest.raises(InvalidRequestError, match="write requests per second"):
        parse_rate(text, duration_s=10)


@pytest.mark.parametrize(
    ("rate", "told"),
    [
        ("500", "constant, 500/s"),
        ("1..2000", "constant, 1/s to 2,000/s"),
        ("100,200", "constant, 100/s for 0.5 s, 200/s for 0.5 s"),
    ],
)
def test_a_load_tells_what_it_is(rate, told):
    assert str(open_plan(rate=rate).load) == told
    assert str(closed_plan(concurrency=2_000).load) == "closed loop, 2,000 at a time"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"max_in_flight": 0}, "max_in_flight is 0"),
        ({"process_count": 0}, "process_count is 0"),
        ({"duration_s": 0}, "the load lasts 0 s"),
        ({"warmup_s": -1}, "after -1 s of warm-up"),
        ({"timeout_s": 0}, "timeout of 0 s"),
        ({"process_count": 3, "max_in_flight": 2}, "there is work for 2"),
        ({"process_count": 2, "transport": "stream"}, "there is work for 1"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(more, message):
    with pytest.raises(InvalidRequestError, match=message):
        open_plan(**more)


def test_processes_share_everything():
    plan = open_plan(process_count=3)
    assert [plan.share_of(8, process=process) for process in range(3)] == [3, 3, 2]
