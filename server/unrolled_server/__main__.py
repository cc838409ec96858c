"""The command `unrolled-server`, also `python -m unrolled_server`.

Exit codes: 0 after a drain, 1 after a drain that a worker did not survive, 2 for wrong settings, 3 for an
address that cannot be had (also that of the metrics), 4 for a device that is not there, 5 for one that does
not keep the promise of equal bits, 6 for word vectors that cannot be loaded, 7 for a file of certificates,
keys or tokens that cannot be used, 8 for workers that keep dying, 130 or 143 for a SIGINT or SIGTERM before
it was ready, or for a second one while it drains.
"""

import asyncio
import signal

if __name__ == "__main__":  # before the imports below, which fail where the extra is not installed
    from unrolled.entry_points import run_server

    run_server()

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import CliApp

from unrolled_server import logs
from unrolled_server.config import Settings
from unrolled_server.exit_codes import EXIT_ADDRESS, EXIT_INTERRUPTED, EXIT_SETTINGS
from unrolled_server.metrics_endpoint import MetricsAddressError
from unrolled_server.port import AddressError
from unrolled_server.stopping import end_at_once
from unrolled_server.supervisor import WorkersError, supervise


def main() -> int:
    """Reads the settings and serves until told to stop; gives the exit code."""
    try:
        settings = CliApp.run(Settings)
    except ValidationError as error:
        return _fail(EXIT_SETTINGS, "; ".join(map(_describe, error.errors())))
    names_process = settings.workers > 1
    logs.configure(level=settings.log_level, log_format=settings.log_format, names_process=names_process)
    signal.signal(signal.SIGTERM, end_at_once)  # a container's first process has no default for it
    try:
        return _serve(settings) if settings.workers == 1 else _supervise(settings)
    except KeyboardInterrupt:
        return _fail(EXIT_INTERRUPTED, "interrupted")


def _serve(settings: Settings) -> int:
    # Here, because importing torch takes seconds that --help, a wrong flag and a supervisor should not.
    from unrolled_server.lifecycle import START_ERRORS, serve  # noqa: PLC0415

    try:
        asyncio.run(serve(settings))
    except (*START_ERRORS,) as error:
        return _fail(START_ERRORS[type(error)], str(error))
    return 0


def _supervise(settings: Settings) -> int:
    try:
        asyncio.run(supervise(settings))
    except (AddressError, MetricsAddressError) as error:
        return _fail(EXIT_ADDRESS, str(error))
    except WorkersError as error:
        return _fail(error.exit_code, str(error))
    return 0


def _describe(error: ErrorDetails) -> str:
    name = "_".join(map(str, error["loc"]))
    if not name:  # of settings that do not go together
        return error["msg"]
    return f"{name} is {error['input']!r}: {error['msg']}"


def _fail(code: int, message: str) -> int:
    logs.say_last(message)
    return code
