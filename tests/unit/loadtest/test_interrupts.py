"""Signals during a measurement: the first ends it in order, the second at once."""

import os
import signal
import threading

import pytest
from unrolled_loadtest.interrupts import Interrupts

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_before_the_load_a_signal_raises(number):
    with Interrupts() as interrupts:
        interrupts.before_load()
        with pytest.raises(KeyboardInterrupt):
            send(number)
        with pytest.raises(KeyboardInterrupt):
            interrupts.before_load()


@pytest.mark.parametrize("first", SIGNALS)
@pytest.mark.parametrize("second", SIGNALS)
def test_during_the_load_the_first_signal_calls_the_function_and_the_second_raises(first, second):
    acts = []
    with Interrupts() as interrupts:
        interrupts.before_load()
        interrupts.during_load(lambda: acts.append("act"))
        send(first)
        assert acts == ["act"]
        with pytest.raises(KeyboardInterrupt):
            send(second)


def test_a_signal_between_two_trials_ends_the_next_one():
    with Interrupts() as interrupts:
        interrupts.during_load(lambda: None)
        send(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            interrupts.before_load()


def test_signal_handlers_are_restored():
    before = [signal.getsignal(number) for number in SIGNALS]
    with Interrupts():
        pass
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_an_ignored_sighup_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts():
            send(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_other_threads_handle_no_signals():
    def enter():
        with Interrupts() as interrupts:
            interrupts.before_load()
            entered.set()

    entered = threading.Event()
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered.is_set()
