"""The event loop's lag, as measured."""

import asyncio
import time

import pytest
from unrolled_server.scheduling.loop_lag import INTERVAL_S, EventLoopLag


def test_lag_rises_at_once_and_decays_gradually():
    lag = EventLoopLag()
    lag.record(1.0)
    assert lag.lag_s == 1.0
    lag.record(0.0)
    assert lag.lag_s == pytest.approx(0.7)
    lag.record(0.9)
    assert lag.lag_s == 0.9
    for _ in range(20):
        lag.record(0.0)
    assert lag.lag_s < 0.001


def test_a_blocked_loop_shows_lag():
    async def main():
        lag = EventLoopLag()
        watch = asyncio.create_task(lag.watch())
        await asyncio.sleep(0)  # it is measuring
        held_up_s = asyncio.get_running_loop().time()
        time.sleep(5 * INTERVAL_S)  # noqa: ASYNC251 - what the loop must not do, done on purpose
        held_up_s = asyncio.get_running_loop().time() - held_up_s
        while not lag.lag_s:  # noqa: ASYNC110 - measurements raise no events
            await asyncio.sleep(0)
        watch.cancel()
        return lag.lag_s, held_up_s

    lag_s, held_up_s = asyncio.run(main())
    assert lag_s >= held_up_s - INTERVAL_S
