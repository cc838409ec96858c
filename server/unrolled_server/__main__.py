"""The command `unrolled-server`, also `python -m unrolled_server`.

Exit codes: 0 after a drain, 1 after a drain that a worker did not survive, 2 for wrong settings, 3 for an
address that cannot be had (also that of the metrics), 4 for a device that is not there, 5 for one that does
not keep the promise of equal bits, 6 for word vectors that cannot be loaded, 7 for a file of certificates,
keys or tokens that cannot be used, 8 for workers that keep dying, 129, 130 or 143 for a SIGHUP, SIGINT or
SIGTERM before it was ready, 130 or 143 for a second one while it drains.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Coroutine
from typing import Any

if __name__ == "__main__":  # before the imports below, which fail where the extra is not installed
    from unrolled.entry_points import run_server

    run_server()

from pydantic import ValidationError
from pydantic_settings import CliApp, SettingsError

from unrolled_server.exit_codes import EXIT_INTERRUPTED, EXIT_SETTINGS, StartupError
from unrolled_server.observability import logging_setup
from unrolled_server.process.shutdown_signals import draining_signals, exit_at_once
from unrolled_server.process.supervisor import supervise
from unrolled_server.settings.environment import explained, unknown_variables
from unrolled_server.settings.model import Settings, described

LOG = logging.getLogger(__name__)


def main() -> int:
    """Reads the settings and serves until told to stop; returns the exit code."""
    _open_standard_streams()
    try:
        settings = CliApp.run(Settings)
    except ValidationError as error:
        return _fail(EXIT_SETTINGS, described(error))
    except SettingsError as error:
        return _fail(EXIT_SETTINGS, explained(str(error)))
    names_process = settings.workers > 1
    logging_setup.configure(
        level=settings.log_level, log_format=settings.log_format, names_process=names_process
    )
    for warning in unknown_variables(os.environ):
        LOG.warning(warning)
    # A container's first process has no default for signals but SIGINT, which Python handles.
    for number in set(draining_signals()) - {signal.SIGINT}:
        signal.signal(number, exit_at_once)
    # gRPC's core writes a line for each failed TLS handshake, so a client could fill the disk.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        asyncio.run(_serving(settings))
    except StartupError as error:
        return _fail(error.exit_code, str(error))
    except KeyboardInterrupt:
        return _fail(EXIT_INTERRUPTED, "interrupted")
    return 0


def _open_standard_streams() -> None:
    """Opens the null device in place of closed standard streams, lest a connection gets the number of one."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number is this one


def _serving(settings: Settings) -> Coroutine[Any, Any, None]:
    if settings.workers > 1:
        return supervise(settings)
    # Here, because importing torch takes seconds, which --help, a wrong flag and a supervisor do not need.
    from unrolled_server.process.serve import serve  # noqa: PLC0415

    return serve(settings)


def _fail(code: int, message: str) -> int:
    logging_setup.say_last(message)
    return code
