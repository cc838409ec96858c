"""Waits for the shutdown of the process: a signal, or the end of standard input."""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

from unrolled_server.exit_codes import exit_code_of_signal

_COUNTED = (signal.SIGTERM, signal.SIGINT)
"""A second one of these signals ends the process at once."""


def draining_signals() -> tuple[signal.Signals, ...]:
    """Returns the signals that start a drain: SIGHUP too, unless it is ignored, as under nohup."""
    is_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return _COUNTED if is_ignored else (*_COUNTED, signal.SIGHUP)


def exit_at_once(number: int, _frame: FrameType | None = None) -> None:
    """Ends the process without finishing anything; also a signal's handler."""
    os._exit(exit_code_of_signal(number))


async def wait_for_shutdown(
    *, watch_stdin: bool, on_second_signal: Callable[[int], None] = exit_at_once
) -> signal.Signals | None:
    """Returns the signal that stops the process, or None for the end of standard input.

    A terminal that closes may send SIGHUP twice, and its session then SIGTERM. So SIGHUP is not counted: it
    only starts the drain, and later ones are ignored.

    Args:
        watch_stdin: Whether the end of standard input counts.
        on_second_signal: Handles a second SIGTERM or SIGINT, whenever it comes.
    """
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[signal.Signals | None] = loop.create_future()

    def stop(number: signal.Signals | None) -> None:
        if not stopped.done():
            stopped.set_result(number)
        if number == signal.SIGHUP:
            loop.remove_signal_handler(number)  # else the loop would undo the next line
            signal.signal(number, signal.SIG_IGN)
            return
        for second in _COUNTED:
            # Not through the loop, which may have ended, or be busy, when the second signal comes.
            signal.signal(second, lambda number, _frame: on_second_signal(number))

    numbers = draining_signals()
    for number in numbers:
        loop.add_signal_handler(number, stop, number)
    if watch_stdin:
        threading.Thread(target=_wait_for_end_of_stdin, args=(loop, stop), name="stdin", daemon=True).start()
    try:
        return await stopped
    except asyncio.CancelledError:  # a loop that ends with handlers prints an error for a signal meanwhile
        for number in numbers:
            loop.remove_signal_handler(number)
        raise


def _wait_for_end_of_stdin(loop: asyncio.AbstractEventLoop, stop: Callable[[None], None]) -> None:
    # Not through sys.stdin, whose lock a daemon thread must not hold when the interpreter exits.
    while os.read(0, 4096):
        pass
    with contextlib.suppress(RuntimeError):  # the loop ended first
        loop.call_soon_threadsafe(stop, None)
