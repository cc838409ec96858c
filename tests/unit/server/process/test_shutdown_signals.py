"""Which signals start a drain, and which of them end it at once."""

import asyncio
import os
import signal

import pytest
from unrolled_server.process.shutdown_signals import draining_signals, wait_for_shutdown


@pytest.fixture(autouse=True)
def _own_handlers():
    """Each test begins with the system's handlers, also where the run ignores SIGHUP."""
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


async def told_after(*numbers, ended):
    """What the process is told by signals that it gets one after the other, each after the first one."""
    waiting = asyncio.create_task(wait_for_shutdown(watch_stdin=False, on_second_signal=ended.append))
    await asyncio.sleep(0)
    for number in numbers:
        os.kill(os.getpid(), number)
        await waiting
    return await waiting


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_each_of_them_tells_the_process_to_stop(number):
    assert asyncio.run(told_after(number, ended=[])) == number


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_one_ends_the_process_at_once(number):
    ended = []
    asyncio.run(told_after(signal.SIGTERM, number, ended=ended))
    assert ended == [number]


@pytest.mark.parametrize("numbers", [(signal.SIGHUP, signal.SIGHUP), (signal.SIGTERM, signal.SIGHUP)])
def test_a_later_sighup_ends_nothing(numbers):
    """A terminal that closes may send two, and its session SIGTERM beside."""
    ended = []
    asyncio.run(told_after(*numbers, ended=ended))
    assert ended == []


def test_after_a_first_sighup_the_next_signal_is_the_first_that_counts():
    ended = []

    async def told():
        waiting = asyncio.create_task(wait_for_shutdown(watch_stdin=False, on_second_signal=ended.append))
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGHUP)
        await waiting
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(10):  # until the loop has handled it
            await asyncio.sleep(0)
        assert ended == []
        os.kill(os.getpid(), signal.SIGTERM)

    asyncio.run(told())
    assert ended == [signal.SIGTERM]


def test_an_ignored_sighup_stays_ignored():
    """As nohup has it."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert signal.SIGHUP not in draining_signals()
    assert asyncio.run(told_after_ignored()) == signal.SIGTERM


async def told_after_ignored():
    waiting = asyncio.create_task(wait_for_shutdown(watch_stdin=False))
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGTERM)
    return await waiting


def test_a_loop_that_ends_before_any_signal_leaves_no_handlers():
    async def give_up():
        waiting = asyncio.create_task(wait_for_shutdown(watch_stdin=False))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return [signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)]

    assert asyncio.run(give_up()) == [signal.SIG_DFL] * 2
