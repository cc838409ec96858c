"""Requests are handed out when they are due, and are marked if the limit delayed them."""

import asyncio
import math
import time

import numpy as np
import pytest
from unrolled_loadtest.generator.events import FLAG_AT_LIMIT
from unrolled_loadtest.generator.pacer import ClosedLoopSource, DueRequest, OpenLoopSource, Pacer


def source_of(*times):
    """Returns a source of requests that are due at these times, in blocks of two."""
    blocks = [times[at : at + 2] for at in range(0, len(times), 2)]
    return OpenLoopSource(
        (np.arange(2 * at, 2 * at + len(block)), np.array(block)) for at, block in enumerate(blocks)
    )


def run(check, *, source, max_lanes=0, began_s=0.0):
    """Runs a check with a pacer whose clock shows `began_s`; returns the first request of each lane."""
    started = []

    async def main():
        pacer = Pacer(
            source, origin=time.monotonic() - began_s, start_lane=started.append, max_lanes=max_lanes
        )
        set_clock(pacer, began_s)
        await check(pacer)

    asyncio.run(main())
    return started


def set_clock(pacer, now_s):
    """Sets the pacer's clock, so that what is due does not depend on the speed of the machine."""
    pacer.now_s = lambda: now_s


async def start(pacer):
    """Starts the pacer and lets timers that are due run."""
    pacer.start()
    for _ in range(3):
        await asyncio.sleep(0)


def test_an_open_source_returns_due_requests_and_the_time_of_the_next():
    source = source_of(0.5, 1.0, 1.5)
    assert source.next_s == 0.5
    assert source.pop(0.4) is None
    assert [source.pop(1.0), source.pop(1.0), source.pop(1.0)] == [
        DueRequest(0, 0.5),
        DueRequest(1, 1.0),
        None,
    ]
    assert source.pop(9) == DueRequest(2, 1.5)
    assert source.next_s == math.inf


def test_a_closed_source_is_always_due_and_processes_take_turns():
    sources = [ClosedLoopSource(begin_s=-1, process=process, process_count=2) for process in (0, 1)]
    assert sources[0].pop(-2) is None
    taken = [source.pop(now_s) for source in sources for now_s in (0.0, 0.1)]
    assert taken == [DueRequest(0, 0.0), DueRequest(2, 0.1), DueRequest(1, 0.0), DueRequest(3, 0.1)]


def test_lanes_are_started_up_to_the_limit():
    source = source_of(1, 2, 3, 4)
    assert run(start, source=source, max_lanes=3, began_s=9) == [
        DueRequest(0, 1),
        DueRequest(1, 2),
        DueRequest(2, 3),
    ]


def test_a_waiting_lane_gets_the_next_request_before_a_lane_is_started():
    async def check(pacer):
        first, second = pacer.wait(), pacer.wait()
        set_clock(pacer, 0.01)
        pacer.start()
        assert await first == DueRequest(0, 0.01)
        assert not second.done()
        set_clock(pacer, 0.02)
        assert await second == DueRequest(1, 0.02)

    assert run(check, source=source_of(0.01, 0.02), max_lanes=5) == []


def test_only_requests_delayed_by_the_limit_are_marked():
    async def check(pacer):
        await start(pacer)
        assert pacer.pop() == DueRequest(1, 1, FLAG_AT_LIMIT)
        assert pacer.pop() is None
        set_clock(pacer, 9.05)
        assert await pacer.wait() == DueRequest(2, 9.05)

    assert run(check, source=source_of(0, 1, 9.05), max_lanes=1, began_s=9) == [DueRequest(0, 0)]


def test_a_cancelled_lane_is_skipped():
    async def check(pacer):
        gone, there = pacer.wait(), pacer.wait()
        gone.cancel()
        set_clock(pacer, 0.01)
        pacer.start()
        assert await there == DueRequest(0, 0.01)

    run(check, source=source_of(0.01))


def test_stop_ends_lanes_and_returns_the_unsent_requests():
    async def check(pacer):
        await start(pacer)
        cancelled = pacer.wait()
        cancelled.cancel()
        waiting = pacer.wait()
        assert pacer.stop() == [DueRequest(0, -2), DueRequest(1, -1)]
        assert await waiting is None
        assert await pacer.wait() is None
        assert pacer.pop() is None

    run(check, source=source_of(-2, -1, 5))


@pytest.mark.parametrize("source", [ClosedLoopSource(begin_s=0, process=0, process_count=1)])
def test_a_closed_loop_has_no_unsent_requests(source):
    async def check(pacer):
        assert pacer.stop() == []

    run(check, source=source)
