"""Waits until the process is told to stop: by a signal, or by the end of standard input."""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

from unrolled_server.exit_codes import exit_code_of_signal

_ENDING = (signal.SIGTERM, signal.SIGINT)
"""Signals of which a second one ends the process at once."""


def draining_signals() -> tuple[signal.Signals, ...]:
    """Returns the signals that start a drain: SIGHUP too, unless it is ignored, as under nohup."""
    is_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return _ENDING if is_ignored else (*_ENDING, signal.SIGHUP)


def end_at_once(number: int, _frame: FrameType | None = None) -> None:
    """Ends the process without finishing anything; also a signal's handler."""
    os._exit(exit_code_of_signal(number))


async def told_to_stop(
    *, watch_stdin: bool, end: Callable[[int], None] = end_at_once
) -> signal.Signals | None:
    """Waits until the process is told to stop; returns the signal, or None for the end of standard input.

    A terminal that closes may send SIGHUP twice, and its session then SIGTERM. So SIGHUP is not counted: it
    only starts the drain, and later ones are ignored.

    Args:
        watch_stdin: Whether the end of standard input counts.
        end: What a second SIGTERM or SIGINT does, whenever it comes.
    """
    loop = asyncio.get_running_loop()
    told: asyncio.Future[signal.Signals | None] = loop.create_future()

    def tell(number: signal.Signals | None) -> None:
        if not told.done():
            told.set_result(number)
        if number == signal.SIGHUP:
            loop.remove_signal_handler(number)  # which the loop would undo at its end
            signal.signal(number, signal.SIG_IGN)
            return
        for second in _ENDING:
            # Not the loop's: it may have ended, or be busy, when the second one comes.
            signal.signal(second, lambda number, _frame: end(number))

    for number in draining_signals():
        loop.add_signal_handler(number, tell, number)
    if watch_stdin:
        threading.Thread(target=_wait_for_end_of_stdin, args=(loop, tell), name="stdin", daemon=True).start()
    return await told


def _wait_for_end_of_stdin(loop: asyncio.AbstractEventLoop, tell: Callable[[None], None]) -> None:
    # Below sys.stdin: a daemon thread inside its lock would break the interpreter's exit.
    while os.read(0, 4096):
        pass
    with contextlib.suppress(RuntimeError):  # the loop ended first
        loop.call_soon_threadsafe(tell, None)
