"""The command `unrolled-server`, also `python -m unrolled_server`. Its exit codes: `exit_codes`."""

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
from unrolled_server.settings import Settings
from unrolled_server.settings.environment import explain_flags, unknown_variables
from unrolled_server.settings.model import describe_errors

LOG = logging.getLogger(__name__)


def main() -> int:
    """Reads the settings and serves until shutdown; returns the exit code."""
    _open_standard_streams()
    try:
        settings = CliApp.run(Settings)
    except ValidationError as error:
        return _fail(EXIT_SETTINGS, describe_errors(error))
    except SettingsError as error:
        return _fail(EXIT_SETTINGS, explain_flags(str(error)))
    logging_setup.configure(
        level=settings.log_level, log_format=settings.log_format, names_process=settings.workers > 1
    )
    for warning in unknown_variables(os.environ):
        LOG.warning(warning)
    # A container's first process has no default handlers; Python has one for SIGINT.
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
    """Opens the null device for closed standard streams, so that no connection gets their numbers."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number is this one


def _serving(settings: Settings) -> Coroutine[Any, Any, None]:
    if settings.workers > 1:
        return supervise(settings)
    # Here, because --help, a wrong flag and a supervisor need neither gRPC nor the engine, which take longer.
    from unrolled_server.process.serve import serve  # noqa: PLC0415

    return serve(settings)


def _fail(code: int, message: str) -> int:
    logging_setup.fatal(message)
    return code
