"""One of several servers on a port: `python -m unrolled_server.process.worker`, for a supervisor only.

It reads its settings from standard input, reports its start on standard output, and ends when its input does.
"""

import asyncio
import contextlib
import os
import sys

from pydantic import ValidationError

from unrolled_server.exit_codes import EXIT_SETTINGS, StartupError
from unrolled_server.observability import logging_setup
from unrolled_server.process.serve import freeze_startup_objects, keep_freed_memory, ready_line
from unrolled_server.process.shutdown_signals import wait_for_shutdown
from unrolled_server.process.worker_protocol import (
    GO,
    Failed,
    Report,
    Serving,
    Verified,
    decode_settings,
    encode,
)
from unrolled_server.settings import Settings
from unrolled_server.settings.model import describe_errors
from unrolled_server.transport.server import Server


def main() -> int:
    """Serves until it is stopped; returns the exit code."""
    reports = os.dup(1)
    os.dup2(2, 1)  # whatever else is printed goes to standard error
    try:
        settings = decode_settings(_read_line())
    except ValidationError as error:  # such as for a file that was removed since the supervisor started
        _report(Failed(exit_code=EXIT_SETTINGS, message=describe_errors(error)), reports)
        return EXIT_SETTINGS
    logging_setup.configure(level=settings.log_level, log_format=settings.log_format, names_process=True)
    try:
        asyncio.run(_serve(settings, reports))
    except StartupError as error:
        _report(Failed(exit_code=error.exit_code, message=str(error)), reports)
        return error.exit_code
    return 0


async def _serve(settings: Settings, reports: int) -> None:
    keep_freed_memory()
    server = Server(settings, shares_port=True)
    await server.prepare()
    freeze_startup_objects()
    _report(Verified(fingerprint=server.info.fingerprint, ready_line=ready_line(server)), reports)
    if _read_line() != GO:  # the supervisor is gone
        return
    # A service manager may send SIGTERM beside the supervisor, so a second one means nothing.
    shutdown = asyncio.create_task(wait_for_shutdown(watch_stdin=True, on_second_signal=lambda _: None))
    await asyncio.sleep(0)  # so that it has begun to wait
    server.bind()
    await server.serve()
    _report(Serving(), reports)
    await shutdown
    await server.stop()


def _read_line() -> bytes:
    # Unbuffered, so that no byte after the line is lost.
    with os.fdopen(0, "rb", buffering=0, closefd=False) as stdin:
        return stdin.readline()


def _report(report: Report, reports: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # the supervisor is gone, so standard input ends, too
        os.write(reports, encode(report))


if __name__ == "__main__":
    sys.exit(main())
