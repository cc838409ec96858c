"""One of several servers on a port: `python -m unrolled_server.process.worker`, started by a supervisor only.

Its settings come over standard input, it tells its start over standard output, and it ends with its
supervisor, because its standard input does.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable

from unrolled_server.exit_codes import StartupError
from unrolled_server.observability import logging_setup
from unrolled_server.process.serve import freeze_startup_objects, ready_line
from unrolled_server.process.shutdown_signals import draining_signals
from unrolled_server.process.worker_protocol import (
    GO,
    Failed,
    Proved,
    Report,
    Serving,
    decode_settings,
    encode,
)
from unrolled_server.settings.model import Settings
from unrolled_server.transport.server import Server


def main() -> int:
    """Serves until told to stop; gives the exit code."""
    # Byte by byte, so that what comes after the line is left to the event loop.
    with os.fdopen(0, "rb", buffering=0, closefd=False) as stdin:
        settings = decode_settings(stdin.readline())
    reports = _take_stdout()
    logging_setup.configure(level=settings.log_level, log_format=settings.log_format, names_process=True)
    try:
        asyncio.run(_work(settings, reports))
    except StartupError as error:
        _tell(Failed(exit_code=error.exit_code, message=str(error)), reports)
        return error.exit_code
    return 0


def _take_stdout() -> int:
    """A descriptor for reports alone: what else is printed goes to standard error."""
    reports = os.dup(1)
    os.dup2(2, 1)
    return reports


def _tell(report: Report, reports: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # the supervisor is gone, and standard input tells that too
        os.write(reports, encode(report))


async def _work(settings: Settings, reports: int) -> None:
    server = Server(settings, shares_port=True)
    await server.prepare()
    freeze_startup_objects()
    _tell(Proved(fingerprint=server.info.fingerprint, ready_line=ready_line(server)), reports)
    orders = await _read_stdin()
    if await orders.readline() != GO:
        return
    stop = _stop_at_signals()
    server.bind()
    await server.serve()
    _tell(Serving(), reports)
    await _first_of(stop.wait(), orders.read())
    await server.stop()


async def _read_stdin() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    return reader


def _stop_at_signals() -> asyncio.Event:
    """Returns an event that signals set; a service manager may send one beside the supervisor."""
    stop = asyncio.Event()
    for number in draining_signals():
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def _first_of(*things: Awaitable[object]) -> None:
    tasks = [asyncio.ensure_future(thing) for thing in things]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    sys.exit(main())
