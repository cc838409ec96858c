"""Signals that start a drain, and a second signal, which ends the process at once."""

import asyncio
import os
import signal

import pytest
from unrolled_server.process.shutdown_signals import draining_signals, wait_for_shutdown


@pytest.fixture(autouse=True)
def _default_handlers():
    """Restores the default handlers for each test, because the test run may ignore SIGHUP."""
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


async def shutdown_signal(*numbers, ended):
    """Returns the signal that wait_for_shutdown reports when these signals arrive one after the other."""
    waiting = asyncio.create_task(wait_for_shutdown(watch_stdin=False, on_second_signal=ended.append))
    await asyncio.sleep(0)
    for number in numbers:
        os.kill(os.getpid(), number)
        await waiting
    return await waiting


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_each_draining_signal_is_returned(number):
    assert asyncio.run(shutdown_signal(number, ended=[])) == number


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_the_process_at_once(number):
    ended = []
    asyncio.run(shutdown_signal(signal.SIGTERM, number, ended=ended))
    assert ended == [number]


@pytest.mark.parametrize("numbers", [(signal.SIGHUP, signal.SIGHUP), (signal.SIGTERM, signal.SIGHUP)])
def test_a_later_sighup_is_ignored(numbers):
    """A terminal that closes may send two, and its session a SIGTERM as well."""
    ended = []
    asyncio.run(shutdown_signal(*numbers, ended=ended))
    assert ended == []


def test_the_signal_after_a_first_sighup_does_not_end_the_process():
    ended = []

    async def send_signals():
        waiting = asyncio.create_task(wait_for_shutdown(watch_stdin=False, on_second_signal=ended.append))
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGHUP)
        await waiting
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(10):  # until the loop has handled it
            await asyncio.sleep(0)
        assert ended == []
        os.kill(os.getpid(), signal.SIGTERM)

    asyncio.run(send_signals())
    assert ended == [signal.SIGTERM]


def test_an_ignored_sighup_stays_ignored():
    """A process under nohup starts with SIGHUP ignored."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert signal.SIGHUP not in draining_signals()
    assert asyncio.run(shutdown_signal_after_ignored_sighup()) == signal.SIGTERM


async def shutdown_signal_after_ignored_sighup():
    waiting = asyncio.create_task(wait_for_shutdown(watch_stdin=False))
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGTERM)
    return await waiting


def test_handlers_are_restored_if_waiting_is_cancelled():
    async def give_up():
        waiting = asyncio.create_task(wait_for_shutdown(watch_stdin=False))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return [signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)]

    assert asyncio.run(give_up()) == [signal.SIG_DFL] * 2
