"""Being told to stop: by a signal, or by the end of standard input."""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

from unrolled_server.exit_codes import exit_code_of_signal

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def end_at_once(number: int, _frame: FrameType | None = None) -> None:
    """Ends the process without finishing anything; also a signal's handler."""
    os._exit(exit_code_of_signal(number))


async def told_to_stop(
    *, watch_stdin: bool, end: Callable[[int], None] = end_at_once
) -> signal.Signals | None:
    """Waits until the process is told to stop; gives the signal, or None for the end of standard input.

    Args:
        watch_stdin: Whether the end of standard input counts.
        end: What a second signal does, whenever it comes.
    """
    loop = asyncio.get_running_loop()
    told: asyncio.Future[signal.Signals | None] = loop.create_future()

    def tell(number: signal.Signals | None) -> None:
        if not told.done():
            told.set_result(number)
        for second in SIGNALS:
            # Not the loop's: it may have ended, or be busy, when the second one comes.
            signal.signal(second, lambda number, _frame: end(number))

    for number in SIGNALS:
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
